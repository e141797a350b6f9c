"""ONNX files for TensorRT 10 and 11: strongly typed, int8 by explicit symmetric Q/DQ.

The files are proven by ONNX Runtime as a stand-in; ``edgekit build`` makes the engine on a machine with TensorRT and a
GPU (``engine``, ``cuda``). ``quantize`` and ``half`` write the files, ``checks`` holds them against what TensorRT's
parser takes (``operators``), ``session`` runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx

from edgekit.frameworks import LoadedModel
from edgekit.scheme import Precision
from edgekit.toolchains import Audit, Converted, Request, Route, Session
from edgekit.toolchains.onnx import audit as onnx_audit
from edgekit.toolchains.onnx import export
from edgekit.toolchains.onnx.audit import load
from edgekit.toolchains.tensorrt import checks, quantize
from edgekit.toolchains.tensorrt.passes import half

__all__ = ["PACKAGES", "ROUTES", "STEP_VERSION", "audit", "open_session"]

STEP_VERSION = 1
PACKAGES = ("onnx", "onnxruntime", "onnxscript", "tf2onnx")


def audit(file: Path) -> Audit:
    """Count what a file holds, and hold it against what TensorRT takes; see ``Audit``."""
    found = onnx_audit(file)
    return replace(found, findings=tuple(dict.fromkeys((*found.findings, *checks.findings(load(file))))))


def open_session(file: Path, precision: Precision, *, threads: int = 1) -> Session:
    """Open a file; see ``session.open_session``. The runtime is imported here: children that convert do without it."""
    from edgekit.toolchains.tensorrt import session

    return session.open_session(file, precision, threads=threads)


def _checked(convert: Callable[[LoadedModel | None, Request], Converted]) -> Callable[..., Converted]:
    """A float route of the ONNX toolchain whose file TensorRT must take."""

    def route(model: LoadedModel | None, request: Request) -> Converted:
        done = convert(model, request)
        checks.refuse(onnx.load(done.file))
        return done

    return route


ROUTES = {
    "torch-dynamo": Route({"torch": "torch"}, _checked(export.from_torch)),
    "torch-script": Route({"torch": "torch"}, _checked(export.from_torchscript)),
    "tf2onnx": Route({"keras": "keras-tensorflow"}, _checked(export.from_saved_model)),
    "keras-torch": Route({"keras": "keras-torch"}, _checked(export.from_torch)),
    "tf2onnx-loop": Route({"keras": "keras-tensorflow"}, _checked(export.from_saved_model_with_loops)),
    "half": Route({"keras": "runtime", "torch": "runtime"}, half.half, quantizes_file=True),
    "qdq": Route({"keras": "runtime", "torch": "runtime"}, quantize.qdq, quantizes_file=True),
    "unrolled-qdq": Route({"torch": "torch", "keras": "keras-torch"}, quantize.unrolled_qdq),
}
