"""Vendors' exceptions as one sentence of ours. Imports no framework: whoever opens a file needs it too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgekit.errors import FailedError, UnsupportedError

#: A line that names a place in OpenVINO's own sources; what happened stands below.
_PLACE = re.compile(r"(Exception from|Check '.*' failed at) \S+:\d+:")
#: The folder of an absolute path (not of an address): it differs from machine to machine, and often from run to run.
_FOLDER = re.compile(r"(?<![\w.:/])/(?:[^\s/:'\"]+/)+")
#: How vendors say which operators they lack.
_LACKING = (
    r"Lowering not found: (\S+)",  # litert-torch 0.10
    r"No ONNX function found for <OpOverload\(op='([\w.]+)'",  # torch.onnx 2.13
    r"No conversion rule found for operations: ([^\n]+)",  # OpenVINO 2026.4
    r"failed to legalize operation '([\w.]+)'",  # litert-torch 0.10, of what torch makes of an operator
    r"'tf\.(\w+)' op is neither a custom op nor a flex op",  # TFLiteConverter 2.21
    r"No Op registered for (\w+) with domain_version",  # onnx.checker, on what tf2onnx 1.17 passed through
)


def sentence(error: BaseException) -> str:
    """The first line that says what happened; the exception's type where none does."""
    return line(error, "") or type(error).__name__


def line(error: BaseException, pattern: str) -> str:
    """The first line in which a pattern is found; empty where it is in none."""
    return next((found for found in _telling(error) if re.search(pattern, found)), "")[:400]


def raised(tool: str, error: BaseException) -> FailedError:
    """The error for what nobody has foreseen: all that the vendor says, on one line."""
    return FailedError(f"{tool} raised {type(error).__name__}: {' '.join(_telling(error))[:600]}")


def operators(text: str) -> list[str]:
    """Operators that a vendor's message says it cannot convert, in its order; empty where it names none."""
    found = [match[1].split(", ") for pattern in _LACKING for match in re.finditer(pattern, text)]
    return list(dict.fromkeys(name.strip() for names in found for name in names))


def lacking(tool: str, missing: Sequence[str], places: Iterable[str]) -> UnsupportedError:
    """The error that names the operators which a tool lacks, and where in the model they are."""
    where = "; ".join(dict.fromkeys(place for place in places if place))
    return UnsupportedError(
        f"{tool} cannot convert {', '.join(missing)}{f' ({where})' if where else ''}",
        hint="Replace it in the model by operators that the target has, or take a target of another format.",
    )


def _telling(error: BaseException) -> list[str]:
    lines = (text.strip() for text in _FOLDER.sub("", str(error)).splitlines())
    return [text for text in lines if text and not _PLACE.fullmatch(text)]
