"""The routes of this toolchain, by name."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.signature import Environment
from edgekit.toolchains import Route
from edgekit.toolchains.coreml import export, quantize

_RUNTIME: Mapping[str, Environment] = {"keras": "runtime", "torch": "runtime"}

ROUTES = {
    "trace": Route({"torch": "torch", "keras": "keras-torch"}, export.from_trace),
    "exported-program": Route({"torch": "torch", "keras": "keras-torch"}, export.from_program),
    "tf-concrete": Route({"keras": "keras-tensorflow"}, export.from_concrete),
    "activations": Route(_RUNTIME, quantize.activations, quantizes_file=True),
    "activations-products": Route(_RUNTIME, quantize.activations_of_products, quantizes_file=True),
    "unrolled": Route({"torch": "torch", "keras": "keras-torch"}, quantize.unrolled),
    "pt2e": Route({"torch": "torch", "keras": "keras-torch"}, quantize.pt2e),
    "weights": Route(_RUNTIME, quantize.weights, quantizes_file=True),
}
