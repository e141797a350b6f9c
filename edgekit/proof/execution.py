"""Running a model on samples: in its framework or as files in their runtime, in one call per sample or step by step.

Both write what they gave into a folder, so that what is compared and scored does not depend on which it was. Samples
and outputs go through memory some at a time; of models that are called step by step, all sequences together.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data import detection, rows, tasks
from edgekit.data import plan as planning
from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.loaded import stack
from edgekit.proof import metrics, parity, stream
from edgekit.result.parity import Parity
from edgekit.signature import BOXES, READ, SCORES, WHOLE, Signature, State, TensorSpec, either_axis

if TYPE_CHECKING:
    from edgekit.proof.metrics import Metric
    from edgekit.toolchains import Session

Arrays = Mapping[str, NDArray[Any]]
#: What every run writes, its arrays under this prefix.
OUTPUTS = "outputs.npz"
#: Where a run on inputs at the edge of what the model meets lies, beside the run itself.
EDGES = "edges"
PREFIX = "out/"

#: Sequences of a split whose single steps are compared; all of them count for accuracy. 64 sequences of 100 steps are
#: 6400 samples of every output, and a tenth of the memory of a thousand.
SEQUENCES = 64


def in_framework(
    models: Mapping[str, LoadedModel], samples: Path, task: str | None, folder: Path
) -> Mapping[str, stream.Arrays]:
    """Run a model in its framework on a file of samples, many at a time; write what it gave.

    Returns the steps of each part, where there are any.
    """
    signatures = {name: model.signature for name, model in models.items()}
    if not stream.streams(signatures):
        rows.write(folder / OUTPUTS, PREFIX, map(models[WHOLE].run, rows.read(samples, "x/")))
        return {}
    calls = {name: model.run for name, model in models.items()}
    ran = Ran(*stream.run(stream.host(task), signatures, calls, planning.load(samples).inputs, SEQUENCES))
    ran.save(folder)
    return ran.steps


def some_outputs(models: Mapping[str, LoadedModel], samples: Path, task: str | None) -> dict[str, NDArray[Any]]:
    """A model's outputs on a few of the samples, for looking at how it behaves; nothing is written."""
    signatures = {name: model.signature for name, model in models.items()}
    if not stream.streams(signatures):
        some = next(rows.read(samples, "x/"))
        return dict(models[WHOLE].run({name: array[:SOME] for name, array in some.items()}))
    calls = {name: model.run for name, model in models.items()}
    inputs = {name: array[:1] for name, array in planning.load(samples).inputs.items()}
    _, steps = stream.run(stream.host(task), signatures, calls, inputs, 1)
    return {f"{part}/{name}": array for part, found in steps.items() for name, array in _outputs(found).items()}


def in_runtime(
    sessions: Mapping[str, Session],
    signatures: Mapping[str, Signature],
    samples: Path,
    task: str | None,
    folder: Path,
    reference: Path | None = None,
) -> None:
    """Run files on a file of samples, one by one, each from a fresh state: the batch of every artifact is 1.

    With ``reference``, the folder of the framework's run, parts that carry nothing on are compared on its steps.

    Raises:
        UnsupportedError: a file lacks an output.
    """
    if stream.streams(signatures):
        ran = in_sequences(sessions, signatures, planning.load(samples).inputs, task)
        if reference is not None:
            for name in stateless(signatures):
                run = functools.partial(_one_by_one, sessions[name], signatures[name])
                ran.steps[name] = on_steps(run, steps_of(reference, name))
        ran.save(folder)
    else:
        made = (_one_by_one(sessions[WHOLE], signatures[WHOLE], some) for some in rows.read(samples, "x/"))
        rows.write(folder / OUTPUTS, PREFIX, made)


#: Samples that a look at a model's behaviour takes.
SOME = 8


@dataclass(frozen=True)
class Ran:
    """What a run over sequences gave.

    Attributes:
        outputs: by name, first axis the sequence: what the task's code around the parts made.
        steps: per part, see ``stream.Steps``.
    """

    outputs: Arrays
    steps: stream.Steps = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write ``outputs.npz`` and, for each part, ``<part>.npz``."""
        np.savez(folder / OUTPUTS, **{PREFIX + name: np.ascontiguousarray(a) for name, a in self.outputs.items()})  # type: ignore[arg-type]
        for part, arrays in self.steps.items():
            np.savez(folder / f"{part}.npz", **arrays)  # type: ignore[arg-type]


def in_sequences(
    sessions: Mapping[str, Session], signatures: Mapping[str, Signature], inputs: Arrays, task: str | None
) -> Ran:
    """Run files as closed loops over sequences, one sequence after the other."""
    around = stream.host(task)
    calls = {name: _step(session, signatures[name]) for name, session in sessions.items()}
    found = []
    for i in range(_count(inputs)):
        for session in sessions.values():
            session.reset()
        sequence = {name: array[i : i + 1] for name, array in inputs.items()}
        found.append(Ran(*stream.run(around, signatures, calls, sequence, int(i < SEQUENCES))))
    kept = [ran.steps for ran in found if ran.steps]
    steps = {part: {key: np.concatenate([s[part][key] for s in kept]) for key in kept[0][part]} for part in kept[0]}
    return Ran({key: np.concatenate([ran.outputs[key] for ran in found]) for key in found[0].outputs}, steps)


def stateless(signatures: Mapping[str, Signature]) -> list[str]:
    """Parts that carry nothing from step to step, of a model of several: they are compared as ``on_steps`` says."""
    return [name for name, signature in signatures.items() if name != WHOLE and not signature.state]


def on_steps(run: stream.Call, steps: Arrays) -> dict[str, NDArray[Any]]:
    """A part without states on the inputs that it had in the steps of another run, and what it makes of them.

    In a run of its own, what a part is given depends on the parts before it: where regions are chosen of what one
    says, the least difference puts another input in the place of this one, and says nothing of the part that takes it.

    Args:
        run: of any number of samples.
        steps: of that run, see ``stream.Steps``.
    """
    count, kept = steps[stream.NUMBERS].shape
    given = {name: array for name, array in steps.items() if name.startswith("in/")}
    found = run({name[3:]: array.reshape(-1, *array.shape[2:]) for name, array in given.items()})
    outputs = {PREFIX + name: array.reshape(count, kept, *array.shape[1:]) for name, array in found.items()}
    return {**given, **outputs, stream.NUMBERS: steps[stream.NUMBERS]}


def steps_of(folder: Path, part: str) -> dict[str, NDArray[Any]]:
    """The steps of one part that a run wrote."""
    return _arrays(folder / f"{part}.npz")


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
    def load(file: Path, steps: bool, state: tuple[State, ...], shapes: Mapping[str, Sequence[int]]) -> Golden:
        """Read a ``golden.npz`` of a file whose inputs have these shapes."""
        arrays = _arrays(file)
        inputs, outputs = (
            {n.partition("/")[2]: a for n, a in arrays.items() if n.startswith(side)} for side in ("in/", "out/")
        )
        given = tuple(TensorSpec(name, tuple(shapes[name]), array.dtype.name) for name, array in inputs.items())
        # What comes out is compared row by row, whatever its first axis is.
        made = (TensorSpec(n, (1, *array.shape[1 + steps :]), array.dtype.name) for n, array in outputs.items())
        return Golden(Signature(given, tuple(made), state), inputs, outputs, steps)

    def replay(self, session: Session) -> Parity:
        """Run it again, states fed back from the first step on; compare with what was recorded."""
        if not self.steps:
            return parity.compare(self.outputs, _one_by_one(session, self.signature, self.inputs))
        inputs = {f"part/{t.name}": self.inputs[t.name] for t in self.signature.given}
        found = in_sequences({"part": session}, {"part": self.signature}, inputs, None).steps["part"]
        kept = found[stream.NUMBERS][0]  # earlier releases recorded more steps than are kept
        return parity.compare_steps({n: a[:, kept] for n, a in self.outputs.items()}, _outputs(found))


def compare(
    expected: Path,
    measured: Path,
    signatures: Mapping[str, Signature],
    source: Path | None = None,
    unread: Collection[str] = (),
) -> dict[str, Parity]:
    """Closeness of what two runs wrote, per part; of a stream as ``compare_sequences`` says.

    Outputs that are ``unread`` are held against the run of the source.
    """
    if not stream.streams(signatures):
        sides = [(folder / OUTPUTS, PREFIX) for folder in (expected, source or expected, measured)]

        def pairs() -> Iterator[tuple[Arrays, Arrays]]:
            for own, sources, ours in rows.side_by_side(*sides):
                yield {name: sources[name] if name in unread else array for name, array in own.items()}, ours

        return {WHOLE: parity.compare_parts(pairs, signatures[WHOLE].channels)}
    return {
        part: compare_sequences(steps_of(expected, part), steps_of(measured, part), signature.channels)
        for part, signature in signatures.items()
    }


def compare_sequences(expected: Arrays, measured: Arrays, axes: Mapping[str, Sequence[int]] | None = None) -> Parity:
    """Closeness of one part over the steps that were kept, states included, and whether it falls on the way."""
    return parity.compare_steps(_outputs(expected), _outputs(measured), axes, stream.length(expected))


def _outputs(steps: Arrays) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(PREFIX): array for key, array in steps.items() if key.startswith(PREFIX)}


def scored(
    runs: Sequence[Path],
    samples: Path,
    task: str | None,
    metric: Metric,
    signatures: Mapping[str, Signature],
) -> Iterator[list[NDArray[Any]]]:
    """What a metric reads of runs on the same samples: labels and each run, some samples at a time.

    What stands there twice is read once.
    """
    folders = dict.fromkeys(runs)
    for y, *sides in rows.side_by_side((samples, "y"), *((folder / OUTPUTS, PREFIX) for folder in folders)):
        [labels] = y.values()
        read = (metric.read(answers(side, signatures, task), labels) for side in sides)
        found = dict(zip(folders, read, strict=True))
        yield [labels, *(found[folder] for folder in runs)]


def unread(run: Path, samples: Path, task: str | None, metric: Metric, signatures: Mapping[str, Signature]) -> set[str]:
    """Outputs that a metric scores nothing of: what it reads stays the same whatever they hold. Of streams none."""
    if stream.streams(signatures):
        return set()
    y, side = next(rows.side_by_side((samples, "y"), (run / OUTPUTS, PREFIX)))
    [labels] = y.values()

    def read(changed: str | None) -> NDArray[Any]:
        outputs = {name: array + (name == changed) for name, array in side.items()}
        return metric.read(answers(outputs, signatures, task), labels)

    as_it_is = read(None)
    return {name for name in side if np.array_equal(as_it_is, read(name), equal_nan=as_it_is.dtype.kind in "fc")}


def lost_on_edges(expected: Path, measured: Path, signatures: Mapping[str, Signature]) -> list[str]:
    """Where files are not finite on inputs at the edge of what they meet, and the framework's run is.

    Values are not compared: such inputs are outside of what a file was calibrated for.
    """
    found = []
    for part in signatures:
        sides = [_outputs(_ran(side / EDGES, part, signatures)) for side in (expected, measured)]
        for name, reference in sides[0].items():
            wrong = np.isfinite(reference) & ~np.isfinite(sides[1][name])
            for i, edge in enumerate(planning.EDGES):
                if count := int(np.count_nonzero(wrong[i])):
                    of = f"{count} of {wrong[i].size} values"
                    found.append(f"output {name!r} is NaN or infinite in {of} on {edge}; the framework's is finite")
    return found


def _ran(folder: Path, part: str, signatures: Mapping[str, Signature]) -> dict[str, NDArray[Any]]:
    """What a run wrote: the outputs of a model that is called once, the steps of a part."""
    return steps_of(folder, part) if stream.streams(signatures) else _arrays(folder / OUTPUTS)


def agreement(expected: Path, measured: Path, signature: Signature, name: str) -> float:
    """Share of positions of one output at which two runs have the same largest value along its channels."""
    axes = signature.channels[name]
    axis = axes[0] if len(axes) == 1 else -1
    agreed = count = 0.0
    for both in rows.side_by_side((expected / OUTPUTS, PREFIX), (measured / OUTPUTS, PREFIX)):
        first, second = (np.moveaxis(side[name], axis, -1) for side in both)
        agreed += len(first) * metrics.agreement(first, second)
        count += len(first)
    return agreed / count


def answers(outputs: Arrays, signatures: Mapping[str, Signature], task: str | None) -> Arrays:
    """What a metric reads, from a model's outputs by name: as the task makes it of them, or by what each is said to be.

    What is said to be scored comes first, then classes; boxes and scores under these names, boxes as corners in pixels.
    """
    signature = signatures.get(WHOLE)
    if task is not None or signature is None or not signature.roles:
        return tasks.postprocess(task, outputs)
    outputs, roles = detection.apart(outputs, signature.roles)
    kinds = set(roles.values())
    if kinds & set(BOXES) and kinds & set(SCORES):
        return detection.named(outputs, roles, image_size(signature))
    first = [name for role in READ for name in outputs if roles.get(name) == role]
    return {name: outputs[name] for name in (*first, *outputs)}


def image_size(signature: Signature) -> tuple[int, int]:
    """Height and width of a model's image, its first input of four axes; (1, 1) where it has none."""
    shape = next((t.shape for t in signature.inputs if len(t.shape) == 4), (1, 1, 1, 1))
    first = shape[1] in (1, 3, 4) and shape[3] not in (1, 3, 4)
    return (shape[2], shape[3]) if first else (shape[1], shape[2])


def check_metric(metric: Metric, labels: NDArray[Any], signatures: Mapping[str, Signature]) -> None:
    """Refuse labels that a metric cannot score this model with; nothing has been run then.

    Raises:
        UsageError: what does not fit.
    """
    nothing = np.zeros(())
    outputs = {t.name: np.broadcast_to(nothing, (1, *t.row)) for t in signatures[WHOLE].outputs}
    read = answers(outputs, signatures, None)
    if metric.reads_classes:
        _check_axes(next(iter(read)), read, labels, signatures[WHOLE])
    shape = metric.read(read, labels[:1]).shape
    metric.check(labels, (len(labels), *shape[1:]))
    if metric.check_set is not None:
        metric.check_set(labels)


def _check_axes(name: str, outputs: Arrays, labels: NDArray[Any], signature: Signature) -> None:
    """Refuse an output of which either of two axes may be that of the classes, by its model's convention and labels."""
    shape = outputs[name].shape[1:]
    if len(shape) < 2 or not {1, len(shape)} <= {*signature.channels.get(name, ())}:
        return
    if shape[:-1] == shape[1:] == labels.shape[1:]:
        raise either_axis(f"output {name!r}", shape)


def _one_by_one(session: Session, signature: Signature, inputs: Arrays) -> dict[str, NDArray[Any]]:
    call, count = _step(session, signature), _count(inputs)

    def outputs() -> Iterator[Arrays]:
        for i in range(count):
            session.reset()  # a fused LSTM keeps its state between calls
            yield call({name: array[i : i + 1] for name, array in inputs.items()})

    return stack(outputs(), count)


def _step(session: Session, signature: Signature) -> stream.Call:
    """A session's run of one row of data to one row: the next step takes them so."""

    def call(inputs: Arrays) -> Arrays:
        found = _complete(session.run({t.name: t.sample(inputs[t.name], 0) for t in signature.inputs}), signature)
        return {t.name: _shaped(found[t.name], t.shape).reshape(1, *t.row) for t in signature.outputs}

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
