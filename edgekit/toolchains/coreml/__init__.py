"""Core ML: ML Programs in ``.mlpackage`` folders, converted anywhere, executed by Core ML on macOS.

Elsewhere the ML Program evaluator (``edgekit.mil``) stands in for it, and the proof says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.signature import Environment
from edgekit.toolchains import Route
from edgekit.toolchains.coreml import export as convert
from edgekit.toolchains.coreml import quantize
from edgekit.toolchains.coreml.audit import audit
from edgekit.toolchains.coreml.session import open_session

__all__ = ["PACKAGES", "ROUTES", "STEP_VERSION", "audit", "open_session"]

STEP_VERSION = 1
PACKAGES = ("coremltools", "torchao")

_RUNTIME: Mapping[str, Environment] = {"keras": "runtime", "torch": "runtime"}

ROUTES = {
    "trace": Route({"torch": "torch", "keras": "keras-torch"}, convert.from_trace),
    "exported-program": Route({"torch": "torch", "keras": "keras-torch"}, convert.from_program),
    "tf-concrete": Route({"keras": "keras-tensorflow"}, convert.from_concrete),
    "activations": Route(_RUNTIME, quantize.activations, quantizes_file=True),
    "unrolled": Route({"torch": "torch", "keras": "keras-torch"}, quantize.unrolled),
    "pt2e": Route({"torch": "torch", "keras": "keras-torch"}, quantize.pt2e),
    "weights": Route(_RUNTIME, quantize.weights, quantizes_file=True),
}
