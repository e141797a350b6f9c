"""Bringing a model that was handed in to the version of ONNX's operators that all files here are written in."""

from __future__ import annotations

import onnx
import onnx.version_converter

#: The oldest with scales per channel, which static int8 needs.
OLDEST = 13
#: Version of the format that came with opset 20.
_IR = 9


def fitted(model: onnx.ModelProto, opset: int) -> tuple[onnx.ModelProto, str]:
    """The model in an opset that every route takes, and a note of what was done.

    One from ``OLDEST`` to ``opset`` stays as it is. Where ONNX's converter cannot do it, or what it wrote is not valid,
    the model stays as it is, too: a route that needs another one says so.
    """
    found = max((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    if OLDEST <= found <= opset:
        return model, ""
    try:
        converted = onnx.version_converter.convert_version(model, opset)
        converted.ir_version = max(converted.ir_version, _IR)
        onnx.checker.check_model(converted, full_check=True)
    except Exception:  # it is C++ without errors of its own; the model that was handed in is as good
        return model, f"The model stays in opset {found}: ONNX's converter cannot bring it to {opset}."
    return converted, f"The model was brought from opset {found} to {opset}."
