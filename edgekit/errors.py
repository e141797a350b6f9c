"""Every error that edgekit raises on purpose, with its exit code.

An error says what failed, the value, what is allowed, and (``hint``) the next step.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable, Sequence


class EdgekitError(Exception):
    """An error with a stable code, an exit code and a next step for the user.

    Attributes:
        code: stable machine-readable name, lower case with dashes.
        exit_code: what the command line exits with (see DESIGN, command-line contract).
        hint: the next step, one sentence, or an empty string.
    """

    code = "internal"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(EdgekitError):
    """The request itself is wrong: unknown name, wrong shape, missing calibration data."""

    code = "usage"
    exit_code = 2


class WrongTypeError(UsageError, TypeError):
    """An argument of the Python API is of a type that it does not take."""


class NoShapeError(UsageError):
    """A model does not say what an input's shape is; samples may."""


class EndlessError(UsageError):
    """A model does not run one sample within any patience."""


class UnsupportedError(EdgekitError):
    """The source or an operation in it cannot go to this target."""

    code = "unsupported"
    exit_code = 3


class ElsewhereError(UnsupportedError):
    """This kind of child cannot run the model; another one that loads it may."""


class OtherRouteError(UnsupportedError):
    """This route reads another kind of source: one of the target's others reads it, and says how that ended."""


class FailedError(EdgekitError):
    """A toolchain raised, crashed, hung, or took too much memory."""

    code = "failed"
    exit_code = 6


class TimedOutError(FailedError):
    """A step did not finish within the time that it had."""


class NotRunError(EdgekitError):
    """Nothing on this machine can execute it: no such runtime or device, or a stand-in lacks an operator."""

    code = "not-run"
    exit_code = 9


class WrongDeviceError(NotRunError):
    """A derived artifact was built for another device or by another version of its builder."""

    code = "wrong-device"


class MissingDependencyError(EdgekitError):
    """An optional package is not installed; the hint holds the install line."""

    code = "missing-dependency"
    exit_code = 7


class UnsafeInputError(EdgekitError):
    """The file could run code when it is loaded; refused without ``--trust``."""

    code = "unsafe-input"
    exit_code = 8


class DamagedFileError(UsageError):
    """A file that was handed in, or an artifact, is truncated, altered or not what it says."""

    code = "damaged-file"

    def __init__(self, message: str, *, hint: str = "Fetch or save it again.") -> None:
        super().__init__(message, hint=hint)


#: What a full disk, a full quota, a limit on file sizes and a read-only disk say.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
#: What a limit on open files says.
MANY = (errno.EMFILE, errno.ENFILE)


def of_system(error: OSError) -> UsageError | None:
    """What the system refuses, with the place and the next step; None for what can only be a fault of ours."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    shown = f"{name[:40]}...{name[-20:]}" if len(name) > 200 else name
    if error.errno == errno.ENOENT and not _has_folder():
        return UsageError("the current folder has been deleted", hint="Go to one that exists, and run it again there.")
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(
            f"the name {shown!r} of {len(os.fsencode(name))} bytes is too long for this system",
            hint="Between two slashes 255 bytes are allowed: give a shorter name.",
        )
    if error.errno in MANY:
        return UsageError(
            "too many files are open at once for the limits of this system or shell",
            hint="Raise the limit and run it again: ulimit -n 4096.",
        )
    if error.errno in FULL:
        return UsageError(
            f"{shown or 'a file'} could not be written: {error.strerror}",
            hint="Free space in the output's folder, in EDGEKIT_HOME and in TMPDIR.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP, errno.EIO) and shown:
        return UsageError(f"{shown}: {error.strerror}", hint="Check that it may be read, and that its folder is one.")
    return None


def _has_folder() -> bool:
    try:
        return bool(os.getcwd())  # noqa: PTH109  # errors are below what knows paths
    except OSError:
        return False


def printable(text: str, *, lines: bool = False) -> str:
    r"""Text as it may go to a terminal: what is no printable character is shown as its escape (``\x1b``).

    Control characters, those that turn the direction of writing, and bytes of a file name that are no UTF-8 are not
    printable.

    Args:
        text: may come from anybody.
        lines: keep line breaks; what follows one is indented, so that no line of it looks like one of ours.
    """
    shown = "".join(
        c if c.isprintable() or (lines and c == "\n") else c.encode("unicode_escape").decode("ascii") for c in text
    )
    return shown.replace("\n", "\n       ") if lines else shown


def with_article(name: str) -> str:
    """A name behind its article; one that is spelt, as GRU or UNet, by the sound of its first letter."""
    spelt = len(name) > 1 and name[:2].isupper()
    return f"{'an' if name[:1] in ('AEFHILMNORSX' if spelt else 'AEIOaeio') else 'a'} {name}"


def nearest(name: str, known: Sequence[str]) -> str:
    """The nearest of the words that are known; the first of them where none is near."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.5)), known[0])


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest of the words that are known, as the beginning of a hint; empty where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}? " if close else ""


#: What `edgekit list` lists.
_LISTED = ("target", "model", "device", "toolchain", "range", "suite", "recipe", "metric")


#: So many names a sentence holds; of more the nearest are told, where some are near, and the command that lists all.
_MOST_NAMED = 8
_NEAREST = 3


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Build the error for a name that is not in a catalogue, with the nearest matches."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=_NEAREST, cutoff=0.5)
    if near and len(names) > _MOST_NAMED and kind in _LISTED:
        told = f"nearest of {len(names)}: {', '.join(near)}"
    else:
        told = f"known: {', '.join(dict.fromkeys((*near, *names))) or 'none'}"
    return UsageError(
        f"unknown {kind} {name!r}; {told}",
        hint=f"{did_you_mean(name, names)}See `edgekit {f'list {kind}s' if kind in _LISTED else 'convert --help'}`.",
    )
