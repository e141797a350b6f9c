"""Running a TensorRT ONNX file where there is no NVIDIA GPU: ONNX Runtime on the CPU as the stand-in."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnxruntime

from edgekit.scheme import Activations
from edgekit.toolchains import Options
from edgekit.toolchains._shared.machine import only
from edgekit.toolchains.onnx.graph import load
from edgekit.toolchains.onnx.session import OnnxSession
from edgekit.toolchains.tensorrt.passes.half import rounded

#: Q/DQ pairs are executed as they stand: values on the int8 grid, products and sums exact, as on the GPU. Fused, ONNX
#: Runtime's int8 kernels may saturate on processors without VNNI and choose types by the processor.
_UNFUSED = {"session.disable_quant_qdq": "1"}


def open_session(file: Path, options: Options) -> StandInSession:
    """Open a file in ONNX Runtime.

    Raises:
        DamagedFileError: it is no valid ONNX model.
        UnsafeInputError: its weights lie outside of its folder.
        UnsupportedError: ONNX Runtime lacks an operator.
    """
    only("cpu", options.unit, "the stand-in, ONNX Runtime,")
    return StandInSession(file, options.scheme.activations, options.threads)


class StandInSession(OnnxSession):
    """One file in ONNX Runtime, which is not what it ships to; see ``edgekit.toolchains.Session``."""

    stand_in = True

    def __init__(self, file: Path, activations: Activations, threads: int) -> None:
        model = load(file)
        if activations != "float16":
            super().__init__(file, threads, _UNFUSED)
        else:
            with tempfile.TemporaryDirectory() as folder:
                spelled = Path(folder) / file.name
                onnx.save(rounded(model), spelled)
                super().__init__(spelled, threads, _UNFUSED)
        self.by = f"ONNX Runtime {onnxruntime.__version__} CPU (stand-in for TensorRT)"
        self._activations = activations

    @property
    def precision(self) -> str:
        """What it computes in."""
        return _EXECUTED[self._activations]


_EXECUTED: Mapping[Activations, str] = {
    "float32": "f32",
    "float16": "f32, rounded to f16 after every operator",
    "int8": "f32 on values of the int8 grid",
}
