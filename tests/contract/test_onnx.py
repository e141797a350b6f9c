"""The ONNX toolchain on real conversions of small models, and its known traps."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
sys.path.insert(0, str(Path(__file__).parent))
import exchange  # noqa: E402
from exchange_child import MODELS, ROUTES  # noqa: E402

from edgekit import toolchains  # noqa: E402
from edgekit.errors import DamagedFileError, UnsafeInputError, UsageError  # noqa: E402
from edgekit.jobs.workers import Workers  # noqa: E402
from edgekit.proof.precision import shortfall  # noqa: E402
from edgekit.scheme import Range  # noqa: E402
from edgekit.schemes import SCHEMES  # noqa: E402
from edgekit.toolchains import Request  # noqa: E402
from edgekit.toolchains.onnx import export  # noqa: E402
from edgekit.toolchains.onnx.compact import compact, name_shortly  # noqa: E402
from edgekit.toolchains.onnx.passes import sums  # noqa: E402
from edgekit.toolchains.onnx.passes.names import number  # noqa: E402
from edgekit.toolchains.onnx.passes.sharing import share_parameters  # noqa: E402

TORCH = ROUTES["onnx", "torch"]
LEAST_DB = {"fp32": 120, "int8": 28, "int8-dynamic": 33}
#: What routes for recurrent cells say of other models, which targets do not ask them for.
NEED_CELLS = {"ptq-w8a8-qdq-dynamic-cells": "no LSTM", "ptq-w8a8-qdq-unrolled": "no recurrent cell"}
#: ONNX Runtime and NNCF leave the LSTM operator float; the audit must say so. A transposed convolution, and NNCF's
#: products with float biases, are quantized in the file and computed in float.
SHORT = {
    ("lstm", "ptq-w8a8-qdq"),
    ("lstm", "ptq-w8a8-qdq-matmuls"),
    ("lstm", "ptq-w8a8-nncf"),
    ("attention", "ptq-w8a8-nncf"),
}
SHORT |= {("conv", route) for route in ("ptq-w8a8-qdq", "ptq-w8a8-qdq-matmuls", "ptq-w8a8-nncf")}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> Path:
    return exchange.convert("onnx", "torch", tmp_path_factory.mktemp("onnx") / "first", workers)


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> Path:
    return exchange.convert("onnx", "keras", tmp_path_factory.mktemp("onnx_keras"), workers)


def file_of(files: Path, model: str, route: str) -> Path:
    return files / model / route / "model.onnx"


@pytest.mark.parametrize("route", TORCH)
@pytest.mark.parametrize("model", MODELS["torch"])
def test_route_is_close_and_is_what_it_claims(files: Path, model: str, route: str) -> None:
    if route in NEED_CELLS and model != "lstm":
        assert NEED_CELLS[route] in exchange.outcome(files, model)[route]
        return
    file, precision = file_of(files, model, route), TORCH[route]
    audit = toolchains.audit("onnx", file)
    assert bool(shortfall(SCHEMES[precision], audit)) == ((model, route) in SHORT), shortfall(SCHEMES[precision], audit)
    assert (
        exchange.sqnr(files, model, toolchains.open_session("onnx", file, toolchains.Options(SCHEMES[precision])))
        >= LEAST_DB[precision]
    )
    assert [t.name for t in audit.outputs] == ["logits"]
    assert [t.dtype for t in audit.inputs] == ["float32" if model == "conv" else "int32"]
    assert audit.macs_total > 50_000


def test_int8_lstm_names_what_stayed_float_and_its_cures_leave_nothing(files: Path) -> None:
    left = toolchains.audit("onnx", file_of(files, "lstm", "ptq-w8a8-qdq"))
    assert any(name.startswith("LSTM:") for name in left.float_ops)
    for route in ("ptq-w8a8-qdq-unrolled", "ptq-w8a8-qdq-dynamic-cells"):
        assert toolchains.audit("onnx", file_of(files, "lstm", route)).macs_quantized_share == 1.0
        assert (
            toolchains.open_session(
                "onnx", file_of(files, "lstm", route), toolchains.Options(SCHEMES["int8"])
            ).precision
            == "int8"
        )


def test_uint8_activations_let_every_convolution_run_in_int8(files: Path) -> None:
    session = toolchains.open_session(
        "onnx", file_of(files, "conv", "ptq-w8a8-qdq"), toolchains.Options(SCHEMES["int8"])
    )
    assert session.executed["Conv"] == 0 and session.executed["QLinearConv"] == 2
    assert session.executed["ConvTranspose"] == 1  # ONNX Runtime has no integer one
    assert session.precision == "int8 x3, f32 x1"


def test_stored_convolutions_are_restored_once_and_counted_as_int8(files: Path) -> None:
    file = file_of(files, "conv", "dynamic-w8a8-ort-noconv")
    executed = toolchains.open_session("onnx", file, toolchains.Options(SCHEMES["int8-dynamic"])).executed
    assert executed["Conv"] + executed["FusedConv"] == 2 and executed["ConvTranspose"] == 1
    assert not executed["Cast"] + executed["Mul"] + executed["DequantizeLinear"]  # folded when the file is loaded
    audit = toolchains.audit("onnx", file)
    float_weights = toolchains.audit("onnx", file_of(files, "conv", "export-torch-dynamo")).weight_elements["float32"]
    assert audit.macs_quantized == 16 * 6, "the last layer alone"
    assert audit.float_weights == () and audit.weight_elements["int8"] > 0.9 * float_weights


def test_names_of_a_saved_model_are_those_of_its_layers(keras_files: Path) -> None:
    graph = onnx.load(keras_files / "outputs" / "export-tf2onnx" / "model.onnx").graph
    names = [v for node in graph.node for v in (node.name, *node.input, *node.output)]
    assert not [name for name in names if "PartitionedCall" in name]
    called = [node.name for node in graph.node if node.name]
    assert len(set(called)) == len(called) > 0


def test_compact_files_compute_the_same_and_their_names_are_found_again(files: Path, tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        left = iter([{"image": np.load(files / "conv" / "samples.npz")["image"][:1]}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    plain, shared, small = tmp_path / "plain.onnx", tmp_path / "model.onnx", tmp_path / "small" / "model.onnx"
    small.parent.mkdir()
    source, unsigned = file_of(files, "conv", "export-torch-dynamo"), QuantType.QUInt8
    quantize_static(source, plain, Reader(), per_channel=True, activation_type=unsigned, weight_type=QuantType.QInt8)
    model = onnx.load(plain)
    share_parameters(model.graph)
    onnx.save(model, shared)
    names = compact(shared, small.parent)
    assert names is not None
    assert small.stat().st_size < 0.9 * plain.stat().st_size
    assert exchange.same_outputs(
        files,
        "conv",
        *(toolchains.open_session("onnx", file, toolchains.Options(SCHEMES["int8"])) for file in (plain, small)),
    )
    full, short = (list(onnx.load(file).graph.node) for file in (shared, small))
    assert [names.values.get(v, v) for n in short for v in n.output] == [v for n in full for v in n.output]
    assert [n.name or names.operators.get(n.output[0], "") for n in short] == [n.name for n in full]
    assert toolchains.audit("onnx", small).macs_quantized == toolchains.audit("onnx", plain).macs_quantized > 0
    used = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used


def test_names_of_hundreds_of_small_operators_are_numbered_and_what_has_weights_keeps_its_own() -> None:
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    floats = onnx.TensorProto.FLOAT
    names = ["x", *(f"an_operator_of_an_unrolled_layer_{i}" for i in range(20)), "y"]
    nodes = [make("MatMul", [names[0], "w"], [names[1]], "layer/product")]
    nodes += [make("Tanh", [a], [b], f"node_{b}") for a, b in itertools.pairwise(names[1:])]
    for size, shortened in ((4, True), (400, False)):
        weights = onnx.numpy_helper.from_array(np.zeros((size, size), np.float32), "w")
        sides = [[value(name, floats, [1, size])] for name in ("x", "y")]
        graph = onnx.helper.make_graph(nodes, "g", *sides, [weights])
        name_shortly(graph)
        assert [graph.node[0].name, graph.node[0].input[0], graph.node[-1].output[0]] == ["layer/product", "x", "y"]
        assert (graph.node[0].output[0] == "v0") == shortened
        assert (graph.node[1].name == "") == shortened
        onnx.checker.check_model(onnx.helper.make_model(graph, ir_version=9), full_check=True)


def test_layer_norms_keep_float_weights(tmp_path: Path) -> None:
    """ONNX Runtime has no integer kernel for them, and would restore int8 ones on each run."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "product")]
    nodes += [helper.make_node("LayerNormalization", ["h", "s", "b"], ["y"], "norm")]
    sides = [[helper.make_tensor_value_info(name, floats, [1, 8])] for name in ("x", "y")]
    values = {"w": np.eye(8) + 0.1, "s": np.ones(8), "b": np.zeros(8)}
    tensors = [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in values.items()]
    opsets = [helper.make_opsetid("", export.OPSET)]
    graph = helper.make_graph(nodes, "g", *sides, tensors)
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "float.onnx")
    samples = {"x": np.random.default_rng(0).normal(size=(8, 1, 8)).astype(np.float32)}
    request = Request(tmp_path, SCHEMES["int8"], False, samples, tmp_path / "float.onnx", ("x",), ("y",))
    made = onnx.load(toolchains.routes("onnx")["ptq-w8a8-qdq"].convert(None, request).file).graph
    kept = {t.name for t in made.initializer if t.data_type == floats}
    [norm] = [node for node in made.node if node.op_type == "LayerNormalization"]
    assert set(norm.input[1:]) <= kept
    assert "DequantizeLinear" in [node.op_type for node in made.node]


def floats_of(nodes: list[Any], shape: list[int], values: dict[str, Any], file: Path, kind: int = 1) -> None:
    """A file with an input ``x`` of a shape, and an output ``y``."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    sides = [[helper.make_tensor_value_info("x", kind, shape)], [helper.make_tensor_value_info("y", floats, None)]]
    tensors = [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in values.items()]
    opsets = [helper.make_opsetid("", export.OPSET)]
    onnx.save(
        helper.make_model(helper.make_graph(nodes, "g", *sides, tensors), opset_imports=opsets, ir_version=9), file
    )


def test_every_range_of_a_file_has_values_those_inside_of_functions_too(tmp_path: Path) -> None:
    """ONNX Runtime takes ``HardSwish`` apart, and quantizes what is inside."""
    node, rng = onnx.helper.make_node, np.random.default_rng(0)
    nodes = [node("Conv", ["x", "w"], ["c"], "first"), node("HardSwish", ["c"], ["h"], "gated")]
    nodes += [node("Conv", ["h", "v"], ["y"], "second")]
    values = {"w": rng.normal(size=(4, 2, 3, 3)), "v": rng.normal(size=(3, 4, 1, 1))}
    floats_of(nodes, [1, 2, 8, 8], values, tmp_path / "float.onnx")
    samples = {"x": rng.normal(size=(8, 1, 2, 8, 8)).astype(np.float32)}
    request = Request(tmp_path, SCHEMES["int8"], False, samples, tmp_path / "float.onnx", ("x",), ("y",))
    made = toolchains.routes("onnx")["ptq-w8a8-qdq"].convert(None, request).file
    names = [one.tensor for one in toolchains.ranges_of("onnx", made)]
    found = toolchains.values_of("onnx", tmp_path / "float.onnx", names, samples)
    assert len(names) == 5 and set(found) == set(names)
    [inner] = set(names) - {"x", "c", "h", "y"}
    expected = np.clip(np.stack(found["c"]) / 6 + 0.5, 0, 1)
    assert np.allclose(np.stack(found[inner]), expected, atol=1e-6)


def test_a_range_that_is_given_to_a_lookup_is_that_of_its_table(tmp_path: Path) -> None:
    node, rng = onnx.helper.make_node, np.random.default_rng(0)
    nodes = [node("Gather", ["t", "x"], ["rows"], "lookup"), node("MatMul", ["rows", "w"], ["y"], "product")]
    values = {"t": rng.normal(size=(16, 8)), "w": rng.normal(size=(8, 4))}
    floats_of(nodes, [1, 3], values, tmp_path / "float.onnx", onnx.TensorProto.INT64)
    samples = {"x": rng.integers(0, 16, (8, 1, 3))}
    given = Range("rows", -1.5, 2.5)
    request = Request(
        tmp_path, SCHEMES["int8"], False, samples, tmp_path / "float.onnx", ("x",), ("y",), ranges=(given,)
    )
    for route in ("ptq-w8a8-qdq", "ptq-w8a8-qdq-matmuls"):
        made = toolchains.routes("onnx")[route].convert(None, request).file
        [there] = [one for one in toolchains.ranges_of("onnx", made) if one.tensor == "rows"]
        assert np.isclose(there.scale, given.scale) and there.zero_point == given.zero_point
        graph = onnx.load(made).graph
        stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        [lookup] = [n for n in graph.node if n.op_type == "Gather"]
        [restored] = [n for n in graph.node if lookup.input[0] in n.output]
        integers, scale, zero = (stored[name] for name in restored.input)
        exact = np.clip(np.rint(values["t"] / given.scale), -128 - given.zero_point, 127 - given.zero_point)
        assert np.allclose((integers.astype(float) - zero) * scale, exact * given.scale, atol=1e-5)


def test_attention_keeps_its_masks_and_norms_in_float(files: Path) -> None:
    """In int8 they cost decibels, which is why targets pass over the route that does it."""
    close, all_int8 = (
        exchange.sqnr(
            files,
            "attention",
            toolchains.open_session("onnx", file_of(files, "attention", route), toolchains.Options(SCHEMES["int8"])),
        )
        for route in ("ptq-w8a8-qdq-matmuls", "ptq-w8a8-qdq")
    )
    assert close > all_int8 + 1
    audit = toolchains.audit("onnx", file_of(files, "attention", "ptq-w8a8-qdq-matmuls"))
    integers = audit.weight_elements["int8"] + audit.weight_elements["uint8"]  # the latter are the embedding's
    assert integers > 0.9 * sum(audit.weight_elements.values())


def test_what_tf2onnx_numbers_is_numbered_by_the_graph_alone() -> None:
    """Of equal constants it keeps one, and the name of any; its counter goes on from one conversion to the next."""

    def made(low: str, high: str, order: int, count: int) -> bytes:
        helper = onnx.helper
        value = helper.make_tensor_value_info
        values = [f"a/Gemm__{count}", f"a/Gemm__{count + 3}", "a/Gemm"]
        nodes = [helper.make_node("Clip", ["x", low, high], [values[0]], name=f"a__{count + 7}")]
        nodes += [helper.make_node("Neg", [v], [w], name="a") for v, w in zip(values, [*values[1:], "y"], strict=True)]
        constants = [helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [n]) for name, n in ((low, 0), (high, 6))]
        sides = [[value(name, onnx.TensorProto.FLOAT, [1])] for name in ("x", "y")]
        graph = helper.make_graph(nodes[::order], "g", *sides, constants[::order])
        number(graph)
        assert [o for node in graph.node for o in node.output] == ["a/Gemm_1", "a/Gemm_2", "a/Gemm", "y"]
        assert [list(node.input)[:1] for node in graph.node[1:]] == [["a/Gemm_1"], ["a/Gemm_2"], ["a/Gemm"]]
        return graph.SerializeToString(deterministic=True)

    assert made("block_1_min__29", "block_2_max__43", 1, 50) == made("block_6_min__87", "const_fold_opt__88", -1, 2)


def test_onnx_runtime_does_not_fuse_sums_with_layer_norms_which_is_slow(files: Path, tmp_path: Path) -> None:
    """What it makes of the two takes two to eight times their time; a graph by hand shows that it would."""
    import onnxruntime
    from onnx import helper

    def kernels(file: Path) -> set[str]:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        return {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}

    for route in ("export-torch-dynamo", "ptq-w8a8-qdq-matmuls", "dynamic-w8a8-ort-noconv"):
        found = kernels(file_of(files, "attention", route))
        assert "LayerNormalization" in found
        assert "SkipLayerNormalization" not in found
    values = {n: helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 8, 16]) for n in ("x", "skip", "y")}
    scale = onnx.numpy_helper.from_array(np.ones(16, np.float32), "scale")
    nodes = [
        helper.make_node("Add", ["x", "skip"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "scale"], ["y"]),
    ]
    for rewritten in (False, True):
        graph = helper.make_graph(nodes, "g", [values["x"], values["skip"]], [values["y"]], [scale])
        if rewritten:
            sums.keep_apart(graph)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        onnx.save(model, tmp_path / "norm.onnx")
        assert ("SkipLayerNormalization" in kernels(tmp_path / "norm.onnx")) != rewritten
    sums.as_add(graph)
    assert [node.op_type for node in graph.node] == ["Add", "LayerNormalization"]


def test_opset_is_one_whose_int8_files_load(files: Path) -> None:
    for model in MODELS["torch"]:
        assert onnx.load(file_of(files, model, "ptq-w8a8-qdq-matmuls")).opset_import[0].version == 20


def test_files_tell_nothing_of_the_machine_and_do_not_differ(files: Path, tmp_path: Path) -> None:
    again = exchange.convert_alone("onnx", "torch", tmp_path / "second", seed="7")
    for model in MODELS["torch"]:
        for route in TORCH.keys() - exchange.outcome(files, model).keys():
            content = file_of(files, model, route).read_bytes()
            assert content == file_of(again, model, route).read_bytes(), (model, route)
            assert b"exchange_child" not in content and b"site-packages" not in content, (model, route)


def test_keras_outputs_keep_their_order_and_loops_stay_loops(keras_files: Path) -> None:
    session = toolchains.open_session(
        "onnx", file_of(keras_files, "outputs", "export-tf2onnx"), toolchains.Options(SCHEMES["fp32"])
    )
    assert exchange.sqnr(keras_files, "outputs", session) >= 120
    for model in ("lstm", "attention"):
        session = toolchains.open_session(
            "onnx", file_of(keras_files, model, "export-tf2onnx"), toolchains.Options(SCHEMES["fp32"])
        )
        assert exchange.sqnr(keras_files, model, session) >= 120
    loop = toolchains.audit("onnx", file_of(keras_files, "lstm", "export-tf2onnx"))
    assert loop.macs_total == 2 * 12 * 4 * 8 * (8 + 8) + 16 * 5 and loop.macs_quantized == 0


def test_invalid_file_of_an_exporter_is_an_error(keras_files: Path) -> None:
    assert "Erfc" in exchange.outcome(keras_files, "gelu")["export-tf2onnx"]


def test_sessions_check_inputs_and_bind(files: Path) -> None:
    session = toolchains.open_session(
        "onnx", file_of(files, "lstm", "export-torch-dynamo"), toolchains.Options(SCHEMES["fp32"])
    )
    tokens = np.arange(12, dtype=np.int64)[None]
    assert session.run({"tokens": tokens})["logits"].shape == (1, 5)
    session.bind({"tokens": tokens})()
    for wrong in ({"x": tokens}, {"tokens": tokens[:, :5]}, {"tokens": tokens.astype(np.float32)}):
        with pytest.raises(UsageError):
            session.run(wrong)


def test_truncated_file_is_damaged(files: Path, tmp_path: Path) -> None:
    content = file_of(files, "conv", "ptq-w8a8-qdq").read_bytes()
    damaged = tmp_path / "model.onnx"
    for length in (0, 100, len(content) // 2, len(content) - 1):
        damaged.write_bytes(content[:length])
        with pytest.raises(DamagedFileError):
            toolchains.audit("onnx", damaged)
        with pytest.raises(DamagedFileError):
            toolchains.open_session("onnx", damaged, toolchains.Options(SCHEMES["int8"]))


def test_weights_outside_of_the_folder_are_refused(files: Path, tmp_path: Path) -> None:
    model = onnx.load(file_of(files, "conv", "export-torch-dynamo"))
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret.bin")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnsafeInputError, match="secret"):
        toolchains.audit("onnx", tmp_path / "model.onnx")


def test_static_checks_find_a_wrong_bias_scale_nan_and_an_unknown_operator(files: Path, tmp_path: Path) -> None:
    model = onnx.load(file_of(files, "conv", "ptq-w8a8-qdq"))
    tensors = {t.name: t for t in model.graph.initializer}
    producer = {output: node for node in model.graph.node for output in node.output}
    gemm = next(n for n in model.graph.node if n.op_type == "Gemm")
    scale = tensors[producer[gemm.input[2]].input[1]]
    values = onnx.numpy_helper.to_array(scale) * np.float32(1.5)
    scale.CopyFrom(onnx.numpy_helper.from_array(values, scale.name))
    model.graph.node.add(op_type="Mystery", domain="com.nobody", input=["logits"], output=["unread"])
    model.opset_import.add(domain="com.nobody", version=1)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    findings = " ".join(toolchains.audit("onnx", tmp_path / "model.onnx").findings)
    assert "bias scale is off" in findings and "50.0%" in findings and "com.nobody.Mystery" in findings
    model = onnx.load(file_of(files, "conv", "export-torch-dynamo"))
    weight = next(t for t in model.graph.initializer if len(t.dims) == 4)
    broken = onnx.numpy_helper.to_array(weight).copy()
    broken.flat[0] = np.nan
    weight.CopyFrom(onnx.numpy_helper.from_array(broken, weight.name))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert any("NaN" in finding for finding in toolchains.audit("onnx", tmp_path / "model.onnx").findings)
