"""Looking at a file that somebody handed in, before a framework does."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import UsageError
from edgekit.sources import check, source
from edgekit.steps import Json


def run(folder: str, file: str, kind: str, given: str, sha256: str, trust: bool) -> Json:
    """Check the file and leave the copy that may be loaded; see ``edgekit.sources.check``.

    Raises:
        UsageError: the file is not the one that was named by its hash.
    """
    if source.sha256(Path(file), trust=trust) != sha256:
        raise UsageError(f"{given} changed while it was read", hint="Convert it again when it is whole.")
    return check.check(Path(file), kind, given, Path(folder), trust=trust).to_json()
