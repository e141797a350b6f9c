"""Reading OpenVINO IR with checks that the library itself does not make."""

from __future__ import annotations

import re
from pathlib import Path

import openvino as ov

from edgekit.errors import DamagedFileError
from edgekit.toolchains._shared.messages import sentence

_CONSTANT = re.compile(r'<data [^>]*\boffset="(\d+)" size="(\d+)"')
_AGAIN = "Convert again, or copy both files again."


def read_checked(file: Path) -> ov.Model:
    """Read ``model.xml`` and the ``model.bin`` beside it.

    Raises:
        DamagedFileError: either file is missing, truncated, too long, or not what it says.
    """
    weights = file.with_suffix(".bin")
    try:
        text = file.read_text("utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise DamagedFileError(f"{file.name} is not readable text: {error}", hint=_AGAIN) from error
    ends = [int(offset) + int(length) for offset, length in _CONSTANT.findall(text)]
    size = weights.stat().st_size if weights.is_file() else 0
    if size != max(ends, default=0):
        described = max(ends, default=0)
        raise DamagedFileError(f"{weights.name} has {size} bytes; {file.name} describes {described}", hint=_AGAIN)
    try:
        return ov.Core().read_model(file, weights) if ends else ov.Core().read_model(file)
    except RuntimeError as error:
        raise DamagedFileError(f"OpenVINO cannot read {file.name}: {sentence(error)}", hint=_AGAIN) from error
