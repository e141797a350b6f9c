"""Which cells of the matrix are made when: the covering ones, and those with other keys."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest

from benchmarks import cells
from edgekit import api, target, zoo
from edgekit.bench import suite
from edgekit.bench.converting import missing
from edgekit.bench.row import Cell
from edgekit.jobs.store import Store
from tests import null, tiers


def pairs(chosen: list[Cell]) -> Counter[tuple[str, str]]:
    return Counter((cell.model, str(cell.framework)) for cell in chosen)


def holds(chosen: list[Cell]) -> None:
    assert len(set(chosen)) == len(chosen)
    assert set(pairs(chosen)) == {(name, framework) for name in zoo.names() for framework in cells.FRAMEWORKS}
    for name in target.names():
        own = [cell for cell in chosen if cell.target == name]
        parameters = {cell.model: zoo.architecture(cell.model).configs["tiny"].parameters for cell in own}
        large = {model for model, count in parameters.items() if count >= cells.FEWEST_PARAMETERS}
        assert len(large) >= cells.ARCHITECTURES and sum(cell.model in large for cell in own) >= cells.LEAST
        assert len({zoo.architecture(cell.model).kind for cell in own}) >= cells.KINDS
        assert {cell.framework for cell in own} == set(cells.FRAMEWORKS)
    kinds = {zoo.architecture(model).kind for model in zoo.names()}
    met = {(target.load(str(cell.target)).format, zoo.architecture(cell.model).kind) for cell in chosen}
    assert met == {(target.load(name).format, kind) for name in target.names() for kind in kinds}


def test_covering_cells_are_few_and_the_same_in_every_run() -> None:
    chosen = cells.covering()
    holds(chosen)
    assert chosen == cells.covering()
    least = max(2 * len(zoo.names()), cells.LEAST * len(target.names()))
    assert least <= len(chosen) <= 1.2 * least  # each is taken for itself, not all of them together
    always = [cell for cell in cells.every() if cell.model == "lenet5"][:3]
    assert set(always) <= set(cells.covering(always))
    listed = cells.LISTED.read_text().split()
    assert listed == sorted(set(listed)) and set(listed) <= {cells.name_of(cell) for cell in chosen}
    assert len(chosen) <= len(listed) + 10, "choose anew: python -m benchmarks.cells"


def test_covering_cells_are_the_quick_ones_and_the_dear_ones_are_met_where_nothing_else_does() -> None:
    costs = cells.costs()
    assert set(costs) == set(cells.every())
    chosen = cells.covering()
    assert sum(costs[cell] for cell in chosen) / len(chosen) <= 0.6 * sum(costs.values()) / len(costs)
    loads = cells.loads()
    by_model = {model: mean(loads[model, framework] for framework in cells.FRAMEWORKS) for model in zoo.names()}
    dearest = sorted(by_model, key=lambda model: -by_model[model])[: len(by_model) // 4]
    assert {pairs(chosen)[model, framework] for model in dearest for framework in cells.FRAMEWORKS} == {1}


def test_sixty_architectures_need_hardly_more_cells_than_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"{name}_{i}": zoo.architecture(name) for i in range(6) for name in zoo.names()}
    monkeypatch.setattr(zoo, "names", lambda: sorted(many))
    monkeypatch.setattr(zoo, "architecture", many.__getitem__)
    chosen = cells.covering()
    holds(chosen)
    assert len(chosen) <= 1.2 * max(2 * len(many), cells.LEAST * len(target.names()))
    assert len(cells.every()) == 2 * len(many) * len(target.names())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cell]:
    """One cell of the toolchain without a vendor."""
    monkeypatch.setenv("EDGEKIT_PATH", str(null.HERE))
    with null.installed():
        yield Cell(model="dense", framework="torch", target="null-fp32")


def test_the_plan_names_the_first_step_that_the_store_lacks(small: Cell, tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    assert missing(small, store, tmp_path / "planned") == "load"
    with null.Here() as here:
        api.convert("dense@torch", "null-fp32", output=tmp_path / "out", workers=here, store=store)
    assert missing(small, store, tmp_path / "planned") == ""
    by_step = {
        json.loads(path.read_text())["material"]["step"]: path.parent for path in store.root.glob("*/entry.json")
    }
    shutil.rmtree(by_step["edgekit.steps.execute:run"])
    assert missing(small, store, tmp_path / "planned").endswith("floats on selection")
    shutil.rmtree(by_step["edgekit.steps.samples:run"])
    assert missing(small, store, tmp_path / "planned") == "samples:selection"
    assert not (tmp_path / "planned").exists(), "planning writes nothing"


def test_the_packaged_suites_hold_what_they_say() -> None:
    packaged = {name: suite.load(name).cells() for name in ("cpu", "full", "smoke")}
    assert set(suite.names()) >= set(packaged)
    assert packaged["full"] == cells.every()
    assert len(packaged["full"]) == len(zoo.names()) * 2 * len(target.names())
    assert {target.load(str(cell.target)).proof for cell in packaged["cpu"]} == {"runtime"}
    left_out = {cell.target for cell in packaged["full"]} - {cell.target for cell in packaged["cpu"]}
    assert {target.load(str(name)).proof for name in left_out} == {"stand-in"}
    formats = {target.load(name).format for name in target.names()}
    assert {target.load(str(cell.target)).format for cell in packaged["smoke"]} == formats


def test_cells_are_remembered_beside_the_store(small: Cell, tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    assert cells.marked(store) == []
    cells.mark(small, store)
    assert cells.marked(store) == [small]


def test_every_test_file_is_in_one_tier() -> None:
    """A file that nobody named is in the tier of contracts; none is in two."""
    named: Counter[Path] = Counter()
    for tier in (tiers.units, tiers.contracts, tiers.covering):
        for command in tier():
            for word in command[command.index("-n") + 2 :]:
                path = tiers.ROOT / word
                assert path.exists(), word
                named.update(path.rglob("test_*.py") if path.is_dir() else [path])
    assert set(named.values()) == {1}
    assert {Path(file) for file in tiers.files(tiers.ARCHITECTURES)} <= set(named)
    nightly = {path for command in tiers.sizes() for path in (tiers.ROOT / command[-1]).rglob("test_*.py")}
    assert nightly and not nightly & set(named)
    assert set(named) | nightly == set((tiers.ROOT / "tests").rglob("test_*.py"))
