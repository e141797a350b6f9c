"""The cells of the matrix, which are those of the suite ``full``, and a few of them that cover it."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Iterable

from edgekit import target, zoo
from edgekit.bench import suite
from edgekit.bench.row import Cell
from edgekit.bench.suite import FRAMEWORKS
from edgekit.jobs.store import Store

#: Kinds of architecture by which each target is met in the covering cells.
KINDS = 2
#: How often each target is in the covering cells. The smallest architectures make up what is missing: what they need
#: besides the file itself is made once for all their cells.
LEAST = 5
#: Of one that makes it up: a handful of weights would not show a wrong scale.
FEWEST_PARAMETERS = 1000


def every() -> list[Cell]:
    """All cells, in the order in which they are made."""
    return suite.load("full").cells()


def name_of(cell: Cell) -> str:
    """As tests are called, and a file."""
    return f"{cell.model}-{cell.framework}-{cell.target}"


def covering(always: Iterable[Cell] = ()) -> list[Cell]:
    """A sample that grows with the zoo and the targets, not with their product; the same on every machine.

    Each format is met by every kind of architecture, each target by ``KINDS`` of them, ``LEAST`` times and from both
    frameworks, each architecture in both frameworks at least once. What is taken is what was taken least so far; where
    that is undecided, a hash of the names decides, so that no part of the alphabet is preferred. Cells ``always`` asked
    for come on top: which of them there are changes none of the others.
    """
    kinds = {name: zoo.architecture(name).kind for name in zoo.names()}
    taken: list[Cell] = []
    met: Counter[tuple[str, ...]] = Counter()
    for name in target.names():
        while met[(name,)] < KINDS:
            taken.append(_rarest(every_of(name), taken, met, kinds))
            met.update(_meets(taken[-1], kinds))
    for model in kinds:
        for framework in FRAMEWORKS:
            if not met[model, framework]:
                others = [Cell(model=model, framework=framework, target=name) for name in target.names()]
                taken.append(_rarest(others, taken, met, kinds))
                met.update(_meets(taken[-1], kinds))
    return sorted({*_filled(_needed(taken, kinds)), *always}, key=name_of)


def _filled(taken: list[Cell]) -> list[Cell]:
    """With the smallest architectures where a target is met less than ``LEAST`` times, none twice if others are left."""
    parameters = {name: zoo.architecture(name).configs["tiny"].parameters for name in zoo.names()}
    taken = list(taken)
    for name in target.names():
        own = [cell for cell in taken if cell.target == name]
        while len(own) < LEAST:
            met = Counter(str(each) for cell in own for each in (cell.model, cell.framework))
            free = (c for c in every_of(name) if c not in own and parameters[c.model] >= FEWEST_PARAMETERS)
            ranked = [(met[c.model], met[str(c.framework)], parameters[c.model], name_of(c), c) for c in free]
            own.append(min(ranked, key=lambda one: one[:-1])[-1])
            taken.append(own[-1])
    return taken


def _needed(taken: list[Cell], kinds: dict[str, str]) -> list[Cell]:
    """Without those whose part others play as well, the first taken first."""
    for cell in list(taken):
        others = [each for each in taken if each != cell]
        own = [each for each in others if each.target == cell.target]
        enough = (
            len({kinds[each.model] for each in own}) >= KINDS
            and {each.framework for each in own} == set(FRAMEWORKS)
            and any(kinds[each.model] == kinds[cell.model] and _alike(each, cell) for each in others)
            and any((each.model, each.framework) == (cell.model, cell.framework) for each in others)
        )
        if enough:
            taken = others
    return taken


def _alike(one: Cell, other: Cell) -> bool:
    return _format(str(one.target)) == _format(str(other.target))


def mark(cell: Cell, store: Store) -> None:
    """Remember beside the store that a cell was made with it, whatever came of it."""
    folder = store.root.parent / "cells"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name_of(cell)).touch()


def marked(store: Store) -> list[Cell]:
    """Cells that were made with a store, by this code or by an earlier one."""
    names = {path.name for path in (store.root.parent / "cells").glob("*")}
    return [cell for cell in every() if name_of(cell) in names]


def every_of(name: str) -> list[Cell]:
    """All cells of one target."""
    return [Cell(model=model, framework=framework, target=name) for model in zoo.names() for framework in FRAMEWORKS]


def _meets(cell: Cell, kinds: dict[str, str]) -> list[tuple[str, ...]]:
    """What a cell covers, the most wanted first."""
    kind, framework, name = kinds[cell.model], str(cell.framework), str(cell.target)
    of_kind = [(kind, name), (kind, _format(name))]
    return [*of_kind, (framework, name), (cell.model, framework), (cell.model, _format(name)), (name,)]


def _rarest(cells: list[Cell], taken: list[Cell], met: Counter[tuple[str, ...]], kinds: dict[str, str]) -> Cell:
    gone = set(taken)
    free = [cell for cell in cells if cell not in gone]
    return min(free, key=lambda cell: ([met[each] for each in _meets(cell, kinds)], _hash(cell)))


def _hash(cell: Cell) -> str:
    return hashlib.sha256(f"{cell.model}\0{cell.framework}\0{cell.target}".encode()).hexdigest()


@functools.cache
def _format(name: str) -> str:
    return target.load(name).format
