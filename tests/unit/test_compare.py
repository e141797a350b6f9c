"""`edgekit compare`: cells are matched, nothing is dropped in silence, exit codes and words are as promised."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import cli
from edgekit.artifact import contents
from edgekit.bench import rows, stamp
from edgekit.bench.compare import comparing, pairs, timing, words
from edgekit.bench.compare.pairs import Measuring
from edgekit.bench.compare.values import Comparison, Finding, Limits, Verdict, What
from edgekit.bench.measuring import Subject
from edgekit.bench.row import Cell, Code, Made, Row
from edgekit.proof.speed.measurement import Blocks, Conditions, Measured, Spread
from edgekit.proof.speed.opened import Contender
from edgekit.result import Accuracy, Proof
from edgekit.schemes import FP32
from edgekit.toolchains import Options

CELL = Cell(model="lenet5", framework="torch", target="tflite-int8")


def spread(ms: float) -> Spread:
    return Spread(
        n=40, min_ms=ms, p50_ms=ms, p90_ms=None, p99_ms=None, mean_ms=ms, mad_ms=0.0, p50_ci95_ms=(ms, ms)
    )  # fmt: skip


def measured(ms: float = 1.0, *, seed: int = 0, noisy: tuple[str, ...] = (), **more: Any) -> Measured:
    times = tuple(float(ms * t) for t in np.exp(np.random.default_rng(seed).normal(0, 0.003, 40)))
    conditions = Conditions(
        wall_over_cpu=1.0, interruptions_per_s=0.0, clock_drift=0.0, steal_share=None, load_before=None,
        load_after=None, clock_mhz_before=None, clock_mhz_after=None, temperature_c_before=None,
        temperature_c_after=None, governor=None, noisy_because=noisy,
    )  # fmt: skip
    fields = {
        "by": "null 1.0", "unit": "cpu", "threads": 1, "pinned_cpus": (), "precision": "int8", "ops_delegated": None,
        "ops_total": None, "import_ms": None, "load_ms": 1.0, "first_ms": 1.0, "wall": spread(ms), "cpu": spread(ms),
        "blocks": Blocks(calls=1, cpu_ms=times, wall_ms=times), "peak_rss_bytes": 50_000_000, "model_rss_bytes": None,
        "conditions": conditions, "inputs": "golden", **more,
    }  # fmt: skip
    return Measured.model_validate(fields)


def accuracy(flips: tuple[int, int] = (5, 5), n: int = 2000) -> Accuracy:
    drop = (flips[0] - flips[1]) / n
    return Accuracy(
        metric="top1", higher_is_better=True, samples=n, float_=0.9, checkpoint=0.9, artifact=0.9 - drop, drop=drop,
        drop_ci95=(drop - 0.005, drop + 0.005), agreement=None, flips=flips, split="test",
    )  # fmt: skip


def row(cell: Cell = CELL, **more: Any) -> Row:
    fields = {
        "cell": cell, "status": "PASS", "proof": Proof(kind="runtime", by="null"), "code": Code(edgekit="0"),
        "made": Made(sha256="a", size_bytes=100_000), "accuracy": accuracy(), "measured": measured(),
        "fingerprint": "here", "at": stamp.now(), **more,
    }  # fmt: skip
    return Row.model_validate(fields)


def files(tmp_path: Path, old: Sequence[Row], new: Sequence[Row]) -> tuple[Path, Path]:
    for name, some in (("old", old), ("new", new)):
        rows.append(tmp_path / f"{name}.jsonl", some)
    return tmp_path / "old.jsonl", tmp_path / "new.jsonl"


def compared(tmp_path: Path, old: Row, new: Row, limits: Limits | None = None) -> Comparison:
    return comparing.compare(*files(tmp_path, [old], [new]), limits)


def find(found: Comparison, what: What) -> Finding:
    finding = found.cells[0].find(what)
    assert finding is not None
    return finding


B = Made(sha256="b", size_bytes=100_000)


@pytest.mark.parametrize(
    ("new", "what", "verdict", "code"),
    [
        (row(), "latency", "UNDECIDED", 0),
        (row(measured=measured(1.2, seed=1)), "latency", "WORSE", 5),
        (row(measured=measured(0.8, seed=1)), "latency", "BETTER", 0),
        (row(made=Made(sha256="b", size_bytes=102_000)), "size", "WORSE", 5),
        (row(made=Made(sha256="b", size_bytes=100_900)), "size", "SAME", 0),
        (row(made=Made(sha256="b", size_bytes=50_000)), "size", "BETTER", 0),
        (row(measured=measured(seed=1, peak_rss_bytes=60_000_000)), "memory", "WORSE", 5),
        (row(made=B, accuracy=accuracy((105, 5))), "accuracy", "WORSE", 4),
        (row(made=B, accuracy=accuracy((105, 5)), measured=measured(1.2, seed=1)), "latency", "WORSE", 4),
        (row(status="FAILED", reason="it crashed", accuracy=None, measured=None, made=Made()), "status", "WORSE", 4),
    ],
)
def test_what_became_worse_decides_the_exit_code(tmp_path, new: Row, what: What, verdict: Verdict, code: int) -> None:
    found = compared(tmp_path, row(measured=measured(seed=5)), new)
    assert (find(found, what).verdict, found.exit_code) == (verdict, code)
    if code:
        assert f"{what} is worse" in found.reason
    assert {finding.what for _, finding in found.found} == {"status", "accuracy", "latency", "size", "memory"}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (row(), row(fingerprint="there"), "another machine"),
        (row(fingerprint=None), row(fingerprint=None), "another machine"),
        (row(), row(measured=measured(noisy=("wall time is 2 x CPU time",))), "NEW is NOISY: wall time is 2 x"),
        (row(measured=measured(noisy=("steal",))), row(), "OLD is NOISY: steal"),
        (row(), row(measured=measured(threads=4)), "threads 1 before, now 4"),
        (row(), row(measured=measured(engine="loadgen")), "engine edgekit before, now loadgen"),
        (row(), row(code=Code(edgekit="0", harness=99)), "harness 1 before, now 99"),
        (row(at="2026-01-01T00:00:00Z"), row(at="2026-01-01T00:00:00Z"), "NEW is the measurement of OLD"),
        (row(), row(measured=None), "NEW was not timed"),
        (row(), row(measured=measured(-1.0)), "the clock stood still or went backwards"),
        (row(), row(measured=measured(blocks=Blocks(calls=1, cpu_ms=(1.0,), wall_ms=(1.0,)))), "too few blocks"),
    ],
)
def test_latencies_that_cannot_be_compared_say_why(tmp_path, old: Row, new: Row, reason: str) -> None:
    found = compared(tmp_path, old, new)
    assert find(found, "latency").verdict == "NOT_COMPARED"
    assert reason in find(found, "latency").reason
    assert found.exit_code == 0


def test_without_labels_accuracy_was_not_measured(tmp_path) -> None:
    found = compared(tmp_path, row(accuracy=None), row(accuracy=None))
    assert find(found, "accuracy").reason == "accuracy of OLD and NEW was not measured: there are no labels"


def test_no_cell_vanishes(tmp_path) -> None:
    gone, fresh = Cell(model="gone"), Cell(model="fresh")
    found = comparing.compare(*files(tmp_path, [row(), row(gone)], [row(), row(fresh)]))
    reasons = {str(one.cell): one.findings[0].reason for one in found.cells}
    assert re.search("old.jsonl has no such cell", reasons["fresh cpu"])
    assert re.search("new.jsonl has no such cell", reasons["gone cpu"])
    assert len(reasons) == 3


def test_where_nothing_can_be_compared_nothing_passes(tmp_path) -> None:
    found = comparing.compare(*files(tmp_path, [row(Cell(model="a"))], [row(Cell(model="b"))]))
    assert (found.status, found.exit_code) == ("NOT_RUN", 9)
    assert "nothing could be compared" in found.reason


def test_where_no_cell_moved_a_small_slow_down_of_one_is_found(tmp_path) -> None:
    cells = [Cell(model=f"m{number}") for number in range(12)]
    old = [row(cell, measured=measured(seed=number)) for number, cell in enumerate(cells)]
    new = [
        row(cell, measured=measured(1.06 if number == 3 else 1.0, seed=50 + number))
        for number, cell in enumerate(cells)
    ]
    found = comparing.compare(*files(tmp_path, old, new))
    verdicts = {cell.model: finding.verdict for cell, finding in found.found if finding.what == "latency"}
    assert verdicts == {cell.model: "WORSE" if cell.model == "m3" else "SAME" for cell in cells}


def test_the_newest_row_of_a_cell_counts(tmp_path) -> None:
    old, new = files(tmp_path, [row()], [row(measured=measured(1.3)), row(measured=measured(1.0, seed=3))])
    assert comparing.compare(old, new).exit_code == 0


def test_the_command_prints_one_document_and_says_that_a_line_is_torn(tmp_path, capsys) -> None:
    old, new = files(tmp_path, [row(measured=measured(seed=5))], [row(measured=measured(1.2, seed=1))])
    with new.open("a") as stream:
        stream.write('{"schema": 1, "cell": {"mod')
    page = tmp_path / "page.md"
    assert cli.run(["compare", str(old), str(new), "--json", "--markdown", str(page)]) == 5
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "FAIL_PERFORMANCE"
    assert "the last line is torn (27 bytes) and counts as no row" in document["notes"][0]
    assert "x WORSE" in page.read_text()
    assert "torn" in page.read_text()
    assert cli.run(["compare", str(old), str(new)]) == 5
    out, err = capsys.readouterr()
    assert "lenet5@torch tflite-int8 cpu\tlatency\tx WORSE" in out
    assert "\nlenet5@torch tflite-int8 cpu latency: one run of each, at different times\n" in out
    assert "torn" in err
    assert cli.run(["compare", str(old), str(new), "--max-slowdown", "1.5"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.jsonl", "missing.jsonl"], 2, "missing.jsonl cannot be read"),
        (["missing", "missing"], 2, "no such file: missing"),
        (["OLD", "OLD", "--max-slowdown", "0.9"], 2, "--max-slowdown 0.9"),
        (["OLD", "OLD", "--max-drop", "nan"], 2, "--max-drop nan"),
        (["OLD", "OLD", "--markdown", "no/such/folder/x.md"], 2, "cannot be written"),
    ],
)
def test_bad_input_is_said(tmp_path, capsys, monkeypatch, arguments: list[str], code: int, message: str) -> None:
    old, _ = files(tmp_path, [row()], [])
    monkeypatch.chdir(tmp_path)
    found = cli.run(["compare", *[str(old) if a == "OLD" else a for a in arguments], "--json"])
    document = json.loads(capsys.readouterr().out)
    assert (found, document["error"]["code"]) == (code, "usage")
    assert message in document["error"]["message"]


def test_names_of_others_are_text_in_markdown(tmp_path) -> None:
    found = compared(tmp_path, row(Cell(model="<script>|x|")), row(Cell(model="<script>|x|")))
    table = words.markdown(found)
    assert not re.search(r"(?<!\\)<script>", table)
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {9}


# Artifacts.


def artifact(folder: Path, content: str = "weights", *, size: int = 7, test: str = "t", **more: Any) -> Path:
    """A folder that is sealed as `edgekit convert` seals it."""
    folder.mkdir()
    (folder / "model.bin").write_text(content)
    io = {"name": "x", "shape": [1, 2], "dtype": "float32"}
    document = {
        "status": "PASS", "proof": {"kind": "runtime", "by": "x"}, "target": "onnxruntime-fp32", "format": "onnx",
        "toolchain": "onnx", "precision": "fp32", "framework": "torch", "source": {"name": "dense"}, "gate": {},
        "files": [file.model_dump() for file in contents.sealed_files(folder)], "size_bytes": size,
        "parts": {"model": {"file": "model.bin", "inputs": [io]}}, "accuracy": accuracy().model_dump(by_alias=True),
        "samples": {"origin": "task", "seed": 0, "splits": {"test": {"sha256": test, "count": 2000}}}, **more,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(document))
    (folder / "manifest.sha256").write_text(contents.seal_of(folder))
    return folder


def lost(flips: tuple[int, int]) -> dict[str, Any]:
    return {"accuracy": accuracy(flips).model_dump(by_alias=True)}


def test_two_artifacts_are_compared_by_their_manifests(tmp_path) -> None:
    old = artifact(tmp_path / "old")
    same = comparing.compare(old, artifact(tmp_path / "same"))
    assert (same.status, find(same, "accuracy").reason) == ("PASS", "the same file")
    worse = comparing.compare(old, artifact(tmp_path / "worse", "other", **lost((105, 5))))
    assert worse.exit_code == 4
    larger = comparing.compare(old, artifact(tmp_path / "larger", "other", size=9))
    assert larger.exit_code == 5
    others = comparing.compare(old, artifact(tmp_path / "others", "other", test="u", **lost((105, 5))))
    assert find(others, "accuracy").verdict == "NOT_COMPARED"
    assert "test samples of another content" in find(others, "accuracy").reason


def test_an_artifact_is_compared_with_its_row_among_others(tmp_path) -> None:
    new = artifact(tmp_path / "new", **lost((105, 5)))
    cell = Cell(model="dense", framework="torch", target="onnxruntime-fp32")
    rows.append(tmp_path / "old.jsonl", [row(), row(cell, made=Made(sha256="z", size_bytes=7))])
    found = comparing.compare(tmp_path / "old.jsonl", new)
    assert [str(one.cell) for one in found.cells] == [str(cell)]
    assert found.exit_code == 4
    assert find(found, "latency").reason == "NEW was not timed"


def test_an_artifact_that_was_edited_is_refused(tmp_path, capsys) -> None:
    old, new = artifact(tmp_path / "old"), artifact(tmp_path / "new")
    (new / "model.bin").write_text("edited!")
    assert cli.run(["compare", str(old), str(new), "--no-execute", "--json"]) == 8
    document = json.loads(capsys.readouterr().out)
    assert "model.bin is altered" in document["error"]["message"]


# Two files that are measured.


def subject(name: str) -> Subject:
    contender = Contender("null", {"model": Path(name)}, Options(FP32), {})
    return Subject(Path(name), row(Cell(model=name), made=Made(sha256=name, size_bytes=1)), contender)


def side_by_side(old_ms: Any, new_ms: Any, **more: Any) -> tuple[Measuring, list[list[str]]]:
    """A machine on which a file takes what is said of each run."""
    asked: list[list[str]] = []

    def measure(subjects: Sequence[Subject]) -> list[Measured]:
        number = len(asked)
        asked.append([str(one.path) for one in subjects])
        of = {"old": old_ms, "new": new_ms}
        return [measured(of[str(one.path)](number), seed=number, **more) for one in subjects]

    return Measuring(measure), asked


def test_two_files_are_measured_in_runs_of_which_each_is_opened_first_in_half() -> None:
    rng = np.random.default_rng(0)
    how, asked = side_by_side(lambda n: 1.0, lambda n: float(1.06 * np.exp(rng.normal(0, 0.01))))
    latency, memory = pairs.compare(subject("old"), subject("new"), Limits(), how)
    assert (latency.verdict, latency.n, memory.verdict) == ("WORSE", pairs.RUNS, "SAME")
    assert latency.change == pytest.approx(1.06, rel=0.02)
    together = [one for one in asked if len(one) == 2]
    assert together == [["old", "new"], ["new", "old"]] * (pairs.RUNS // 2)


def test_disturbed_runs_count_for_nothing_and_are_said() -> None:
    how, _ = side_by_side(lambda n: 1.0, lambda n: 1.2, noisy=("another process took the core",))
    how = Measuring(how.measure, seconds=0.5)
    latency, _ = pairs.compare(subject("old"), subject("new"), Limits(), how)
    assert latency.verdict == "NOT_COMPARED"
    assert "0 undisturbed runs" in latency.reason
    assert "another process took the core" in latency.reason


def test_a_clock_that_goes_backwards_gives_no_verdict() -> None:
    how, _ = side_by_side(lambda n: 1.0, lambda n: -1.0)
    latency, _ = pairs.compare(subject("old"), subject("new"), Limits(), how)
    assert (latency.verdict, latency.reason) == ("NOT_COMPARED", timing.BACKWARDS)
