"""One definition of multiply-accumulates: the same six graphs give the same counts from every format, as computed here
by hand, and what is said to run in integers is what the runtime runs in integers.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import toolchains
from edgekit.jobs.workers import Workers
from edgekit.proof.precision import describe, shortfall
from edgekit.schemes import SCHEMES
from tests.contract.conftest import GRAPHS, OTHERS, SLOW, by_graphs, inside

#: Multiply-accumulates by operator: positions x weights; of the products of two activations beside them.
STEM, GROUPED, DEPTHWISE = 8 * 8 * (8 * 3 * 9), 8 * 8 * (16 * 2 * 9), 8 * 8 * (16 * 9)
POINTWISE, UP, HEAD = 8 * 8 * (12 * 16), 8 * 8 * (12 * 6 * 4), 6 * 5
CELL, LAST = 6 * 4 * 16 * (8 + 16), 16 * 4
WEIGHTED = {
    "cnn": STEM + GROUPED + DEPTHWISE + POINTWISE + UP + HEAD,
    "mlp": 24 * 32 + 32 * 10,
    "attention": 12 * (32 * 96 + 32 * 32 + 2 * 32 * 64),
    "lstm": CELL + LAST,
    "lookup": 6 * 16 * 24,
    # Queries and their output 32 x 32, keys and values of two heads 32 x 16, three matrices of SwiGLU, the last layer.
    "llama": 8 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 32 * 40),
}
BETWEEN = {"attention": 2 * 4 * 12 * 12 * 8, "llama": 2 * 4 * 8 * 8 * 8}
#: What computes in float although a file quantizes it: by toolchain and route, by model. None: everything.
FLOAT: dict[tuple[str, str], dict[str, int] | None] = {
    ("litert", "export-litert-torch"): None,
    ("litert", "dynamic-w8a8-quantizer-nodepthwise"): {"cnn": DEPTHWISE},
    ("litert", "dynamic-w8a8-quantizer-mixed"): {"cnn": DEPTHWISE + POINTWISE},
    ("litert", "dynamic-w8a8-quantizer"): {},
    ("litert", "dynamic-w4a8-quantizer"): {"cnn": DEPTHWISE},
    ("litert", "ptq-w8a8-quantizer"): {},
    ("litert", "ptq-w8a8-quantizer-matmuls"): {},
    ("litert", "ptq-w8a16-quantizer"): {},
    ("onnx", "export-torch-dynamo"): None,
    ("onnx", "dynamic-w8a8-ort-noconv-per-tensor"): {"cnn": STEM + GROUPED + DEPTHWISE + POINTWISE + UP},
    ("onnx", "dynamic-w8a8-ort"): {"cnn": UP},
    ("onnx", "ptq-w8a8-qdq-matmuls"): {"cnn": UP, "lstm": CELL},
    ("onnx", "ptq-w8a8-qdq-dynamic-cells"): {},
    ("onnx", "weights-w4-ort"): None,
    ("tensorrt", "export-torch-dynamo"): None,
    ("tensorrt", "cast-wf16af16-onnx"): None,
    ("tensorrt", "ptq-w8a8-qdq"): {"lstm": CELL},
    ("openvino", "export-torch-trace"): None,
    ("openvino", "weights-w8-nncf-symmetric"): None,
    ("openvino", "weights-w4-openvino"): None,
    # Nothing quantizes the input of the only product behind a table.
    ("openvino", "ptq-w8a8-nncf"): {"lookup": WEIGHTED["lookup"]},
    ("openvino", "ptq-w8a8-nncf-all"): {"lookup": WEIGHTED["lookup"]},
    ("coreml", "export-torch-trace"): None,
    ("coreml", "weights-w8-coremltools"): None,
    ("coreml", "ptq-w8a8-coremltools"): {},
    ("executorch", "export-xnnpack"): None,
    ("executorch", "dynamic-w8a8-pt2e"): {"cnn": DEPTHWISE},
    ("executorch", "ptq-w8a8-pt2e-matmuls"): {},
}  # fmt: skip


@pytest.mark.parametrize(("toolchain", "graphs"), by_graphs())
def test_six_graphs_have_the_counts_computed_by_hand(made: Any, toolchain: str, graphs: tuple[str, ...]) -> None:
    files = made(toolchain, *graphs)
    assert {model for model, _ in files} == set(graphs), "each model has at least a float file"
    for (model, route), file in files.items():
        audit = toolchains.audit(toolchain, file)
        assert audit.macs_total == WEIGHTED[model], (model, route)
        assert audit.macs_between_activations == BETWEEN.get(model, 0), (model, route)
        if (toolchain, route) in FLOAT:
            left = FLOAT[toolchain, route]
            in_float = WEIGHTED[model] if left is None else left.get(model, 0)
            assert audit.macs_total - audit.macs_quantized == in_float, (model, route, audit.float_ops)
            assert bool(audit.float_ops) >= bool(in_float), (model, route)


@pytest.mark.parametrize(
    ("toolchain", "route", "precision"),
    [
        ("litert", "ptq-w8a8-quantizer", "int8"),
        ("litert", "ptq-w8a16-quantizer", "int16x8"),
        ("onnx", "ptq-w8a8-qdq-matmuls", "int8"),
        ("tensorrt", "ptq-w8a8-qdq", "int8"),
        ("openvino", "ptq-w8a8-nncf", "int8"),
        pytest.param("coreml", "ptq-w8a8-coremltools", "int8", marks=pytest.mark.nightly),
        pytest.param("executorch", "ptq-w8a8-pt2e-matmuls", "int8", marks=pytest.mark.nightly),
    ],
)
def test_products_of_attention_decide_nothing(made: Any, toolchain: str, route: str, precision: Any) -> None:
    audit = toolchains.audit(toolchain, made(toolchain, *(OTHERS if toolchain in SLOW else GRAPHS))["llama", route])
    assert shortfall(SCHEMES[precision], audit) == ""
    assert "100% of MACs with weights in integers, " in describe(SCHEMES[precision], audit)


def _onnx_kernels(file: Path) -> tuple[int, int]:
    from edgekit.toolchains.onnx.session import _FLOAT, _INTEGER, OnnxSession

    executed = OnnxSession(file, 1, look=True).executed
    return tuple(sum(n for kind, n in executed.items() if kind in kinds) for kinds in (_INTEGER, _FLOAT))  # type: ignore[return-value]


def test_onnx_runtime_runs_in_integers_what_the_audit_says(made: Any) -> None:
    """Kernels of the optimized graph, the products of attention among them.

    One of these is in integers although nothing is quantized for it: what restores integers is moved past a Slice.
    """
    from edgekit.toolchains.onnx import audit as onnx_audit
    from edgekit.toolchains.onnx.graph import Graph, load

    checked = 0
    for (model, route), file in made("onnx", *GRAPHS).items():
        reading = onnx_audit._Reading(Graph(load(file)), onnx_audit.fused)
        integer = [product.integer for product in reading.products() if product.macs]
        kernels = _onnx_kernels(file)
        assert (sum(integer), len(integer) - sum(integer)) == kernels, (model, route)
        checked += 1
    assert checked >= 30


def _openvino_kernels(file: Path) -> tuple[int, int]:
    """Integer and float kernels of the compiled model by the type of their first input."""
    import openvino as ov

    settings = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "INFERENCE_NUM_THREADS": 1}
    found = []
    for node in ov.Core().compile_model(str(file), "CPU", settings).get_runtime_model().get_ordered_ops():
        kind = node.get_rt_info()["layerType"].astype(str)
        if kind in ("Convolution", "Deconvolution", "FullyConnected", "RNNSeq", "RNNCell"):
            found.append(node.input_value(0).get_element_type() in (ov.Type.i8, ov.Type.u8))
    return sum(found), len(found) - sum(found)


def test_openvino_runs_in_integers_what_the_audit_says(made: Any) -> None:
    from edgekit.toolchains.openvino.audit import _Reading
    from edgekit.toolchains.openvino.ir import read_checked

    for (model, route), file in made("openvino", *GRAPHS).items():
        integer = [p.integer for p in _Reading(read_checked(file)).products() if p.macs and p.weights]
        kernels = _openvino_kernels(file)
        if sum(kernels):  # a chain of small products is one kernel of another kind
            assert (sum(integer), len(integer) - sum(integer)) == kernels, (model, route)


@pytest.mark.parametrize("layer", ["conv", "pointwise", "depthwise", "up", "dense"])
def test_litert_quantizes_activations_when_it_runs_where_the_audit_says(made: Any, layer: str) -> None:
    """Of inputs -1, 0 and 1 a change of the zeros by a thousandth is lost where activations become int8."""
    routes = (
        "export-litert-torch",
        "dynamic-w8a8-quantizer",
        "dynamic-w8a8-quantizer-nodepthwise",
        "dynamic-w8a8-quantizer-mixed",
        "dynamic-w4a8-quantizer",
    )
    files = made("litert", "conv", "pointwise", "depthwise", "up", "dense", *routes)
    rng = np.random.default_rng(0)
    plain = rng.integers(-1, 2, (1, 4, 8, 8)).astype(np.float32)
    # Rows get a scale each: every row, of channels or of features, holds both ends.
    plain[:, 0], plain[:, 1], plain[..., 0], plain[..., 1] = -1, 1, -1, 1
    moved = plain + np.where(plain == 0, rng.normal(0, 1e-3, plain.shape), 0).astype(np.float32)
    for route in routes:
        session = toolchains.open_session("litert", files[layer, route], toolchains.Options(SCHEMES["int8-dynamic"]))
        (first,), (second,) = session.run({"input": plain}).values(), session.run({"input": moved}).values()
        audit = toolchains.audit("litert", files[layer, route])
        assert audit.macs_quantized in (0, audit.macs_total)
        assert np.array_equal(first, second) == (audit.macs_quantized > 0), route


def test_a_loop_counts_its_body_as_often_as_it_runs(tmp_path: Path, workers: Workers) -> None:
    for name in ("ai_edge_litert", "onnxruntime", "openvino", "coremltools", "tf2onnx"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    inside(workers, "macs_loops.py", str(tmp_path), environment="keras-tensorflow")
    for toolchain, name in (("litert", "model.tflite"), ("onnx", "model.onnx"), ("openvino", "model.xml")):
        audit = toolchains.audit(toolchain, tmp_path / toolchain / name)
        assert audit.macs_total == 72 * 4 * 8 * (4 + 8) + 8 * 3, toolchain
        assert sum(layer.macs for layer in audit.layers) == audit.macs_total
        assert {layer.shape for layer in audit.layers} == {(32, 4), (32, 8), (3, 8)}, toolchain
        assert audit.weight_elements["float32"] >= 4 * 8 * (4 + 8) + 8 * 3
    layers = toolchains.audit("coreml", tmp_path / "model.mlpackage").layers
    assert [(layer.kind, layer.shape, layer.macs) for layer in layers] == [
        ("linear", (8, 8), 5 * 8 * 8),
        ("linear", (3, 8), 3 * 8),
    ]


def test_bodies_of_onnx_see_the_weights_outside_and_their_own(tmp_path: Path) -> None:
    """A Scan over 7 steps, and an If whose branches multiply by 4 x 4 and by 4 x 6 x 4.

    One of the Scan's weights is handed on as a state.
    """
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make, value, floats = onnx.helper.make_node, onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT

    def weights(name: str, *shape: int) -> Any:
        return onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)

    step = onnx.helper.make_graph(
        [make("MatMul", ["s", "outer"], ["h"]), make("MatMul", ["h", "own"], ["f"]),
         make("MatMul", ["f", "same"], ["g"]), make("Add", ["g", "x"], ["o"]), make("Identity", ["o"], ["y"])],
        "step", [value(n, floats, [4 if n == "same" else 1, 4]) for n in ("s", "same", "x")],
        [value(n, floats, [4 if n == "same" else 1, 4]) for n in ("o", "same", "y")],
        [weights("own", 4, 4)],
    )  # fmt: skip
    less = onnx.helper.make_graph([make("MatMul", ["last", "outer"], ["a"])], "less", [], [value("a", floats, [1, 4])])
    more = onnx.helper.make_graph(
        [make("MatMul", ["last", "wide"], ["w"]), make("MatMul", ["w", "back"], ["b"])], "more", [],
        [value("b", floats, [1, 4])], [weights("wide", 4, 6), weights("back", 6, 4)],
    )  # fmt: skip
    nodes = [
        make("Scan", ["zero", "handed", "xs"], ["last", "", "ys"], body=step, num_scan_inputs=1),
        make("If", ["which"], ["result"], then_branch=less, else_branch=more),
    ]
    inputs = [value("zero", floats, [1, 4]), value("xs", floats, [7, 1, 4]), value("which", onnx.TensorProto.BOOL, [])]
    graph = onnx.helper.make_graph(
        nodes, "g", inputs, [value("result", floats, [1, 4])], [weights("outer", 4, 4), weights("handed", 4, 4)]
    )
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "model.onnx")
    audit = toolchains.audit("onnx", tmp_path / "model.onnx")
    assert audit.macs_total == 7 * 3 * 16 + 2 * 24
    assert [(layer.kind, layer.shape, layer.macs) for layer in audit.layers] == [
        *[("linear", (4, 4), 7 * 16)] * 3,
        *[("linear", shape, 24) for shape in ((6, 4), (4, 6))],
    ]
    assert audit.weight_elements == {"float32": 3 * 16 + 24 + 24}
    assert audit.macs_between_activations == 0
