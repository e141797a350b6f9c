"""A suite over a Ray cluster: conversions are tasks, a device is a resource that one measurement holds at a time.

    ray start --head --resources '{"edgekit-cpu": 1}'      on the machine whose times count
    ray start --address head:6379                          on machines that convert

Every machine has edgekit itself. A node that dies takes no row along: Ray runs its tasks again elsewhere. An artifact
travels by its hash: who has it already fetches nothing. What is timed is the file that the conversion gave.
"""

from __future__ import annotations

import functools
import importlib
import os
import tempfile
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgekit.artifact import contents
from edgekit.artifact import folder as artifacts
from edgekit.bench import converting, running
from edgekit.bench.measuring import Asked
from edgekit.bench.row import Cell, Row
from edgekit.bench.stamp import code, fingerprint
from edgekit.errors import DamagedFileError, EdgekitError, MissingDependencyError, NotRunError, UsageError
from edgekit.jobs.host import host
from edgekit.jobs.scratch import Scratch
from edgekit.jobs.store import Store, home
from edgekit.jobs.workers import Workers

#: How often Ray runs a task again whose node or process has died.
RETRIES = 3
#: An artifact's files by their names.
Pack = dict[str, bytes]


class Convert(Protocol):
    """As ``converting.convert``."""

    def __call__(self, cell: Cell, folder: Path, workers: Workers, store: Store | None, *, latency: bool) -> Row:
        """Convert the model of a cell into a folder."""
        ...


def resource(device: str) -> str:
    """What a node offers that is this device."""
    return f"edgekit-{device}"


# What runs on nodes.


@functools.cache
def _workers() -> Workers:
    """Of this process of Ray's, which serves many tasks: its children stay warm."""
    return Workers()


def _convert(convert: Convert, cell: Mapping[str, Any]) -> tuple[dict[str, Any], Pack]:
    with tempfile.TemporaryDirectory(prefix="edgekit-ray-") as scratch:
        artifact = Path(scratch) / "artifact"
        row = convert(Cell.model_validate(cell), artifact, _workers(), None, latency=False)
        files = sorted(path for path in artifact.rglob("*") if path.is_file())
        return row.to_json(), {path.relative_to(artifact).as_posix(): path.read_bytes() for path in files}


def _measure(
    measure: running.Measure,
    asked: Asked,
    converted: Mapping[str, Any],
    fetch: Callable[[], Pack],
    earlier: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Time an artifact on the device that this node is, or find that this was done before."""
    here = {"host": host(), "fingerprint": fingerprint(), "processor": host().processor}
    row = Row.model_validate(converted).model_copy(update=here)
    known = [old for old in map(Row.model_validate, earlier) if old.fingerprint == row.fingerprint]
    if known:
        return running.with_measurement(row, known[-1], reused=True).to_json()
    try:
        folder = kept(str(row.made.sha256), fetch)
    except EdgekitError as error:
        return row.model_copy(update={"status": "FAILED", "reason": str(error)}).to_json()
    return running.timed(row, folder, asked, measure).to_json()


def kept(sha256: str, fetch: Callable[[], Pack]) -> Path:
    """The folder of an artifact of this hash on this machine, which is fetched where it is not there or not whole.

    Raises:
        DamagedFileError: what came is not of this hash.
    """
    place = home() / "artifacts" / sha256
    if _is(place, sha256):
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with Scratch(place.parent, "fetching-") as scratch:
        folder = scratch / "artifact"
        for name, content in fetch().items():
            if not contents.is_inside(name):
                raise DamagedFileError(f"an artifact that was sent has a file {name!r}")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        if not _is(folder, sha256):
            raise DamagedFileError(f"what was sent as artifact {sha256[:12]} is another, or not whole")
        if place.exists():
            place.rename(scratch / "old")
        folder.rename(place)
    return place


def _is(folder: Path, sha256: str) -> bool:
    if not folder.is_dir() or contents.faults(folder):
        return False
    return contents.sha256_of(artifacts.read(folder).files) == sha256


# The driver.


class OnRay:
    """Runs the two halves of a suite on a cluster; a context manager.

    Attributes:
        convert: what a task does; ``options.measure`` is what a device does.
    """

    def __init__(self, address: str | None, *, convert: Convert = converting.convert) -> None:
        """Connect.

        Args:
            address: ``ray://head:port``, or that of a cluster (``head:port``); None takes RAY_ADDRESS, or starts one
                here.
            convert: importable on all nodes.

        Raises:
            MissingDependencyError: Ray is not installed.
            UsageError: nobody answers there.
        """
        try:
            self._ray = importlib.import_module("ray")
        except ImportError as error:
            raise MissingDependencyError("ray is not installed", hint="Run: pip install 'edgekit[ray]'") from error
        alone = address is None and not os.environ.get("RAY_ADDRESS")
        local = {"resources": {resource("cpu"): 1}, "include_dashboard": False} if alone else {}
        try:
            self._ray.init(address=address, log_to_driver=False, configure_logging=False, **local)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageError(f"no Ray cluster answers at {address}: {error}", hint="Run: ray start --head") from error
        self._convert = convert
        self._packs: dict[Cell, Any] = {}

    def __enter__(self) -> OnRay:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def is_done(self, row: Row) -> bool:
        """Whether a row is of this code; which machine made it is the cluster's choice."""
        return row.code.sha256 == code().sha256

    def converted(self, cells: Sequence[Cell], scratch: Path, options: running.Options) -> Generator[Row, None, None]:
        """Convert cells wherever a core is free."""
        if options.latency:
            self._look_for({cell.device for cell in cells})
        yield from self._rows({self._start(cell): converting.failed(cell, "FAILED", "") for cell in cells})

    def _look_for(self, devices: Collection[str]) -> None:
        """Raise ``NotRunError`` where no node is a device: Ray would wait for one for ever."""
        offered = self._ray.cluster_resources()
        for name in map(resource, sorted(devices)):
            if not offered.get(name):
                how = f"ray start --address HEAD:6379 --resources '{{\"{name}\": 1}}'"
                raise NotRunError(f"no node of the cluster offers {name}", hint=f"Start one with: {how}")

    def _start(self, cell: Cell) -> Any:
        """Begin a conversion; its artifact stays where it was made until somebody fetches it."""
        task = self._ray.remote(num_cpus=1, num_returns=2, max_retries=RETRIES)(_convert)
        row, self._packs[cell] = task.remote(self._convert, cell.model_dump())
        return row

    def measured(
        self, converted: Sequence[Row], known: Sequence[Row], scratch: Path, options: running.Options
    ) -> Generator[Row, None, None]:
        """Time files, each alone on a device."""
        self._look_for({row.cell.device for row in converted})
        pending = {}
        for row in converted:
            if row.cell not in self._packs:  # an earlier run converted it
                self._start(row.cell)
            earlier = [old.to_json() for old in known if running.may_be_reused(old, row, options)]
            task = self._ray.remote(num_cpus=1, resources={resource(row.cell.device): 1}, max_retries=RETRIES)(_task)
            pack = [self._packs[row.cell]]  # in a list it is not fetched before it is asked for
            ref = task.remote(_measure, options.measure, options.asked, row.to_json(), pack, earlier)
            pending[ref] = row
        yield from self._rows(pending)

    def _rows(self, pending: dict[Any, Row]) -> Generator[Row, None, None]:
        """Rows as they come; what was begun is cancelled where nobody waits for it any more.

        Args:
            pending: what was begun -> what is known of the cell without it.
        """
        try:
            while pending:
                ready, _ = self._ray.wait(list(pending), timeout=0.2)
                for ref in ready:
                    known = pending.pop(ref)
                    yield self._row(ref, known)
        finally:
            for ref in pending:
                self._ray.cancel(ref, force=True)

    def _row(self, ref: Any, known: Row) -> Row:
        try:
            row = Row.model_validate(self._ray.get(ref))
        except self._ray.exceptions.RayError as error:
            raised = isinstance(error, self._ray.exceptions.RayTaskError)
            how = "its task raised" if raised else f"its task was lost {RETRIES + 1} times"
            reason = f"{how}: {' '.join(str(error).split())[-300:]}"
            return known.model_copy(update={"status": "FAILED", "reason": reason})
        if row.code.sha256 != code().sha256:
            raise UsageError(f"a node has other code of edgekit: {row.code.commit or row.code.edgekit}")
        return row


def _task(step: Callable[..., Any], measure: Any, asked: Asked, row: Any, pack: list[Any], earlier: Any) -> Any:
    import ray

    return step(measure, asked, row, lambda: ray.get(pack[0]), earlier)
