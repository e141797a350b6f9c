"""Models that are called step by step: several parts, and states that a part hands to its own next step.

What lies between the parts (framing, transforms, overlap-add) is the task's: ``stream(parts, inputs)`` of its module.
What is carried from step to step is done here, for the framework's run and for a file's session alike, so that both
are closed loops: each feeds back its own states, over all steps of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data import tasks
from edgekit.errors import UsageError
from edgekit.signature import WHOLE, Signature

Arrays = Mapping[str, NDArray[Any]]
#: One step of a part: inputs by name, states among them, to outputs by name.
Call = Callable[[Arrays], Arrays]
#: Code around the parts of a model, from whole sequences to whole sequences: ``(parts, inputs) -> outputs``.
Host = Callable[[Mapping[str, Call], Arrays], dict[str, NDArray[Any]]]
#: Per part: every input (``in/``) and output (``out/``) of every step, ``(sequences, steps, ...)``.
Steps = dict[str, dict[str, NDArray[Any]]]


def streams(signatures: Mapping[str, Signature]) -> bool:
    """Whether a model is run as a sequence of steps: it has a state, or more than one part."""
    return list(signatures) != [WHOLE] or any(s.state for s in signatures.values())


def host(task: str | None) -> Host:
    """The task's code around the parts; without a task each part runs by itself, see ``apart``."""
    if task is None:
        return apart
    found = tasks.stream(task)
    if found is None:
        raise UsageError(f"task {task} does not say how a model is called step by step: its module has no `stream`")
    return found


def apart(parts: Mapping[str, Call], inputs: Arrays) -> dict[str, NDArray[Any]]:
    """Run each part on inputs of its own, ``<part>/<input>`` of shape ``(sequences, steps, ...)``; no outputs."""
    for step in range(next(iter(inputs.values())).shape[1]):
        for name, part in parts.items():
            own = {key: array[:, step] for key, array in inputs.items() if key.startswith(f"{name}/")}
            part({key.removeprefix(f"{name}/"): array for key, array in own.items()})
    return {}


@dataclass
class Loop:
    """One part with its states fed back, for ``count`` sequences side by side.

    Attributes:
        signature: inputs, outputs and states of the part.
        call: one step.
        count: sequences that run side by side (first axis of every array).
        keep: how many of them are recorded, the first ones.
    """

    signature: Signature
    call: Call
    count: int
    keep: int
    _states: dict[str, NDArray[Any]] = field(init=False)
    _recorded: list[dict[str, NDArray[Any]]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        specs = {t.name: t for t in self.signature.inputs}
        self._states = {
            s.input: np.full((self.count, *specs[s.input].row), s.initial, specs[s.input].dtype)
            for s in self.signature.state
        }

    def __call__(self, given: Arrays) -> Arrays:
        """Run one step on the inputs that are no states; all outputs come back."""
        inputs = {**given, **self._states}
        outputs = self.call(inputs)
        self._states = {s.input: outputs[s.output] for s in self.signature.state}
        if self.keep:
            sides = (("in", inputs), ("out", outputs))
            self._recorded.append({f"{side}/{n}": a[: self.keep] for side, arrays in sides for n, a in arrays.items()})
        return outputs

    def steps(self) -> dict[str, NDArray[Any]]:
        """Every input and output of the recorded sequences, ``(sequences, steps, ...)``."""
        return {name: np.stack([step[name] for step in self._recorded], axis=1) for name in self._recorded[0]}


def run(
    around: Host, signatures: Mapping[str, Signature], calls: Mapping[str, Call], inputs: Arrays, keep: int
) -> tuple[dict[str, NDArray[Any]], Steps]:
    """Run sequences side by side, each from fresh states.

    Args:
        around: code around the parts.
        signatures: of every part.
        calls: one step of every part, for as many samples as there are sequences.
        inputs: what ``around`` takes, first axis the sequence.
        keep: sequences whose steps are recorded; none where 0.

    Returns:
        What ``around`` returns, and the recorded steps.
    """
    count = len(next(iter(inputs.values())))
    loops = {name: Loop(signature, calls[name], count, keep) for name, signature in signatures.items()}
    outputs = around(loops, inputs)
    return outputs, {name: loop.steps() for name, loop in loops.items()} if keep else {}


def rows(steps: Mapping[str, NDArray[Any]], most: int) -> dict[str, NDArray[Any]]:
    """At most so many steps of one part as samples, evenly drawn: inputs by name, states of the run among them."""
    arrays = {name[3:]: array for name, array in steps.items() if name.startswith("in/")}
    flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items()}
    total = len(next(iter(flat.values())))
    drawn = np.linspace(0, total - 1, min(most, total)).round().astype(np.int64)
    return {name: array[drawn] for name, array in flat.items()}
