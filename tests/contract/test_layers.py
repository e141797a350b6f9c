"""Layers: the same six graphs have the same layers in every format, as written here by hand, and zeros are counted."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import cli, toolchains
from edgekit.errors import DamagedFileError
from edgekit.result import Audit, Layer
from tests.contract.conftest import SLOW, by_graphs, parameters
from tests.contract.test_macs import DEPTHWISE, GROUPED, HEAD, LAST, POINTWISE, STEM, UP

ARTIFACTS = Path(__file__).parent / "artifacts" / "0.1.0"


def linear(outputs: int, inputs: int, rows: int = 1) -> tuple[str, tuple[int, ...], int]:
    return "linear", (outputs, inputs), rows * outputs * inputs


#: Kind, shape of the weights and multiply-accumulates of every layer, in the order of the graph.
LAYERS: dict[str, list[tuple[str, tuple[int, ...], int]]] = {
    "cnn": [
        ("conv", (8, 3, 3, 3), STEM),
        ("conv", (16, 2, 3, 3), GROUPED),
        ("depthwise-conv", (16, 1, 3, 3), DEPTHWISE),
        ("conv", (12, 16, 1, 1), POINTWISE),
        ("transposed-conv", (6, 12, 2, 2), UP),
        ("linear", (5, 6), HEAD),
    ],
    "mlp": [linear(32, 24), linear(10, 32)],
    "attention": [linear(96, 32, 12), linear(32, 32, 12), linear(64, 32, 12), linear(32, 64, 12)],
    "lstm": [("recurrent", (64, 24), 6 * 64 * 24), ("linear", (4, 16), LAST)],
    "lookup": [("embedding", (40, 16), 0), linear(24, 16, 6)],
    "llama": [
        ("embedding", (40, 32), 0),
        *(linear(outputs, 32, 8) for outputs in (32, 16, 16, 32, 48, 48)),
        linear(32, 48, 8),
        linear(40, 32, 8),
    ],
}
#: A recurrent layer taken apart: the products of its state step by step, those of its input so as well, or all at once.
UNROLLED = [
    [*inputs, *[linear(64, 16)] * 6, linear(4, 16)] for inputs in ([linear(64, 8, 6)], [linear(64, 8)] * 6)
]  # fmt: skip


@pytest.mark.parametrize(("toolchain", "graphs"), by_graphs())
def test_six_graphs_have_the_layers_written_by_hand(made: Any, toolchain: str, graphs: tuple[str, ...]) -> None:
    files = made(toolchain, *graphs)
    assert {model for model, _ in files} == set(graphs)
    for (model, route), file in files.items():
        audit = toolchains.audit(toolchain, file)
        found = Counter((layer.kind, layer.shape, layer.macs) for layer in audit.layers)
        wanted = [LAYERS[model], *(UNROLLED if model == "lstm" else ())]
        assert found in [Counter(layers) for layers in wanted], (model, route)
        assert audit.macs_total == sum(layer.macs for layer in audit.layers)
        assert audit.macs_quantized == sum(layer.macs for layer in audit.layers if layer.in_integers)
        for layer in audit.layers:
            assert (layer.granularity is None) == ("float" in layer.weight_type), (model, route, layer)
            rounded = 0.3 if layer.weight_type.startswith(("int4", "uint4")) else 0.05  # one step in 15, the middle one
            assert layer.zeros is not None and layer.zeros < rounded, "weights of the example are dense"
        names = [(layer.operator, layer.name) for layer in audit.layers]
        assert len(set(names)) == len(names), (model, route)


#: Shares of zeros, and of groups of four with two of them, that the three layers of the sparse example have.
EXACT = [(0.5, 1.0), (0.5, 1.0), (0.5, 0.5)]


@pytest.mark.parametrize("toolchain", parameters(toolchains.names(), SLOW.__contains__))
def test_zeros_are_counted_as_stored(made: Any, toolchain: str) -> None:
    """Whatever type weights have and wherever their zero lies; a sum's axis is the same in all layouts."""
    files = made(toolchain, "sparse")
    types = set()
    for (_, route), file in files.items():
        layers = toolchains.audit(toolchain, file).layers
        counted = [(layer.zeros, layer.zeros_2_4) for layer in layers]
        if "-w4" in route or "-lut4" in route:  # which round small weights to zero
            assert all(
                zeros >= least and fours >= of_4 for (zeros, fours), (least, of_4) in zip(counted, EXACT, strict=True)
            )
        else:
            assert counted == EXACT, route
        types |= {layer.weight_type for layer in layers}
    assert "float32" in types and types & {"int8", "uint8"}


def _int4() -> Any:
    """A matrix of 8 x 64 numbers of which every other one is zero."""
    rng = np.random.default_rng(0)
    values = rng.integers(1, 8, (8, 64)) * rng.choice([-1, 1], (8, 64))
    values[:, ::2] = 0
    return values


def _nibbles(values: Any) -> Any:
    """Two numbers in a byte, the first in its lower half."""
    low, high = values.reshape(-1, 2).T
    return ((low & 15) | ((high & 15) << 4)).astype(np.uint8)


def _onnx_int4(folder: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    make, floats = onnx.helper, onnx.TensorProto.FLOAT
    weights = make.make_tensor("w", onnx.TensorProto.INT4, (64, 8), _int4().T.ravel().tolist())
    scale = onnx.numpy_helper.from_array(np.ones((2, 8), np.float32), "s")
    nodes = [
        make.make_node("DequantizeLinear", ["w", "s"], ["f"], axis=0, block_size=32),
        make.make_node("MatMul", ["x", "f"], ["y"], name="product"),
    ]
    sides = [[make.make_tensor_value_info(name, floats, [1, size])] for name, size in (("x", 64), ("y", 8))]
    graph = make.make_graph(nodes, "g", *sides, [weights, scale])
    opset = [make.make_opsetid("", 21)]
    onnx.save(make.make_model(graph, opset_imports=opset, ir_version=10), folder / "model.onnx")
    return folder / "model.onnx"


def _openvino_int4(folder: Path) -> Path:
    """Stored from 0 to 15 with a zero point, as NNCF stores weights of whose range zero is not the middle."""
    ov = pytest.importorskip("openvino")
    op = importlib.import_module("openvino.opset13")
    stored = ov.Tensor(_nibbles(_int4() + 8), ov.Shape([8, 2, 32]), ov.Type.u4)
    point = ov.Tensor(_nibbles(np.full((8, 2), 8)), ov.Shape([8, 2, 1]), ov.Type.u4)
    centred = op.subtract(*(op.convert(op.constant(tensor), "f32") for tensor in (stored, point)))
    scaled = op.multiply(centred, op.constant(np.ones((8, 2, 1), np.float32)))
    x = op.parameter([1, 64], ov.Type.f32, name="x")
    y = op.matmul(x, op.reshape(scaled, op.constant(np.array([8, 64])), False), False, True)
    ov.save_model(ov.Model([y], [x], "m"), folder / "model.xml", compress_to_fp16=False)
    return folder / "model.xml"


def _litert_int4(folder: Path) -> Path:
    """The first layer of a packaged model with other weights, a scale for each of its channels."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    from edgekit.toolchains.litert.schema import packed, unpacked

    model = unpacked((ARTIFACTS / "tflite-fp16" / "model.tflite").read_bytes())
    (graph,) = model.subgraphs
    dense = next(op for op in graph.operators if len(op.inputs) == 3)
    result = graph.tensors[dense.outputs[0]]
    dense.inputs, result.shape = [dense.inputs[0], len(graph.tensors)], [1, 8]
    weights = schema.TensorT()
    weights.name, weights.shape, weights.type, weights.buffer = "w", [8, 64], schema.TensorType.INT4, len(model.buffers)
    weights.quantization = schema.QuantizationParametersT()
    weights.quantization.scale, weights.quantization.zeroPoint = np.ones(8, np.float32), np.zeros(8, np.int64)
    graph.tensors.append(weights)
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = _nibbles(_int4())
    graph.operators = [dense]
    (folder / "model.tflite").write_bytes(packed(model, 4096))
    return folder / "model.tflite"


@pytest.mark.parametrize(
    ("toolchain", "make", "stored", "granularity"),
    [("litert", _litert_int4, "int4", "channel"), ("onnx", _onnx_int4, "int4", "block:32"),
     ("openvino", _openvino_int4, "uint4", "block:32")],
)  # fmt: skip
def test_int4_is_read_element_by_element(
    tmp_path: Path, toolchain: str, make: Any, stored: str, granularity: str
) -> None:
    (layer,) = toolchains.audit(toolchain, make(tmp_path)).layers
    assert (layer.kind, layer.shape, layer.weight_type, layer.granularity) == ("linear", (8, 64), stored, granularity)
    assert (layer.zeros, layer.zeros_2_4) == (0.5, 1.0)


def test_a_layer_whose_name_is_no_text_is_of_a_damaged_file(tmp_path: Path) -> None:
    file = _onnx_int4(tmp_path)
    assert [layer.name for layer in toolchains.audit("onnx", file).layers] == ["product"]
    file.write_bytes(file.read_bytes().replace(b"product", b"prod\x82ct"))
    with pytest.raises(DamagedFileError, match="not a valid ONNX model"):
        toolchains.audit("onnx", file)


@pytest.mark.parametrize("name", ["onnxruntime-int8", "tflite-fp16"])
def test_manifests_without_layers_still_read(name: str) -> None:
    manifest = json.loads((ARTIFACTS / name / "manifest.json").read_text())
    for document in (manifest["audit"], *(part["audit"] for part in manifest["parts"].values())):
        audit = Audit.model_validate(document)
        assert audit.layers == () and audit.macs_total == 6464


def test_inspect_lists_layers_where_it_is_asked_to(capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(ARTIFACTS / "onnxruntime-int8")
    assert cli.run(["inspect", folder]) == 0
    assert "computed in" not in capsys.readouterr().out
    assert cli.run(["inspect", folder, "--json"]) == 0
    layers = [Layer.model_validate(row) for row in json.loads(capsys.readouterr().out)["layers"]]
    assert sum(layer.macs for layer in layers) == 6464
    assert cli.run(["inspect", folder, "--layers"]) == 0
    heading, *rows = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert heading.split("\t")[0] == "kind" and len(rows) == len(layers)
    for row, layer in zip(rows, layers, strict=True):
        assert row.startswith(layer.kind) and row.endswith(f"{layer.operator}:{layer.name}")
        assert "x".join(map(str, layer.shape)) in row and f"{layer.macs:,}" in row
