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
    "export-converter": Route(_KERAS, export.convert_fp32),
    "cast-wf16-converter": Route(_KERAS, export.convert_fp16),
    "dynamic-w8a8-converter": Route(_KERAS, export.convert_dynamic),
    "ptq-w8a8-converter": Route(_KERAS, export.convert_int8),
    "ptq-w8a16-converter": Route(_KERAS, export.convert_int16x8),
    "ptq-w8a8-quantizer-unrolled": Route(_KERAS, export.convert_unrolled_int8),
    "ptq-w8a16-quantizer-unrolled": Route(_KERAS, export.convert_unrolled_int16x8),
    "export-litert-torch": Route(_TORCH, export_torch.convert_fp32),
    "ptq-w8a8-pt2e": Route(_TORCH, export_torch.convert_pt2e_int8),
    "cast-wf16-quantizer": Route(_ANY, quantize.cast_fp16, quantizes_file=True),
    "dynamic-w8a8-quantizer-nodepthwise": Route(_ANY, quantize.dynamic_products, quantizes_file=True),
    "dynamic-w8a8-quantizer-mixed": Route(_ANY, quantize.dynamic_mixed, quantizes_file=True),
    "dynamic-w8a8-quantizer": Route(_ANY, quantize.dynamic_int8, quantizes_file=True),
    "ptq-w8a8-quantizer": Route(_ANY, quantize.static_int8, quantizes_file=True),
    "ptq-w8a8-quantizer-matmuls": Route(_ANY, quantize.static_products, quantizes_file=True),
    "ptq-w8a16-quantizer": Route(_ANY, quantize.static_int16x8, quantizes_file=True),
}
