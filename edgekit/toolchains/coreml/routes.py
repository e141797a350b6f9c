"""The routes of this toolchain, by name."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.signature import Environment
from edgekit.toolchains import BY_LAYER, FLOAT_ACTIVATIONS, STEERED, Route
from edgekit.toolchains.coreml import export, quantize

_RUNTIME: Mapping[str, Environment] = {"keras": "runtime", "torch": "runtime"}

_FROM_MODEL: Mapping[str, Environment] = {"torch": "torch", "keras": "keras-torch"}

ROUTES = {
    "export-torch-trace": Route(_FROM_MODEL, export.from_trace),
    "export-torch-export": Route(_FROM_MODEL, export.from_program),
    "export-tf-concrete": Route({"keras": "keras-tensorflow"}, export.from_concrete),
    "ptq-w8a8-coremltools": Route(_RUNTIME, quantize.activations, True, STEERED, own="minmax"),
    "ptq-w8a8-coremltools-matmuls": Route(_RUNTIME, quantize.activations_of_products, True, STEERED, own="minmax"),
    "ptq-w8a8-coremltools-unrolled": Route(_FROM_MODEL, quantize.unrolled, honours=STEERED, own="minmax"),
    "ptq-w8a8-pt2e": Route(_FROM_MODEL, quantize.pt2e, honours=STEERED),
    "weights-w8-coremltools": Route(_RUNTIME, quantize.weights, True, BY_LAYER, FLOAT_ACTIVATIONS),
    "weights-w4-coremltools": Route(_RUNTIME, quantize.in_4_bits, True, BY_LAYER, FLOAT_ACTIVATIONS),
    "weights-lut4-coremltools": Route(_RUNTIME, quantize.in_4_bits, True, BY_LAYER, FLOAT_ACTIVATIONS),
}
