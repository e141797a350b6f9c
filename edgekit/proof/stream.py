"""Models that are called step by step: several parts, and states that a part hands to its own next step.

What lies between the parts (framing, transforms, overlap-add) is the task's: ``stream(parts, inputs)`` of its module.
What is carried from step to step is done here, for the framework's run and for a file's session alike, so that both
are closed loops: each feeds back its own states, over all steps of a sequence. Of these steps some are kept
(``Chosen``): memory does not grow with the length of a sequence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data import tasks
from edgekit.errors import UsageError
from edgekit.proof.parity import DRIFT_STEPS
from edgekit.signature import WHOLE, Signature, State, TensorSpec

Arrays = Mapping[str, NDArray[Any]]
#: One step of a part: inputs by name, states among them, to outputs by name.
Call = Callable[[Arrays], Arrays]
#: Code around the parts of a model, from whole sequences to whole sequences: ``(parts, inputs) -> outputs``.
Host = Callable[[Mapping[str, Call], Arrays], dict[str, NDArray[Any]]]
#: Per part: every input (``in/``) and output (``out/``) of each step that is kept, ``(sequences, steps, ...)``, and the
#: numbers of these steps (``NUMBERS``), ``(sequences, steps)``.
Steps = dict[str, dict[str, NDArray[Any]]]
NUMBERS = "step"

#: Steps of a sequence that are kept: all of the first ones, the last ones, and at most so many between them.
FIRST, BETWEEN, LAST = 128, 128, DRIFT_STEPS


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
class Chosen:
    """The steps of a run that are kept, whose length is known only when it ends.

    Those between the first and the last ones are every second, fourth, eighth ... as the run goes on. Which they are
    depends on their number alone, so that two runs of the same sequences keep the same.
    """

    _first: list[tuple[int, Arrays]] = field(default_factory=list)
    _between: list[tuple[int, Arrays]] = field(default_factory=list)
    _last: deque[tuple[int, Arrays]] = field(default_factory=deque)
    _apart: int = 1
    _count: int = 0

    def add(self, step: Arrays) -> None:
        """Take the next step."""
        number, self._count = self._count, self._count + 1
        if number < FIRST:
            self._first.append((number, step))
            return
        self._last.append((number, step))
        if len(self._last) > LAST:
            leaving = self._last.popleft()
            if (leaving[0] - FIRST) % self._apart == 0:
                self._between.append(leaving)
        if len(self._between) > BETWEEN:
            self._between, self._apart = self._between[::2], 2 * self._apart

    def stacked(self) -> dict[str, NDArray[Any]]:
        """The arrays of the kept steps, each with the step for its second axis, and their numbers."""
        numbers, kept = zip(*self._first, *self._between, *self._last, strict=True)
        found = {name: np.stack([step[name] for step in kept], axis=1) for name in kept[0]}
        count = len(next(iter(found.values())))
        return {**found, NUMBERS: np.broadcast_to(np.array(numbers), (count, len(numbers)))}


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
    _recorded: Chosen = field(init=False, default_factory=Chosen)

    def __post_init__(self) -> None:
        specs = {t.name: t for t in self.signature.inputs}
        self._states = {s.input: initial(s, specs[s.input], self.count) for s in self.signature.state}

    def __call__(self, given: Arrays) -> Arrays:
        """Run one step on the inputs that are no states; all outputs come back."""
        inputs = {**given, **self._states}
        outputs = self.call(inputs)
        self._states = {s.input: outputs[s.output] for s in self.signature.state}
        if self.keep:
            sides = (("in", inputs), ("out", outputs))
            # Copies: a view of the first sequences would keep all of them.
            self._recorded.add(
                {f"{side}/{n}": a[: self.keep].copy() for side, arrays in sides for n, a in arrays.items()}
            )
        return outputs

    def steps(self) -> dict[str, NDArray[Any]]:
        """The steps of the recorded sequences that were kept."""
        return self._recorded.stacked()


def initial(state: State, spec: TensorSpec, count: int) -> NDArray[Any]:
    """A state at the first step of ``count`` sequences.

    Raises:
        UsageError: it says another number of values than its input has.
    """
    values = np.asarray(state.initial, spec.dtype)
    if values.ndim and values.size != np.prod(spec.row, dtype=np.int64):
        raise UsageError(f"state {state.input!r} begins with {values.size} values; the input has shape {spec.shape}")
    return np.broadcast_to(values.reshape(spec.row) if values.ndim else values, (count, *spec.row)).copy()


def run(
    around: Host, signatures: Mapping[str, Signature], calls: Mapping[str, Call], inputs: Arrays, keep: int
) -> tuple[dict[str, NDArray[Any]], Steps]:
    """Run sequences side by side, each from fresh states.

    Args:
        around: code around the parts.
        signatures: of every part.
        calls: one step of every part, for as many samples as there are sequences.
        inputs: what ``around`` takes, first axis the sequence.
        keep: sequences of which steps are kept; none where 0.

    Returns:
        What ``around`` returns, and the steps that were kept.
    """
    count = len(next(iter(inputs.values())))
    loops = {name: Loop(signature, calls[name], count, keep) for name, signature in signatures.items()}
    # A task's code speaks of data, whose channels are last; what runs by itself has inputs of its own.
    parts = loops if around is apart else {name: _channels_last(loop) for name, loop in loops.items()}
    outputs = around(parts, inputs)
    return outputs, {name: loop.steps() for name, loop in loops.items()} if keep else {}


def _channels_last(loop: Loop) -> Call:
    """A part whose maps come and go channels last, whatever its own layout is."""
    inputs, outputs = (
        {t.name for t in side if t.layout == "channels_first"}
        for side in (loop.signature.inputs, loop.signature.outputs)
    )

    def call(given: Arrays) -> Arrays:
        found = loop({n: np.moveaxis(a, -1, 1) if n in inputs else a for n, a in given.items()})
        return {n: np.moveaxis(a, 1, -1) if n in outputs else a for n, a in found.items()}

    return call


def beginning(steps: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Of the steps of one part the first ones, without a gap: what can be run again from fresh states."""
    return {name: array[:, :FIRST] for name, array in steps.items() if name != NUMBERS}


def length(steps: Mapping[str, NDArray[Any]]) -> int:
    """How many steps the sequences had, of which some are kept, the last one among them."""
    return int(steps[NUMBERS][0, -1]) + 1


def rows(steps: Mapping[str, NDArray[Any]], most: int) -> dict[str, NDArray[Any]]:
    """At most so many kept steps of one part as samples, evenly drawn: inputs by name, states among them."""
    arrays = {name[3:]: array for name, array in steps.items() if name.startswith("in/")}
    flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items()}
    total = len(next(iter(flat.values())))
    drawn = np.linspace(0, total - 1, min(most, total)).round().astype(np.int64)
    return {name: array[drawn] for name, array in flat.items()}
