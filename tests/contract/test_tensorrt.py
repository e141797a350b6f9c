"""The TensorRT toolchain: routes on small models, placement of Q/DQ, static checks, the stand-in, damaged input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
sys.path.insert(0, str(Path(__file__).parent))
import exchange  # noqa: E402
from exchange_child import MODELS, ROUTES  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgekit import cli, toolchains  # noqa: E402
from edgekit.artifact import folder as artifact  # noqa: E402
from edgekit.errors import DamagedFileError, EdgekitError, FailedError, UnsafeInputError, UnsupportedError  # noqa: E402
from edgekit.proof.precision import shortfall  # noqa: E402
from edgekit.result import Result  # noqa: E402
from edgekit.schemes import SCHEMES  # noqa: E402
from edgekit.toolchains import Request  # noqa: E402
from edgekit.toolchains.onnx.graph import Graph  # noqa: E402
from edgekit.toolchains.tensorrt import checks, operators, quantize  # noqa: E402
from edgekit.toolchains.tensorrt.passes import half, sums  # noqa: E402

LEAST_DB = {"fp32": 120, "fp16": 55, "int8": 26}
CASES = [
    (framework, model, route)
    for framework in ("torch", "keras")
    for model in MODELS[framework]
    for route in ROUTES["tensorrt", framework]
]
#: TensorRT has no int8 LSTM; the audit must say what stayed float.
SHORT = {("torch", "lstm", "ptq-w8a8-qdq"), ("keras", "lstm", "ptq-w8a8-qdq")}
#: A table as large as all other weights of the small model together stays float.
SHORT |= {("keras", "attention", "ptq-w8a8-qdq")}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, workers):
    return {
        framework: exchange.convert("tensorrt", framework, tmp_path_factory.mktemp("tensorrt") / framework, workers)
        for framework in ("torch", "keras")
    }


def file_of(folders, framework, model, route):
    return folders[framework] / model / route / "model.onnx"


@pytest.mark.parametrize(("framework", "model", "route"), CASES)
def test_route_is_close_and_is_what_tensorrt_takes(folders, framework, model, route):
    refused = exchange.outcome(folders[framework], model).get(route)
    if (framework, model) == ("keras", "gelu"):  # tf2onnx makes an invalid operator of it; nothing is left
        assert refused is not None
        return
    if route == "ptq-w8a8-qdq-unrolled" and model != "lstm":
        assert "no recurrent cell" in refused
        return
    assert refused is None
    file, precision = file_of(folders, framework, model, route), ROUTES["tensorrt", framework][route]
    audit = toolchains.audit("tensorrt", file)
    assert audit.findings == ()
    assert bool(shortfall(SCHEMES[precision], audit)) == ((framework, model, route) in SHORT)
    session = toolchains.open_session("tensorrt", file, toolchains.Options(SCHEMES[precision]))
    assert session.stand_in and "stand-in for TensorRT" in session.by
    assert exchange.sqnr(folders[framework], model, session) >= LEAST_DB[precision]
    assert {t.dtype for t in (*audit.inputs, *audit.outputs)} <= {"float32", "int32"}


def nodes(model, kind):
    return [node for node in model.graph.node if node.op_type == kind]


def test_placement_is_what_tensorrt_fuses(folders):
    model = onnx.load(file_of(folders, "torch", "conv", "ptq-w8a8-qdq"))
    graph = Graph(model)
    for kind in ("Conv", "ConvTranspose", "Gemm"):
        assert nodes(model, kind)
        for node in nodes(model, kind):
            assert [graph.producer[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
            assert graph.constants[node.input[2]].dtype == np.float32, "the bias stays float"
            weight = graph.producer[node.input[1]]
            assert graph.constants[weight.input[0]].dtype == np.int8
            assert graph.constants[weight.input[1]].size == graph.constants[node.input[2]].size, "one scale per channel"
    for kind in ("Relu", "Clip"):
        for node in nodes(model, kind):
            assert graph.producer[node.input[0]].op_type not in ("QuantizeLinear", "DequantizeLinear")
    for node in [*nodes(model, "QuantizeLinear"), *nodes(model, "DequantizeLinear")]:
        zero = graph.constants[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any()


def residual(shortcut):
    """image -> Conv -> Relu -> x; Conv(x) + (x, or Conv(x)) -> Relu -> y."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(size=(4, 4, 1, 1)).astype(np.float32), f"w{i}") for i in range(3)]
    body = [
        helper.make_node("Conv", ["image", "w0"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["x"], "act"),
        helper.make_node("Conv", ["x", "w1"], ["s"], "shortcut"),
        helper.make_node("Conv", ["x", "w2"], ["c"], "last"),
        helper.make_node("Add", ["c", "s" if shortcut else "x"], ["t"], "sum"),
        helper.make_node("Relu", ["t"], ["y"], "end"),
    ]
    return made(
        [n for n in body if shortcut or n.name != "shortcut"], {"image": [1, 4, 3, 3]}, {"y": [1, 4, 3, 3]}, weights
    )


def made(body, inputs, outputs, constants=(), opset=20):
    def values(shapes):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    graph = helper.make_graph(body, "g", values(inputs), values(outputs), list(constants))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.mark.parametrize(("shortcut", "quantized"), [(False, "x"), (True, "s")])
def test_a_sum_behind_a_convolution_quantizes_its_residual_input_alone(shortcut, quantized):
    model = residual(shortcut)
    placement = quantize.place(Graph(model))
    index = [node.name for node in model.graph.node].index("sum")
    assert [name for (node, _), name in placement.inputs.items() if node == index] == [quantized]


def request(folder, model, calibration=None, precision="int8"):
    file = folder / "float.onnx"
    onnx.save(model, file)
    names = [[v.name for v in side] for side in (model.graph.input, model.graph.output)]
    return Request(folder, SCHEMES[precision], False, calibration, file, tuple(names[0]), tuple(names[1]))


def test_a_layer_of_one_block_has_8_bits(tmp_path):
    """TensorRT-RTX's parser takes one scale in all for one of a whole tensor: "ScaleMode is illegal"."""
    rng = np.random.default_rng(1)
    constants = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in
                 (("w", (64, 64)), ("v", (64, 1)))]  # fmt: skip
    body = [helper.make_node("MatMul", ["x", "w"], ["h"], "wide"), helper.make_node("MatMul", ["h", "v"], ["y"], "one")]
    model = made(body, {"x": [1, 64]}, {"y": [1, 1]}, constants)
    file = quantize.in_blocks(None, request(tmp_path, model, precision="int4-64")).file
    assert {one.name: one.weight_type for one in toolchains.audit("tensorrt", file).layers} == {
        "wide": "int4",
        "one": "int8",
    }


def test_the_arithmetic_is_that_of_the_definition(tmp_path):
    """q = round(x / s) within -128..127, s = max |x| / 127; exact products, float bias (ONNX, QuantizeLinear)."""
    rng = np.random.default_rng(1)
    x, w, b = (rng.normal(size=shape).astype(np.float32) for shape in ((16, 64), (64, 8), (8,)))
    body = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], "product")]
    constants = [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")]
    model = made(body, {"x": [1, 64]}, {"y": [1, 8]}, constants)
    file = quantize.qdq(None, request(tmp_path, model, {"x": x[:, None]})).file
    session = toolchains.open_session("tensorrt", file, toolchains.Options(SCHEMES["int8"]))
    scale, scales = np.float32(np.abs(x).max() / 127), np.abs(w).max(0) / np.float32(127)
    for row in x:
        integers = np.clip(np.rint(row / scale), -128, 127) @ np.rint(w / scales)
        expected = integers.astype(np.float64) * scale * scales + b
        np.testing.assert_allclose(session.run({"x": row[None]})["y"][0], expected, rtol=1e-5, atol=1e-5)


def test_files_do_not_differ(folders, tmp_path):
    source = file_of(folders, "torch", "conv", "export-torch-dynamo")
    for route, convert in (("cast-wf16af16-onnx", half.half), ("ptq-w8a8-qdq", quantize.qdq)):
        again = []
        for number in range(2):
            folder = tmp_path / f"{route}{number}"
            folder.mkdir()
            image = np.random.default_rng(0).normal(size=(4, 3, 16, 16)).astype(np.float32)
            asked = Request(folder, SCHEMES["int8"], False, {"image": image[:, None]}, source, ("image",), ("logits",))
            again.append(convert(None, asked).file.read_bytes())
        assert again[0] == again[1], route


def test_float16_is_rounded_after_every_operator_and_overflows(tmp_path):
    """ONNX Runtime alone keeps 1e6 * 0.001: it drops the casts that it inserts."""
    constants = [numpy_helper.from_array(np.float32(v), n) for n, v in (("k", 1000), ("r", 0.001))]
    body = [
        helper.make_node("Mul", ["x", "k"], ["a"], "up"),
        helper.make_node("Mul", ["a", "k"], ["b"], "further"),
        helper.make_node("Mul", ["b", "r"], ["y"], "down"),
    ]
    file = half.half(
        None, request(tmp_path, made(body, {"x": [1, 3]}, {"y": [1, 3]}, constants), precision="fp16")
    ).file
    x = np.array([[1.0, 0.05, 0.0333]], np.float32)
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16) * np.float16(1000) * np.float16(1000) * np.float16(0.001)
    found = toolchains.open_session("tensorrt", file, toolchains.Options(SCHEMES["fp16"])).run({"x": x})["y"]
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert np.isinf(found[0, 0])


def test_constants_beyond_float16_are_clipped_and_said_and_none_becomes_zero(tmp_path):
    constants = [numpy_helper.from_array(np.array([-1e9, 1e-12, -np.inf, 1.5], np.float32), "mask")]
    body = [helper.make_node("Add", ["x", "mask"], ["y"], "masked")]
    done = half.half(None, request(tmp_path, made(body, {"x": [1, 4]}, {"y": [1, 4]}, constants), precision="fp16"))
    assert "1 constants beyond" in done.notes[0]
    stored = Graph(onnx.load(done.file)).constants["mask"]
    np.testing.assert_array_equal(stored, np.array([-65504, 6e-8, -np.inf, 1.5], np.float16))


def pair(x="x", *, zero=0, kind=np.int8, scale=0.1, bias=False, axis=0, w_scale=None):
    """A Gemm between Q/DQ pairs, with one thing wrong."""
    scales = np.asarray(w_scale if w_scale is not None else np.full(3, 0.1), np.float32)
    stored = {
        "s": np.asarray(scale, np.float32), "z": np.full(np.shape(scale), zero, kind), "w": np.ones((4, 3), np.int8),
        "ws": scales, "wz": np.zeros(scales.shape, np.int8), "b": np.ones(3, np.int32 if bias else np.float32),
        "bs": np.float32(0.01), "bz": np.int32(0),
    }  # fmt: skip
    body = [
        helper.make_node("QuantizeLinear", [x, "s", "z"], ["xq"], "q", axis=1),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], "dq", axis=1),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "dw", axis=axis),
        helper.make_node("Gemm", ["xd", "wd", "bd" if bias else "b"], ["y"], "product"),
    ]
    if bias:
        body.insert(3, helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], "db"))
    constants = [numpy_helper.from_array(np.asarray(v), n) for n, v in stored.items()]
    return made(body, {"x": [1, 4]}, {"y": [1, 3]}, constants)


def one(kind, inputs=("x",), outputs=("y",), opset=20, constants=(), **attributes):
    shapes = {"x": [1, 4, 8, 8]}
    body = [helper.make_node(kind, list(inputs), list(outputs), "node", **attributes)]
    return made(body, shapes, {outputs[0]: None}, constants, opset)


SIZES = [numpy_helper.from_array(np.ones(4, np.float32), "sizes")]
PLACES = [numpy_helper.from_array(np.zeros((1, 4, 8, 8), np.int64), "i")]
K_5000 = [numpy_helper.from_array(np.array([5000]), "k")]
NARROW = made(
    [
        helper.make_node("Cast", ["x"], ["c"], "cast", to=TensorProto.INT16),
        helper.make_node("Abs", ["c"], ["a"], "after"),
        helper.make_node("Cast", ["a"], ["y"], "back", to=TensorProto.FLOAT),
    ],
    {"x": [4]},
    {"y": [4]},
)
WRONG = {
    "zero point": (pair(zero=3, axis=1), "QuantizeLinear:q: the zero point must be int8 and 0, not int8 up to 3"),
    "uint8": (pair(kind=np.uint8, axis=1), "must be int8 and 0, not uint8"),
    "activation per channel": (pair(scale=np.full(4, 0.1), axis=1), "an activation has 4 scales"),
    "weight axis": (
        pair(axis=0, w_scale=np.full(4, 0.1)),
        "quantized along axis 0; TensorRT takes its output channels, axis 1",
    ),
    "bias": (pair(bias=True, axis=1), "Gemm:product: the bias is quantized"),
    "scale": (pair(scale=0.0, axis=1), "the scale must be positive and finite"),
    "dynamic": (
        one("DynamicQuantizeLinear", outputs=("y", "s", "z")),
        "DynamicQuantizeLinear:node: TensorRT has no operator",
    ),
    "domain": (one("Gelu", domain="com.microsoft"), "TensorRT has no operator com.microsoft.Gelu"),
    "opset": (one("Relu", opset=8), "opset 8 is outside of 9 to 24"),
    "type": (NARROW, "Abs:after: TensorRT's Abs takes bfloat16, float16, float32, int32, int64, not int16"),
    "pool": (one("MaxPool", outputs=("y", "i"), kernel_shape=[2, 2]), "the output Indices is not supported"),
    "window": (one("LpPool", kernel_shape=[2, 2], p=3), "p = 3 is not supported"),
    "scatter": (
        one(
            "ScatterElements",
            ("x", "i", "x"),
            constants=[numpy_helper.from_array(np.zeros((1, 4, 8, 8), np.int64), "i")],
            reduction="add",
            opset=18,
        ),
        "reduction = 'add' is not supported",
    ),
    "k": (one("TopK", ("x", "k"), ("y", "z"), constants=K_5000), "K = 5000 is above 3840"),
    "resize": (
        one("Resize", ("x", "", "sizes"), constants=SIZES, keep_aspect_ratio_policy="not_larger", opset=18),
        "keep_aspect_ratio_policy = 'not_larger' is not supported",
    ),
}


def plain(nodes, inputs, constants=(), opset=20):
    """A graph whose first node's first input ``x`` has the shape given."""
    return made(nodes, inputs, {"y": None}, constants, opset)


VOLUME = plain([helper.make_node("GridSample", ["x", "g"], ["y"])], {"x": [1, 2, 5, 5, 5], "g": [1, 4, 4, 4, 3]})
IMAGE = plain([helper.make_node("GridSample", ["x", "g"], ["y"])], {"x": [1, 2, 5, 5], "g": [1, 4, 4, 2]})
ROW = plain([helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2])], {"x": [1, 2, 8]})
DEEP = plain([helper.make_node("Transpose", ["x"], ["y"], perm=list(range(8, -1, -1)))], {"x": [1] * 9})


def test_volumes_and_nine_dimensions_are_refused_and_rows_taken():
    assert "only 2-D images" in "; ".join(checks.findings(VOLUME))
    assert "9 dimensions, at most 8" in "; ".join(checks.findings(DEEP))
    assert checks.findings(IMAGE) == [] == checks.findings(ROW)


#: What TensorRT-RTX takes although TensorRT does not, with the reason: the rule stands by NVIDIA's documents.
RTX_TAKES = {
    "activation per channel": "NVIDIA's guide: per-tensor scales for activations",
    "domain": "com.microsoft.Gelu is read as the standard one; TensorRT's list has no such domain",
    "opset": "older opsets are upgraded",
    "uint8": "NVIDIA's guide: int8 is signed",
    "weight axis": "NVIDIA's guide: weights per output channel",
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_the_rules_agree_with_the_parser_of_tensorrt_rtx(what, tmp_path):
    """Every refusal of ours is one of the real parser's or builder's, but where its reason says otherwise."""
    from edgekit.toolchains.tensorrt import builder

    file = tmp_path / "model.onnx"
    file.write_bytes(WRONG[what][0].SerializeToString())
    said = builder.refusals(file)
    if said is None:
        pytest.skip("TensorRT-RTX is not installed")
    built = (str(file), str(tmp_path / "engine"), str(tmp_path / "cache"), None, "tensorrt_rtx", ["8.9"])
    if what in RTX_TAKES:
        assert said == [] and builder.build(*built)["layers"] > 0
    elif not said:
        with pytest.raises((FailedError, UnsupportedError)):
            builder.build(*built)


@pytest.mark.parametrize("model", [IMAGE, ROW], ids=["image", "row"])
def test_the_parser_takes_what_the_rules_take(model, tmp_path):
    from edgekit.toolchains.tensorrt import builder

    file = tmp_path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    if (said := builder.refusals(file)) is None:
        pytest.skip("TensorRT-RTX is not installed")
    assert said == []
    built = (str(file), str(tmp_path / "engine"), str(tmp_path / "cache"), None, "tensorrt_rtx", ["8.9"])
    assert builder.build(*built, sparse=True)["layers"] > 0


@pytest.mark.parametrize("what", WRONG)
def test_what_tensorrt_refuses_is_named_with_its_node(what):
    model, says = WRONG[what]
    assert says in "; ".join(checks.findings(model))
    with pytest.raises(UnsupportedError, match="TensorRT does not take this model") as raised:
        checks.refuse(model)
    assert operators.DOCUMENT in raised.value.hint


def test_a_right_file_has_no_findings():
    assert checks.findings(pair(axis=1)) == []
    assert checks.findings(residual(True)) == []


def external(place):
    model = residual(False)
    tensor = model.graph.initializer[0]
    if place == "attribute":
        model.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=tensor))
        tensor = model.graph.node[0].attribute[0].t
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    return model


@pytest.mark.parametrize("place", ["initializer", "attribute"])
def test_weights_outside_of_the_folder_are_refused(place, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(external(place).SerializeToString())
    for look in (
        lambda path: toolchains.audit("tensorrt", path),
        lambda path: toolchains.open_session("tensorrt", path, toolchains.Options(SCHEMES["int8"])),
    ):
        with pytest.raises(UnsafeInputError, match=r"secret\.bin"):
            look(file)


@pytest.fixture(scope="module")
def converted(workers, store, tmp_path_factory):
    from edgekit import api

    folder = tmp_path_factory.mktemp("artifact") / "mlp"
    return api.convert("mlp@torch", "tensorrt-int8", output=folder, workers=workers, store=store)


def test_an_artifact_is_proven_by_a_named_stand_in_and_not_timed(converted):
    assert converted.status == "PASS", converted.reason
    assert converted.proof.kind == "stand-in" and "ONNX Runtime" in converted.proof.by
    assert converted.latency is None


def test_build_elsewhere_is_not_run_with_the_reason(converted, capsys):
    from edgekit.artifact import derived as build
    from edgekit.jobs.workers import Workers

    with Workers() as workers:
        if not build.obstacles(build.load_device("nvidia-gpu"), build.probe(workers)):
            pytest.skip("this machine has TensorRT and a GPU: test_build_here runs")
    assert cli.run(["build", converted.artifact, "--device", "nvidia-gpu", "--json"]) == 9
    document = json.loads(capsys.readouterr().out)
    assert (document["status"], document["error"]["code"]) == ("NOT_RUN", "not-run")
    assert "driver" in document["reason"] or "TensorRT" in document["reason"]
    assert document["error"]["hint"]
    assert not Path(f"{converted.artifact}-nvidia-gpu").exists()


def test_build_here(converted, tmp_path):
    from edgekit.artifact import derived as build
    from edgekit.jobs.workers import Workers

    with Workers() as workers:
        missing = build.obstacles(build.load_device("nvidia-gpu"), build.probe(workers))
        if missing:
            pytest.skip("; ".join(missing))
        made_here = build.build(Path(converted.artifact), "nvidia-gpu", output=tmp_path / "engine", workers=workers)
        assert (made_here.status, made_here.proof.kind) == ("PASS", "runtime")
        assert build.verify(tmp_path / "engine", workers)["status"] == "PASS"


def test_build_reads_no_weights_from_outside_of_the_artifact(converted, tmp_path):
    """An artifact whose hashes are right, sealed by whoever made it, with such a model in it."""
    from edgekit.artifact import derived as build
    from edgekit.jobs.workers import Workers

    whole = Result.model_validate_json((Path(converted.artifact) / artifact.MANIFEST).read_bytes())
    model, golden = tmp_path / "bad.onnx", Path(converted.artifact) / artifact.GOLDEN
    model.write_bytes(external("initializer").SerializeToString())
    artifact.write(tmp_path / "bad", {"model.onnx": model, artifact.GOLDEN: golden}, {}, whole)
    with Workers() as workers, pytest.raises(UnsafeInputError, match=r"secret\.bin"):
        build.build(tmp_path / "bad", "nvidia-gpu", workers=workers)


def test_truncated_files_are_damaged(folders, tmp_path):
    content = file_of(folders, "torch", "conv", "ptq-w8a8-qdq").read_bytes()
    damaged = tmp_path / "model.onnx"
    for length in (0, 100, len(content) // 2, len(content) - 1):
        damaged.write_bytes(content[:length])
        for look in (
            lambda path: toolchains.audit("tensorrt", path),
            lambda path: toolchains.open_session("tensorrt", path, toolchains.Options(SCHEMES["int8"])),
        ):
            with pytest.raises(DamagedFileError):
                look(damaged)


def mutants(content, count, seed=0):
    """The file with one to three places changed; now and then bytes are removed or repeated."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        changed = bytearray(content)
        for _ in range(int(rng.integers(1, 4))):
            place = int(rng.integers(len(changed)))
            action = rng.integers(12)
            if action > 1:
                changed[place] = int(rng.integers(256))
            elif action == 1:
                del changed[place : place + int(rng.integers(1, 9))]
            else:
                changed[place:place] = changed[place : place + int(rng.integers(1, 9))]
        yield bytes(changed)


def test_500_mutants_are_refused_or_read_and_harm_nobody(folders, tmp_path):
    """In a child of its own, as in the product: what is not a typed error there ends this test."""
    from edgekit.jobs.workers import Limits, Workers
    from edgekit.steps import audit

    content = file_of(folders, "torch", "conv", "ptq-w8a8-qdq").read_bytes()
    for number, changed in enumerate(mutants(content, 500)):
        (tmp_path / f"{number}.onnx").write_bytes(changed)
    with Workers(Limits(120.0, 4 * 2**30)) as workers:
        outcome = {"read": 0, "refused": 0}
        for number in range(500):
            request = audit.Request("tensorrt", tmp_path / f"{number}.onnx")
            try:
                workers.ask("runtime", audit.run, tmp_path, request)
                outcome["read"] += 1
            except EdgekitError as error:
                assert isinstance(error, DamagedFileError | UnsafeInputError), f"{number}: {error}"
                outcome["refused"] += 1
    assert outcome["read"] > 20 and outcome["refused"] > 20, outcome


def test_a_running_sum_of_integers_is_computed_in_float(tmp_path: Path) -> None:
    """RoBERTa counts its positions from a mask, and TensorRT's CumSum takes no integers."""
    import onnxruntime

    value = helper.make_tensor_value_info
    axis = numpy_helper.from_array(np.array(1, np.int64), "axis")
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("CumSum", ["mask", "axis"], ["counted"], "count"),
             helper.make_node("Identity", ["counted"], ["positions"], "same")], "counted",
            [value("mask", TensorProto.INT64, [2, 300])], [value("positions", TensorProto.INT64, [2, 300])], [axis],
        ),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    assert any("not int64" in finding for finding in checks.findings(model))
    assert sums.in_float(model) == 1
    onnx.checker.check_model(model)
    assert checks.findings(model) == []
    mask = np.random.default_rng(0).integers(0, 2, (2, 300))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert (session.run(None, {"mask": mask})[0] == mask.cumsum(1)).all()
    assert sums.in_float(model) == 0
