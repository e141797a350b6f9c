"""The routes of this toolchain, by name."""

from __future__ import annotations

from collections.abc import Callable

from edgekit.frameworks import LoadedModel
from edgekit.toolchains import BY_LAYER, FLOAT_ACTIVATIONS, RUNTIME, STEERED, Converted, Request, Route
from edgekit.toolchains.openvino import export, quantize


def _weights(convert: Callable[[LoadedModel | None, Request], Converted]) -> Route:
    return Route(RUNTIME, convert, quantizes_file=True, honours=BY_LAYER, because=FLOAT_ACTIVATIONS)


ROUTES = {
    "export-onnx": Route({"onnx": "onnx"}, export.from_onnx),
    "export-torch-trace": Route({"torch": "torch"}, export.from_trace),
    "export-torch-export": Route({"torch": "torch", "keras": "keras-torch"}, export.from_program),
    "export-saved-model": Route({"keras": "keras-tensorflow"}, export.from_saved_model),
    "cast-wf16-openvino": Route(RUNTIME, export.to_fp16, quantizes_file=True),
    "cast-wf16-openvino-widened": Route(RUNTIME, export.to_fp16_widened, quantizes_file=True),
    "ptq-w8a8-nncf": Route(RUNTIME, quantize.static, quantizes_file=True, honours=STEERED),
    "ptq-w8a8-nncf-all": Route(RUNTIME, quantize.static_all, quantizes_file=True, honours=STEERED),
    "ptq-w8a8-nncf-unsmoothed": Route(RUNTIME, quantize.static_unsmoothed, quantizes_file=True, honours=STEERED),
    "ptq-w8a8-nncf-unrolled": Route(
        {"torch": "torch", "keras": "keras-torch"}, quantize.static_unrolled, honours=STEERED
    ),
    "weights-w8-nncf": _weights(quantize.weights_asymmetric),
    "weights-w8-nncf-symmetric": _weights(quantize.weights_symmetric),
    "weights-w4-openvino": _weights(quantize.weights_int4),
    "weights-w4-openvino-matmuls": _weights(quantize.weights_int4_products),
}
