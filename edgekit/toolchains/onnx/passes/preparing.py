"""A float model as ONNX Runtime's quantizer takes it."""

from __future__ import annotations

from pathlib import Path

import onnx


def prepared_file(model: onnx.ModelProto, folder: str) -> str:
    """Infer shapes and fuse (batch norm into convolutions, product + add into Gemm); independent of this CPU.

    Functions that ONNX Runtime has no kernel for are taken apart: ``HardSwish`` becomes a product with ``HardSigmoid``.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, prepared = str(Path(folder) / "float.onnx"), str(Path(folder) / "prepared.onnx")
    onnx.save(model, plain)  # handed a ModelProto, the tool moves its weights into a file that it then cannot read
    # Shapes are static, so that ONNX's own inference finds them all; the symbolic one costs an import of sympy.
    quant_pre_process(plain, prepared, skip_symbolic_shape=True)
    return prepared
