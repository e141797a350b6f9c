"""The whole main path on a toolchain without a vendor (``tests/null``): tried, chosen, reported, kept, resumed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit import api, cli, pipeline, target, toolchains
from edgekit.artifact import folder as artifact
from edgekit.artifact import words
from edgekit.conversion import loading
from edgekit.conversion.order import Order
from edgekit.errors import EdgekitError, FailedError, NotRunError, UnsupportedError, UsageError
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Answer
from edgekit.result import Result
from edgekit.sources import source as sources
from tests import null

#: How each route ends, from the best to the worst: the first of them that was tried is what a conversion ends as.
ENDS = {
    "rounded": "PASS",
    "nudged": "UNDECIDED",
    "tilted": "FAIL_ACCURACY",
    "crushed": "FAIL_PARITY",
    "elsewhere": "NOT_RUN",  # the best of those of which no file was executed: it has one to keep
    "kept": "FAIL_PRECISION",
    "raises": "FAILED",
    "refuses": "UNSUPPORTED",
}
BEST = list(ENDS)
#: Those that leave no file to go on with.
NOTHING = BEST[5:]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("EDGEKIT_PATH", str(null.HERE))
    with null.installed():
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store for the whole module: what one test made, others reuse."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    with null.installed():
        return null.samples(tmp_path_factory.mktemp("data"))


def ordered(
    routes: list[str | dict[str, Any]] | None = None,
    name: str = "null-int8",
    *,
    source: str = "dense@torch",
    **options: Any,
) -> Order:
    """An order for a target whose routes are these."""
    made = target.load(name)
    if routes is not None:
        named = [{"name": route} if isinstance(route, str) else route for route in routes]
        tried = tuple(target.TargetRoute.model_validate({"because": "the test's", **route}) for route in named)
        made = made.model_copy(update={"routes": tried})
    given = {side: options.pop(side, None) for side in ("calibrate", "evaluate")}
    found = sources.resolve(source)
    return Order(source=found, target=made, plan=api.plan_for(found, *given.values(), "top1"), **options)


def converted(order: Order, home: Path, workers: null.Here | None = None) -> Result:
    with workers or null.Here() as children:
        return pipeline.convert(order, workers=children, store=Store(home))


def holds(routes: list[str], data: dict[str, str], home: Path, out: Path) -> None:
    """Convert by these routes and hold everything that is reported against what each of them ends as."""
    result = converted(ordered(routes, output=out, **data), home)
    tried = routes[: routes.index("rounded") + 1] if "rounded" in routes else routes
    best = min(tried, key=BEST.index)
    assert [(t.route, t.status) for t in result.routes_tried] == [(route, ENDS[route]) for route in tried]
    assert result.status == ENDS[best], result.reason
    assert result.route == (None if best in NOTHING else best)
    assert all(t.reason for t in result.routes_tried if t.status != "PASS")
    assert result.proof.kind == ("runtime" if BEST.index(best) < BEST.index("elsewhere") else "none")
    if best == "tilted":
        assert result.accuracy is not None and result.accuracy.split == "selection", "what it failed by"
        assert "of selection" in dict(words.facts(result))["accuracy"]
    if best in NOTHING:
        assert [route in result.reason for route in tried] == [True] * len(tried), "each says why"
        assert not out.exists() and result.rejected is None
        assert (result.precision_reached is not None) == ("kept" in tried), "and what was found in its file"
    elif best == "rounded":
        assert result.error is None and result.artifact == str(out) and (out / "manifest.json").is_file()
    else:
        kept = Path(str(result.rejected))
        assert result.artifact is None and not out.exists()
        assert json.loads((kept / "manifest.json").read_text())["status"] == result.status
        shutil.rmtree(kept)
    if result.error is not None:
        assert result.error.code == result.status.lower().replace("_", "-")
        assert "null-fp32" in result.error.hint or result.status == "UNDECIDED"
    shutil.rmtree(out, ignore_errors=True)


@pytest.mark.parametrize("routes", [list(pair) for pair in itertools.permutations(BEST, 2)], ids="-".join)
def test_of_two_routes(routes: list[str], data: dict[str, str], home: Path, tmp_path: Path) -> None:
    holds(routes, data, home, tmp_path / "out")


@settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(st.lists(st.sampled_from(BEST), min_size=1, unique=True))
def test_of_any_routes_in_any_order(data: Any, home: Path, tmp_path: Path, routes: list[str]) -> None:
    holds(routes, data, home, tmp_path / "out")


@pytest.mark.parametrize("route", BEST)
def test_the_exit_code_says_how_it_ended(
    route: str, data: dict[str, str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    codes = {"PASS": 0, "FAILED": 6, "UNSUPPORTED": 3, "NOT_RUN": 9}
    path = tmp_path / "one.toml"
    text = (null.HERE / "targets" / "null-int8.toml").read_text().partition("[[route]]")[0]
    path.write_text(f'{text}[[route]]\nname = "{route}"\nbecause = "the test\'s"\n')
    options = [word for side, value in data.items() for word in (f"--{side}", value)]
    arguments = ["convert", "dense@torch", "--target", str(path), "-o", str(tmp_path / "out"), "--json", *options]
    with null.Here() as here:
        shared = {"workers": here, "store": Store(home)}
        monkeypatch.setattr(api, "convert", lambda *a, convert=api.convert, **k: convert(*a, **(k | shared)))
        assert cli.run(arguments) == codes.get(ENDS[route], 4)
    assert json.loads(capsys.readouterr().out)["status"] == ENDS[route]


def with_twin(folder: Path, monkeypatch: pytest.MonkeyPatch, *routes: str) -> None:
    """Let the float twin's target have these routes."""
    (folder / "targets").mkdir()
    text = (null.HERE / "targets" / "null-fp32.toml").read_text().partition("[[route]]")[0]
    tables = "".join(f'[[route]]\nname = "{route}"\nbecause = "the test\'s"\n' for route in routes)
    (folder / "targets" / "null-fp32.toml").write_text(text + tables)
    monkeypatch.setenv("EDGEKIT_PATH", os.pathsep.join((str(folder), str(null.HERE))))


@pytest.mark.parametrize(
    ("routes", "kind", "says"),
    [
        (["floats-bent"], FailedError, "floats-bent: FAIL_PARITY output 'logits'"),
        (["refuses"], UnsupportedError, "refuses: UNSUPPORTED this route takes no dense layers"),
        (["raises", "refuses"], FailedError, "raises: FAILED .*; refuses: UNSUPPORTED"),
        (["floats-elsewhere"], NotRunError, "floats-elsewhere: NOT_RUN this file runs on a chip that nobody has only"),
    ],
    ids=["wrong", "refused", "both", "not-run"],
)
def test_without_a_float_twin_nothing_is_quantized(
    routes: list[str], kind: type[EdgekitError], says: str, data: Any, home: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    with_twin(tmp_path, monkeypatch, *routes)
    with pytest.raises(kind, match=says) as raised:
        converted(ordered(output=tmp_path / "out", **data), home)
    assert type(raised.value) is kind
    assert raised.value.hint
    assert "null-fp32" not in raised.value.hint, "which has just been tried"
    assert not list(tmp_path.glob("out*"))


def test_a_float_twin_has_routes_of_its_own(data: Any, home: Path, tmp_path: Path, monkeypatch: Any) -> None:
    with_twin(tmp_path, monkeypatch, "floats-bent", "raises", "floats")
    result = converted(ordered(output=tmp_path / "out", **data), home)
    assert (result.status, result.route) == ("PASS", "rounded")


def test_the_float_target_itself_shows_its_wrong_file(data: Any, home: Path, tmp_path: Path) -> None:
    result = converted(ordered(["floats-bent"], "null-fp32", output=tmp_path / "out", **data), home)
    assert (result.status, result.route) == ("FAIL_PARITY", "floats-bent")
    assert (tmp_path / "out.rejected" / "model.null").is_file()


def test_an_artifact_that_replaces_another_says_so(data: Any, home: Path, tmp_path: Path) -> None:
    told: list[str] = []
    for times in (0, 1):
        with null.Here() as children:
            pipeline.convert(
                ordered(output=tmp_path / "out", **data), workers=children, store=Store(home),
                progress=lambda event, text: told.append(text) if event == "note" else None,
            )  # fmt: skip
        assert told == [f"{tmp_path / 'out'} was there before, and is replaced: -o FOLDER keeps both"] * times


@pytest.mark.parametrize("routes", [["elsewhere"], ["crushed", "elsewhere"], ["elsewhere", "rounded"]], ids="-".join)
def test_a_file_that_nothing_here_runs_is_kept_only_where_that_is_allowed(
    routes: list[str], data: Any, home: Path, tmp_path: Path
) -> None:
    """It is no better than one that was run and failed, and never chosen before one that passes."""
    wanted = {"elsewhere": "NOT_RUN", "crushed": "FAIL_PARITY", "rounded": "PASS"}[min(routes, key=BEST.index)]
    result = converted(ordered(routes, output=tmp_path / "out", allow_unproven=True, **data), home)
    assert result.status == wanted
    assert (tmp_path / "out").is_dir() == (wanted != "FAIL_PARITY")
    if wanted == "NOT_RUN":
        assert (result.proof.kind, result.parity, result.accuracy) == ("none", None, None)
        assert not list((tmp_path / "out").rglob("golden.npz"))
        assert not converted(ordered(routes, output=tmp_path / "no", **data), home).artifact


def test_an_unproven_float_twin_is_quantized_where_that_is_allowed(
    data: Any, home: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """The quantized file is proven all the same; it has nothing to be timed against."""
    with_twin(tmp_path, monkeypatch, "floats-elsewhere")
    result = converted(ordered(output=tmp_path / "out", allow_unproven=True, **data), home)
    assert (result.status, result.route, result.latency) == ("PASS", "rounded", None)


def test_one_refused_part_refuses_the_route(home: Path, tmp_path: Path) -> None:
    routes = ["refuses-the-second", "dynamic-crushed", "dynamic"]
    order = ordered(routes, "null-int8-dynamic", source="pair@torch", output=tmp_path / "out")
    result = converted(order, home)
    assert [(t.route, t.status) for t in result.routes_tried] == [
        ("refuses-the-second", "UNSUPPORTED"), ("dynamic-crushed", "FAIL_PARITY"), ("dynamic", "PASS"),
    ]  # fmt: skip
    assert "this route takes no code" in result.routes_tried[0].reason
    assert result.routes_tried[1].reason.startswith("part decoder: output 'y'")
    assert {path.parent.name for path in (tmp_path / "out").rglob("model.null")} == {"encoder", "decoder"}


def test_no_refused_part_is_left_out(home: Path, tmp_path: Path) -> None:
    order = ordered(["refuses-the-second"], "null-int8-dynamic", source="pair@torch", output=tmp_path / "out")
    result = converted(order, home)
    assert (result.status, result.parts) == ("UNSUPPORTED", {})
    assert not list(tmp_path.iterdir()), "not even the part that was converted"


@pytest.mark.parametrize(
    ("ratios", "search", "chosen", "tried"),
    [
        ((1.0,), False, "rounded", 1),
        ((1.5, 1.0), False, "rounded-whole", 2),  # the first is slower than its float twin, the second is not
        ((1.5, 1.8), False, "rounded", 2),
        ((1.5, 1.48), False, "rounded", 2),  # a tie: noise would choose in each run
        ((1.0, 0.5), True, "rounded-whole", 2),
        ((0.5, 1.0), True, "rounded", 2),
    ],
)
def test_speed_chooses_among_routes_that_pass(
    ratios: tuple[float, ...], search: bool, chosen: str, tried: int, data: Any, tmp_path: Path
) -> None:
    order = ordered(output=tmp_path / "out", search_routes=search, **data)
    result = converted(order, tmp_path / "home", null.Here(ratios))
    assert (result.status, result.route, len(result.routes_tried)) == ("PASS", chosen, tried)
    assert ("SLOWER" in result.flags) == (min(ratios) > 1.05)


def test_without_latency_the_first_that_passes_is_chosen(data: Any, tmp_path: Path) -> None:
    order = replace(ordered(output=tmp_path / "out", **data), latency=False)
    result = converted(order, tmp_path / "home", null.Here((1.9, 0.5)))
    assert (result.status, result.route, result.latency) == ("PASS", "rounded", None)
    assert "SLOWER" not in result.flags


UNLESS = {"name": "refuses", "unless": ["recurrent"], "unless_because": "it stays float"}
ONLY = {"name": "refuses", "only": ["attention"], "only_because": "it does no better"}


@pytest.mark.parametrize(
    ("route", "source", "options", "over"),
    [
        (UNLESS, "again@torch", {}, "unless"),
        (UNLESS, "dense@torch", {}, None),
        (UNLESS, "again@torch", {"search_routes": True}, None),
        (ONLY, "dense@torch", {}, "only"),
    ],
    ids=["unless", "no-such-trait", "searched", "only"],
)
def test_a_route_is_passed_over_for_what_the_graph_is_made_of(
    route: dict[str, Any], source: str, options: dict[str, Any], over: str | None, home: Path, tmp_path: Path
) -> None:
    """It is listed with its reason, and is no candidate."""
    order = ordered([route, "dynamic"], "null-int8-dynamic", source=source, output=tmp_path / "out", **options)
    result = converted(order, home)
    assert (result.status, result.route) == ("PASS", "dynamic")
    assert [t.route for t in result.routes_tried] == [*([] if over else ["refuses"]), "dynamic"]
    assert [(passed.route, passed.by) for passed in result.routes_passed_over] == ([("refuses", over)] if over else [])
    assert all(passed.reason.endswith(route[f"{over}_because"]) for passed in result.routes_passed_over)


@pytest.mark.parametrize(("ratio", "said"), [(1.9, True), (1.0, False)])
def test_a_slow_file_says_which_routes_more_freedom_would_allow(
    ratio: float, said: bool, data: Any, tmp_path: Path
) -> None:
    waiting = {"name": "rounded-whole", "needs": "allow-mixed", "needs_because": "it computes partly in float"}
    order = ordered(["rounded", waiting], output=tmp_path / "out", **data)
    result = converted(order, tmp_path / "home", null.Here((ratio, 1.0)))
    assert (result.route, [t.route for t in result.routes_tried]) == ("rounded", ["rounded"])
    assert any("--allow-mixed also accepts rounded-whole" in note for note in result.notes) == said
    allowed = converted(replace(order, allow_mixed=True), tmp_path / "other", null.Here((ratio, 1.0)))
    assert allowed.route == ("rounded-whole" if said else "rounded")
    assert allowed.routes_passed_over == ()


def test_a_route_that_waits_for_a_search_is_tried_by_one_only(data: Any, tmp_path: Path) -> None:
    waiting = {"name": "rounded-whole", "needs": "search-routes", "needs_because": "it depends on the machine"}
    order = ordered(["rounded", waiting], output=tmp_path / "out", **data)
    result = converted(order, tmp_path / "home", null.Here((1.9, 1.0)))
    assert (result.route, [t.route for t in result.routes_tried]) == ("rounded", ["rounded"])
    assert [(over.route, over.by) for over in result.routes_passed_over] == [("rounded-whole", "needs")]
    assert any("--search-routes also tries rounded-whole" in note for note in result.notes)
    searched = converted(replace(order, search_routes=True), tmp_path / "other", null.Here((1.9, 1.0)))
    assert [t.route for t in searched.routes_tried] == ["rounded", "rounded-whole"]


def test_a_crash_in_the_second_route_leaves_the_third_to_be_tried(data: Any, tmp_path: Path) -> None:
    """In real children: the one that crashed is gone, and another serves what follows."""
    order = ordered(["crushed", "crashes", "rounded"], output=tmp_path / "out", **data)
    with null.Children() as children:
        result = pipeline.convert(order, workers=children, store=Store(tmp_path / "home"))
    tried = {t.route: (t.status, t.reason) for t in result.routes_tried}
    assert (result.status, result.route, tried["crashes"][0]) == ("PASS", "rounded", "FAILED")
    assert "SIGSEGV" in tried["crashes"][1]


class Noting(null.Here):
    """Which steps were run."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []

    def call(self, environment: str, step: str, arguments: Mapping[str, Any], **options: Any) -> Answer[Any]:
        self.steps.append(step)
        return super().call(environment, step, arguments, **options)


def test_moving_a_limit_executes_nothing_again(data: Any, tmp_path: Path) -> None:
    """A file that passed is judged by its scores alone; what a refused one needs beyond them is all that runs."""
    order = replace(ordered(["rounded"], output=tmp_path / "out", **data), latency=False)
    with Noting() as first:
        passed = pipeline.convert(order, workers=first, store=Store(tmp_path / "home"))
    assert passed.status == "PASS" and passed.parity is not None
    counted = {step.removeprefix("edgekit.steps."): first.steps.count(step) for step in first.steps}
    assert (counted["execute:run"], counted["score:run"]) == (3, 3)  # float twin and file on selection, file on test
    parity = order.target.gate.parity
    for limit, status in ((passed.parity.sqnr_db - 1, "PASS"), (passed.parity.sqnr_db + 1, "FAIL_PARITY")):
        gate = order.target.gate.model_copy(update={"parity": parity.model_copy(update={"sqnr_db_min": limit})})
        moved = replace(order, target=order.target.model_copy(update={"gate": gate}), output=tmp_path / status)
        with Noting() as again:
            result = pipeline.convert(moved, workers=again, store=Store(tmp_path / "home"))
        assert result.status == status
        floor = ["edgekit.steps.reference:moved", "edgekit.steps.score:run"]
        assert again.steps == ([] if status == "PASS" else floor)


class Refusing(null.Here):
    """The model raises on the inputs that it is run on."""

    def call(self, environment: str, step: str, arguments: Mapping[str, Any], **options: Any) -> Answer[Any]:
        if step.endswith("reference:run"):
            raise FailedError("index out of range in self")
        return super().call(environment, step, arguments, **options)


def test_a_model_that_does_not_take_generated_inputs_needs_real_ones(data: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not run on generated inputs: index out of range") as raised:
        converted(ordered(name="null-fp32", output=tmp_path / "out"), tmp_path / "home", Refusing())
    assert "--calibrate" in raised.value.hint
    with pytest.raises(FailedError, match="index out of range"):  # on the user's own it is the model's fault
        converted(ordered(output=tmp_path / "out", **data), tmp_path / "home", Refusing())


def test_of_a_model_that_a_recipe_changed_the_source_is_run_as_well(data: Any, tmp_path: Path) -> None:
    order = ordered(**data)
    with null.Here() as here, Store(tmp_path / "home").lease() as lease:
        run = Run(here, lease, lambda event, label: None)
        plain = loading.load(run, order)
        before = loading.gather(run, order, plain, "selection")
        after = loading.gather(run, order, replace(plain, recipe="none that is known"), "selection")
    assert not plain.changed and before.source_outputs is None
    assert after.source is not None and after.reference is not None
    assert after.source.key == after.reference.key, "the same models gave the same here"
    assert plain.digest != replace(plain, recipe="none that is known").digest


def test_here_and_children_find_the_same(data: Any, tmp_path: Path) -> None:
    """What other tests run in this process is what children give."""
    order = replace(ordered(output=tmp_path / "out", **data), latency=False)
    with null.Children() as children:
        theirs = pipeline.convert(order, workers=children, store=Store(tmp_path / "theirs"))
    ours = converted(replace(order, output=tmp_path / "out2"), tmp_path / "ours")
    for name in ("status", "route", "files", "parity", "accuracy", "audit", "notes", "flags"):
        assert getattr(ours, name) == getattr(theirs, name), name


PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from edgekit import pipeline
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Answer
from tests import null
from tests.unit.test_whole_pipeline import ordered

home, out = map(Path, sys.argv[1:3])
started = []

def progress(event, label):
    started.extend([label] * (event == "start"))
    if len(started) > 1:
        os.kill(os.getpid(), signal.SIGKILL)

def run():
    with null.installed(), null.Here() as here:
        order = ordered(["crushed", "rounded"], output=out, calibrate=sys.argv[3], evaluate=sys.argv[4])
        pipeline.convert(order, workers=here, store=Store(home), progress=progress)

code = -1
while code:
    if not (child := os.fork()):
        run()
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    store, left = Store(home), [path.name for path in out.parent.glob(f"{out.name}*")]
    print(json.dumps({"code": code, "keys": store.keys(), "damaged": store.verify(), "out": left}), flush=True)
"""


def test_a_run_that_is_killed_again_and_again_goes_on_where_it_was(data: Any, tmp_path: Path) -> None:
    """Each run makes one step and is killed at the start of the next; nothing is made twice, nothing half."""
    home, out = tmp_path / "home", tmp_path / "out"
    command = [sys.executable, "-c", PROGRAM, str(home), str(out), *data.values()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=null.HERE.parents[1], timeout=300)
    *killed, last = map(json.loads, done.stdout.splitlines())
    assert last["code"] == 0, done.stderr
    seen = set[str]()
    for run in killed:
        assert (run["code"], run["damaged"], run["out"]) == (-signal.SIGKILL, [], [])
        assert seen < set(run["keys"]) and len(run["keys"]) == len(seen) + 1, "one more step, none lost"
        seen = set(run["keys"])
    assert len(killed) > 10 and last["out"] == ["out"]
    whole = converted(ordered(["crushed", "rounded"], output=tmp_path / "whole", **data), tmp_path / "other")
    resumed = converted(ordered(["crushed", "rounded"], output=tmp_path / "again", **data), home)
    assert set(resumed.flags) == {*whole.flags, "REUSED"}
    assert resumed.files == whole.files
    assert len(last["keys"]) == len(Store(tmp_path / "other").keys())


def test_nothing_imports_a_framework(data: Any) -> None:
    program = (
        "import sys; from tests import null; from tests.unit.test_whole_pipeline import ordered; "
        "from edgekit import pipeline; from edgekit.jobs.store import Store; from pathlib import Path\n"
        "with null.installed(), null.Here() as here:\n"
        "    order = ordered(None, output=Path(sys.argv[1]) / 'out', calibrate=sys.argv[2], evaluate=sys.argv[3])\n"
        "    pipeline.convert(order, workers=here, store=Store(Path(sys.argv[1])))\n"
        "print(sorted({'torch', 'keras', 'tensorflow', 'onnx', 'openvino'} & set(sys.modules)))"
    )
    folder = Path(data["calibrate"]).parent
    command = [sys.executable, "-c", program, str(folder / "home"), *data.values()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=null.HERE.parents[1])
    assert done.stdout.strip() == "[]", done.stderr


def test_a_table_keeps_its_shape_from_the_samples_to_the_golden_data(home: Path, tmp_path: Path) -> None:
    """6x8: not cut to 1x8 anywhere, and the file that is handed out takes what the model takes."""
    tables = np.random.default_rng(2).normal(size=(128, 6, 8)).astype("float32")
    np.savez(tmp_path / "tables.npz", x=tables)
    order = ordered(source="table@torch", calibrate=str(tmp_path / "tables.npz"), output=tmp_path / "out")
    result = converted(order, home)
    assert result.status == "PASS", result.reason
    assert result.parity is not None and result.latency is not None
    assert result.parity.channel_db is not None
    assert [t.shape for t in result.parts["model"].inputs] == [(6, 8)]
    with np.load(tmp_path / "out" / "golden.npz") as golden:
        assert {name: golden[name].shape[1:] for name in golden.files} == {
            "in/x": (6, 8), "out/logits": (6, 4), "float/logits": (6, 4),
        }  # fmt: skip
        assert {row.tobytes() for row in golden["in/x"]} <= {row.tobytes() for row in tables}
    with null.Here() as here:
        verified = artifact.verify(tmp_path / "out", here)
    assert verified["status"] == "PASS", verified["reason"]
    assert verified["replay"]["parity"]["sqnr_db"] == 300.0


def test_an_unknown_route_is_a_fault_of_the_target(data: Any, home: Path) -> None:
    with pytest.raises(UsageError, match=r"names the route 'squared', which null does not have; it has .*rounded"):
        converted(ordered(["squared"], **data), home)


def test_a_file_that_the_runtime_does_not_open_is_one_route_that_failed(home: Path, data: dict[str, str]) -> None:
    result = converted(ordered(["sealed", "rounded"], **data), home)
    assert (result.status, result.route) == ("PASS", "rounded")
    tried = {route.route: (route.status, route.reason) for route in result.routes_tried}
    reason = "the runtime does not open what was just converted: null cannot load model.null"
    assert tried["sealed"] == ("FAILED", reason)
    alone = converted(ordered(["sealed"], **data), home)
    assert (alone.status, alone.reason) == ("FAILED", f"sealed: {reason}.")


def test_a_file_that_is_not_finite_on_silence_is_refused_though_its_parity_is_good(
    home: Path, data: dict[str, str]
) -> None:
    """What a lost epsilon does: real data never show it."""
    result = converted(ordered(["silenced"], **data), home)
    assert result.status == "FAIL_PARITY"
    assert "'logits' is NaN or infinite in 4 of 4 values on inputs that are all zero" in result.reason
    assert result.parity is not None
    assert result.parity.sqnr_db > 30
    assert result.parity.variation_db is not None
    assert result.parity.variation_db > 30
    both = converted(ordered(["silenced", "rounded"], **data), home)
    assert (both.status, both.route) == ("PASS", "rounded")


@pytest.mark.parametrize(
    ("shift", "status"), [(0.0, "PASS"), (1e-3, "PASS"), (50.0, "FAIL_PARITY")], ids=["same", "bent", "broken"]
)
def test_what_is_handed_out_is_what_was_executed_also_under_short_names(
    shift: float, status: str, data: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """Files that do not compute the same under short names, to the last bit, are proven anew."""
    shortened = []

    def compact(name: str, file: Path, folder: Path) -> toolchains.Names:
        with np.load(file) as stored:
            arrays = dict(stored)
        arrays["0/1"] = arrays["0/1"] + np.float32(shift)
        with (folder / file.name).open("wb") as stream:
            np.savez(stream, **arrays)
        shortened.append(file)
        return toolchains.Names({"v0": "dense/BiasAdd"})

    monkeypatch.setattr(toolchains, "shortens_names", lambda name: True)
    monkeypatch.setattr(toolchains, "compact", compact)
    result = converted(ordered(["tilted", "rounded"], output=tmp_path / "out", **data), tmp_path / "home")
    assert (result.status, result.route) == (status, "rounded")
    assert len(shortened) == 2, "the chosen file and its float twin, for its size"
    folder = Path(str(result.artifact or result.rejected))
    assert json.loads((folder / "names.json").read_text())["values"] == {"v0": "dense/BiasAdd"}
    assert "names.json" in [file.path for file in result.files]
    assert result.size_bytes == (folder / "model.null").stat().st_size
    if status == "PASS":
        with null.Here() as here:
            verified = artifact.verify(folder, here)
        assert (verified["status"], verified["replay"]["identical"]) == ("PASS", True)
