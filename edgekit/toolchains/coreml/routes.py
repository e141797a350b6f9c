"""The routes of this toolchain, by name."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.signature import Environment
from edgekit.toolchains import Route
from edgekit.toolchains.coreml import export, quantize

_RUNTIME: Mapping[str, Environment] = {"keras": "runtime", "torch": "runtime"}

ROUTES = {
    "export-torch-trace": Route({"torch": "torch", "keras": "keras-torch"}, export.from_trace),
    "export-torch-export": Route({"torch": "torch", "keras": "keras-torch"}, export.from_program),
    "export-tf-concrete": Route({"keras": "keras-tensorflow"}, export.from_concrete),
    "ptq-w8a8-coremltools": Route(_RUNTIME, quantize.activations, quantizes_file=True),
    "ptq-w8a8-coremltools-matmuls": Route(_RUNTIME, quantize.activations_of_products, quantizes_file=True),
    "ptq-w8a8-coremltools-unrolled": Route({"torch": "torch", "keras": "keras-torch"}, quantize.unrolled),
    "ptq-w8a8-pt2e": Route({"torch": "torch", "keras": "keras-torch"}, quantize.pt2e),
    "weights-w8-coremltools": Route(_RUNTIME, quantize.weights, quantizes_file=True),
}
