"""The cells of the matrix, which are those of the suite ``full``, and a few of them that cover it.

``python -m benchmarks.cells`` chooses the covering ones anew and writes them into ``covering.txt``: it pays where rows say
of many cells that they take another time than they did.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from benchmarks.results_page import ROWS
from edgekit import target, zoo
from edgekit.bench import rows, suite
from edgekit.bench.row import Cell, Row
from edgekit.bench.suite import FRAMEWORKS
from edgekit.jobs.store import Store

#: The covering cells as they were chosen last.
LISTED = Path(__file__).parent / "covering.txt"
#: Kinds of architecture by which each target is met in the covering cells.
KINDS = 2
#: By how many cells each target is met in the covering ones, and of how many architectures.
LEAST, ARCHITECTURES = 5, 3
#: Of one that counts among them: a handful of weights would not show a wrong scale.
FEWEST_PARAMETERS = 1000

#: What a covering cell is there for: a word of what it meets, and names.
Need = tuple[str, ...]
#: A model's name and a framework's.
Source = tuple[str | None, str | None]


def every() -> list[Cell]:
    """All cells, in the order in which they are made."""
    return suite.load("full").cells()


def name_of(cell: Cell) -> str:
    """As tests are called, and a file."""
    return f"{cell.model}-{cell.framework}-{cell.target}"


def covering(always: Iterable[Cell] = ()) -> list[Cell]:
    """A sample that grows with the zoo and the targets, not with their product; the same on every machine.

    Each format is met by every kind of architecture, each target by ``KINDS`` of them, by ``LEAST`` cells of
    ``ARCHITECTURES`` and from both frameworks, each architecture in both frameworks at least once; cells of which the
    last row is no PASS count for none of it. Those of ``covering.txt`` are taken first, so that rows that come in do not
    choose other ones; where they leave a need open, as of a new architecture, what is taken next is what meets most of
    that for the time that it takes, which is less where its model is loaded already (the greedy rule of Chvatal, A
    Greedy Heuristic for the Set-Covering Problem, 1979); where that is undecided, a hash of the names decides, so that
    no part of the alphabet is preferred. Cells ``always`` asked for come on top: which of them there are changes none of
    the others.
    """
    listed = set(LISTED.read_text().split())
    return sorted({*_chosen([cell for cell in every() if name_of(cell) in listed]), *always}, key=name_of)


def _chosen(taken: list[Cell]) -> list[Cell]:
    """What is taken, and cells for the needs that it leaves open."""
    time, loading, wanted = costs(), loads(), _wanted()
    met: dict[Need, set[str]] = defaultdict(set)
    loaded = {(cell.model, cell.framework) for cell in taken}
    for cell in taken:
        _met_by(cell, met)
    without = {cell for cell, row in _known().items() if row.status != "PASS"}
    others = defaultdict(list)
    for cell in every():
        if cell not in without:
            others[cell.model, cell.framework].append(cell)
    queue = [(-math.inf, _hash(cell), cell) for each in others.values() for cell in each]
    heapq.heapify(queue)
    taken = list(taken)
    while queue:
        # What a cell still meets only becomes less: one that is first with its worth of now is the best of all.
        was, tie, cell = heapq.heappop(queue)
        source = (cell.model, cell.framework)
        needs = [need for need, part in _meets(cell) if part not in met[need] and len(met[need]) < wanted[need]]
        worth = len(needs) / (time[cell] + (0 if source in loaded else loading[source]))
        if needs and (-worth, tie) > (was, tie):
            heapq.heappush(queue, (-worth, tie, cell))
        elif needs:
            taken.append(cell)
            _met_by(cell, met)
            if source not in loaded:  # what else is made of it takes less now
                loaded.add(source)
                for other in others[source]:
                    heapq.heappush(queue, (-math.inf, _hash(other), other))
    return taken


def _met_by(cell: Cell, met: dict[Need, set[str]]) -> None:
    for need, part in _meets(cell):
        met[need].add(part)


@functools.cache
def _known() -> dict[Cell, Row]:
    """The last row of each cell."""
    return {row.cell: row for row in rows.read(ROWS)}


@functools.cache
def _rows_seconds() -> dict[Cell, float]:
    """CPU seconds that each row took beyond the quickest of its target: by these, tests share what a child imports."""
    spent = {cell: row.made.cpu_seconds for cell, row in _known().items() if row.made and row.made.cpu_seconds}
    quickest: dict[str, float] = {}
    for cell, seconds in spent.items():
        quickest[str(cell.target)] = min(seconds, quickest.get(str(cell.target), seconds))
    return {cell: seconds - quickest[str(cell.target)] for cell, seconds in spent.items()}


def loads() -> dict[Source, float]:
    """About how many CPU seconds a model takes in a framework, whatever the target: its quickest row's.

    An architecture without a row is the dearest: it is met where nothing else does.
    """
    found: dict[Source, float] = {}
    for cell, seconds in _rows_seconds().items():
        source = (cell.model, cell.framework)
        found[source] = min(seconds, found.get(source, seconds))
    dearest = max(found.values())
    return {(cell.model, cell.framework): found.get((cell.model, cell.framework), dearest) for cell in every()}


def costs() -> dict[Cell, float]:
    """About how many CPU seconds each cell takes where its model is loaded, as a power of two of at least one."""
    beyond, loading = _rows_seconds(), loads()
    dearest = max(beyond.values())
    return {
        cell: 2.0 ** round(math.log2(1 + beyond[cell] - loading[cell.model, cell.framework]))
        if cell in beyond
        else dearest
        for cell in every()
    }


def _wanted() -> Counter[Need]:
    """How many different ones each need is to be met by; what is not named here, by none."""
    kinds = {zoo.architecture(name).kind for name in zoo.names()}
    wanted: Counter[Need] = Counter()
    for name in target.names():
        wanted.update({("kinds", name): KINDS, ("frameworks", name): len(FRAMEWORKS)})
        wanted.update({("models", name): ARCHITECTURES, ("cells", name): LEAST})
        for kind in kinds:
            wanted["format", _format(name), kind] = 1
    wanted.update({("model", name): len(FRAMEWORKS) for name in zoo.names()})
    return wanted


def _meets(cell: Cell) -> list[tuple[Need, str]]:
    """What a cell meets, and as which of those that a need wants to be different."""
    model, framework, name = str(cell.model), str(cell.framework), str(cell.target)
    kind = _kind(model)
    met: list[tuple[Need, str]] = [
        (("format", _format(name), kind), ""),
        (("kinds", name), kind),
        (("frameworks", name), framework),
        (("model", model), framework),
    ]
    if zoo.architecture(model).configs["tiny"].parameters >= FEWEST_PARAMETERS:
        met += [(("models", name), model), (("cells", name), name_of(cell))]
    return met


def mark(cell: Cell, store: Store) -> None:
    """Remember beside the store that a cell was made with it, whatever came of it."""
    folder = store.root.parent / "cells"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name_of(cell)).touch()


def marked(store: Store) -> list[Cell]:
    """Cells that were made with a store, by this code or by an earlier one."""
    names = {path.name for path in (store.root.parent / "cells").glob("*")}
    return [cell for cell in every() if name_of(cell) in names]


def _hash(cell: Cell) -> str:
    return hashlib.sha256(f"{cell.model}\0{cell.framework}\0{cell.target}".encode()).hexdigest()


def _kind(model: str) -> str:
    return zoo.architecture(model).kind


@functools.cache
def _format(name: str) -> str:
    return target.load(name).format


def _spared(chosen: list[Cell]) -> list[Cell]:
    """Without those, the dearest first, whose needs the others meet: what was taken later may meet them as well."""
    time, wanted, kept = costs(), _wanted(), set(chosen)
    count = Counter(met for cell in chosen for met in set(_meets(cell)))
    different = Counter(need for need, _ in count)
    for cell in sorted(chosen, key=lambda cell: (-time[cell], _hash(cell))):
        lost = Counter(need for need, part in set(_meets(cell)) if count[need, part] == 1)
        if all(different[need] - less >= wanted[need] for need, less in lost.items()):
            kept.remove(cell)
            count.subtract(set(_meets(cell)))
            different.subtract(lost)
    return sorted(kept, key=name_of)


if __name__ == "__main__":
    LISTED.write_text("".join(f"{name_of(cell)}\n" for cell in _spared(_chosen([]))))
