"""The routes of this toolchain, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import onnx

from edgekit.frameworks import LoadedModel
from edgekit.toolchains import BY_LAYER, FLOAT_ACTIVATIONS, RUNTIME, STEERED, Converted, Request, Route
from edgekit.toolchains.onnx import export
from edgekit.toolchains.tensorrt import checks, quantize
from edgekit.toolchains.tensorrt.passes import half, sums


def _checked(convert: Callable[[LoadedModel | None, Request], Converted]) -> Callable[..., Converted]:
    """A float route of the ONNX toolchain whose file TensorRT must take."""

    def route(model: LoadedModel | None, request: Request) -> Converted:
        done = convert(model, request)
        made = onnx.load(done.file)
        if count := sums.in_float(made):
            onnx.save(made, done.file)
            said = f"{count} running sums of integers are computed in float32, which is exact up to 2^24"
            done = replace(done, notes=(*done.notes, said))
        checks.refuse(made)
        return done

    return route


ROUTES = {
    "export-onnx": Route({"onnx": "onnx"}, _checked(export.from_onnx)),
    "export-torch-dynamo": Route({"torch": "torch", "keras": "keras-torch"}, _checked(export.from_torch)),
    "export-torch-script": Route({"torch": "torch"}, _checked(export.from_torchscript)),
    "export-tf2onnx": Route({"keras": "keras-tensorflow"}, _checked(export.from_saved_model)),
    "cast-wf16af16-onnx": Route(RUNTIME, half.half, quantizes_file=True),
    "ptq-w8a8-qdq": Route(RUNTIME, quantize.qdq, quantizes_file=True, honours=STEERED, own="minmax"),
    "weights-w4-onnx": Route(RUNTIME, quantize.in_blocks, True, BY_LAYER, FLOAT_ACTIVATIONS),
    "ptq-w8a8-qdq-unrolled": Route(
        {"torch": "torch", "keras": "keras-torch"}, quantize.unrolled_qdq, honours=STEERED, own="minmax"
    ),
}
