"""Files of others, from the parent's side: nothing of them is parsed here; a step that fails on one is its fault."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from edgekit.data.plan import DataPlan
from edgekit.errors import DamagedFileError, FailedError, TimedOutError, UsageError
from edgekit.jobs.confine import kernel
from edgekit.jobs.workers import Confined, Limits, identity
from edgekit.sources import source as sources
from edgekit.sources.source import Source

#: A check reads, copies and hashes; a disk does that at more than this many bytes a second.
_LEAST_BYTES_PER_SECOND = 10e6
_SECONDS = 60.0
_MEMORY_BYTES = 2 << 30
#: Samples are larger than the images that they are made of, by no factor that could be told.
_MOST_BYTES_OF_SAMPLES = 1 << 40
#: Folders that links of one data set lead to; they are named in a variable, which may have 128 KiB.
_MOST_PLACES = 200


def limits(most: Limits, size: int) -> Limits:
    """What looking at a file of so many bytes may take."""
    seconds = _SECONDS + size / _LEAST_BYTES_PER_SECOND
    return Limits(
        min(most.seconds, seconds),
        min(most.memory_bytes or _MEMORY_BYTES, _MEMORY_BYTES + size),
        fixed=most.seconds >= seconds,
    )


def unheld(source: Source) -> tuple[str, ...]:
    """What the user has to know of how a file of others was loaded: nothing where it could reach no other file."""
    if source.kind not in sources.FILES or (sys.platform.startswith("linux") and kernel.landlock_version() > 0):
        return ()
    return (
        f"This system has no Landlock (Linux 5.13 has): what {source.given} does when it is loaded, beyond what its "
        "check finds, is not kept from your files; see `edgekit doctor`.",
    )


def data(plan: DataPlan, near: Path) -> Confined | None:
    """How a child is confined that reads the user's data: images have decoders, archives have headers.

    Returns:
        None where there are no files of theirs, or where a function of theirs makes the samples: it has their rights.
    """
    given = [Path(path).absolute() for path in plan.given.values()]
    if not given or not all(path.exists() for path in given):
        return None
    folders = [path for path in given if path.is_dir()]
    below = (link for folder in folders for link in (*folder.glob("*"), *folder.glob("*/*")))
    linked = {link.resolve() for link in below if link.is_symlink()}
    around = {path if path.is_dir() else path.parent for path in linked}
    if len(around) > _MOST_PLACES:
        around = {Path(os.path.commonpath(around))}
    read = (*given, *sorted(around))
    return Confined(f"{plan.content} {identity(*read)}", near, _MOST_BYTES_OF_SAMPLES, read)


@contextlib.contextmanager
def unread(plan: DataPlan) -> Iterator[None]:
    """Say of a step that crashed, hung or took too much on the user's data that they cannot be read."""
    try:
        yield
    except FailedError as error:
        given = list(dict.fromkeys(plan.given.values()))
        if not given:
            raise
        raise UsageError(
            f"the samples of {' and '.join(given)} could not be read: {error}",
            hint="A function has to end, and a batch to fit into memory; --timeout and --memory-limit are the limits.",
        ) from error


@contextlib.contextmanager
def damage(source: Source) -> Iterator[None]:
    """Say of a step that crashed, hung or took too much on a file of others that the file is damaged."""
    with blame(source.given) if source.kind in sources.FILES else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def blame(given: str) -> Iterator[None]:
    """Say of a step that crashed, hung, raised or took too much on what others made that this is damaged."""
    try:
        yield
    except TimedOutError as error:
        raise DamagedFileError(
            f"{given} takes too long: {error}. It is damaged, large, or computes without end",
            hint=error.hint or "Fetch or save it again.",
        ) from error
    except FailedError as error:
        said = str(error).partition("\n")[0]  # of a crash the rest is a log
        raise DamagedFileError(
            f"{given} is damaged, or larger than what it may take: {said}", hint=error.hint or "Fetch or save it again."
        ) from error
