"""LiteRT in integers throughout: what takes all the steps of others, what is computed in float, what shares a range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_quantizer")

import edgekit
from edgekit import toolchains
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.scheme import Range
from edgekit.schemes import SCHEMES
from edgekit.toolchains import Request
from edgekit.toolchains.litert import quantize
from edgekit.toolchains.litert.graph import read_subgraphs
from edgekit.toolchains.litert.passes import xnnpack
from edgekit.toolchains.litert.passes.integers import INTEGER_KERNELS
from edgekit.toolchains.litert.schema import packed as schema_packed
from edgekit.toolchains.litert.schema import packed_model
from edgekit.toolchains.litert.session import LiteRTSession

MODELS = Path(__file__).parent / "children" / "integer_models.py"


@pytest.fixture
def convert(workers: Workers, store: Store, tmp_path: Path) -> Any:
    def made(function: str, target: str, **more: Any) -> edgekit.Result:
        return edgekit.convert(
            f"{MODELS}:{function}", target, output=tmp_path / "out", latency=False, workers=workers, store=store, **more
        )

    return made


def test_tokens_of_64_bits_calibrate_a_file_that_takes_32(convert: Any) -> None:
    result = convert("counted_tokens", "tflite-int8", calibrate=f"{MODELS}:sentences")
    assert result.status == "PASS", result.reason
    assert result.parity.sqnr_db > 30


@pytest.mark.parametrize(
    ("function", "data"),
    [
        ("masked_by_infinity", "sentences"),
        ("masked_by_thousands", "sentences"),
        ("padded_norm", "sentences"),
        ("response_norm", "noise"),
    ],
)
def test_masks_padding_and_norms_leave_values_their_steps(convert: Any, function: str, data: str) -> None:
    result = convert(function, "tflite-int8", calibrate=f"{MODELS}:{data}")
    assert result.status == "PASS", result.reason
    assert result.parity.sqnr_db > 25


def test_sines_of_constants_are_none_of_an_integer_files_work(convert: Any) -> None:
    result = convert("sine_positions", "tflite-int8", calibrate=f"{MODELS}:noise")
    assert result.status == "PASS", result.reason
    assert not {"SIN", "POW", "CUMSUM"} & set(result.audit.ops_float or ())


def test_what_the_quantizer_has_no_rule_for_computes_in_integers(convert: Any) -> None:
    result = convert("magnitudes", "tflite-int8", calibrate=f"{MODELS}:noise")
    assert result.status == "PASS", result.reason
    assert not {"ABS", "EXP", "LOG"} & set(result.audit.ops_float or ())


def test_a_softmax_along_any_axis_is_one_operator(convert: Any) -> None:
    result = convert("shares", "tflite-int8", calibrate=f"{MODELS}:noise")
    assert result.status == "PASS", result.reason
    assert result.audit.macs_quantized_share == 1
    assert result.parity.sqnr_db > 25


@pytest.mark.parametrize(
    ("target", "least"), [("tflite-int8", 30), ("tflite-int16x8", 40), ("tflite-int8-dynamic", 38), ("tflite-int4", 18)]
)
def test_stored_factors_are_quantized_as_activations_are(convert: Any, target: str, least: float) -> None:
    """As a weight it made int8 files of 7.5 dB, and others that LiteRT does not run."""
    result = convert("learned_queries", target, calibrate=f"{MODELS}:sequences")
    assert result.status == "PASS", result.reason
    assert result.parity.sqnr_db > least


@pytest.mark.parametrize("target", ["tflite-int8", "tflite-int16x8"])
def test_norms_attention_and_hard_swish_leave_little_to_slow_kernels(convert: Any, target: str) -> None:
    """In 16 bits XNNPACK has no kernels, and LiteRT none for hard swish."""
    result = convert("encoder", target, calibrate=f"{MODELS}:sequences")
    assert result.status == "PASS", result.reason
    found = edgekit.inspect(result.artifact)["delegated"]
    assert "HARD_SWISH" not in found
    if target == "tflite-int8":
        assert {kind for kind, (taken, of) in found.items() if taken < of} == {"RSQRT", "SOFTMAX"}


def test_hard_swish_of_hundreds_is_right(convert: Any) -> None:
    """Taken apart, what lies beyond 771 came out on the other side, and samples with little of that passed."""
    result = convert("far_hard_swish", "tflite-int8", calibrate=f"{MODELS}:sequences")
    assert (result.status, result.route) == ("PASS", "ptq-w8a8-quantizer"), result.reason
    x = np.linspace(-4, 4, 16 * 48, dtype=np.float32).reshape(1, 16, 48)
    (found,) = LiteRTSession(Path(result.artifact) / "model.tflite").run({"x": x}).values()
    assert np.abs(found - np.where(x > 0, 200 * x, 0)).max() < 8


@pytest.mark.parametrize("target", ["tflite-int8", "tflite-int16x8"])
def test_hard_swish_of_nothing_above_minus_3_does_not_end_the_process(convert: Any, target: str) -> None:
    result = convert("dead_hard_swish", target, calibrate=f"{MODELS}:sequences", allow_mixed=True)
    assert "FAILED" not in [tried.status for tried in result.routes_tried], result.routes_tried


def test_a_sum_that_the_runtime_gets_wrong_is_refused(convert: Any) -> None:
    """Of hundreds, a hard sigmoid is a sum of which LiteRT keeps the last 16 bits."""
    result = convert("far_hard_sigmoid", "tflite-int8", calibrate=f"{MODELS}:sequences")
    (tried,) = [one for one in result.routes_tried if one.route == "ptq-w8a8-quantizer"]
    assert tried.status == "UNSUPPORTED" and "reach much further than its result" in tried.reason, tried


def test_only_squared_differences_from_a_mean_are_taken_apart(convert: Any, tmp_path: Path) -> None:
    """Others may lie at the far end of their range, as (x - 30)^2 does: 58 dB became 52."""
    assert convert("distances", "tflite-fp32", calibrate=f"{MODELS}:sequences").status == "PASS"
    file = tmp_path / "out" / "model.tflite"
    for bits, left in ((8, 1), (16, 2)):
        (graph, *_) = read_subgraphs(packed_model(xnnpack.take_apart(file.read_bytes(), bits), file))
        assert [op.type for op in graph.operators].count("SQUARED_DIFFERENCE") == left


@pytest.mark.parametrize("share", [1e-9, 0.5, 0.99])
def test_a_constant_that_is_tiny_beside_a_sum_keeps_its_values_in_coarser_steps(share: float) -> None:
    """XNNPACK takes no summand whose scale is below 2^-10 of the result's; a range to one side fills all its steps."""
    from ai_edge_litert import schema_py_generated as schema

    scale = 0.5 * xnnpack.FINEST * share
    graph, operator, code, model = schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT(), schema.ModelT()
    graph.tensors, stored = [], schema.BufferT()
    for place, (step, zero) in enumerate([(0.4, 3), (scale, -128), (0.5, 0)]):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = f"t{place}", [256], schema.TensorType.INT8, place % 2
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [step], [zero]
        graph.tensors.append(tensor)
    stored.data = np.arange(-128, 128).astype(np.int8).view(np.uint8)
    operator.inputs, operator.outputs, graph.inputs, graph.outputs = [0, 1], [2], [0], [2]
    graph.operators, code.builtinCode = [operator], schema.BuiltinOperator.ADD
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT(), stored]
    packed = packed_model(xnnpack.coarsen_summands(schema_packed(model, 4096)), Path("model.tflite"))
    (made,) = read_subgraphs(packed)
    constant = made.operators[0].inputs[1]
    assert constant is not None and constant.data is not None
    assert constant.scales[0] >= np.float32(0.5 * xnnpack.FINEST)
    values = (constant.data.view(np.int8).astype(np.float64) - constant.zero_points[0]) * constant.scales[0]
    assert np.abs(values - np.arange(256) * scale).max() < 0.5 * 0.01


@pytest.mark.parametrize(("function", "by"), [("counted_tokens", "RESHAPE"), ("counted_tokens_keras", "GATHER")])
def test_what_is_moved_has_the_range_that_it_is_given(convert: Any, tmp_path: Path, function: str, by: str) -> None:
    """It shares the steps of what it is moved from, or looked up in, which was given none."""
    assert convert(function, "tflite-fp32").status == "PASS"
    file = tmp_path / "out" / "model.tflite"
    (graph, *_) = read_subgraphs(packed_model(file.read_bytes(), file))
    made = [op.outputs[0] for op in graph.operators if op.type == by]
    moved = Range(next(tensor.name for tensor in made if tensor.type == "float32"), -3.0, 2.0)
    ids = np.random.default_rng(0).integers(1, 40, (8, 1, 8))
    request = Request(
        tmp_path, SCHEMES["int8"], True, {"ids": ids}, file, ("ids",), tuple(t.name for t in graph.outputs),
        ranges=(moved,),
    )  # fmt: skip
    written = quantize.static_int8(None, request).file
    found = {one.tensor: one.scale for one in toolchains.ranges_of("litert", written)}
    assert found[moved.tensor] == pytest.approx(moved.scale)


#: What the operators of ``INTEGER_KERNELS`` compute.
FUNCTIONS: dict[str, Any] = {
    "ABS": np.abs,
    "ELU": lambda x: np.where(x > 0, x, np.expm1(x)),
    "EXP": np.exp,
    "LEAKY_RELU": lambda x: np.where(x > 0, x, 0.1 * x),
    "LOG": np.log,
    "RELU_N1_TO_1": lambda x: np.clip(x, -1, 1),
}


@pytest.mark.parametrize(
    ("width", "name"), [(width, name) for width, names in INTEGER_KERNELS.items() for name in names]
)
def test_integer_kernels_are_within_a_step_at_any_scales(width: str, name: str) -> None:
    dtype, rng = np.dtype(width.lower()), np.random.default_rng(0)
    x = np.linspace(0.1, 4, 200) if name == "LOG" else np.linspace(-3, 3, 200)
    y = FUNCTIONS[name](x)
    for _ in range(5):
        most = np.iinfo(dtype).max
        scales = [
            np.abs(values).max() / most * rng.uniform(1, 2) * (1.2 if width == "INT8" else 1) for values in (x, y)
        ]
        zeros = [int(zero) for zero in (rng.integers(-20, 20, 2) if width == "INT8" else (0, 0))]
        steps = np.clip(np.round(x / scales[0] + zeros[0]), -most - 1, most).astype(dtype)
        wanted = FUNCTIONS[name]((steps.astype(np.float64) - zeros[0]) * scales[0]) / scales[1] + zeros[1]
        found = run_alone(name, width, steps, scales, zeros)
        inside = (wanted > -most - 1) & (wanted < most)
        assert np.abs(found - wanted)[inside].max() < 1, (name, scales, zeros)


def run_alone(name: str, width: str, steps: Any, scales: list[float], zeros: list[int]) -> Any:
    """What LiteRT's kernel makes of integers with these scales and zero points."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    graph, operator, code, model = schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT(), schema.ModelT()
    graph.tensors = []
    for place in range(2):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = f"t{place}", list(steps.shape), 0
        tensor.type, tensor.quantization = getattr(schema.TensorType, width), schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scales[place]], [zeros[place]]
        graph.tensors.append(tensor)
    if name == "LEAKY_RELU":
        operator.builtinOptionsType, operator.builtinOptions = (
            schema.BuiltinOptions.LeakyReluOptions,
            schema.LeakyReluOptionsT(),
        )
        operator.builtinOptions.alpha = 0.1
    operator.inputs, operator.outputs, graph.inputs, graph.outputs = [0], [1], [0], [1]
    graph.operators = [operator]
    number = getattr(schema.BuiltinOperator, name)
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    interpreter = Interpreter(model_content=bytes(builder.Output()))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], steps)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).astype(np.float64)
