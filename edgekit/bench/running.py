"""Runs a suite: conversions side by side in children that stay warm, then every file timed alone.

Each row is appended to a file as it comes, so that a run that was stopped, or crashed, goes on where it was: a cell
that has a row of this very code, these tools and this machine is done. First all cells are converted without a
clock. Then, with nothing else running, those that pass in their own runtime are converted once more with it (all but
the timing comes from the store), which may choose another route, and measured.
"""

from __future__ import annotations

import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal, Protocol

import psutil

from edgekit.bench import converting, measuring, rows
from edgekit.bench.measuring import Asked
from edgekit.bench.row import HARNESS, Cell, Row
from edgekit.errors import EdgekitError
from edgekit.jobs.interruption import listening
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.result import Flag

#: What the children of one lane take of memory.
_LANE_BYTES = 5 << 30

Half = Literal["converted", "measured"]
Made = Generator[Row, None, None]
MakeWorkers = Callable[[], Workers]
#: Measures an artifact's folder: a row of which ``measured`` and the flag NOISY count.
Measure = Callable[[Path, Asked], Row]


@dataclass(frozen=True)
class Step:
    """One cell is done: in which half of the run, how many are, of how many."""

    half: Half
    done: int
    of: int
    row: Row


def measure(folder: Path, asked: Asked) -> Row:
    """Measure an artifact, in a fresh process."""
    [row] = measuring.measure([folder], asked)
    return row


@dataclass(frozen=True)
class Options:
    """How a suite is run.

    Attributes:
        rows: the file that rows are read from and appended to.
        jobs: conversions side by side.
        latency: whether files are timed.
        fresh: cells that are done are done again, and no measurement is reused.
        asked: how files are measured.
        measure: what does so.
        workers: what starts children.
        store: results of steps; the user's own by default.
        begins: is called when a half of the run begins, with how many cells there are to do in it.
        told: is called with every step, in the thread that runs the suite.
        say: is called with what else there is to say.
    """

    rows: Path
    jobs: int = 0
    latency: bool = True
    fresh: bool = False
    asked: Asked = field(default_factory=Asked)
    measure: Measure = measure
    workers: MakeWorkers = Workers
    store: Store | None = None
    begins: Callable[[Half, int], None] = lambda half, of: None
    told: Callable[[Step], None] = lambda step: None
    say: Callable[[str], None] = lambda line: None

    @property
    def lanes(self) -> int:
        """How many conversions run side by side: by default as many as cores, and as the memory holds."""
        room = psutil.virtual_memory().total // _LANE_BYTES
        return self.jobs or max(1, min(psutil.cpu_count() or 1, room))


class Executor(Protocol):
    """Where the two halves of a run are executed."""

    def is_done(self, row: Row) -> bool:
        """Whether converting the cell now would give this very row."""
        ...

    def converted(self, cells: Sequence[Cell], scratch: Path, options: Options) -> Made:
        """Convert cells, without a clock; rows as they come."""
        ...

    def measured(self, converted: Sequence[Row], known: Sequence[Row], scratch: Path, options: Options) -> Made:
        """Time what was converted; ``known`` has all earlier rows."""
        ...


def run(cells: Sequence[Cell], options: Options, over: Executor | None = None) -> list[Row]:
    """Run cells, here or over a cluster, and return the newest row of each.

    Raises:
        UsageError: the file of rows cannot be read or written.
        Interrupted: a signal came; the rows so far are kept.
    """
    over = over or Here()
    known = rows.read(options.rows, options.say) if options.rows.exists() else []
    found = {} if options.fresh else {c: r for c, r in rows.newest(known).items() if over.is_done(r)}
    found = {cell: found[cell] for cell in cells if cell in found}
    if found:
        options.say(
            f"{len(found)} of {len(cells)} cells have a row of this code and machine in {options.rows}; "
            "--fresh makes them again"
        )

    def keep(half: Half, made: Made, of: int) -> None:
        options.begins(half, of)
        with closing(made):
            for number, row in enumerate(made, 1):
                found[row.cell] = row
                rows.append(options.rows, [row])
                options.told(Step(half, number, of, row))

    with listening(), tempfile.TemporaryDirectory(prefix="edgekit-suite-") as scratch:
        left = [cell for cell in cells if cell not in found]
        keep("converted", over.converted(left, Path(scratch), options), len(left))
        if options.latency:
            untimed = [row for row in map(found.get, cells) if row and can_be_timed(row) and not is_timed(row, options)]
            keep("measured", over.measured(untimed, known, Path(scratch), options), len(untimed))
    return [found[cell] for cell in cells]


def can_be_timed(row: Row) -> bool:
    """What a stand-in executes has no time of its own."""
    return row.status == "PASS" and row.proof.kind == "runtime"


def is_timed(row: Row, options: Options) -> bool:
    """Whether it was timed as is asked."""
    return row.measured is not None and row.measured.threads == options.asked.threads


class Here:
    """This machine."""

    def is_done(self, row: Row) -> bool:
        """Whether the row is of this code, these tools and this machine."""
        return converting.is_of_this_code(row)

    def converted(self, cells: Sequence[Cell], scratch: Path, options: Options) -> Made:
        """A few at a time, each lane with children of its own."""
        return _converted(cells, scratch, options)

    def measured(self, converted: Sequence[Row], known: Sequence[Row], scratch: Path, options: Options) -> Made:
        """One after the other, with nothing else running."""
        return _measured([row.cell for row in converted], known, scratch, options)


# Side by side.


class Turns:
    """Which cell is next for each lane.

    A lane stays with one model from one framework: the float file, samples and reference are there after its first
    cell. Next it takes another model of the framework that its children have imported. Where none is left, it takes
    half of what the longest lane has before it, so that all end at about the same time.
    """

    def __init__(self, cells: Iterable[Cell]) -> None:
        groups: dict[tuple[str, str | None], deque[Cell]] = {}
        for cell in cells:
            groups.setdefault((cell.model, cell.framework), deque()).append(cell)
        self._waiting = list(groups.values())
        self._of: dict[int, deque[Cell]] = {}
        self._framework: dict[int, str | None] = {}
        self._lock = threading.Lock()
        self._over = False

    def next(self, lane: int) -> Cell | None:
        """A cell that no lane has had; None where there is none."""
        with self._lock:
            if self._over:
                return None
            if not self._of.get(lane):
                self._of[lane] = self._another(self._framework.get(lane))
            if not self._of[lane]:
                return None
            cell = self._of[lane].popleft()
            self._framework[lane] = cell.framework
            return cell

    def _another(self, framework: str | None) -> deque[Cell]:
        if self._waiting:
            alike = (i for i, group in enumerate(self._waiting) if group[0].framework == framework)
            return self._waiting.pop(next(alike, 0))
        longest = max(self._of.values(), key=len, default=deque[Cell]())
        half = [longest.pop() for _ in range((len(longest) + 1) // 2)]
        return deque(reversed(half))

    def end(self) -> None:
        """No lane gets another."""
        with self._lock:
            self._over = True

    @property
    def over(self) -> bool:
        """Whether the run was stopped."""
        return self._over


def _converted(cells: Sequence[Cell], scratch: Path, options: Options) -> Made:
    """Convert cells, a few at a time, each lane with children of its own; rows as they come."""
    turns, done = Turns(cells), SimpleQueue[Row]()
    lanes = min(options.lanes, len(cells))
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(max(1, lanes), thread_name_prefix="edgekit-lane"))
        running = set()
        for number in range(lanes):
            # Made here: a signal closes what the main thread has opened.
            workers = stack.enter_context(options.workers())
            running.add(pool.submit(_lane, number, turns, workers, scratch, options.store, done.put))
        stack.callback(turns.end)  # before the children are ended, so that nobody takes that for a cell's fault
        while running:
            ended, running = wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
            yield from _waiting(done)
            for lane in ended:
                lane.result()
        yield from _waiting(done)


def _waiting(queue: SimpleQueue[Row]) -> Iterator[Row]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


def _lane(
    number: int, turns: Turns, workers: Workers, scratch: Path, store: Store | None, put: Callable[[Row], None]
) -> None:
    while cell := turns.next(number):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            row = converting.convert(cell, Path(folder) / "artifact", workers, store, latency=False)
        if turns.over:
            return  # its children may have been ended
        put(row)


# Alone.


def _measured(cells: Sequence[Cell], known: Sequence[Row], scratch: Path, options: Options) -> Made:
    """Time files, one after the other."""
    with options.workers() as workers:
        for cell in cells:
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                artifact = Path(folder) / "artifact"
                row = converting.convert(cell, artifact, workers, options.store, latency=True)
                reused = [
                    old for old in known if old.fingerprint == row.fingerprint and may_be_reused(old, row, options)
                ]
                if not can_be_timed(row):
                    yield row
                elif reused:
                    yield with_measurement(row, reused[-1], reused=True)
                else:
                    yield timed(row, artifact, options.asked, options.measure)


def timed(row: Row, artifact: Path, asked: Asked, measure: Measure) -> Row:
    """A conversion's row with what is measured of its file now, or why it cannot be."""
    try:
        found = measure(artifact, asked)
    except EdgekitError as error:
        return row.model_copy(update={"status": "FAILED", "reason": f"it converts, and was not timed: {error}"})
    if found.measured is None:
        reason = f"it converts, and was not timed: {found.reason}"
        return row.model_copy(update={"status": found.status, "reason": reason})
    return with_measurement(row, found)


def with_measurement(row: Row, of: Row, *, reused: bool = False) -> Row:
    """A conversion's row with what was measured of its file; its date is that of the measurement, however old."""
    noisy: list[Flag] = ["NOISY"] if "NOISY" in of.flags else []
    late: list[Flag] = ["REUSED"] if reused else []
    flags = tuple(dict.fromkeys((*row.flags, *noisy, *late)))
    return row.model_copy(update={"measured": of.measured, "flags": flags, "at": of.at})


def may_be_reused(old: Row, row: Row, options: Options) -> bool:
    """Whether what was measured then holds for a conversion of now, if it was on the same machine.

    The bytes, the tools and the harness are the same. A disturbed measurement is made again where it can be.
    """
    if options.fresh or old.measured is None or old.measured.noisy or not is_timed(old, options):
        return False
    return _subject(old) == _subject(row) and old.code.harness == HARNESS


def _subject(row: Row) -> tuple[object, ...]:
    return row.made.sha256, row.cell.device, row.code.tools
