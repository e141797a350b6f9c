"""LiteRT (.tflite): TensorFlow's converter, litert-torch and ai-edge-quantizer; run by ai-edge-litert with XNNPACK.

Importing this package imports no framework; each route imports what it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekit.candidate import Audit
from edgekit.frameworks import Environment
from edgekit.precision import Precision
from edgekit.toolchains import Route, Session
from edgekit.toolchains.litert import routes_quantizer, routes_tensorflow, routes_torch

STEP_VERSION = 1
PACKAGES = (
    "tensorflow", "keras", "tf-keras", "torch", "litert-torch", "torchao", "ai-edge-quantizer", "ai-edge-litert",
)  # fmt: skip

_KERAS: Mapping[str, Environment] = {"keras": "keras-tensorflow"}
_TORCH: Mapping[str, Environment] = {"torch": "torch"}
_ANY: Mapping[str, Environment] = {"keras": "runtime", "torch": "runtime"}

ROUTES: Mapping[str, Route] = {
    "converter": Route(_KERAS, routes_tensorflow.convert_fp32),
    "converter-fp16": Route(_KERAS, routes_tensorflow.convert_fp16),
    "converter-dynamic": Route(_KERAS, routes_tensorflow.convert_dynamic),
    "converter-ptq": Route(_KERAS, routes_tensorflow.convert_int8),
    "converter-16x8": Route(_KERAS, routes_tensorflow.convert_int16x8),
    "unrolled-int8": Route(_KERAS, routes_tensorflow.convert_unrolled_int8),
    "unrolled-16x8": Route(_KERAS, routes_tensorflow.convert_unrolled_int16x8),
    "litert-torch": Route(_TORCH, routes_torch.convert_fp32),
    "pt2e": Route(_TORCH, routes_torch.convert_pt2e_int8),
    "quantizer-fp16": Route(_ANY, routes_quantizer.cast_fp16, quantizes_file=True),
    "quantizer-dynamic-products": Route(_ANY, routes_quantizer.dynamic_products, quantizes_file=True),
    "quantizer-dynamic": Route(_ANY, routes_quantizer.dynamic_int8, quantizes_file=True),
    "quantizer-static": Route(_ANY, routes_quantizer.static_int8, quantizes_file=True),
    "quantizer-static-products": Route(_ANY, routes_quantizer.static_products, quantizes_file=True),
    "quantizer-16x8": Route(_ANY, routes_quantizer.static_int16x8, quantizes_file=True),
}


def audit(file: Path) -> Audit:
    """What is inside a .tflite file; raises ``DamagedFileError``."""
    from edgekit.toolchains.litert.inspection import audit_file

    return audit_file(file)


def open_session(file: Path, precision: Precision, *, threads: int = 1) -> Session:
    """Open a .tflite file in LiteRT's interpreter; the file alone decides in what precision it runs."""
    from edgekit.toolchains.litert import session

    del precision
    return session.open_session(file, threads)
