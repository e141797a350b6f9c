"""Rules and ranges by every route: ``python ruled_models.py TOOLCHAIN ENVIRONMENT FOLDER``.

A graph of two convolutions and a linear layer. Each route that quantizes keeps the second convolution in float, and
gives the input a range by hand. Writes FOLDER/outcome.json: by route what it kept, the layers of its file, the scales
and zero points of activations in it, and how far its answers are from the framework's; or why it refuses.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from six_graphs import SAMPLES, begun, distance, scheme_of

from edgekit import toolchains
from edgekit.errors import UnsupportedError, UsageError
from edgekit.scheme import Range, Rule
from edgekit.schemes import SCHEMES
from edgekit.sources.source import Source
from edgekit.toolchains import Request

#: What is kept, and the range of the input: not that of the samples, and zero on none of its steps before it is moved.
KEPT = Rule(name="second", becomes="float")
#: What the second convolution is called where a graph has lost the source's names.
CALLED = {"ptq-w8a8-nncf-unrolled": "convolution_1"}
LOW, HIGH = -6.5, 3.0


def given(toolchain: str, scheme: Any) -> Range:
    """The range of the input, as the format can have it."""
    bits = 16 if scheme.activations == "int16" else 8
    return Range("image", LOW, HIGH, bits, symmetric=bits == 16 or toolchain == "tensorrt")


def steps(toolchain: str, file: Path) -> list[tuple[float, int | None]]:
    """Scale and signed zero point of every quantized activation; None where the file does not say the latter."""
    return [(float(scale), point) for scale, point in getattr(sys.modules[__name__], f"steps_{toolchain}")(file)]


def steps_litert(file: Path) -> Any:
    from edgekit.toolchains.litert.graph import read_subgraphs
    from edgekit.toolchains.litert.schema import packed_model

    for graph in read_subgraphs(packed_model(file.read_bytes(), file)):
        for tensor in graph.tensors:
            if tensor.data is None and len(tensor.scales) == 1:
                yield tensor.scales[0], int(tensor.zero_points[0])


def steps_onnx(file: Path) -> Any:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(file).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            scale, point = (stored[name] for name in node.input[1:3])
            yield scale, int(point) - (128 if point.dtype == np.uint8 else 0)


steps_tensorrt = steps_onnx


def steps_openvino(file: Path) -> Any:
    import openvino as ov

    for node in ov.Core().read_model(file).get_ordered_ops():
        if node.get_type_name() == "FakeQuantize":
            low, high = (float(node.input_value(i).get_node().get_data().reshape(-1)[0]) for i in (1, 2))
            scale = (high - low) / 255
            yield scale, round(-128 - low / scale)


def steps_coreml(file: Path) -> Any:
    from edgekit.mil.package import read
    from edgekit.mil.program import read as read_program

    program = read_program(read(file))
    for operation in program.block.operations:
        if operation.type == "quantize":
            scale, point = (operation.inputs.get(key) for key in ("scale", "zero_point"))
            zero = np.asarray(program.constants[point[0]]).item() if point else 0
            unsigned = str(program.constants[operation.inputs["output_dtype"][0]]) == "uint8"
            yield np.asarray(program.constants[scale[0]]).item(), int(zero) - (128 if unsigned else 0)


def steps_executorch(file: Path) -> Any:
    from edgekit.toolchains.executorch.audit import inspect

    for nodes in inspect(file).nodes:
        for node in nodes:
            for value in (*node.inputs, node.output):
                if value.constant is None and value.scaled and len(value.scales) == 1:
                    yield value.scales[0], value.zero_point


def tried(toolchain: str, chosen: Any, loaded: Any, request: Request) -> dict[str, Any]:
    """What a route makes of a request, or why it refuses."""
    try:
        made = toolchains.convert(chosen, None if chosen.quantizes_file else loaded, request)
    except (UnsupportedError, UsageError) as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    layers = toolchains.audit(toolchain, made.file).layers
    return {
        "file": made.file,
        "kept": [[kept.names, kept.kind, kept.macs] for kept in made.kept],
        "layers": [[layer.kind, layer.macs, "float" in layer.weight_type, layer.in_integers] for layer in layers],
        "steps": steps(toolchain, made.file),
    }


def main(toolchain: str, environment: str, folder: Path) -> None:
    framework, here = begun(toolchain, environment, folder)
    graphs = importlib.import_module(f"graphs_{framework}")
    source = Source("two", "python", framework, "two", "0" * 64, path=graphs.__file__, function="make_two")
    loaded = importlib.import_module(f"edgekit.frameworks.{framework}").load(source)
    samples = {key: draw(SAMPLES) for key, draw in graphs.INPUTS["two"].items()}
    expected = loaded.run(samples)
    if (toolchain, environment) == ("litert", "keras-tensorflow"):  # its names are others than PyTorch's
        found = toolchains.routes(toolchain)
        here |= {name: route for name, route in found.items() if route.environments.get("keras") == "runtime"}
    outcome: dict[str, Any] = {}
    float_file = None
    for route, chosen in here.items():
        scheme = scheme_of(toolchain, route)
        if scheme.is_float and float_file is not None:
            continue
        calibration = {key: array[:, None] for key, array in samples.items()} if scheme.needs_calibration else None
        request = Request(folder, scheme, False, calibration, float_file, tuple(samples), tuple(expected), "iOS18")
        if scheme.is_float:
            (folder / route).mkdir()
            float_file = chosen.convert(loaded, replace(request, folder=folder / route)).file
            continue
        rows: dict[str, Any] = {}
        kept = replace(KEPT, name=CALLED.get(route, KEPT.name))
        asked = {
            "layers": {"layers": (kept,)},
            "both": {"layers": (kept,), "ranges": (given(toolchain, scheme),)},
            "no tensor": {"ranges": (replace(given(toolchain, scheme), tensor="imagine"),)},
            "nowhere": {"layers": (Rule(name="sekond", becomes="float"),)},
            "nothing left": {"layers": (Rule(name="*", becomes="float"),)},
            "no scheme": {"layers": (Rule(kind="conv", becomes=SCHEMES["fp16"]),)},
        }
        for what, fields in asked.items():
            into = folder / route / what
            into.mkdir(parents=True)
            try:
                row = tried(toolchain, chosen, loaded, replace(request, folder=into, **fields))
                if "file" in row:
                    row["sqnr_db"] = distance(toolchain, row.pop("file"), scheme, samples, expected)
            except Exception:
                row = {"raised": traceback.format_exc()}
            rows[what] = row
        outcome[route] = rows
    (folder / "outcome.json").write_text(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
