"""Running a model on samples: in its framework or as files in their runtime, in one call per sample or step by step.

Both give a ``Ran``, the framework's in a file, so that what is compared and scored does not depend on which it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit import parity, stream
from edgekit.data import plan as planning
from edgekit.data import rows
from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.loaded import stack
from edgekit.signature import WHOLE, Signature, State, TensorSpec

if TYPE_CHECKING:
    from edgekit.toolchains import Session

Arrays = Mapping[str, NDArray[Any]]
OUTPUTS = "outputs.npz"

#: Sequences of a split whose single steps are compared; all of them count for accuracy. 64 sequences of 100 steps are
#: 6400 samples of every output, and a tenth of the memory of a thousand.
SEQUENCES = 64


@dataclass(frozen=True)
class Ran:
    """What a run over samples gave.

    Attributes:
        outputs: by name, first axis the sample; of a stream, what the task's code around it made.
        steps: of a stream, per part, see ``stream.Steps``.
    """

    outputs: Arrays
    steps: stream.Steps = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write ``outputs.npz`` and, for each part of a stream, ``<part>.npz``."""
        np.savez(folder / OUTPUTS, **{f"out/{name}": array for name, array in self.outputs.items()})  # type: ignore[arg-type]
        for part, arrays in self.steps.items():
            np.savez(folder / f"{part}.npz", **arrays)  # type: ignore[arg-type]

    @staticmethod
    def load(folder: Path, parts: Sequence[str] = ()) -> Ran:
        """Read what ``save`` wrote, with the steps of the parts that are named."""
        outputs = {name.removeprefix("out/"): array for name, array in _arrays(folder / OUTPUTS).items()}
        return Ran(outputs, {part: _arrays(folder / f"{part}.npz") for part in parts})


def in_framework(
    models: Mapping[str, LoadedModel], samples: Path, task: str | None, folder: Path
) -> Mapping[str, stream.Arrays]:
    """Run a model in its framework on a file of samples, many at a time; write into ``folder`` what ``Ran.load`` reads.

    Returns the steps of each part, where there are any.
    """
    signatures = {name: model.signature for name, model in models.items()}
    if not stream.streams(signatures):
        parts = (models[WHOLE].run(inputs) for inputs in rows.read(samples, "x/"))
        rows.write(folder / OUTPUTS, "out/", parts)
        return {}
    calls = {name: model.run for name, model in models.items()}
    ran = Ran(*stream.run(stream.host(task), signatures, calls, planning.load(samples).inputs, SEQUENCES))
    ran.save(folder)
    return ran.steps


def in_runtime(
    sessions: Mapping[str, Session], signatures: Mapping[str, Signature], inputs: Arrays, task: str | None
) -> Ran:
    """Run files sample by sample, each from a fresh state: the batch of every artifact is 1.

    Raises:
        UnsupportedError: a file lacks an output.
    """
    samples = [{name: array[i : i + 1] for name, array in inputs.items()} for i in range(_count(inputs))]
    if not stream.streams(signatures):
        return Ran(stack(_rows(sessions[WHOLE], signatures[WHOLE], samples), len(samples)))
    around = stream.host(task)
    calls = {name: _step(session, signatures[name]) for name, session in sessions.items()}
    found = []
    for i, sample in enumerate(samples):
        for session in sessions.values():
            session.reset()
        found.append(Ran(*stream.run(around, signatures, calls, sample, int(i < SEQUENCES))))
    kept = [ran.steps for ran in found if ran.steps]
    steps = {part: {key: np.concatenate([s[part][key] for s in kept]) for key in kept[0][part]} for part in kept[0]}
    return Ran({key: np.concatenate([ran.outputs[key] for ran in found]) for key in found[0].outputs}, steps)


@dataclass(frozen=True)
class Golden:
    """What was recorded with an artifact's part, to be run again.

    Attributes:
        signature: names and shapes of what was recorded, and the part's states.
        inputs: first axis the sample, or the sequence and then the step.
        outputs: what the file gave.
        steps: whether these are sequences of steps.
    """

    signature: Signature
    inputs: Arrays
    outputs: Arrays
    steps: bool

    @staticmethod
    def load(file: Path, steps: bool, state: tuple[State, ...]) -> Golden:
        """Read a ``golden.npz``."""
        arrays = _arrays(file)
        sides = [{n.partition("/")[2]: a for n, a in arrays.items() if n.startswith(side)} for side in ("in/", "out/")]
        specs = [
            tuple(TensorSpec(name, (1, *array.shape[1 + steps :]), array.dtype.name) for name, array in side.items())
            for side in sides
        ]
        return Golden(Signature(specs[0], specs[1], state), sides[0], sides[1], steps)

    def replay(self, session: Session) -> parity.Parity:
        """Run it again, states fed back from the first step on; compare with what was recorded."""
        part = "part" if self.steps else WHOLE
        inputs = {f"{part}/{t.name}": self.inputs[t.name] for t in self.signature.given} if self.steps else self.inputs
        measured = in_runtime({part: session}, {part: self.signature}, inputs, None)
        if not self.steps:
            return parity.compare(self.outputs, measured.outputs)
        return parity.compare_steps(self.outputs, _found(measured, part))


def compare(expected: Ran, measured: Ran) -> dict[str, parity.Parity]:
    """Closeness per part; of a stream over all its steps, states included, and whether it falls on the way."""
    if not expected.steps:
        return {WHOLE: parity.compare(expected.outputs, measured.outputs)}
    return {part: parity.compare_steps(_found(expected, part), _found(measured, part)) for part in expected.steps}


def _found(ran: Ran, part: str) -> dict[str, NDArray[Any]]:
    return {key[4:]: array for key, array in ran.steps[part].items() if key.startswith("out/")}


def _rows(session: Session, signature: Signature, samples: Iterable[Arrays]) -> Iterator[Arrays]:
    call = _step(session, signature)
    for sample in samples:
        session.reset()  # a fused LSTM keeps its state between calls
        yield call(sample)


def _step(session: Session, signature: Signature) -> stream.Call:
    """A session's run with its outputs in the shape in which the next step takes them."""

    def call(inputs: Arrays) -> Arrays:
        found = _complete(session.run(inputs), signature)
        return {t.name: _shaped(found[t.name], t.shape) for t in signature.outputs}

    return call


def _complete(found: dict[str, NDArray[Any]], signature: Signature) -> dict[str, NDArray[Any]]:
    missing = {t.name for t in signature.outputs} - found.keys()
    if missing:
        raise UnsupportedError(f"the file lacks the outputs {sorted(missing)}; it has {sorted(found)}")
    return found


def _shaped(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The array in the model's shape: a runtime may drop or add an axis of length 1."""
    if array.shape == shape:
        return array
    if array.size != np.prod(shape, dtype=np.int64):
        raise UsageError(f"the file's output has shape {array.shape}, the model's {shape}")
    return array.reshape(shape)


def _count(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
