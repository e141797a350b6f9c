"""The routes of this toolchain, by name."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.signature import Environment
from edgekit.toolchains import Route
from edgekit.toolchains.litert import export, quantize
from edgekit.toolchains.litert import export_torch as export_torch

_KERAS: Mapping[str, Environment] = {"keras": "keras-tensorflow"}
_TORCH: Mapping[str, Environment] = {"torch": "torch"}
_ANY: Mapping[str, Environment] = {"keras": "runtime", "torch": "runtime"}

ROUTES: Mapping[str, Route] = {
    "converter": Route(_KERAS, export.convert_fp32),
    "converter-fp16": Route(_KERAS, export.convert_fp16),
    "converter-dynamic": Route(_KERAS, export.convert_dynamic),
    "converter-ptq": Route(_KERAS, export.convert_int8),
    "converter-16x8": Route(_KERAS, export.convert_int16x8),
    "unrolled-int8": Route(_KERAS, export.convert_unrolled_int8),
    "unrolled-16x8": Route(_KERAS, export.convert_unrolled_int16x8),
    "litert-torch": Route(_TORCH, export_torch.convert_fp32),
    "pt2e": Route(_TORCH, export_torch.convert_pt2e_int8),
    "quantizer-fp16": Route(_ANY, quantize.cast_fp16, quantizes_file=True),
    "quantizer-dynamic-products": Route(_ANY, quantize.dynamic_products, quantizes_file=True),
    "quantizer-dynamic-mixed": Route(_ANY, quantize.dynamic_mixed, quantizes_file=True),
    "quantizer-dynamic": Route(_ANY, quantize.dynamic_int8, quantizes_file=True),
    "quantizer-static": Route(_ANY, quantize.static_int8, quantizes_file=True),
    "quantizer-static-products": Route(_ANY, quantize.static_products, quantizes_file=True),
    "quantizer-16x8": Route(_ANY, quantize.static_int16x8, quantizes_file=True),
}
