"""The LiteRT toolchain on real conversions of small models, one child per framework, and its known traps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import toolchains
from edgekit.errors import DamagedFileError, UnsupportedError, UsageError
from edgekit.jobs.workers import Workers
from edgekit.proof.precision import shortfall
from edgekit.result import Inspected
from edgekit.schemes import SCHEMES
from edgekit.toolchains import Request
from edgekit.toolchains.litert.compact import compact, short_name
from edgekit.toolchains.litert.graph import read_subgraphs
from edgekit.toolchains.litert.passes import names as naming
from edgekit.toolchains.litert.schema import packed_model
from tests.contract.conftest import inside

pytest.importorskip("ai_edge_litert")
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))
from litert_child import MORE, PRECISION, ROUTES  # noqa: E402

FRAMEWORKS = ("keras", "torch")
MODELS = ("conv", "lstm", "attention")
#: The lowest SQNR in dB of each precision on these untrained models; int8 noise alone gives 20 to 50.
LEAST_DB = {"fp32": 95, "fp16": 55, "int8": 18, "int8-dynamic": 25, "int16x8": 24, "int4-dynamic": 12}
#: Routes that say that they cannot, and what they say.
REFUSED = {
    ("keras", "long", "ptq-w8a8-quantizer"): "loop over time",
    ("keras", "long", "ptq-w8a16-quantizer"): "loop over time",
    ("keras", "lstm", "ptq-w8a16-converter"): "float inputs only",
    **{("keras", "conv", f"ptq-{bits}-quantizer-unrolled"): "no recurrent Keras layer" for bits in ("w8a16", "w8a8")},
    ("keras", "attention", "ptq-w8a16-converter"): "float inputs only",
}
#: Files that are not what was asked, which the audit must say (nn.LSTM is one opaque node to PT2E).
#: Depthwise and transposed kernels hold half of that network's weights.
SHORT = {("torch", "lstm", "ptq-w8a8-pt2e"), ("keras", "conv", "dynamic-w4a8-quantizer")}
#: Files that compute partly in float: what is not convolutions and products, and what PT2E's quantizer does not know.
MIXED = {(f, m, "ptq-w8a8-quantizer-matmuls") for f in FRAMEWORKS for m in MODELS} | {
    ("torch", "attention", "ptq-w8a8-pt2e")
}
CELLS = [(f, m, r) for f in FRAMEWORKS for m in MODELS for r in ROUTES[f]]
CELLS += [("keras", "long", route) for route in MORE["keras", "long"]]
CELLS += [
    ("keras", model, route)
    for model in ("conv", "lstm")
    for route in ("ptq-w8a16-quantizer-unrolled", "ptq-w8a8-quantizer-unrolled")
]
#: Padded max pooling is PADV2 with -inf: an infinite scale, on which the runtime aborts, unless the route bounds it.
CELLS += [("torch", "pool", route) for route in MORE["torch", "pool"]]
#: A factor per channel behind a product, which becomes a bias of four axes: the runtime opened no int8 file of it.
CELLS += [("torch", "scaled", route) for route in MORE["torch", "scaled"]]


def child(framework: str, folder: Path, *models: str) -> None:
    """Run the conversions of one framework in a process of its own."""
    variables = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONHASHSEED": str(len(models)),
    }
    command = [sys.executable, str(Path(__file__).parent / "litert_child.py"), framework, str(folder), *models]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> Path:
    """All conversions."""
    folder = tmp_path_factory.mktemp("litert")
    for framework in FRAMEWORKS:
        more = ("long", "attention_infinite") if framework == "keras" else ("pool", "scaled")
        environment = "torch" if framework == "torch" else "keras-tensorflow"
        asked = (framework, str(folder / framework), *MODELS, *more)
        inside(workers, "../litert_child.py", *asked, environment=environment)
    return folder


def sqnr(reference: np.ndarray[Any, Any], measured: np.ndarray[Any, Any]) -> float:
    """Signal to quantization noise in dB."""
    noise = np.square(reference.astype(np.float64) - measured).sum()
    return float(10 * np.log10(np.square(reference.astype(np.float64)).sum() / max(noise, 1e-300)))


def worst_db(folder: Path, route: str) -> float:
    """SQNR of the worst output over the test samples, each in a session without state."""
    session = toolchains.open_session("litert", folder / route / "model.tflite", toolchains.Options(SCHEMES["fp32"]))
    inputs, reference = np.load(folder / "samples.npz"), np.load(folder / "reference.npz")
    rows = [session.run({k: inputs[k][i : i + 1] for k in inputs.files}) for i in range(8)]
    return min(sqnr(reference[k], np.concatenate([row[k] for row in rows])) for k in reference.files)


@pytest.mark.parametrize(("framework", "model", "route"), CELLS)
def test_every_route(files: Path, framework: str, model: str, route: str) -> None:
    folder = files / framework / model
    outcome = json.loads((folder / "outcome.json").read_text())[route]
    if (framework, model, route) in REFUSED:
        assert outcome.startswith("UnsupportedError")
        assert REFUSED[framework, model, route] in outcome
        return
    assert isinstance(outcome, list), outcome
    precision = PRECISION[route]
    audit = toolchains.audit("litert", folder / route / "model.tflite")
    missing = shortfall(SCHEMES[precision], audit, integer_io=SCHEMES[precision].needs_calibration)
    if (framework, model, route) in SHORT:
        assert "%" in missing
        return
    if (framework, model, route) in MIXED:  # PT2E leaves an input before an embedding's sum
        assert missing.startswith(("not full integer", "inputs or outputs stayed float: context"))
    else:
        assert missing == ""
    assert {t.name: t.shape[1:] for t in audit.outputs} == {
        k: a.shape[1:] for k, a in np.load(folder / "reference.npz").items()
    }
    assert {t.name for t in audit.inputs} == set(np.load(folder / "samples.npz").files)
    assert worst_db(folder, route) >= LEAST_DB[precision]


def test_a_table_of_keras_has_4_bits_and_stays_a_layer_of_its_name(files: Path) -> None:
    folder = files / "keras/attention"
    (before,) = (o for o in toolchains.audit("litert", folder / "export-converter/model.tflite").layers if o.macs == 0)
    (table,) = (
        o for o in toolchains.audit("litert", folder / "dynamic-w4a8-quantizer/model.tflite").layers if o.macs == 0
    )
    assert (before.operator, table.operator) == ("GATHER", "EMBEDDING_LOOKUP")
    assert (table.name, table.kind, table.shape) == (before.name, "embedding", before.shape)
    assert (table.weight_type, table.granularity) == ("int4", "channel")


def test_static_recurrent_files_are_unrolled_and_short_float_ones(files: Path) -> None:
    audit = toolchains.audit("litert", files / "keras/lstm/ptq-w8a8-quantizer-matmuls/model.tflite")
    assert audit.macs_quantized_share == 1.0
    assert audit.macs_total == toolchains.audit("litert", files / "keras/lstm/export-converter/model.tflite").macs_total
    long, apart = (
        files / f"keras/long/{route}/model.tflite" for route in ("export-converter", "ptq-w8a16-quantizer-unrolled")
    )
    assert (
        toolchains.audit("litert", long).ops_total < toolchains.audit("litert", apart).ops_total / 10
    )  # the body of a loop counts once


def test_steps_of_an_embedding_reach_an_unrolled_layer_in_int8(files: Path) -> None:
    file = files / "keras/lstm/ptq-w8a8-quantizer-matmuls/model.tflite"
    [graph] = read_subgraphs(packed_model(file.read_bytes(), file))
    steps = [t for o in graph.operators if o.type == "UNPACK" and o.outputs[0].type == "int8" for t in o.outputs]
    readers = [o.type for o in graph.operators if any(t in steps for t in o.inputs)]
    assert readers and "QUANTIZE" not in readers and "DEQUANTIZE" not in readers


def test_operators_that_the_quantizer_does_not_know_compute_in_integers_where_litert_can(files: Path) -> None:
    for route, kind in (("ptq-w8a8-quantizer", "int8"), ("ptq-w8a16-quantizer", "int16")):
        file = files / f"torch/pool/{route}/model.tflite"
        [graph] = read_subgraphs(packed_model(file.read_bytes(), file))
        [leaky] = [operator for operator in graph.operators if operator.type == "LEAKY_RELU"]
        assert [t.type for t in (leaky.inputs[0], leaky.outputs[0]) if t is not None] == [kind, kind]
        assert "DEQUANTIZE" not in [operator.type for operator in graph.operators]


def test_macs_are_those_of_the_formula(files: Path) -> None:
    audit = toolchains.audit("litert", files / "keras/conv/ptq-w8a8-converter/model.tflite")
    conv, depthwise, transposed, dense = 8 * 8 * 8 * 27, 8 * 8 * 8 * 9, 8 * 8 * 8 * 6 * 4, 6 * (3 + 5)
    assert audit.macs_total == audit.macs_quantized == conv + depthwise + transposed + dense
    assert audit.weight_elements["int8"] == 8 * 27 + 8 * 9 + 8 * 6 * 4 + 6 * 8


def test_delegation_is_counted(files: Path) -> None:
    for route, share in (
        ("export-converter", 1),
        ("ptq-w8a8-converter", 1),
        ("cast-wf16-quantizer", 1),
        ("ptq-w8a16-converter", 0),
    ):
        file = files / "keras/conv" / route / "model.tflite"
        assert (
            toolchains.open_session("litert", file, toolchains.Options(SCHEMES["fp32"])).ops_delegated
            == share * toolchains.audit("litert", file).ops_total
        )


def test_execution_precision_is_read_back(files: Path) -> None:
    said = {
        r: toolchains.open_session(
            "litert", files / "keras/conv" / r / "model.tflite", toolchains.Options(SCHEMES["fp32"])
        ).precision
        for r in ROUTES["keras"]
    }
    assert said["export-converter"] == "f32"
    assert said["ptq-w8a8-converter"] == said["ptq-w8a8-quantizer"] == "int8"
    assert said["ptq-w8a16-converter"] == "int16x8"
    assert said["cast-wf16-quantizer"] == "f32 (float16 weights, widened on load)"
    assert said["dynamic-w8a8-quantizer"] == "integer weights, activations quantized at run time"


def test_depthwise_layers_are_stored_in_int8_and_run_by_xnnpack_in_float(files: Path) -> None:
    everything, products = (
        files / f"keras/conv/dynamic-w8a8-quantizer{kind}/model.tflite" for kind in ("", "-nodepthwise")
    )
    audits = [toolchains.audit("litert", file) for file in (everything, products)]
    assert [op.partition(":")[0] for op in audits[1].float_ops] == ["DEPTHWISE_CONV_2D"]
    assert audits[0].weight_elements == audits[1].weight_elements and audits[1].float_weights == ()
    assert audits[0].macs_quantized == audits[0].macs_total
    assert audits[1].macs_quantized == audits[1].macs_total - 8 * 8 * 8 * 9
    # The kernel that quantizes activations of a depthwise layer at run time is not XNNPACK's.
    delegated = [
        toolchains.open_session("litert", file, toolchains.Options(SCHEMES["int8-dynamic"])).ops_delegated
        for file in (everything, products)
    ]
    assert delegated[0] < toolchains.audit("litert", everything).ops_total
    assert delegated[1] > delegated[0]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_norms_and_softmax_may_stay_float_which_is_closer_and_said(files: Path, framework: str) -> None:
    folder = files / framework / "attention"
    everything, products = (
        toolchains.audit("litert", folder / f"ptq-w8a8-quantizer{kind}/model.tflite") for kind in ("", "-matmuls")
    )
    assert products.ops_quantized < everything.ops_quantized
    assert worst_db(folder, "ptq-w8a8-quantizer-matmuls") > worst_db(folder, "ptq-w8a8-quantizer")
    assert {t.dtype for t in products.outputs} == {"int8"}
    assert products.weight_elements["int8"] > 0.9 * sum(products.weight_elements.values())
    assert {"ADD", "SOFTMAX"} <= set(products.ops_float or {})
    assert shortfall(SCHEMES["int8"], products, integer_io=True).startswith("not full integer: ADD x")
    assert not set(everything.ops_float or {}) - set(everything.ops_float_only)  # Keras's NEG, PyTorch's lookup
    assert shortfall(SCHEMES["int8"], everything, integer_io=True) == ""


@pytest.mark.parametrize(
    ("name", "short"),
    [
        (
            "n.Net;;n.Net/n.Block_3/n.Bn_norm;;n.Net/n.Block_3/torch.nn.modules.conv.Conv2d_conv;",
            "Net/Block_3/Conv2d_conv",
        ),
        ("torch.nn.modules.linear.Linear_logits;1", "Linear_logits"),
        ("net/relu/Relu6;net/norm/add_1;net/conv/convolution", "net/relu/Relu6"),
        ("stages.0/relu/Relu;stages.0/convolution", "stages.0/relu/Relu"),
        ("constant7", "constant7"),
        (";", ";"),
        ("a.Net;a.Net/torch.nn.modules.conv.Conv2d_conv;_fp16", "Net/Conv2d_conv_fp16"),
        ("a.Net;a.Net/torch.nn.modules.conv.Conv2d_conv;2_quantized", "Net/Conv2d_conv_quantized"),
    ],
)
def test_a_tensor_is_named_after_one_operator(name: str, short: str) -> None:
    assert short_name(name) == short


def test_keras_embedding_tables_are_int8_without_samples(files: Path) -> None:
    audit = toolchains.audit("litert", files / "keras/attention/dynamic-w8a8-quantizer-nodepthwise/model.tflite")
    assert audit.weight_elements["int8"] > 0.9 * sum(audit.weight_elements.values())
    assert not [op for op in audit.float_ops if op.startswith("GATHER")]


def test_names_of_a_chosen_file_are_short_and_unique_and_those_of_the_borders_stay(files: Path, tmp_path: Path) -> None:
    for framework, before in (("keras", "serving_default_image:0"), ("torch", "serving_default_args_0")):
        file = files / framework / "conv" / "ptq-w8a8-quantizer" / "model.tflite"
        long = compact(file, tmp_path)
        assert long is not None
        content = (tmp_path / file.name).read_bytes()
        graph = packed_model(content, Path("model.tflite")).Subgraphs(0)
        names = [graph.Tensors(i).Name().decode() for i in range(graph.TensorsLength())]
        assert len(set(names)) == len(names)
        assert any(name.startswith(before) for name in names)
        assert max(map(len, names)) < 80, max(names, key=len)
        before = packed_model(file.read_bytes(), file).Subgraphs(0)
        full = [before.Tensors(i).Name().decode() for i in range(before.TensorsLength())]
        assert [long.values.get(name, name) for name in names] == full, "names.json gives each tensor's full name"


def test_pt2e_with_identities_kept_is_found(files: Path) -> None:
    """Dropout keeps an observer of its own; the bias is then quantized with a scale that is not there any more."""
    folder = files / "torch/conv"
    broken = toolchains.audit("litert", folder / "ptq-w8a8-pt2e-with-identities/model.tflite")
    assert any("bias scale" in finding for finding in broken.findings)
    assert worst_db(folder, "ptq-w8a8-pt2e-with-identities") < worst_db(folder, "ptq-w8a8-pt2e") - 10


def test_infinite_mask_leaves_the_scores_their_steps(files: Path) -> None:
    """26.5 dB with its range bounded; below 15 as the quantizer has it."""
    assert worst_db(files / "keras/attention_infinite", "ptq-w8a8-quantizer") > 22
    assert worst_db(files / "keras/attention_infinite", "export-converter") > LEAST_DB["fp32"]


def test_blockwise_no_op_is_not_int8(files: Path, tmp_path: Path) -> None:
    """ai-edge-quantizer's weight-only blockwise recipe leaves every weight in float, without an error."""
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe = RecipeManager()
    recipe.add_weight_only_config(
        regex=".*", operation_name=qtyping.TFLOperationName.ALL_SUPPORTED, num_bits=4,
        granularity=qtyping.QuantGranularity.BLOCKWISE_32,
    )  # fmt: skip
    source = files / "torch/attention/export-litert-torch/model.tflite"
    made = quantizer.Quantizer(str(source), recipe.get_quantization_recipe()).quantize(enable_progress_report=False)
    (tmp_path / "no_op.tflite").write_bytes(bytes(made.quantized_model))
    assert "only 0%" in shortfall(SCHEMES["int8-dynamic"], toolchains.audit("litert", tmp_path / "no_op.tflite"))


def test_calibration_keeps_the_true_range(files: Path, tmp_path: Path) -> None:
    """The quantizer's own moving average would forget 95 % of one outlier."""
    folder = files / "keras/conv"
    samples = {k: a[:, None].copy() for k, a in np.load(folder / "calibration.npz").items()}
    samples["image"][3, 0, 0, 0, 0] = 100.0
    request = Request(
        tmp_path,
        SCHEMES["int8"],
        True,
        samples,
        folder / "export-converter/model.tflite",
        ("image",),
        ("aux", "logits"),
    )
    made = toolchains.routes("litert")["ptq-w8a8-quantizer"].convert(None, request)
    (image,) = toolchains.audit("litert", made.file).inputs
    assert image.scale == pytest.approx((100.0 - samples["image"].min()) / 255, rel=1e-3)


def test_flex_operators_are_found(files: Path) -> None:
    file = files / "keras/flex.tflite"
    assert any("SELECT_TF_OPS" in finding for finding in toolchains.audit("litert", file).findings)
    with pytest.raises(UnsupportedError, match="outside LiteRT"):
        toolchains.open_session("litert", file, toolchains.Options(SCHEMES["fp32"]))


def test_reset_forgets_the_state_of_a_fused_lstm(files: Path) -> None:
    session = toolchains.open_session("litert", files / "keras/fused.tflite", toolchains.Options(SCHEMES["fp32"]))
    (name,) = (t.name for t in toolchains.audit("litert", files / "keras/fused.tflite").inputs)
    sample = {name: np.random.default_rng(0).normal(size=(1, 6, 4)).astype(np.float32)}
    (first,), (second,) = session.run(sample).values(), session.run(sample).values()
    session.reset()
    (again,) = session.run(sample).values()
    assert not np.array_equal(first, second)
    assert np.array_equal(first, again)


def test_damaged_files_never_crash_the_audit(files: Path, tmp_path: Path) -> None:
    content = (files / "keras/attention/ptq-w8a8-converter/model.tflite").read_bytes()
    rng, file = np.random.default_rng(0), tmp_path / "damaged.tflite"
    found, start = 0, time.process_time()
    for turn in range(150):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), 1 + turn % 40):
            damaged[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged[: rng.integers(1, len(content))] if turn % 5 == 0 else damaged)
        try:
            assert isinstance(toolchains.audit("litert", file), Inspected)
        except DamagedFileError:
            found += 1
    assert found >= 30
    assert time.process_time() - start < 60
    for whole in (b"", b"TFL3", content[:40], b"\0" * 100):
        file.write_bytes(whole)
        with pytest.raises(DamagedFileError):
            toolchains.audit("litert", file)
        with pytest.raises(DamagedFileError):
            toolchains.open_session("litert", file, toolchains.Options(SCHEMES["fp32"]))


def _altered(file: Path, out: Path, change: Any) -> Inspected:
    """The audit of a file whose tensors ``change`` was applied to."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as tables

    model = tables.ModelT.InitFromObj(packed_model(file.read_bytes(), file))
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    out.write_bytes(bytes(builder.Output()))
    return toolchains.audit("litert", out)


def _conv_weights(model: Any) -> Any:
    graph = model.subgraphs[0]
    return graph.tensors[graph.operators[0].inputs[1]]


def test_static_checks_see_wrong_scales_and_weights(files: Path, tmp_path: Path) -> None:
    int8, out = files / "keras/conv/ptq-w8a8-converter/model.tflite", tmp_path / "altered.tflite"
    assert _altered(int8, out, lambda model: None).findings == ()

    def zero_scale(model: Any) -> None:
        _conv_weights(model).quantization.scale = np.zeros(8, np.float32)

    def zero_point(model: Any) -> None:
        _conv_weights(model).quantization.zeroPoint = np.full(8, 3, np.int64)

    def one_scale(model: Any) -> None:
        _conv_weights(model).quantization.scale = np.full(1, 0.1, np.float32)

    def not_a_number(model: Any) -> None:
        data = np.asarray(model.buffers[_conv_weights(model).buffer].data).view(np.float32).copy()
        data[0] = np.nan
        model.buffers[_conv_weights(model).buffer].data = data.view(np.uint8)

    for change, said in ((zero_scale, "scale that is zero"), (zero_point, "zero point"), (one_scale, "1 scales for 8")):
        assert any(said in finding for finding in _altered(int8, out, change).findings)
    floats = files / "keras/conv/export-converter/model.tflite"
    assert any("NaN" in finding for finding in _altered(floats, out, not_a_number).findings)


def test_the_session_checks_its_inputs(files: Path) -> None:
    session = toolchains.open_session(
        "litert", files / "keras/conv/ptq-w8a8-converter/model.tflite", toolchains.Options(SCHEMES["int8"])
    )
    image = np.zeros((1, 16, 16, 3), np.float32)
    with pytest.raises(UsageError, match="picture"):
        session.run({"picture": image})
    with pytest.raises(UsageError, match="shape"):
        session.run({"image": image[:, :8]})
    with pytest.raises(UsageError, match="int64"):
        session.run({"image": image.astype(np.int64)})
    outputs = session.run({"image": image + 1e9})  # clamped, not wrapped around
    same = session.run({"image": image + 1e6})
    assert all(np.array_equal(outputs[k], same[k]) and outputs[k].dtype == np.float32 for k in outputs)
    session.bind({"image": image})()


def test_static_routes_need_samples(files: Path, tmp_path: Path) -> None:
    request = Request(
        tmp_path,
        SCHEMES["int8"],
        True,
        None,
        files / "keras/conv/export-converter/model.tflite",
        ("image",),
        ("a", "b"),
    )
    for calibration in (None, {"image": np.empty((0, 1, 16, 16, 3), np.float32)}):
        with pytest.raises(UsageError, match="calibration"):
            toolchains.routes("litert")["ptq-w8a8-quantizer"].convert(None, replace(request, calibration=calibration))


@pytest.mark.parametrize("framework", ["keras", pytest.param("torch", marks=pytest.mark.nightly)])
def test_the_same_conversion_gives_the_same_bytes(files: Path, tmp_path: Path, framework: str) -> None:
    child(framework, tmp_path / "again", "conv")
    made = sorted((tmp_path / "again/conv").glob("*/model.tflite"))
    assert len(made) >= 6
    for file in made:
        route = file.parent.name
        assert file.read_bytes() == (files / framework / "conv" / route / "model.tflite").read_bytes(), route


def test_names_numbered_by_the_converter_map_in_order() -> None:
    found = ["output_10", "output_2", *(f"output_{i}" for i in (0, 1, 3, 4, 5, 6, 7, 8, 9))]
    names = naming.match_names(found, [f"head{i}" for i in range(11)], "output")
    assert names["output_10"] == "head10"
    assert names["output_2"] == "head2"


def test_float16_reaches_the_tables_that_keras_looks_up_in(files: Path) -> None:
    """ai-edge-quantizer leaves them in float32, and stores a table twice that is the last layer's weights as well."""
    audit = toolchains.audit("litert", files / "keras/attention/cast-wf16-quantizer/model.tflite")
    assert audit.weight_elements["float16"] > 0.9 * sum(audit.weight_elements.values()), audit.weight_elements
