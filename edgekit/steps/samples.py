"""Making one split of samples."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.data import plan as planning
from edgekit.data.plan import DataPlan
from edgekit.data.tasks import Split
from edgekit.proof import execution, metrics, stream
from edgekit.result.use import Preprocessing
from edgekit.signature import WHOLE, Signature, TensorSpec

#: Inputs at the edge of what the model meets, made of those of selection.
EDGES = "edges.npz"


@dataclass(frozen=True)
class Request:
    """Where samples come from, which split of them, and the model's parts that take them."""

    plan: DataPlan
    split: Split
    signatures: Mapping[str, Signature]


@dataclass(frozen=True)
class Answer:
    """What was made.

    Attributes:
        count: how many samples; 0 where the plan has no such split.
        labels: whether they have labels.
        sha256: of ``samples.npz``.
        classes: names of class folders in the order of the labels.
        dropped: how many were left out because they are in another split.
        notes: what the user has to know, a sentence each.
        preprocessing: what made the input of images, where they came as such.
    """

    count: int
    labels: bool = False
    sha256: str | None = None
    classes: tuple[str, ...] = ()
    dropped: int = 0
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None


@dataclass(frozen=True)
class ShapesRequest:
    """Whose samples are asked for their shapes."""

    plan: DataPlan


def shapes(folder: Path, request: ShapesRequest) -> tuple[TensorSpec, ...]:
    """One sample of each array that the user handed in, with a batch of 1; floats as float32."""
    from edgekit.data import user

    text = request.plan.calibrate or request.plan.evaluate
    found = user.shapes(text) if text is not None else {}
    return tuple(
        TensorSpec(name, (1, *row), "float32" if np.dtype(dtype).kind == "f" else dtype)
        for name, (row, dtype) in found.items()
    )


def run(folder: Path, request: Request) -> Answer:
    """Make one split as ``samples.npz``.

    Labels that the metric cannot score this model with are refused here, before any work.
    """
    parts, wanted = request.signatures, request.plan

    def check(labels: NDArray[np.generic]) -> None:
        if wanted.metric is not None:
            execution.check_metric(metrics.metric(wanted.metric), labels, parts)

    if stream.streams(parts):
        made = planning.make_sequences(wanted, request.split, parts)
    else:
        made = planning.make(wanted, request.split, parts[WHOLE], check)
    if made is None:
        return Answer(0)
    path = folder / "samples.npz"
    planning.save(made, path)
    with path.open("rb") as written:
        sha256 = hashlib.file_digest(written, "sha256").hexdigest()
    if request.split == "selection":
        planning.save(planning.edges(made), folder / EDGES)
    return Answer(
        count=len(next(iter(made.inputs.values()))),
        labels=made.labels is not None,
        sha256=sha256,
        classes=tuple(made.classes),
        dropped=made.dropped,
        notes=tuple(made.notes),
        preprocessing=made.preprocessing,
    )
