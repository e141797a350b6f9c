"""Golden data: recorded with an artifact, run again by whoever receives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit import toolchains
from edgekit.data import rows
from edgekit.proof import execution, stream
from edgekit.result.parity import Parity
from edgekit.signature import State
from edgekit.steps import File
from edgekit.toolchains import Options


@dataclass(frozen=True)
class Request:
    """What golden data are taken from.

    Attributes:
        part: of a model that is called step by step; None for one that is called once.
        samples: file of the inputs.
        measured: folder of the artifact's own outputs on them.
        reference: folder of the framework's.
        count: how many samples, or sequences.
    """

    part: str | None
    samples: File
    measured: File
    reference: File
    count: int


@dataclass(frozen=True)
class Answer:
    """How many samples, or sequences, there are."""

    samples: int


def run(folder: Path, request: Request) -> Answer:
    """Write ``golden.npz``: a few inputs with the artifact's own outputs and the framework's.

    With ``part``, the first steps of that part in the first sequences, at most ``stream.FIRST``: inputs as the artifact
    got them, states included.
    """
    measured, reference, count = Path(request.measured), Path(request.reference), request.count
    if request.part:
        own, floats = (stream.beginning(execution.steps_of(side, request.part)) for side in (measured, reference))
        arrays = {name: array[:count] for name, array in own.items()}
        arrays |= {f"float/{name[4:]}": array[:count] for name, array in floats.items() if name.startswith("out/")}
    else:
        sources = {
            "in": (Path(request.samples), "x/"),
            "out": (measured / execution.OUTPUTS, execution.PREFIX),
            "float": (reference / execution.OUTPUTS, execution.PREFIX),
        }
        found = next(rows.side_by_side(*sources.values()))
        arrays = {f"{side}/{n}": a[:count] for side, some in zip(sources, found, strict=True) for n, a in some.items()}
    np.savez(folder / "golden.npz", **arrays)  # type: ignore[arg-type]
    return Answer(len(next(iter(arrays.values()))))


@dataclass(frozen=True)
class ReplayRequest:
    """A part's file and its golden data.

    Attributes:
        toolchain: whose file it is.
        file: the file.
        options: how it is opened.
        golden: ``golden.npz``.
        steps: whether they are sequences of steps, in which the part feeds its own states back.
        state: its states.
        shapes: of its inputs.
        entry: which of several parts of the file it is.
    """

    toolchain: str
    file: File
    options: Options
    golden: File
    steps: bool
    state: tuple[State, ...]
    shapes: Mapping[str, tuple[int, ...]]
    entry: str | None = None


@dataclass(frozen=True)
class Replayed:
    """Who ran the data again, how close that is to what was recorded, and whether it is the same to the last bit."""

    by: str
    parity: Parity
    identical: bool


def replay(folder: Path, request: ReplayRequest) -> Replayed:
    """Run a part's golden inputs again and compare with the outputs that were recorded with the artifact."""
    session = toolchains.open_session(request.toolchain, Path(request.file), request.options, entry=request.entry)
    recorded = execution.Golden.load(Path(request.golden), request.steps, request.state, request.shapes)
    found = recorded.replay(session)
    identical = all(output.max_abs == 0 for output in found.per_output.values())
    return Replayed(session.by, found, identical)
