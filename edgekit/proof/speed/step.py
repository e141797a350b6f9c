"""Measuring files: what a device is asked for, and what comes back.

A ``Request`` and its files travel to a device, ``measurement.Measured`` come back, one for each contender. Nothing in
it needs the source, the zoo or a framework.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit import toolchains
from edgekit.errors import NotRunError
from edgekit.proof.speed import conditions, loadgen, steady, writing
from edgekit.proof.speed.measurement import Engine, Measured, Operator, Tokens
from edgekit.proof.speed.opened import Contender, Opened, open_contender
from edgekit.proof.speed.steady import Record


@dataclass(frozen=True)
class Request:
    """What a device is asked to measure.

    Attributes:
        contenders: by name; timed in turns, in one process.
        seconds: that each is timed for.
        seed: of drawn inputs, and of the order.
        cpus: that the process is held to; none where it is not.
        yardstick: a product of two square matrices in the same runtime and precision, for one contender.
        profile: whether operators are timed, in a session of its own.
        writes: whether it is a file that writes text.
        sustain_s: how long a single contender then runs on.
        engine: what drives the inferences of a single contender.
    """

    contenders: Mapping[str, Contender]
    seconds: float = 2.0
    seed: int = 0
    cpus: tuple[int, ...] = ()
    yardstick: Contender | None = None
    profile: bool = False
    writes: bool = False
    sustain_s: float = 0.0
    engine: Engine = "edgekit"


@dataclass(frozen=True)
class Answer:
    """What was measured of each contender."""

    measured: Mapping[str, Measured]


def run(folder: Path, request: Request) -> Answer:
    """Measure files; see ``proof/speed/steady.py`` for the rules."""
    if request.cpus:
        _pin(request.cpus)
    alone = len(request.contenders) == 1
    before = conditions.state()
    opened = [open_contender(contender, request.seed) for contender in request.contenders.values()]
    if request.engine == "loadgen":
        records = [loadgen.measure(opened[0].subject(), folder, seconds=request.seconds)]
    else:
        records = steady.measure([one.subject() for one in opened], seconds=request.seconds, seed=request.seed)
    _, peak = conditions.memory()
    after = conditions.state()
    sustained = tuple(steady.sustain(opened[0].subject(), request.sustain_s)) if request.sustain_s else ()
    found = []
    for one, record in zip(opened, records, strict=True):
        contender = one.contender
        on_one = contender.options.threads == 1 and contender.options.unit == "cpu"
        around = conditions.between(
            before,
            after,
            wall_over_cpu=steady.wall_over_cpu(record) if on_one else None,
            interruptions=steady.interruptions_per_s(record) if on_one else None,
            lost=record.lost,
        )
        first = next(iter(one.sessions.values()))
        found.append(
            Measured(
                by=first.by,
                unit=contender.options.unit,
                threads=contender.options.threads,
                pinned_cpus=request.cpus,
                precision=first.precision,
                ops_delegated=first.ops_delegated,
                ops_total=None,
                import_ms=one.import_ms,
                load_ms=one.load_ms,
                first_ms=one.first_ms,
                wall=steady.wall(record),
                cpu=steady.cpu(record),
                blocks=steady.blocks(record),
                steps=one.steps,
                peak_rss_bytes=max(peak, one.peak) if alone else None,
                model_rss_bytes=max(0, max(peak, one.peak) - one.before) if alone else None,
                of_square_matmul=_of_square(request, record) if alone else None,
                operators=_operators(one) if request.profile and alone else (),
                tokens=_tokens(one) if request.writes and alone else None,
                sustained=sustained,
                conditions=around,
                inputs=one.kind,
                engine=request.engine,
            )
        )
    return Answer(dict(zip(request.contenders, found, strict=True)))


def _pin(cpus: tuple[int, ...]) -> None:
    if not hasattr(os, "sched_setaffinity"):
        raise NotRunError("this system does not hold a process to cores", hint="Leave --cpus out.")
    if unknown := set(cpus) - os.sched_getaffinity(0):
        raise NotRunError(
            f"there is no core {min(unknown)} for this process; there are {sorted(os.sched_getaffinity(0))}"
        )
    os.sched_setaffinity(0, cpus)


def _of_square(request: Request, record: Record) -> float | None:
    """Multiply-accumulates a second, as a share of the yardstick's."""
    [contender], other = request.contenders.values(), request.yardstick
    if other is None or not contender.macs or not other.macs:
        return None
    opened = open_contender(other, request.seed)
    [whole] = steady.measure([opened.subject()], seconds=0.5, seed=request.seed)
    if contender.options.threads == 1:
        own, square = steady.cpu(record).p50_ms, steady.cpu(whole).p50_ms
    else:
        own, square = steady.wall(record).p50_ms, steady.wall(whole).p50_ms
    return round((contender.macs / own) / (other.macs / square), 4)


def _operators(opened: Opened) -> tuple[Operator, ...]:
    """Of all parts, the longest first; empty where the runtime does not tell."""
    contender, found = opened.contender, []
    for name, file in contender.files.items():
        found += toolchains.profile(
            contender.toolchain, Path(file), contender.options, opened.feeds[name][0], entry=contender.entries.get(name)
        )
    times = [Operator(name=name, kind=kind, ms=float(f"{ms:.4g}")) for name, kind, ms in found]
    return tuple(sorted(times, key=lambda operator: -operator.ms))


def _tokens(opened: Opened) -> Tokens | None:
    """Of a file of one part that writes text."""
    if len(opened.sessions) > 1 or opened.contender.steps:
        return None
    [session], [[inputs, *_]] = opened.sessions.values(), opened.feeds.values()
    return writing.measure(session, inputs) if writing.writes(inputs, session.run(inputs)) else None


@dataclass(frozen=True)
class UnitsRequest:
    """Whose runtime is asked."""

    toolchain: str


@dataclass(frozen=True)
class Units:
    """What of this machine it reaches."""

    found: tuple[str, ...]


def units(folder: Path, request: UnitsRequest) -> Units:
    """Ask a toolchain's runtime."""
    toolchains.load_runtime(request.toolchain)
    return Units(tuple(toolchains.units(request.toolchain)))
