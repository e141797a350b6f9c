"""Where the logs of children go."""

from __future__ import annotations

import os
from pathlib import Path

from edgekit.errors import UsageError


def kept() -> Path | None:
    """The folder where the user wants what children write, ``EDGEKIT_LOGS``; without it, logs go with the workers."""
    folder = Path(given).expanduser() if (given := os.environ.get("EDGEKIT_LOGS")) else None
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"EDGEKIT_LOGS is {given!r}, which cannot be made: {error.strerror or error}") from error
    return folder
