"""Suites: what a file of one says, which cells it gives, and how they are run, stopped, resumed and reused."""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from edgekit import api, catalogue, cli, zoo
from edgekit.bench import converting, rows, running, stamp, suite
from edgekit.bench.measuring import Asked
from edgekit.bench.row import Cell, Row
from edgekit.bench.running import Options, Step, Turns
from edgekit.cli.bench import suites
from edgekit.errors import FailedError, UsageError
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Answer
from edgekit.proof.speed.measurement import Blocks, Conditions, Measured, Spread
from tests import null


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The toolchain without a vendor, a catalogue of the test's own, and a home."""
    monkeypatch.setenv("EDGEKIT_PATH", f"{tmp_path}{os.pathsep}{null.HERE}")
    with null.installed():
        yield


def written(folder: Path, called: str = "own", **keys: Any) -> Path:
    """A suite's file."""
    content = {"schema": 1, "title": "of a test", "architectures": ["dense"], "targets": ["null-*"], **keys}
    excluded = content.pop("exclude", [])
    lines = [f"{key} = {json.dumps(value)}" for key, value in content.items()]
    for one in excluded:
        lines += ["[[exclude]]", *(f"{key} = {json.dumps(value)}" for key, value in one.items())]
    path = folder / "benchmarks" / "suites" / f"{called}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def cells_of(folder: Path, **keys: Any) -> list[Cell]:
    return suite.parse(written(folder, **keys)).cells()


SMALL = {"architectures": ["dense", "pair"], "frameworks": ["torch"], "targets": ["null-fp32", "null-int8-dynamic"]}


# What a file says.


@pytest.mark.parametrize(
    ("keys", "message", "hint"),
    [
        ({"architectures": ["desne"]}, "own: architectures: nothing is called 'desne'", "Did you mean 'dense'?"),
        ({"targets": ["null-fp23"]}, "own: targets: nothing is called 'null-fp23'", "Did you mean 'null-fp32'?"),
        ({"targets": ["tflyte-*"]}, "own: targets: nothing is called 'tflyte-", "Known: "),
        ({"frameworks": ["torhc"]}, "own: frameworks: nothing is called 'torhc'", "Did you mean 'torch'?"),
        ({"recipes": ["nome"]}, "own: recipes: nothing is called 'nome'", "Did you mean 'none'?"),
        ({"devices": ["gpu"]}, "own: devices: nothing is called 'gpu'", "Did you mean 'cpu'?"),
        ({"exclude": [{"because": "x", "targets": ["null-in8"]}]}, "own: exclude: targets: nothing", "'null-int8'?"),
        ({"exclude": [{"because": "x"}]}, "own.toml: exclude.0: .*names nothing", ""),
        ({"exclude": [{"targets": ["null-*"]}]}, "own.toml: exclude.0.because: Field required", ""),
        ({"exclude": [{"because": "x", "devices": ["*"]}]}, "own has no cells", "Exclude fewer"),
        ({"latencies": False}, "own.toml: latencies: Extra inputs", "Did you mean 'latency'?"),
        ({"schema": 2}, "own.toml has no `schema = 1`", ""),
        ({"name": "other"}, "a suite is named by its file", ""),
    ],
)
def test_what_is_unknown_is_an_error_that_names_the_nearest(
    keys: dict[str, Any], message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        cells_of(tmp_path, **keys)
    assert hint in raised.value.hint


def test_a_suite_that_does_not_exist_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown suite 'smoek'; known: smoke, cpu, full") as raised:
        suite.load("smoek")
    assert "Did you mean 'smoke'?" in raised.value.hint and "edgekit list suites" in raised.value.hint


def test_cells_are_the_product_less_what_is_excluded(tmp_path: Path) -> None:
    out = [{"because": "no reason", "architectures": ["pair"], "targets": ["null-int8*"]}]
    found = cells_of(tmp_path, architectures=["pair", "dense"], frameworks=["torch"], exclude=out)
    assert [(cell.model, cell.target) for cell in found] == [
        ("dense", "null-fp32"), ("dense", "null-int8"), ("dense", "null-int8-dynamic"), ("pair", "null-fp32"),
    ]  # fmt: skip
    assert {(cell.framework, cell.recipe, cell.device) for cell in found} == {("torch", None, "cpu")}


def test_a_suite_of_the_current_folder_is_found_and_listed(tmp_path: Path, capsys) -> None:
    written(tmp_path, "mine", **SMALL)
    written(tmp_path, "bad", targets=["nothing-of-this-name"])
    assert catalogue.names("benchmarks/suites") == ["bad", "cpu", "full", "mine", "smoke"]
    assert cli.run(["list", "suites", "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)["suites"]}
    assert (listed["mine"]["cells"], listed["mine"]["timed"]) == (4, True)
    assert "nothing-of-this-name" in listed["bad"]["title"]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 40])
def test_shards_are_disjoint_equal_and_together_the_whole(n: int) -> None:
    whole = suite.load("full").cells()
    parts = [suite.shard(whole, f"{i}/{n}") for i in range(1, n + 1)]
    assert [cell for part in parts for cell in part] == whole
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/", "/2", "a/b", "1/2/3", "-1/2", "1/0"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not i/n"):
        suite.shard([], text)


# Turns.


def drawn(turns: Turns, order: list[int]) -> dict[int, list[Cell]]:
    """Which cells each lane got, when lanes ask in this order and then in turns until there are none."""
    got: dict[int, list[Cell]] = {lane: [] for lane in set(order)}
    asked = iter(order)
    while True:
        lane = next(asked, None)
        if lane is None:
            lane = min(got, key=lambda one: len(got[one]))
        cell = turns.next(lane)
        if cell is None:
            return got
        got[lane].append(cell)


def test_every_cell_has_one_turn_and_lanes_stay_with_a_model_and_a_framework() -> None:
    cells = suite.load("full").cells()
    got = drawn(Turns(cells), [0, 1])
    assert Counter(cell for lane in got.values() for cell in lane) == Counter(cells)
    assert abs(len(got[0]) - len(got[1])) <= 1
    frameworks = [Counter(cell.framework for cell in lane).most_common(1)[0][1] / len(lane) for lane in got.values()]
    assert min(frameworks) > 0.9, "a lane imports one framework, as long as there are models of it"
    changes = [sum(a.model != b.model for a, b in itertools.pairwise(lane)) for lane in got.values()]
    assert max(changes) <= len(zoo.names()) + 5


def test_a_lane_without_work_takes_half_of_what_the_slowest_has_left() -> None:
    cells = [Cell(model="dense", framework="torch", target=str(i)) for i in range(9)]
    turns = Turns(cells)
    first = [turns.next(0), turns.next(1)]
    assert [str(cell.target) for cell in first if cell] == ["0", "5"], "0 has eight before it, of which 1 takes four"
    turns.end()
    assert (turns.next(0), turns.over) == (None, True)


# Runs.


def measured_row(**changes: Any) -> Row:
    """What measuring a file answers."""
    spread = Spread(
        n=40, min_ms=1.0, p50_ms=2.0, p90_ms=3.0, p99_ms=None, mean_ms=2.0, mad_ms=0.1, p50_ci95_ms=(1.9, 2.1)
    )
    conditions = Conditions(
        **{
            **dict.fromkeys(Conditions.model_fields), "interruptions_per_s": 0.0, "clock_drift": 0.0,
            "noisy_because": changes.pop("noisy_because", ()),
        }
    )  # fmt: skip
    measured = Measured(
        by="null 1", unit="cpu", threads=1, pinned_cpus=(), precision="fp32", ops_delegated=None, ops_total=None,
        import_ms=None, load_ms=1.0, first_ms=2.0, wall=spread, cpu=spread,
        blocks=Blocks(calls=1, cpu_ms=(2.0,), wall_ms=(2.0,)), peak_rss_bytes=None, model_rss_bytes=None,
        conditions=conditions, inputs="golden",
    )  # fmt: skip
    row = converting.failed(Cell(model="file"), "NOT_RUN", "")
    flags = ("NOISY",) if measured.noisy else ()
    return row.model_copy(update={"measured": measured, "at": "2026-01-01T00:00:00Z", "flags": flags, **changes})


class Clock:
    """Measures nothing, and counts what it was asked to."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes
        self.asked: list[list[str]] = []

    def __call__(self, folder: Path, asked: Asked) -> Row:
        self.asked.append(sorted(path.name for path in folder.iterdir()))
        return measured_row(**self.changes)


class Noting(null.Here):
    """Which steps were run."""

    steps: ClassVar[list[str]] = []

    def call(self, environment: str, step: str, arguments: Mapping[str, Any], **options: Any) -> Answer[Any]:
        self.steps.append(step)
        return super().call(environment, step, arguments, **options)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """For the whole module: what one test made, others find."""
    return Store(tmp_path_factory.mktemp("home"))


@pytest.fixture
def options(store: Store, tmp_path: Path) -> Options:
    Noting.steps = []
    return Options(tmp_path / "rows.jsonl", jobs=1, measure=Clock(), workers=Noting, store=store)


def clock_of(options: Options) -> Clock:
    assert isinstance(options.measure, Clock)
    return options.measure


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    return cells_of(tmp_path, **SMALL)


def test_every_cell_is_converted_and_then_timed_and_its_rows_say_so(cells: list[Cell], options: Options) -> None:
    told: list[Step] = []
    found = running.run(cells, replace(options, told=told.append))
    assert [row.cell for row in found] == cells
    assert [(step.half, step.done, step.of) for step in told] == [
        *(("converted", i, 4) for i in (1, 2, 3, 4)),
        *(("measured", i, 4) for i in (1, 2, 3, 4)),
    ]
    kept = rows.read(options.rows)
    assert kept == [step.row for step in told] and list(rows.newest(kept).values()) == found
    for row in found:
        assert (row.status, row.proof.kind, row.made.toolchain) == ("PASS", "runtime", "null")
        assert row.measured is not None and row.made.sha256 is not None and row.made.path is None
        assert row.at == "2026-01-01T00:00:00Z", "when it was measured"
        assert row.against_float is None or row.against_float.ratio == 1.0
        assert row.code == stamp.code().model_copy(update={"tools": row.code.tools}) and row.code.tools
    assert all("manifest.json" in files for files in clock_of(options).asked)
    assert not list(options.rows.parent.glob("edgekit-suite-*"))


def test_cells_that_are_done_are_done(cells: list[Cell], options: Options) -> None:
    first = running.run(cells, options)
    written, Noting.steps = options.rows.read_bytes(), []
    assert running.run(cells, options) == first
    assert (options.rows.read_bytes(), Noting.steps, len(clock_of(options).asked)) == (written, [], 4)


def test_without_latency_nothing_is_timed_and_timing_goes_on_from_there(
    cells: list[Cell], options: Options, tmp_path: Path
) -> None:
    options = replace(options, store=Store(tmp_path / "home"))
    found = running.run(cells, replace(options, latency=False))
    assert [row.measured or row.against_float for row in found] == [None] * 4
    assert not [step for step in Noting.steps if "latency" in step or "timing" in step]
    Noting.steps = []
    assert all(row.measured for row in running.run(cells, options))
    assert {step.partition(":")[0].rpartition(".")[2] for step in Noting.steps} <= {"latency", "timing"}


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_stopped_run_goes_on_where_it_was(at: int, cells: list[Cell], options: Options) -> None:
    seen: list[Step] = []

    def stop(step: Step) -> None:
        seen.append(step)
        if len(seen) == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        running.run(cells, replace(options, told=stop))
    assert len(rows.read(options.rows)) == at
    more: list[Step] = []
    found = running.run(cells, replace(options, told=more.append))
    assert [row.cell for row in found] == cells and all(row.measured for row in found)
    done = {step.row.cell for step in seen if step.half == "converted"}
    assert {step.row.cell for step in more if step.half == "converted"} == set(cells) - done
    assert len(rows.read(options.rows)) == 8, "each cell once converted and once measured"


def test_rows_of_other_code_machines_or_tools_are_no_rows_of_this_run(cells: list[Cell], options: Options) -> None:
    [row] = running.run(cells[:1], replace(options, latency=False))
    assert converting.is_of_this_code(row)
    for changes in (
        {"code": row.code.model_copy(update={"sha256": "0" * 64})},
        {"code": row.code.model_copy(update={"tools": {**row.code.tools, "numpy": "0.1"}})},
        {"fingerprint": "0" * 64},
    ):
        assert not converting.is_of_this_code(row.model_copy(update=changes))


def changed_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a file of the package had been edited that no step imports."""
    other = stamp.code().model_copy(update={"sha256": "f" * 64})
    monkeypatch.setattr(converting, "code", lambda: other)


def test_a_measurement_of_the_same_bytes_is_reused_with_its_date(
    cells: list[Cell], options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = running.run(cells, options)
    changed_code(monkeypatch)
    again = running.run(cells, replace(options, measure=Clock(at="2026-02-02T00:00:00Z")))
    assert [row.measured for row in again] == [row.measured for row in before]
    assert {row.at for row in again} == {"2026-01-01T00:00:00Z"}
    assert all("REUSED" in row.flags and row.code.sha256 == "f" * 64 for row in again)
    assert not any("REUSED" in row.flags for row in before)
    fresh = running.run(cells, replace(options, measure=Clock(at="2026-03-03T00:00:00Z"), fresh=True))
    assert {row.at for row in fresh} == {"2026-03-03T00:00:00Z"}
    assert not any("REUSED" in row.flags for row in fresh)
    third = running.run(cells, options)
    assert third == fresh, "the last row of a cell counts"


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "0" * 64},
        {"made": {"sha256": "0" * 64}},
        {"code": {"tools": {"numpy": "0.1"}}},
        {"code": {"harness": 0}},
    ],
    ids=["another machine", "other bytes", "another runtime", "another harness"],
)
def test_what_a_measurement_depends_on_makes_it_anew(
    changes: dict[str, Any], cells: list[Cell], options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    [row] = running.run(cells[:1], options)
    options.rows.unlink()
    for field, value in changes.items():
        old = getattr(row, field)
        new = old.model_copy(update=value) if isinstance(value, dict) else value
        rows.append(options.rows, [row.model_copy(update={field: new})])
    changed_code(monkeypatch)
    clock = Clock(at="2026-02-02T00:00:00Z")
    [again] = running.run(cells[:1], replace(options, measure=clock))
    assert (len(clock.asked), again.at, "REUSED" in again.flags) == (1, "2026-02-02T00:00:00Z", False)


def test_a_disturbed_measurement_is_kept_with_its_flag_and_not_reused(
    cells: list[Cell], options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = replace(options, measure=Clock(noisy_because=("another process took the core",)))
    [row] = running.run(cells[:1], noisy)
    assert "NOISY" in row.flags
    changed_code(monkeypatch)
    [again] = running.run(cells[:1], options)
    assert "NOISY" not in again.flags and len(clock_of(options).asked) == 1


def test_a_file_that_cannot_be_timed_is_a_failed_cell_and_the_others_go_on(cells: list[Cell], options: Options) -> None:
    def measure(folder: Path, asked: Asked) -> Row:
        if len(list(folder.glob("*"))) and not (folder / "model.null").exists():
            raise FailedError("the runtime ended its process (signal SIGSEGV)")
        return measured_row()

    found = running.run(cells, replace(options, measure=measure))
    failed = [row for row in found if row.status == "FAILED"]
    assert failed and len(failed) < len(found), "of some models the file is called otherwise"
    assert all("it converts, and was not timed: the runtime ended" in row.reason for row in failed)


def test_a_clock_that_goes_backwards_takes_no_newer_row_away(
    cells: list[Cell], options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.run(cells[:1], options)
    monkeypatch.setattr(converting, "now", lambda: "1970-01-01T00:00:00Z")
    clock = Clock(at="1970-01-01T00:00:01Z")
    [row] = running.run(cells[:1], replace(options, measure=clock, fresh=True))
    assert running.run(cells[:1], options) == [row] and row.at == "1970-01-01T00:00:01Z"


def test_a_torn_last_line_is_said_kept_and_no_row(cells: list[Cell], options: Options) -> None:
    running.run(cells[:2], replace(options, latency=False))
    torn = options.rows.read_bytes()[:-40]
    options.rows.write_bytes(torn)
    said: list[str] = []
    found = running.run(cells[:2], replace(options, latency=False, say=said.append))
    assert [row.status for row in found] == ["PASS", "PASS"]
    assert len(said) == 2 and "the last line is torn" in said[0]
    assert [row.cell for row in rows.read(options.rows)] == cells[:2]
    assert torn.endswith((options.rows.with_name("rows.jsonl.torn")).read_bytes().strip())


def test_a_bug_costs_one_cell(cells: list[Cell], options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    convert = api.convert

    def broken(source: str, name: str, **keys: Any) -> Any:
        if source.startswith("pair"):
            raise ZeroDivisionError("division by zero")
        return convert(source, name, **keys)

    monkeypatch.setattr(api, "convert", broken)
    found = running.run(cells, options)
    assert [row.status for row in found] == ["PASS", "PASS", "FAILED", "FAILED"]
    assert "ZeroDivisionError: division by zero" in found[2].reason


def crashing(folder: Path) -> None:
    """A target whose only route ends its process."""
    text = (null.HERE / "targets" / "null-int8-dynamic.toml").read_text()
    head = text[: text.index("[[route]]")]
    (folder / "targets").mkdir()
    path = folder / "targets" / "null-crash.toml"
    path.write_text(f'{head}[[route]]\nname = "crashes"\nbecause = "it ends its process"\n')


def test_a_child_that_dies_is_one_failed_cell_and_the_others_go_on(tmp_path: Path, options: Options) -> None:
    """In real children, in two lanes."""
    crashing(tmp_path)
    cells = cells_of(tmp_path, **{**SMALL, "targets": ["null-crash", "null-fp32"]})
    found = running.run(cells, replace(options, workers=null.Children, jobs=2, latency=False))
    assert {(row.cell.model, row.cell.target, row.status) for row in found} == {
        ("dense", "null-crash", "FAILED"),
        ("dense", "null-fp32", "PASS"),
        ("pair", "null-crash", "FAILED"),
        ("pair", "null-fp32", "PASS"),
    }
    assert all("SIGSEGV" in row.reason for row in found if row.status == "FAILED")
    assert len(rows.read(options.rows)) == 4


SCRIPT = """
import sys, time
from pathlib import Path
from edgekit.bench import running, suite
from edgekit.jobs import interruption
from tests import null

interruption.listen()
with null.installed():
    cells = suite.parse(Path(sys.argv[1])).cells()
    try:
        slow = lambda step: time.sleep(0.5)  # a run of so few cells would be over before the signal comes
        running.run(cells, running.Options(Path(sys.argv[2]), jobs=2, latency=False, workers=null.Children, told=slow))
    except interruption.Interrupted as error:
        sys.exit(error.exit_code)
"""


def test_ctrl_c_keeps_the_rows_and_leaves_no_child(tmp_path: Path, options: Options) -> None:
    path = written(tmp_path, **{**SMALL, "architectures": ["dense", "pair"], "targets": ["null-*"]})
    root = str(null.HERE.parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "TMPDIR": str(tmp_path), "EDGEKIT_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", SCRIPT, str(path), str(options.rows)]
    process = subprocess.Popen(command, env=environment, cwd=root)
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if options.rows.exists() and options.rows.read_bytes().endswith(b"\n"):
            break
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert children and not [child for child in children if child.is_running() and child.status() != "zombie"]
    assert not list(tmp_path.glob("edgekit-*")), "no scratch folder stays"
    kept = rows.read(options.rows)
    assert kept and all(row.status == "PASS" or "calibration samples" in row.reason for row in kept), (
        "none of a child that the signal ended"
    )
    cells = suite.parse(path).cells()
    assert len(kept) < len(cells)
    subprocess.run(command, env=environment, cwd=root, check=True, timeout=600)
    assert [row.cell for row in rows.read(options.rows)][: len(kept)] == [row.cell for row in kept]
    assert Counter(row.cell for row in rows.read(options.rows)) == Counter(cells)


# The command.


@pytest.fixture
def command(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, Any, str]]:
    """`edgekit benchmark --suite own --json`: exit code, document, what stderr has."""
    written(tmp_path, **{**SMALL, "latency": False})
    monkeypatch.setattr(suites, "Options", functools.partial(Options, workers=null.Here))
    monkeypatch.setenv("EDGEKIT_HOME", str(store.root.parent))
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, Any, str]:
        code = cli.run(["benchmark", "--suite", "own", "--jobs", "1", "--json", *words])
        printed = capsys.readouterr()
        return code, json.loads(printed.out), printed.err

    return run


def test_the_command_prints_one_document_with_all_rows(command: Callable[..., tuple[int, Any, str]]) -> None:
    code, document, said = command()
    assert (code, document["status"], document["reason"]) == (0, "PASS", "")
    assert document["file"] == "edgekit-benchmarks/own.jsonl"
    kept = rows.read(Path(document["file"]))
    assert [row.to_json() for row in kept] == document["rows"] and len(kept) == 4
    assert said.count("PASS") == 4
    _, document, said = command("--shard", "2/2", "--rows", "other.jsonl")
    assert [row["cell"]["model"] for row in document["rows"]] == ["pair", "pair"]


def test_the_plan_says_what_would_be_made(
    tmp_path: Path, command: Callable[..., tuple[int, Any, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("EDGEKIT_HOME", str(tmp_path / "empty"))
        _, document, _ = command("--plan")
    assert [(line["has_row"], line["made_from"]) for line in document["cells"]] == [(False, "load")] * 4
    assert not Path("edgekit-benchmarks").exists(), "planning writes nothing"
    command("--shard", "1/2")
    _, document, _ = command("--plan")
    assert [line["has_row"] for line in document["cells"]] == [True, True, False, False]
    _, document, _ = command("--plan", "--rows", "other.jsonl")
    assert (document["cells"][0]["has_row"], document["cells"][0]["made_from"]) == (False, None), "the store has it"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--suite", "smok"], "unknown suite 'smok'"),
        (["--shard", "3/2"], "is not i/n"),
        (["--jobs", "-1"], "--jobs -1 is below 0"),
        (["model.tflite"], "a file does not go together with --suite"),
        (["--executor", "rya"], "--executor 'rya' is neither ray nor ray://head:port"),
        (["--device", "gpu"], "--device does not go together with --suite"),
    ],
)
def test_a_wrong_option_is_one_document_and_exit_2(
    words: list[str], message: str, command: Callable[..., tuple[int, Any, str]]
) -> None:
    code, document, _ = command(*words)
    assert (code, document["status"], document["error"]["code"]) == (2, "FAILED", "usage")
    assert message in document["reason"] and document["error"]["hint"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "neither files nor a suite are named"),
        (["model.tflite", "--shard", "1/2"], "--shard does not go together with a file"),
    ],
)
def test_options_of_suites_need_one(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["benchmark", *words, "--json"]) == 2
    assert message in json.loads(capsys.readouterr().out)["reason"]


def test_the_parent_imports_no_framework() -> None:
    code = "import sys, edgekit.cli.bench.suites; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "torch",
        "tensorflow",
        "keras",
        "tf_keras",
        "onnx",
        "onnxruntime",
        "openvino",
        "executorch",
        "ai_edge_litert",
    }
    assert not heavy & set(done.stdout.split())


def test_a_failed_cell_is_exit_6_and_named(
    tmp_path: Path, command: Callable[..., tuple[int, Any, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise FailedError("the converter ended its process (signal SIGKILL)")

    monkeypatch.setattr(api, "convert", broken)
    code, document, _ = command()
    assert (code, document["status"]) == (6, "FAILED")
    assert document["reason"].startswith("4 of 4 cells FAILED; the first: dense@torch null-fp32 cpu: the converter")
    assert len(document["rows"]) == 4
