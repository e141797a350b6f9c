"""Targets of 4 bits: elements are counted by other readers than the audit, weights on a grid survive, each layer that
has more bits says why, and a model that the kernels do not serve is refused by name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from edgekit import target as targets
from edgekit import toolchains
from edgekit.proof import precision
from edgekit.scheme import Rule
from edgekit.schemes import SCHEMES
from tests.contract.children import grids
from tests.contract.conftest import GRAPHS

INT4 = [t for t in targets.whole() if t.scheme.weights == "int4"]
IDS = [t.name for t in INT4]
#: Significant bits of a format's scales, where they are not those of float32.
SCALE_BITS = {"executorch": 8, "coreml": 11}


def of(target: targets.Target) -> list[str]:
    return [route.name for route in target.routes]


#: Those that make them, by toolchain.
INT4_ROUTES = {t.toolchain: sorted({name for other in INT4 if other.toolchain == t.toolchain for name in of(other)})
               for t in INT4}  # fmt: skip
#: A scale for more weights than a block holds has no grid for each block.
ON_A_GRID = [
    (t, shared) for t in INT4 for shared in grids.SHARED if shared != "blocks" or t.scheme.group == grids.GROUP
]


@pytest.mark.parametrize(("target", "shared"), ON_A_GRID, ids=[f"{t.name}-{shared}" for t, shared in ON_A_GRID])
def test_weights_on_a_grid_come_out_as_they_went_in(made: Any, target: targets.Target, shared: str) -> None:
    """Read back through the runtime, row by row: of zeros and a one int8 activations hold both exactly."""
    weights = grids.weights(shared)
    files = made(target.toolchain, *grids.SHARED, *INT4_ROUTES[target.toolchain])
    for route in of(target):
        file = files[shared, route]
        (layer,) = toolchains.audit(target.toolchain, file).layers
        assert layer.weight_type in target.scheme.stored_as, (route, layer)
        session = toolchains.open_session(target.toolchain, file, toolchains.Options(target.scheme))
        ones = np.eye(grids.INPUTS, dtype=np.float32)
        columns = [next(iter(session.run({"input": row[None]}).values()))[0] for row in ones]
        step = 2.0 ** -SCALE_BITS.get(target.toolchain, 20)
        assert np.abs(np.stack(columns, 1) - weights).max() <= step * np.abs(weights).max(), route


def tflite(file: Path) -> Counter[str]:
    """As the vendor's own reader has the tensors: elements by their shape, held against the bytes of the buffer."""
    utils = pytest.importorskip("ai_edge_litert.tools.flatbuffer_utils")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = utils.read_model(str(file))
    found: Counter[str] = Counter()
    for tensor in {t.buffer: t for graph in model.subgraphs for t in graph.tensors}.values():
        data = model.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.INT4 and data is not None:
            elements = math.prod(tensor.shape)
            assert len(data) == math.ceil(elements / 2)
            found["int4"] += elements
    return found


def onnx(file: Path) -> Counter[str]:
    """From the attributes of the operators, held against the raw bytes; the last block of a row is filled up."""
    model = pytest.importorskip("onnx").load(file)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    found: Counter[str] = Counter()
    for node in model.graph.node:
        given = {a.name: a.i for a in node.attribute}
        if node.op_type == "MatMulNBits":
            blocks = math.ceil(given["K"] / given["block_size"])
            assert given["bits"] == 4
            assert len(tensors[node.input[1]].raw_data) == given["N"] * blocks * given["block_size"] // 2
            found["uint4"] += given["N"] * given["K"]
        elif node.op_type == "GatherBlockQuantized" and given["bits"] == 4:
            found["int4"] += math.prod(tensors[node.input[0]].dims)
    return found


def openvino(file: Path) -> Counter[str]:
    """From the XML, which says the place and size of each constant in the other file."""
    found: Counter[str] = Counter()
    for data in ElementTree.parse(file).iterfind("./layers/layer[@type='Const']/data[@element_type='i4']"):
        elements = math.prod(int(size) for size in data.attrib["shape"].split(","))
        assert int(data.attrib["size"]) == elements // 2
        found["int4"] += elements
    return found


#: Elements that each target puts in 4 bits, by hand: every matrix, and tables where the route says so.
MATRICES = {"attention": 32 * 96 + 32 * 32 + 2 * 32 * 64, "llama": 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 32 * 40}
TABLE = 40 * 32
#: What blocks of 32 do not divide, where the last of a row may not hold fewer.
DOWN = 48 * 32


@pytest.mark.parametrize(
    ("name", "read", "whole"),
    [("tflite-int4", tflite, True), ("onnxruntime-int4", onnx, True), ("openvino-int4", openvino, False)],
)
def test_4_bit_elements_are_those_that_another_reader_counts(
    made: Any, name: str, read: Callable[[Path], Counter[str]], whole: bool
) -> None:
    target = targets.load(name)
    files = made(target.toolchain, *GRAPHS)
    for route in of(target):
        for model, matrices in MATRICES.items():
            counted = read(files[model, route])
            table = 0 if model == "attention" or route.endswith("matmuls") else TABLE
            divided = matrices if whole or model == "attention" else matrices - DOWN
            assert counted.total() == divided + table, (model, route)
            audit = toolchains.audit(target.toolchain, files[model, route])
            assert {kind: n for kind, n in audit.weight_elements.items() if "int4" in kind} == counted, (model, route)
            per_layer = sum(math.prod(one.shape) for one in audit.layers if one.weight_type in target.scheme.stored_as)
            assert per_layer == counted.total(), (model, route)
            for one in (one for one in audit.layers if one.weight_type in target.scheme.stored_as):
                blocks = target.scheme.group is not None and one.shape[1] > target.scheme.group
                assert one.granularity == ("block:32" if blocks else "channel") or one.kind == "embedding", (model, one)


@pytest.mark.parametrize("name", ["tflite-int4", "onnxruntime-int4", "openvino-int4"])
def test_what_has_more_bits_has_8_and_says_why(made: Any, name: str) -> None:
    target = targets.load(name)
    files = made(target.toolchain, *GRAPHS)
    tables_higher, everything = of(target)
    assert tables_higher == f"{everything}-matmuls"
    for model in ("cnn", "lstm", "llama", "lookup"):
        for route in of(target):
            audit = toolchains.audit(target.toolchain, files[model, route])
            higher = precision.higher(target, audit)
            assert {layer.weight_type for layer, _ in higher} <= {"int8", "uint8"}, (model, route)
            left = {layer.kind for layer, because in higher if because == "the route left it"}
            # Blocks do not divide the table of "lookup", which is another reason.
            assert left <= ({"embedding"} if route == tables_higher else set()), (model, route)
            assert left or route != tables_higher or model != "llama", route
    kinds = {
        layer.kind
        for layer, _ in precision.higher(target, toolchains.audit(target.toolchain, files["cnn", everything]))
    }
    assert {"depthwise-conv", "transposed-conv"} <= kinds


def test_a_group_that_does_not_divide_leaves_its_layer_in_8_bits(made: Any) -> None:
    target = targets.load("openvino-int4")
    for route in of(target):
        audit = toolchains.audit("openvino", made("openvino", *GRAPHS)["llama", route])
        reasons = {layer.shape: because for layer, because in precision.higher(target, audit)}
        assert reasons[32, 48] == "blocks of 32 do not divide its 48 input channels", route
    target = targets.load("onnxruntime-int4")
    audit = toolchains.audit("onnx", made("onnx", *GRAPHS)["llama", of(target)[-1]])
    assert precision.higher(target, audit) == []


@pytest.mark.parametrize(
    ("name", "start"), [("onnxruntime-int4", "export-torch-dynamo"), ("openvino-int4", "export-torch-trace")]
)
def test_a_network_of_convolutions_is_not_for_linear_layers_alone(made: Any, name: str, start: str) -> None:
    target = targets.load(name)
    floats = made(target.toolchain, *GRAPHS)
    why = precision.unserved(target, {"model": toolchains.audit(target.toolchain, floats["cnn", start])})
    assert why.startswith(f"{name} puts linear, embedding layers in int4, which hold ") and "conv" in why
    assert precision.unserved(target, {"model": toolchains.audit(target.toolchain, floats["attention", start])}) == ""


@pytest.mark.parametrize(
    ("name", "start", "wider"),
    [("tflite-int4", "export-litert-torch", "int8-dynamic"),
     ("onnxruntime-int4", "export-torch-dynamo", "int8-weights"),
     ("openvino-int4", "export-torch-trace", "int8-weights")],
)  # fmt: skip
def test_single_layers_stay_in_float_or_get_8_bits(
    made: Any, tmp_path: Path, name: str, start: str, wider: str
) -> None:
    target = targets.load(name)
    file = made(target.toolchain, *GRAPHS)["attention", start]
    inspected = toolchains.audit(target.toolchain, file)
    io = (tuple(t.name for t in inspected.inputs), tuple(t.name for t in inspected.outputs))
    asked = toolchains.Request(tmp_path, target.scheme, False, None, file, *io)
    names = {layer.shape: layer.name for layer in inspected.layers}
    rules = (Rule(name=names[96, 32], becomes="float"), Rule(name=names[64, 32], becomes=SCHEMES[wider]))
    for route in of(target):
        (tmp_path / route).mkdir()
        request = replace(asked, folder=tmp_path / route, layers=rules)
        done = toolchains.convert(toolchains.routes(target.toolchain)[route], None, request)
        layers = {one.shape: one for one in toolchains.audit(target.toolchain, done.file).layers}
        assert layers[96, 32].weight_type == "float32" and layers[64, 32].weight_type == "int8", route
        assert layers[64, 32].granularity == "channel", route
        assert all(layers[shape].weight_type in target.scheme.stored_as for shape in ((32, 32), (32, 64))), route
        kept = {(one.becomes, one.macs) for one in done.kept}
        assert kept == {("float", 12 * 96 * 32), (wider, 12 * 64 * 32)}, route
        session = toolchains.open_session(target.toolchain, done.file, toolchains.Options(target.scheme))
        x = np.random.default_rng(0).normal(size=inspected.inputs[0].shape).astype(np.float32)
        answer, float_answer = (
            next(iter(opened.run({io[0][0]: x}).values()))
            for opened in (
                session,
                toolchains.open_session(target.toolchain, file, toolchains.Options(SCHEMES["fp32"])),
            )
        )
        assert np.square(answer - float_answer).sum() < 10**-1.5 * np.square(float_answer).sum(), route
