"""`edgekit benchmark` on real files: artifacts, files of anybody's, several in turns, and bad ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import edgekit
from edgekit.bench import measuring, rows
from edgekit.bench.measuring import Asked
from edgekit.bench.row import Row
from edgekit.cli.main import app, run
from edgekit.errors import DamagedFileError, UnsafeInputError, UsageError
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.proof.speed import steady

pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnxruntime")

#: Short: what is measured matters here, not how well.
SHORT = Asked(seconds=0.3, yardstick=False, profile=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, workers: Workers, store: Store) -> Path:
    """Artifacts of one model, and of one that carries states."""
    made = tmp_path_factory.mktemp("artifacts")
    for source, target in (
        ("mlp@torch", "tflite-int8"),
        ("mlp@torch", "onnxruntime-fp32"),
        ("mlp@torch", "openvino-fp32"),
        ("mlp@torch", "coreml-fp16"),
        ("denoiser_rnn@torch", "onnxruntime-fp32"),
        ("gpt@torch", "onnxruntime-fp32"),
    ):
        output = made / f"{source.split('@')[0]}-{target}"
        result = edgekit.convert(source, target, output=output, latency=False, workers=workers, store=store)
        assert result.status == "PASS", result.reason
    return made


def file_of(artifact: Path) -> Path:
    [part] = json.loads((artifact / "manifest.json").read_text())["parts"].values()
    return artifact / part["file"]


def test_an_artifact(folder: Path) -> None:
    [row] = measuring.measure([folder / "mlp-tflite-int8"], SHORT)
    found = row.measured
    assert found is not None
    assert (row.status, row.cell.model, row.cell.target, row.cell.device) == ("PASS", "mlp", "tflite-int8", "cpu")
    assert found.precision == "int8"
    assert (found.threads, found.unit, found.inputs, found.steps) == (1, "cpu", "golden", 1)
    assert found.wall.p90_ms is not None and found.wall.min_ms <= found.wall.p50_ms <= found.wall.p90_ms
    assert found.import_ms is not None and found.import_ms > 0 < found.load_ms
    assert found.peak_rss_bytes is not None and found.model_rss_bytes is not None
    assert 0 <= found.model_rss_bytes < found.peak_rss_bytes
    assert found.ops_delegated is not None and found.ops_total is not None
    assert row.accuracy is not None and row.accuracy.split == "test"
    assert ("NOISY" in row.flags) == found.noisy
    assert Row.model_validate(row.to_json()) == row


def test_several_are_timed_in_turns_and_compared(folder: Path, tmp_path: Path) -> None:
    paths = [folder / "mlp-onnxruntime-fp32", folder / "mlp-openvino-fp32", file_of(folder / "mlp-tflite-int8")]
    kept = tmp_path / "rows.jsonl"
    found = measuring.measure(paths, SHORT, keep=lambda row: rows.append(kept, [row]))
    assert [row.made.path for row in found] == [str(path) for path in paths]
    measured = [row.measured for row in found if row.measured]
    assert len({len(one.blocks.cpu_ms) for one in measured}) == 1
    assert rows.read(kept) == found
    ratios = measuring.ratios(found)
    assert len(ratios) == (0 if measured[0].noisy else sum(not one.noisy for one in measured[1:]))


def test_a_file_of_anybodys_gets_drawn_inputs_that_are_said(folder: Path, tmp_path: Path) -> None:
    file = shutil.copy(file_of(folder / "mlp-onnxruntime-fp32"), tmp_path / "theirs.onnx")
    [row] = measuring.measure([Path(file)], SHORT)
    assert row.measured is not None
    assert (row.measured.inputs, row.measured.precision, row.cell.target) == ("generated", "f32", None)
    with np.load(folder / "mlp-onnxruntime-fp32" / "golden.npz") as golden:
        given = {name[3:]: golden[name] for name in golden.files if name.startswith("in/")}
    np.savez(tmp_path / "mine.npz", **given)
    [row] = measuring.measure([Path(file)], Asked(**{**vars(SHORT), "inputs": tmp_path / "mine.npz"}))
    assert row.measured is not None and row.measured.inputs == "given"


def test_a_stateful_model_runs_its_sequence(folder: Path) -> None:
    [row] = measuring.measure([folder / "denoiser_rnn-onnxruntime-fp32"], SHORT)
    assert row.measured is not None
    assert row.measured.steps > 1


def test_a_model_that_writes_says_how_many_tokens(folder: Path) -> None:
    [row] = measuring.measure([folder / "gpt-onnxruntime-fp32"], SHORT)
    assert row.measured is not None and row.measured.tokens is not None
    tokens = row.measured.tokens
    assert tokens.prompt + tokens.written == 32
    each = 1e3 / tokens.tokens_per_s
    assert 0.3 < each / row.measured.wall.p50_ms < 30  # a run over the window each, on a machine that may be busy


def test_operators_by_the_runtimes_own_profilers(folder: Path) -> None:
    asked = Asked(seconds=0.1, yardstick=False)
    for name in ("mlp-onnxruntime-fp32", "mlp-openvino-fp32"):
        [row] = measuring.measure([folder / name], asked)
        assert row.measured is not None and row.measured.operators, name
        times = [operator.ms for operator in row.measured.operators]
        assert times == sorted(times, reverse=True)
    [row] = measuring.measure([folder / "mlp-tflite-int8"], asked)
    assert row.measured is not None and row.measured.operators == ()  # LiteRT's Python tells none


def test_the_yardstick_is_the_same_target(folder: Path) -> None:
    [row] = measuring.measure([folder / "mlp-onnxruntime-fp32"], Asked(seconds=0.3, profile=False))
    assert row.measured is not None and row.measured.of_square_matmul is not None
    assert 0 < row.measured.of_square_matmul < 1.5


def test_a_stand_in_gives_no_latency(folder: Path) -> None:
    [row] = measuring.measure([folder / "mlp-coreml-fp16"], SHORT)
    assert (row.status, row.measured) == ("NOT_RUN", None)
    assert "says nothing about a device" in row.reason


def test_units_that_are_not_here_are_not_run(folder: Path) -> None:
    found = measuring.measure(
        [folder / "mlp-openvino-fp32", folder / "mlp-onnxruntime-fp32"], Asked(unit="npu", seconds=0.1, yardstick=False)
    )
    assert [row.status for row in found] == ["NOT_RUN"] * 2
    assert all("CPU" in row.reason for row in found)


def test_loadgen_agrees_with_our_own_loop(folder: Path) -> None:
    """Its percentiles on the same session, in CPU time: other work on the machine moves wall times."""
    pytest.importorskip("mlperf_loadgen")
    path = [folder / "gpt-onnxruntime-fp32"]
    asked = {"seconds": 1.0, "yardstick": False, "profile": False}
    ratios = []
    for _ in range(3):
        [own], [theirs] = (measuring.measure(path, Asked(**asked, engine=engine)) for engine in ("edgekit", "loadgen"))
        assert own.measured is not None and theirs.measured is not None
        assert theirs.measured.engine == "loadgen"
        assert theirs.measured.wall.n >= steady.ENOUGH[90]
        ratios.append(own.measured.wall.min_ms / theirs.measured.wall.min_ms)
    assert np.median(ratios) == pytest.approx(1, abs=0.1)


def test_an_edited_artifact_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "edited"
    shutil.copytree(folder / "mlp-tflite-int8", copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["accuracy"]["drop"] = -1
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UnsafeInputError, match=r"manifest\.json is altered"):
        measuring.measure([copy], SHORT)


def test_a_damaged_file_is_said_before_anything_is_measured(folder: Path, tmp_path: Path) -> None:
    whole = file_of(folder / "mlp-tflite-int8")
    torn = tmp_path / "torn.tflite"
    torn.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DamagedFileError):
        measuring.measure([torn, whole], SHORT)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nothing.tflite"], 2, "no such file"),
        (["{mlp}", "--device", "tpu"], 2, "none of cpu, gpu, npu"),
        (["{mlp}", "--threads", "0"], 2, "--threads 0 is below 1"),
        (["{mlp}", "--cpus", "x"], 2, "no list of cores"),
        (["{mlp}", "--sustain", "soon"], 2, "no duration"),
        (["{mlp}", "--engine", "mlperf"], 2, "none of edgekit, loadgen"),
        (["{mlp}", "--inputs", "nothing.npz"], 2, "no such file: nothing.npz"),
        (["{mlp}", "--cpus", "4096", "--seconds", "0.1"], 9, "no core 4096"),
        (["."], 2, "holds no manifest.json"),
    ],
)
def test_bad_input_is_one_document(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    given = [argument.format(mlp=folder / "mlp-tflite-int8") for argument in arguments]
    assert run(["benchmark", *given, "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert said in json.dumps(document)
    assert document["status"] != "PASS"


def test_a_file_that_leaves_its_shape_open_says_what_to_give(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "open",
        [value("x", 1, ["n", 4])],
        [value("y", 1, ["n", 4])],
    )
    file = tmp_path / "open.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), file)
    with pytest.raises(UsageError, match="not fixed") as raised:
        measuring.measure([file], SHORT)
    assert "`edgekit benchmark` --input" in (raised.value.hint or "")


def test_help() -> None:
    assert CliRunner().invoke(app, ["benchmark", "--help"]).exit_code == 0
