"""``--ranges`` from the command line to the manifest, on a toolchain without a vendor (``tests/null``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import calibration_sets
from edgekit import api, cli, pipeline
from edgekit.conversion.order import Order
from edgekit.data import plan as planning
from edgekit.data import tasks, user
from edgekit.errors import UsageError
from edgekit.jobs.store import Store
from edgekit.ranges import plans
from edgekit.result import Result
from edgekit.signature import Signature, TensorSpec
from tests import null


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("EDGEKIT_PATH", str(null.HERE))
    with null.installed():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    with null.installed():
        return null.samples(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def convert(data: dict[str, str], home: Path, out: Path, target: str = "null-int8", **options: Any) -> Result:
    with null.Here() as workers:
        return api.convert("dense@torch", target, workers=workers, store=Store(home), output=out, **data, **options)


def files(result: Result) -> list[tuple[str, str]]:
    """All but the card, which says which ranges were asked for."""
    return [(file.path, file.sha256) for file in result.files if file.path != "README.md"]


def test_the_manifest_says_which_ranges_and_of_how_many_samples(data: Any, home: Path, tmp_path: Path) -> None:
    made = {
        name: convert(data, home, tmp_path / str(name), ranges=name)
        for name in (None, "tool", "minmax", "percentile-99.9")
    }
    assert {name: result.status for name, result in made.items()} == dict.fromkeys(made, "PASS")
    said = json.loads((tmp_path / "percentile-99.9" / "manifest.json").read_text())["ranges"]
    settings = {"percentile": 99.9, "bins": 2048}
    assert said == {
        "plan": "percentile-99.9", "method": "percentile", "settings": settings, "samples": 256, "draw": "random"
    }  # fmt: skip
    assert made[None].ranges is not None and made[None].ranges.plan == "tool"
    assert files(made[None]) == files(made["tool"]) == files(made["minmax"]) != files(made["percentile-99.9"])


@pytest.mark.parametrize("method", ["tool", "minmax", "mse"])
def test_a_plan_says_how_many_samples_and_which(method: str, data: Any, home: Path, tmp_path: Path) -> None:
    text = f"schema = 1\ntitle = 'mine'\nmethod = '{method}'\nsamples = 40\ndraw = 'even'\n"
    text += "bins = 1024\n" if method == "mse" else ""
    (tmp_path / "mine.toml").write_text(text)
    result = convert(data, home, tmp_path / "out", ranges=str(tmp_path / "mine.toml"))
    assert result.ranges is not None and (result.ranges.plan, result.ranges.samples) == ("mine", 40)
    assert result.samples.splits["calibration"]["count"] == 40


def test_a_route_that_takes_none_is_unsupported_and_the_next_is_tried(data: Any, home: Path, tmp_path: Path) -> None:
    (tmp_path / "targets").mkdir()
    text = (null.HERE / "targets" / "null-int8.toml").read_text()
    route = '[[route]]\nname = "stubborn"\nbecause = "first"\n\n'
    text = text.replace("[[route]]", f"{route}[[route]]", 1)
    own = tmp_path / "targets" / "null-stubborn.toml"
    own.write_text(text)
    first, second = convert(data, home, tmp_path / "out", str(own), ranges="mse").routes_tried
    assert (first.route, first.status, second.status) == ("stubborn", "UNSUPPORTED", "PASS")
    assert "does not know estimators of ranges (--ranges): its tool takes the extremes" in first.reason
    (only,) = convert(data, home, tmp_path / "own", str(own), ranges="minmax").routes_tried
    assert (only.route, only.status) == ("stubborn", "PASS")
    own.write_text(text.replace('precision = "int8"', 'precision = "int8"\nranges = "mse"'))
    result = convert(data, home, tmp_path / "named", str(own))
    assert result.ranges is not None and result.ranges.plan == "mse" and result.route == "rounded"
    own.write_text(text.replace('precision = "int8"', 'precision = "int8"\nranges = "msa"'))
    with pytest.raises(UsageError, match="unknown range 'msa'") as caught:
        convert(data, home, tmp_path / "no", str(own))
    assert "Did you mean 'mse'" in caught.value.hint


def test_too_few_samples_are_refused_before_anything_is_converted(data: Any, home: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.npz"
    with np.load(data["calibrate"]) as stored:
        np.savez(few, **{name: stored[name][:3] for name in stored.files})
    steps: list[str] = []
    with pytest.raises(UsageError, match=r"--ranges entropy needs 32 .* or more, and there are 3") as caught:
        convert(
            {**data, "calibrate": str(few)}, home, tmp_path / "out", ranges="entropy",
            progress=lambda _, label: steps.append(label),
        )  # fmt: skip
    assert "--ranges minmax" in caught.value.hint and "--calibrate" in caught.value.hint
    assert steps and not any("float twin" in step or step.startswith("convert") for step in steps)
    assert not (tmp_path / "out").exists()
    assert convert({**data, "calibrate": str(few)}, home, tmp_path / "out", ranges="minmax").status == "PASS"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "null-int8", "--ranges", "entopy"], "unknown range 'entopy'"),
        (["--target", "null-fp32", "--ranges", "mse"], "--ranges mse: null-fp32 takes no ranges from samples"),
        (["--target", "null-int8-dynamic", "--ranges", "mse"], "null-int8-dynamic takes no ranges from samples"),
        (["--target", "null-int8", "--ranges", "gone.toml"], "no such file: gone.toml"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(arguments: list[str], said: str, capsys: Any) -> None:
    assert cli.run(["convert", "dense@torch", *arguments, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert said in error["message"] and error["hint"]


def test_plans_are_listed(capsys: Any) -> None:
    assert cli.run(["list", "ranges", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["ranges"]}
    assert set(rows) == set(plans.names()) and rows["entropy"]["method"] == "entropy"
    assert rows["entropy"]["least"] == plans.load("entropy").least and rows["minmax"]["problem"] is None


def test_a_float_target_names_no_plan(tmp_path: Path) -> None:
    text = (null.HERE / "targets" / "null-fp32.toml").read_text()
    (tmp_path / "bad.toml").write_text(text.replace('precision = "fp32"', 'precision = "fp32"\nranges = "mse"'))
    with pytest.raises(UsageError, match=r"bad\.toml: .*ranges: fp32 takes none from samples"):
        api.convert("dense@torch", str(tmp_path / "bad.toml"))


def test_samples_are_drawn_as_a_plan_says(tmp_path: Path) -> None:
    given = np.arange(100, dtype=np.float32)[:, None]
    np.savez(tmp_path / "c.npz", x=given)
    np.savez(tmp_path / "e.npz", x=given + 1000)
    signature = Signature((TensorSpec("x", (1, 1), "float32"),), (TensorSpec("y", (1, 1), "float32"),))

    def drawn(draw: Any) -> list[int]:
        plan = planning.DataPlan(
            calibrate=str(tmp_path / "c.npz"), evaluate=str(tmp_path / "e.npz"), calibration_count=4, draw=draw
        )
        made = planning.make(plan, "calibration", signature)
        assert made is not None
        return [int(value) for value in made.inputs["x"][:, 0]]

    assert drawn("first") == [0, 1, 2, 3]
    assert drawn("even") == [0, 25, 50, 75]
    assert drawn("random") == sorted(np.random.default_rng(0).permutation(100)[:4].tolist())


def test_a_zoo_tasks_samples_are_drawn_too(home: Path) -> None:

    every = tasks.load("digits", "calibration").inputs["image"]
    signature = Signature((TensorSpec("image", (1, 8, 8, 1), "float32"),), (TensorSpec("y", (1, 1), "float32"),))

    def drawn(draw: Any) -> Any:
        made = planning.make(planning.DataPlan("digits", calibration_count=8, draw=draw), "calibration", signature)
        assert made is not None
        return made.inputs["image"]

    np.testing.assert_array_equal(drawn("random"), every[:8])
    np.testing.assert_array_equal(drawn("first"), every[:8])
    np.testing.assert_array_equal(drawn("even"), every[:: len(every) // 8][:8])


def test_the_order_alone_is_what_it_says(data: Any, home: Path) -> None:
    """Whoever builds an order without the API gets what the tools do, unless it says otherwise."""
    from edgekit import target
    from edgekit.sources import source as sources

    found = sources.resolve("dense@torch")
    order = Order(found, target.load("null-int8"), api.plan_for(found, *data.values(), "top1"))
    assert order.ranges == plans.load("tool")
    with null.Here() as workers:
        result = pipeline.convert(order, workers=workers, store=Store(home))
    assert result.ranges is not None and result.ranges.plan == "tool"


@pytest.mark.parametrize("name", calibration_sets.SETS)
def test_a_calibration_set_is_what_its_task_makes_and_the_model_takes_it(name: str) -> None:
    task, count, _ = calibration_sets.SETS[name]
    path = calibration_sets.FOLDER / f"{name}.npz"
    with np.load(path) as stored:
        found = dict(stored)
    for key, array in calibration_sets.made(name).items():
        np.testing.assert_array_equal(found[key], array)
        assert len(array) == count
    assert path.stat().st_size < 500_000
    given = tasks.load(task, "calibration", 1).inputs
    spec = tuple(TensorSpec(key, (1, *array.shape[1:]), array.dtype.name) for key, array in given.items())
    loaded = user.load(str(path), Signature(spec, (TensorSpec("y", (1, 1), "float32"),)))
    for key, array in given.items():
        np.testing.assert_allclose(loaded.inputs[key][:1], array, atol=2**-11)
        assert loaded.inputs[key].dtype == array.dtype
