"""The zoo's tasks, one module each, found by name.

A task module has ``TASK`` and ``make(split, count)``. Where a model's outputs are not yet what the metric scores (boxes
relative to anchors) it has ``postprocess(outputs)``; where a model is called step by step ``stream(parts, inputs)``,
what the deployed application does around its parts (see ``edgekit/stream.py``). The four splits are disjoint;
calibration is drawn from train. ``make`` is a pure function of its arguments: the same call gives the same bytes on
every machine.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.errors import unknown_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.result.use import Preprocessing

Split = Literal["train", "calibration", "selection", "test"]
SPLITS: tuple[Split, ...] = ("train", "calibration", "selection", "test")


@dataclass(frozen=True)
class Task:
    """Facts about a task.

    Attributes:
        title: one line.
        metric: name of a metric in ``edgekit/metrics.py``.
        classes: number of classes, or of tokens; 0 for signals.
        sizes: samples per split.
        source: where the data come from, and their licence.
    """

    title: str
    metric: str
    classes: int
    sizes: dict[Split, int]
    source: str


@dataclass(frozen=True)
class Samples:
    """Samples of one split: inputs by name, channels last, first axis is the sample; labels alike.

    Attributes:
        inputs: by name.
        labels: None where there are none.
        classes: what the numbers of the labels are called, where that was read from names.
        dropped: samples that were left out because they are in another split, too.
        notes: facts about the data that the user must know, one sentence each.
        preprocessing: what made the input of images, where they came as such.
    """

    inputs: dict[str, NDArray[np.generic]]
    labels: NDArray[np.generic] | None
    classes: tuple[str, ...] = ()
    dropped: int = 0
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None


def names() -> list[str]:
    """All task names, sorted."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem != "__init__")


def task(name: str) -> Task:
    """Read a task's facts; raises ``UsageError`` with the nearest name."""
    if name not in names():
        raise unknown_name("task", name, names())
    found: Task = importlib.import_module(f"edgekit.data.tasks.{name}").TASK
    return found


def load(name: str, split: Split, count: int | None = None) -> Samples:
    """Make (or read) the first ``count`` samples of a split; all of them by default."""
    task(name)
    made: Samples = importlib.import_module(f"edgekit.data.tasks.{name}").make(split, count)
    return made


def stream(name: str) -> Callable[..., Any] | None:
    """The code around a model's parts, where the task has any."""
    found: Callable[..., Any] | None = getattr(importlib.import_module(f"edgekit.data.tasks.{name}"), "stream", None)
    return found


def postprocess(name: str | None, outputs: Mapping[str, NDArray[np.generic]]) -> Mapping[str, NDArray[np.generic]]:
    """What a task's metric scores, from a model's outputs by name: what the deployed application does after the model.

    Without a task, or where the task has no ``postprocess``, the outputs themselves.
    """
    if name is None:
        return outputs
    step = getattr(importlib.import_module(f"edgekit.data.tasks.{name}"), "postprocess", None)
    found: Mapping[str, NDArray[np.generic]] = outputs if step is None else step(outputs)
    return found
