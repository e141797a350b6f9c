"""Routes from ONNX through onnx2tf, which writes the operators of a .tflite without TensorFlow between.

It runs in an environment of its own: its pins part ways with all others (``edgekit.jobs.interpreters``).
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

from edgekit.frameworks import LoadedModel
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import messages
from edgekit.toolchains.litert.passes.names import write_named
from edgekit.toolchains.litert.schema import packed_model

#: Distributions whose versions change what is done here.
PACKAGES = ("onnx2tf", "onnxruntime")

FILE = "model.tflite"


def convert_fp32(model: LoadedModel | None, request: Request) -> Converted:
    """Float file, nothing quantized; inputs keep the model's own layout."""
    import onnx2tf

    assert model is not None
    names = [tensor.name for tensor in model.signature.inputs]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        given = _folded(model, Path(folder))
        try:
            onnx2tf.convert(
                input_onnx_file_path=str(given),
                output_folder_path=str(Path(folder) / "made"),
                keep_shape_absolutely_input_names=names,
                verbosity="error",
            )
        except (Exception, SystemExit) as error:  # it raises many types, and ends the process where it gives up
            raise messages.raised("onnx2tf", error) from error
        content = (Path(folder) / "made" / "model_float32.tflite").read_bytes()
    if foreign := _custom(content):
        raise messages.lacking("onnx2tf", foreign, [])
    file = request.folder / FILE
    write_named(content, file, request)
    return Converted(file)


def _folded(model: LoadedModel, folder: Path) -> Path:
    """Write the model with all that is constant computed, shapes above all.

    onnx2tf follows shapes through a graph with errors: of a transformer it made a file at 2.3 dB from the model, and at
    134 dB with its shapes computed (targets/REASONS.md#onnx2tf).
    """
    import onnxruntime

    file, folded = folder / "given.onnx", folder / "model.onnx"
    file.write_bytes(model.native.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # ONNX's own operators
    options.optimized_model_filepath = str(folded)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return folded


def _custom(content: bytes) -> list[str]:
    """Operators that it passed on under their own names, which LiteRT does not have."""
    packed = packed_model(content, Path(FILE))
    codes = (packed.OperatorCodes(i).CustomCode() for i in range(packed.OperatorCodesLength()))
    return [code.decode().removeprefix("ONNX_").title() for code in codes if code]
