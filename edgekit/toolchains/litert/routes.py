"""The routes of this toolchain, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgekit.frameworks import LoadedModel
from edgekit.signature import Environment
from edgekit.toolchains import BY_LAYER, DYNAMIC_RANGES, RUNTIME, STEERED, Converted, Request, Route
from edgekit.toolchains.litert import export, import_onnx, quantize
from edgekit.toolchains.litert import export_torch as export_torch

_KERAS: Mapping[str, Environment] = {"keras": "keras-tensorflow"}
_TORCH: Mapping[str, Environment] = {"torch": "torch"}
#: What it has is a denylist of operators in its debugger, which makes the model twice and knows no ranges.
_CONVERTER = "TFLiteConverter quantizes all of a model alike, by the extremes of each tensor"
_STATIC: Mapping[str, Any] = {"honours": STEERED, "own": "minmax"}


def _dynamic(convert: Callable[[LoadedModel | None, Request], Converted]) -> Route:
    return Route(RUNTIME, convert, quantizes_file=True, honours=BY_LAYER, because=DYNAMIC_RANGES)


ROUTES: Mapping[str, Route] = {
    "export-converter": Route(_KERAS, export.convert_fp32),
    "cast-wf16-converter": Route(_KERAS, export.convert_fp16),
    "dynamic-w8a8-converter": Route(_KERAS, export.convert_dynamic, because=_CONVERTER),
    "ptq-w8a8-converter": Route(_KERAS, export.convert_int8, because=_CONVERTER, own="minmax"),
    "ptq-w8a16-converter": Route(_KERAS, export.convert_int16x8, because=_CONVERTER, own="minmax"),
    "ptq-w8a8-quantizer-unrolled": Route(_KERAS, export.convert_unrolled_int8, **_STATIC),
    "ptq-w8a16-quantizer-unrolled": Route(_KERAS, export.convert_unrolled_int16x8, **_STATIC),
    "export-litert-torch": Route({**_TORCH, "keras": "keras-torch"}, export_torch.convert_fp32),
    "export-onnx2tf": Route({"onnx": "onnx2tf"}, import_onnx.convert_fp32),
    "ptq-w8a8-pt2e": Route(_TORCH, export_torch.convert_pt2e_int8, honours=STEERED),
    "cast-wf16-quantizer": Route(RUNTIME, quantize.cast_fp16, quantizes_file=True),
    "dynamic-w8a8-quantizer-nodepthwise": _dynamic(quantize.dynamic_products),
    "dynamic-w8a8-quantizer-mixed": _dynamic(quantize.dynamic_mixed),
    "dynamic-w8a8-quantizer": _dynamic(quantize.dynamic_int8),
    "dynamic-w4a8-quantizer": _dynamic(quantize.dynamic_int4),
    "dynamic-w4a8-quantizer-matmuls": _dynamic(quantize.dynamic_int4_products),
    "ptq-w8a8-quantizer": Route(RUNTIME, quantize.static_int8, quantizes_file=True, **_STATIC),
    "ptq-w8a8-quantizer-matmuls": Route(RUNTIME, quantize.static_products, quantizes_file=True, **_STATIC),
    "ptq-w8a8-quantizer-matmuls-float-outputs": Route(
        RUNTIME, quantize.static_products_float_outputs, quantizes_file=True, **_STATIC
    ),
    "ptq-w8a16-quantizer": Route(RUNTIME, quantize.static_int16x8, quantizes_file=True, **_STATIC),
}
