"""Several targets of one source: children stay warm from one to the next, and the store has what they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from edgekit import pipeline
from edgekit.artifact import package
from edgekit.conversion.order import Order
from edgekit.conversion.recipe.training import add
from edgekit.errors import EdgekitError, UsageError
from edgekit.jobs.interruption import Interrupted
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.result import Result


class Options(TypedDict, total=False):
    """What `edgekit.convert` takes beside source and target."""

    example_inputs: object
    calibrate: object
    ranges: str | Path | None
    evaluate: object
    metric: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    output: str | Path | None
    search_routes: bool
    allow_mixed: bool
    keep_float: Sequence[str]
    budget: str | None
    rounding: str | None
    equalize: str | None
    train: object
    recipe: str | Path | None
    qat: int | None
    prune: str | None
    fit: str | None
    allow_unproven: bool
    max_drop: float | None
    licence: str | None
    tokenizer: str | Path | None
    latency: bool
    trust: bool
    timeout: float
    memory_limit_mib: int | None
    progress: Callable[[str, str], None]
    workers: Workers | None
    store: Store | None


class SeveralError(EdgekitError):
    """Some of several targets could not be served at all.

    Attributes:
        ended: of each target, by name, its result, or the error that ended it.
    """

    def __init__(self, names: Sequence[str], ended: Sequence[Result | EdgekitError]) -> None:
        self.ended = dict(zip(names, ended, strict=True))
        errors = {name: one for name, one in self.ended.items() if isinstance(one, EdgekitError)}
        name, first = next(iter(errors.items()))
        super().__init__(f"{len(errors)} of {len(ended)} targets could not be served; {name}: {first}", hint=first.hint)
        self.code, self.exit_code = first.code, max(error.exit_code for error in errors.values())


def check_names(names: Sequence[str]) -> None:
    """Raise ``UsageError`` where no target is named, or one twice: their artifacts would have one folder."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        raise UsageError(
            f"the target {twice[0]} is named twice" if twice else "no target is named",
            hint="Name each target once; `edgekit list targets` lists them.",
        )


def convert(
    orders: Sequence[Order],
    *,
    workers: Workers,
    store: Store | None = None,
    progress: Callable[[str, str], None] = lambda event, label: None,
) -> list[Result]:
    """Convert by each order, the next one whatever became of those before.

    Raises:
        UsageError: something that one of them asks for is wrong; nothing was converted.
        SeveralError: one could not be served; all others are done.
    """
    check_names([order.target.name for order in orders])
    for order in orders:
        package.check_destination(order)
        order.check()
    found: list[Result | EdgekitError] = []
    names = [order.target.name for order in orders]
    for order in orders:
        progress("note", order.target.name)
        order = replace(order, beside=tuple(name for name in names if name != order.target.name))
        try:
            found.append(pipeline.convert(order, workers=workers, store=store, progress=progress))
        except EdgekitError as error:
            found.append(error)
        except (Interrupted, KeyboardInterrupt) as error:
            if found:
                done = ", ".join(f"{name} {one.status if isinstance(one, Result) else one.code}"
                                 for name, one in zip(names, found, strict=False))  # fmt: skip
                add(error, f"Done before: {done}; the same command takes up what they measured.")
            raise
    results = [one for one in found if isinstance(one, Result)]
    if len(results) < len(found):
        raise SeveralError(names, found)
    return results
