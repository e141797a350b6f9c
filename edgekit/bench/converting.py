"""From a cell to its row: one conversion of the zoo, and what is known of it."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import NoReturn

from edgekit import api, pipeline, target
from edgekit.bench.of_result import row_of
from edgekit.bench.row import Cell, Row
from edgekit.bench.stamp import code, fingerprint, now
from edgekit.conversion.order import Order
from edgekit.errors import EdgekitError, MissingDependencyError, NotRunError, UnsupportedError
from edgekit.jobs import interpreters
from edgekit.jobs.host import host
from edgekit.jobs.interpreters import HERE
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.result import Proof, Status
from edgekit.sources import source as sources

#: What an error ends a cell as; FAILED for all others.
_ENDS: dict[type[EdgekitError], Status] = {
    UnsupportedError: "UNSUPPORTED",
    NotRunError: "NOT_RUN",
    MissingDependencyError: "NOT_RUN",
}


def convert(cell: Cell, folder: Path, workers: Workers, store: Store | None = None, *, latency: bool) -> Row:
    """Convert the model of a cell into a folder; no error leaves it: what ended the conversion is the row's reason.

    Without ``latency`` nothing is timed, and the first route that passes is taken.
    """
    try:
        result = api.convert(
            source_of(cell), str(cell.target), output=folder, latency=latency, workers=workers, store=store
        )
    except EdgekitError as error:
        status: Status = next((status for kind, status in _ENDS.items() if isinstance(error, kind)), "FAILED")
        return failed(cell, status, str(error))
    except Exception as error:  # a bug of ours costs one cell
        return failed(cell, "FAILED", f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}")
    return row_of(result, code=code(), at=now(), host=result.host, cell=cell, fingerprint=fingerprint())


def source_of(cell: Cell) -> str:
    """The model as the command line takes it."""
    return f"{cell.model}@{cell.framework}"


def failed(cell: Cell, status: Status, reason: str) -> Row:
    """The row of a cell that came to no result."""
    return Row(
        cell=cell,
        status=status,
        reason=reason,
        proof=Proof(kind="none"),
        code=code(),
        host=host(),
        fingerprint=fingerprint(),
        processor=host().processor,
        at=now(),
    )


def is_of_this_code(row: Row) -> bool:
    """Whether the code and the tools that are here, on this machine, would give this very row."""
    if row.code.sha256 != code().sha256 or row.fingerprint != fingerprint():
        return False
    own = interpreters.of(row.made.toolchain) if row.made.toolchain else None
    places = [HERE, own] if own else [HERE]
    return all({version, None} & {place.has(name) for place in places} for name, version in row.code.tools.items())


class NotMadeError(Exception):
    """The store lacks a step."""


class Nobody(Workers):
    """Runs nothing."""

    def call(self, *_: object, **__: object) -> NoReturn:
        """Refuse a request."""
        raise NotMadeError


def missing(cell: Cell, store: Store, folder: Path, *, latency: bool = True) -> str:
    """The first step of a cell that would have to be made; empty where the store has them all. Nothing is run."""
    seen = ["load"]

    def note(event: str, label: str) -> None:
        if event == "start":
            seen.append(label)

    found = sources.resolve(source_of(cell))
    samples = api.plan_for(found, None, None, "top1")
    order = Order(found, target.load(str(cell.target)), samples, folder, latency=latency)
    with Nobody() as nobody:
        try:
            with store.lease() as lease:
                pipeline.explore(Run(nobody, lease, note), order)
        except NotMadeError:
            return seen[-1]
        except EdgekitError:
            return ""  # refused in the end, by steps that are all there
    return ""
