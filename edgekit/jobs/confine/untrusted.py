"""Files of others, from the parent's side: nothing of them is parsed here; a step that fails on one is its fault."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edgekit.errors import DamagedFileError, FailedError
from edgekit.jobs.run import Given, Run
from edgekit.jobs.workers import Limits
from edgekit.sources import source as sources
from edgekit.sources.source import Facts, Source

#: A check reads, copies and hashes; a disk does that at more than this many bytes a second.
_LEAST_BYTES_PER_SECOND = 10e6
_SECONDS = 60.0
_MEMORY_BYTES = 2 << 30


def examine(run: Run, source: Source) -> Source:
    """Have a file looked at in a confined child; returns the source that may be loaded.

    Raises:
        DamagedFileError: it is damaged, or the child did not get through with it.
        UnsafeInputError, UnsupportedError, UsageError: see ``edgekit.sources.check``.
    """
    assert source.path is not None
    size = sources.size(source)
    arguments = {
        "file": Given(Path(source.path), source.sha256, None if source.trust else size),
        "kind": source.kind,
        "given": source.given,
        "sha256": source.sha256,
        "trust": source.trust,
    }
    most = run.workers.limits
    limits = Limits(
        min(most.seconds, _SECONDS + size / _LEAST_BYTES_PER_SECOND),
        min(most.memory_bytes or _MEMORY_BYTES, _MEMORY_BYTES + size),
    )
    with damage(source):
        entry = run.step("describe:examine", "data", "check", arguments, limits=limits)
        try:
            facts = Facts.from_json(entry.value)
        except (KeyError, TypeError, ValueError) as error:
            raise FailedError(f"the check answered with what are no facts: {error!r}") from error
    return sources.with_facts(source, facts, entry.file(""))


@contextlib.contextmanager
def damage(source: Source) -> Iterator[None]:
    """Say of a step that crashed, hung or took too much on a file of others that the file is damaged."""
    try:
        yield
    except FailedError as error:
        if source.kind not in sources.FILES:
            raise
        raise DamagedFileError(
            f"{source.given} is damaged, or larger than what it may take: {error}",
            hint=error.hint or "Fetch or save it again.",
        ) from error
