"""Reading OpenVINO IR with checks that the library itself does not make."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import openvino as ov

from edgekit.errors import DamagedFileError

_AGAIN = "Convert again, or copy both files again."


def read_checked(file: Path) -> ov.Model:
    """Read ``model.xml`` and the ``model.bin`` beside it.

    Raises:
        DamagedFileError: either file is missing, truncated, too long, or not what it says.
    """
    weights = file.with_suffix(".bin")
    try:
        layers = ET.parse(file).getroot().iter("data")
        ends = [int(d.get("offset", 0)) + int(d.get("size", 0)) for d in layers if d.get("offset") is not None]
    except (ET.ParseError, ValueError, OSError) as error:
        raise DamagedFileError(f"{file.name} is not readable XML: {error}", hint=_AGAIN) from error
    size = weights.stat().st_size if weights.is_file() else 0
    if size != max(ends, default=0):
        raise DamagedFileError(
            f"{weights.name} has {size} bytes; {file.name} describes {max(ends, default=0)}", hint=_AGAIN
        )
    try:
        return ov.Core().read_model(file, weights) if ends else ov.Core().read_model(file)
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise DamagedFileError(f"OpenVINO cannot read {file.name}: {lines[-1][:300]}", hint=_AGAIN) from error
