"""The shortest program that opens an artifact's file in its own runtime and runs its golden samples.

A template for each format; the tests execute what comes out as it stands in the README. Numbers outside are real; what
a file stores as integers is converted by its own scale and zero point, as ``manifest.json`` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from edgekit.result import IO, Part, Result

#: What a format's package is called where it is installed without edgekit.
INSTALLS: Mapping[str, str] = {
    "tflite": "pip install ai-edge-litert",
    "onnx": "pip install onnxruntime",
    "openvino": "pip install openvino",
    "executorch": "pip install executorch",
    "coreml": "pip install coremltools, on a Mac",
    "tensorrt": "pip install onnxruntime",
}


class Example(NamedTuple):
    """A program of one part: what is installed for it, and its text."""

    install: str
    code: str


def example(result: Result, part: Part, golden: str) -> Example | None:
    """The program for one part; None where its format has none.

    Args:
        result: whose part it is.
        part: as the manifest has it.
        golden: where its golden data lie, relative to the artifact.
    """
    write = _FORMATS.get(result.format)
    if write is None:
        return None
    first = "[0, 0]" if result.state or len(result.parts) > 1 else "[0]"  # of sequences the first step of the first
    imports, opened, outputs = write(part, result)
    lines = [
        "import numpy as np",
        *imports,
        "",
        f"golden = np.load({golden!r})",
        "inputs = {",
        *(f"    {tensor.name!r}: {_stored(tensor, first)}," for tensor in part.inputs),
        "}",
        *opened,
        *outputs,
        "for name, real in outputs.items():",
        f'    recorded = golden[f"out/{{name}}"]{first}',
        "    print(name, np.abs(np.subtract(real.reshape(recorded.shape), recorded, dtype=float)).max())",
    ]
    return Example(INSTALLS[result.format], "\n".join(lines))


def _stored(tensor: IO, first: str) -> str:
    """An input of the first golden sample as the file takes it."""
    real = f"golden[{f'in/{tensor.name}'!r}]{first}.reshape({tensor.shape})"
    if not tensor.scale or "int" not in tensor.dtype:
        return f"{real}.astype(np.{_dtype(tensor)})"
    steps = f"np.rint({real} / {tensor.scale!r}) + {tensor.zero_point or 0}"
    return f"({steps}).clip(*{_span(tensor)}).astype(np.{_dtype(tensor)})"


def _dtype(tensor: IO) -> str:
    return "bool_" if tensor.dtype == "bool" else tensor.dtype


def _span(tensor: IO) -> tuple[int, int]:
    bits = int(tensor.dtype.removeprefix("u").removeprefix("int"))
    return (0, 2**bits - 1) if tensor.dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _real(part: Part, found: str) -> list[str]:
    """The outputs as real numbers; ``found`` says where one of them is, by its number and its name."""
    rows = []
    for place, tensor in enumerate(part.outputs):
        value = found.format(place=place, name=repr(tensor.name))
        if tensor.scale:
            value = f"({value}.astype(np.float32) - {tensor.zero_point or 0}) * {tensor.scale!r}"
        rows.append(f"    {tensor.name!r}: {value},")
    return ["outputs = {", *rows, "}"]


_Program = tuple[list[str], list[str], list[str]]


def _tflite(part: Part, result: Result) -> _Program:
    entry = "" if part.entry is None else repr(part.entry)
    opened = [f"runner = Interpreter({part.file!r}).get_signature_runner({entry})", "found = runner(**inputs)"]
    return ["from ai_edge_litert.interpreter import Interpreter"], opened, _real(part, "found[{name}]")


def _onnx(part: Part, result: Result) -> _Program:
    names = [tensor.name for tensor in part.outputs]
    opened = [f"session = onnxruntime.InferenceSession({part.file!r})", f"found = session.run({names}, inputs)"]
    return ["import onnxruntime"], opened, _real(part, "found[{place}]")


def _openvino(part: Part, result: Result) -> _Program:
    opened = [
        'exactly = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}  # as it was proven',
        f'found = openvino.Core().compile_model({part.file!r}, "CPU", exactly)(inputs)',
    ]
    return ["import openvino"], opened, _real(part, "found[{name}]")


def _executorch(part: Part, result: Result) -> _Program:
    imports = ["import torch", "from executorch.runtime import Runtime"]
    if any(layer.kind == "embedding" and "float" not in layer.weight_type for layer in part.audit.layers):
        imports.append("import executorch.kernels.quantized  # what reads a table in integers")
    opened = [
        f"program = Runtime.get().load_program({part.file!r})",
        f"method = program.load_method({part.entry or 'forward'!r})",
        "found = method.execute([torch.from_numpy(array) for array in inputs.values()])",
    ]
    return imports, opened, _real(part, "found[{place}].numpy()")


def _coreml(part: Part, result: Result) -> _Program:
    function = "" if part.entry is None else f", function_name={part.entry!r}"
    opened = [f"model = ct.models.MLModel({part.file!r}{function})", "found = model.predict(inputs)"]
    return ["import coremltools as ct"], opened, _real(part, "found[{name}]")


def _tensorrt(part: Part, result: Result) -> _Program:
    return _onnx(part, result)


_FORMATS = {
    "tflite": _tflite,
    "onnx": _onnx,
    "openvino": _openvino,
    "executorch": _executorch,
    "coreml": _coreml,
    "tensorrt": _tensorrt,
}


def beside(result: Result) -> str:
    """What is said below the program: where it does not run, and what runs the file there; empty for nothing."""
    if result.format == "tensorrt":
        return (
            "ONNX Runtime stands in for TensorRT here. On a machine with a GPU `edgekit build . --device nvidia-gpu` "
            "makes the engine and runs the golden samples; TensorRT's own tool, without edgekit, makes it by "
            "`trtexec --onnx=FILE --stronglyTyped --saveEngine=ENGINE`."
        )
    if result.format == "coreml":
        return "Core ML runs on Apple's systems only: this program was not executed where the file was made."
    return ""
