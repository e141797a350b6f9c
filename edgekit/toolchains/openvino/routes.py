"""The routes of this toolchain, by name."""

from __future__ import annotations

from edgekit.signature import Environment
from edgekit.toolchains import Route
from edgekit.toolchains.openvino import export, quantize

_RUNTIME: dict[str, Environment] = {"keras": "runtime", "torch": "runtime"}

ROUTES = {
    "torch-traced": Route({"torch": "torch"}, export.from_trace),
    "torch-exported": Route({"torch": "torch"}, export.from_program),
    "saved-model": Route({"keras": "keras-tensorflow"}, export.from_saved_model),
    "keras-torch": Route({"keras": "keras-torch"}, export.from_program),
    "fp16": Route(_RUNTIME, export.to_fp16, quantizes_file=True),
    "nncf": Route(_RUNTIME, quantize.static, quantizes_file=True),
    "nncf-all": Route(_RUNTIME, quantize.static_all, quantizes_file=True),
    "unrolled-nncf": Route({"torch": "torch", "keras": "keras-torch"}, quantize.static_unrolled),
    "weights": Route(_RUNTIME, quantize.weights_asymmetric, quantizes_file=True),
    "weights-symmetric": Route(_RUNTIME, quantize.weights_symmetric, quantizes_file=True),
}
