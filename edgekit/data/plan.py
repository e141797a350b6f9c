"""Which samples a conversion uses: four disjoint splits, from a zoo task, the user's data, or (parity only) generated.

Whatever chooses (routes, ranges) sees calibration and selection; test is made only after the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.data import mapped, tasks
from edgekit.data.mapped import take
from edgekit.data.rows import Arrays, Rows, stored
from edgekit.data.tasks import Samples, Split
from edgekit.errors import UnsupportedError, UsageError
from edgekit.ranges.estimator import Draw
from edgekit.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Samples compared where no data were given: they say "wired correctly", nothing about accuracy.
GENERATED = 32
#: Steps of a generated sequence.
GENERATED_STEPS = 104
#: Share of ``--calibrate`` that is held out for parity where ``--evaluate`` is missing.
HELD_OUT = 0.25
#: Share of ``--evaluate`` that chooses; the rest is the test, run once.
SELECTION_SHARE = 0.3


@dataclass(frozen=True)
class DataPlan:
    """Where the samples come from; a plain value, so that it can be hashed and sent to a child.

    Attributes:
        task: a zoo task, or None.
        train: the user's ``--train``, or None.
        calibrate: the user's ``--calibrate``, or None.
        evaluate: the user's ``--evaluate``, or None.
        metric: metric of the labels; None where there are no labels.
        calibration_count: calibration samples used at most.
        draw: which ones, where there are more.
        seed: of every split that edgekit makes itself.
        content: SHA-256 of what was handed in, for the store.
        arrays: options whose file holds what a Python program handed in; its name says nothing.
    """

    task: str | None = None
    train: str | None = None
    calibrate: str | None = None
    evaluate: str | None = None
    metric: str | None = None
    calibration_count: int = 256
    draw: Draw = "random"
    seed: int = 0
    content: str = ""
    arrays: tuple[str, ...] = ()

    def absolute(self) -> DataPlan:
        """The plan for a child, which may have been started in another folder than the one that paths were typed in."""
        found = {option: str(Path(path).absolute()) for option, path in self.given.items()}
        return replace(self, **found)  # type: ignore[arg-type]  # all are paths

    @property
    def given(self) -> dict[str, str]:
        """What the user handed in, by option."""
        named = {"train": self.train, "calibrate": self.calibrate, "evaluate": self.evaluate}
        return {option: path for option, path in named.items() if path is not None}

    def identity(self) -> dict[str, Any]:
        """What samples depend on: what was handed in by its content, not by where it lies."""
        given = {option: option in self.given for option in ("train", "calibrate", "evaluate")}
        return {**asdict(self), **given, "arrays": ()}

    def called(self, option: str) -> str:
        """What was handed in for an option, as a person knows it."""
        return "arrays" if option in self.arrays else self.given[option]

    def share(self, split: str) -> float:
        """Of the labelled samples that the user hands in, the share that comes into this split; 1 for a task's own."""
        if self.evaluate is None:
            return 1.0
        return SELECTION_SHARE if split == "selection" else 1 - SELECTION_SHARE

    @property
    def generated(self) -> bool:
        """Whether parity rests on generated inputs, for want of any data."""
        return self.task is None and not self.given


def make(
    plan: DataPlan, split: Split, signature: Signature, check: Callable[[NDArray[np.generic]], None] = lambda _: None
) -> Samples | None:
    """Make one split in the layout of ``signature``; None where the plan has no such split.

    ``check`` is called with all of the user's labels before they are split, so that what it says of a sample is true
    of the file.
    """
    if plan.task is not None:
        return _in_layout(_of_task(plan.task, plan, split), signature)
    if plan.generated:
        return _generated(signature, plan.seed) if split == "selection" else None
    from edgekit.data import user

    if split == "train":
        return _training(plan, signature, check)
    if split == "calibration":
        return None if plan.calibrate is None else _calibration(plan, plan.calibrate, signature)
    if plan.evaluate is not None:
        found = user.load(plan.evaluate, signature, labels=True)
        if found.labels is not None:
            check(found.labels)
        selection, test = user.split(found, plan.seed, SELECTION_SHARE)
        return selection if split == "selection" else test
    assert plan.calibrate is not None
    if split != "selection":
        return None
    found = user.load(plan.calibrate, signature)
    return take(found, _part(found, plan, kept=False))


def _training(plan: DataPlan, signature: Signature, check: Callable[[NDArray[np.generic]], None]) -> Samples | None:
    """The user's labelled training samples, without those that the file is scored on.

    Raises:
        UsageError: too many of them are among the evaluation samples.
    """
    from edgekit.data import user

    if plan.train is None:
        return None
    samples = user.load(plan.train, signature, labels=True)
    if samples.labels is not None:
        check(samples.labels)
    assert plan.evaluate is not None
    kept = user.apart(samples, user.load(plan.evaluate, signature), plan.train)
    return replace(take(samples, kept), dropped=_count(samples) - len(kept))


def _calibration(plan: DataPlan, given: str, signature: Signature) -> Samples:
    """The user's calibration samples, without those that the file is compared on.

    Raises:
        UsageError: too few to do both, too many of them among the evaluation samples, or all alike.
    """
    from edgekit.data import user

    samples = user.load(given, signature)
    if plan.evaluate is not None:
        kept = user.apart(samples, user.load(plan.evaluate, signature), given)
        samples = replace(samples, dropped=_count(samples) - len(kept))
    elif _count(samples) < 2:
        raise UsageError(
            f"{given} holds one sample, which cannot be calibrated with and compared on as well",
            hint="Give a few hundred real inputs (at least two), or others to compare on with --evaluate.",
        )
    else:
        kept = _part(samples, plan, kept=True)
    drawn = take(samples, kept[_drawn(len(kept), plan)])
    if _count(drawn) > 1 and len(set(user.hashes(drawn))) == 1:
        raise UsageError(
            f"all {_count(drawn)} calibration samples of {given} are alike: they show no range of values",
            hint="Give a few hundred different real inputs.",
        )
    return drawn


def make_sequences(plan: DataPlan, split: Split, signatures: Mapping[str, Signature]) -> Samples | None:
    """Make one split for a model that is called step by step, as the code around it takes it (``stream.Host``).

    Raises:
        UnsupportedError: the user's own data were given.
    """
    if plan.task is not None:
        return _of_task(plan.task, plan, split)
    if not plan.generated:
        raise UnsupportedError(
            "--calibrate and --evaluate hold single samples; a model that is called step by step needs its own task",
            hint="Add a task with `stream` in edgekit/data/tasks, as noisy_speech has.",
        )
    if split != "selection":
        return None
    generator = np.random.default_rng(plan.seed)
    # Where nothing is carried on, a step says no more than another sequence does.
    steps = GENERATED_STEPS if any(signature.state for signature in signatures.values()) else 1
    return Samples(
        {
            f"{part}/{t.name}": generator.standard_normal((GENERATED, steps, *t.row)).astype(t.dtype)
            for part, signature in signatures.items()
            for t in signature.given
        },
        None,
    )


#: Inputs at the edge of what a model meets, one sample each: silence, black and white images, padding.
EDGES = (
    "inputs that are all zero",
    "inputs that are all at their smallest value",
    "inputs that are all at their largest value",
    "a sample whose second half is zero",
)


def edges(samples: Samples) -> Samples:
    """Samples of the inputs' own kind that real data seldom hold, in the order of ``EDGES``.

    A model that adds an epsilon before a logarithm or a division is finite on them; a file that lost it is not.
    Numbers of words and masks (int32, int64, bool) have no edge: all 0 is a sentence of nothing but padding, of which
    attention has no mean. In the place of constants they have a sample.
    """

    def of(array: NDArray[np.generic]) -> NDArray[np.generic]:
        one = array[:1]
        padded = one.copy()
        if one.ndim > 1:
            padded[:, one.shape[1] // 2 :] = 0
        if one.dtype.kind == "b" or (one.dtype.kind in "iu" and one.itemsize > 2):
            return np.concatenate([one, one, one, padded])
        least = min(block.min() for block in mapped.blocks(array))
        most = max(block.max() for block in mapped.blocks(array))
        constants = (np.full_like(one, value) for value in (0, least, most))
        return np.concatenate([*constants, padded])

    return Samples({name: of(array) for name, array in samples.inputs.items()}, None)


def moved(parts: Iterable[Arrays]) -> Iterator[Arrays]:
    """The same inputs, some samples at a time, with every float moved by one rounding of its type, up or down."""
    generator = np.random.default_rng(0)

    def of(array: NDArray[Any]) -> NDArray[Any]:
        if array.dtype.kind != "f":
            return array
        signs = generator.choice(np.array([-1, 1], array.dtype), array.shape)
        found: NDArray[Any] = array * (1 + signs * np.finfo(array.dtype).eps)
        return found.astype(array.dtype)

    for part in parts:
        yield {name: of(array) for name, array in part.items()}


def save(samples: Samples, path: Path) -> None:
    """Write samples as an npz file: ``x/<input>`` and, where there are labels, ``y``."""
    arrays = {f"x/{name}": array for name, array in samples.inputs.items()}
    if samples.labels is not None:
        arrays["y"] = samples.labels
    mapped.save(path, arrays)


def load(path: Path) -> Samples:
    """Read what ``save`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        inputs = {name[2:]: file[name] for name in file.files if name.startswith("x/")}
        return Samples(inputs, file["y"] if "y" in file.files else None)


def rows_of(path: Path) -> dict[str, Rows]:
    """The inputs of what ``save`` wrote, of which nothing is read yet."""
    return stored(path, "x/")


def _in_layout(samples: Samples, signature: Signature) -> Samples:
    """Bring a task's channels-last images to the model's own layout; tokens pass unchanged."""

    def moved(spec: TensorSpec) -> NDArray[np.generic]:
        array = samples.inputs[spec.name]
        if spec.layout == "channels_first":
            array = np.moveaxis(array, -1, 1)
        return np.ascontiguousarray(array, dtype=spec.dtype)

    return Samples({spec.name: moved(spec) for spec in signature.inputs}, samples.labels)


def _generated(signature: Signature, seed: int) -> Samples:
    generator = np.random.default_rng(seed)

    def one(spec: TensorSpec) -> NDArray[np.generic]:
        shape = (GENERATED, *spec.row)
        floating = np.issubdtype(np.dtype(spec.dtype), np.floating)
        if spec.span is not None and not floating:
            low, high = (int(edge) for edge in spec.span)
            return generator.integers(low, high, shape, endpoint=True).astype(spec.dtype)
        if spec.span is not None:
            return generator.uniform(*spec.span, shape).astype(spec.dtype)
        if floating:
            return generator.standard_normal(shape).astype(spec.dtype)
        return generator.integers(0, 8, shape).astype(spec.dtype)  # small: it must lie inside any vocabulary

    return Samples({spec.name: one(spec) for spec in signature.inputs}, None)


def _of_task(name: str, plan: DataPlan, split: Split) -> Samples:
    """One split of a zoo task, whose samples were drawn at random already: its first are a random draw."""
    most = tasks.task(name).sizes[split]
    if split != "calibration" or plan.calibration_count >= most:
        return tasks.load(name, split, most)
    if plan.draw == "even":
        samples = tasks.load(name, split, most)
        return take(samples, _drawn(_count(samples), plan))
    return tasks.load(name, split, plan.calibration_count)


def _drawn(count: int, plan: DataPlan) -> NDArray[np.int64]:
    """As many of so many calibration samples as the plan uses; by default at random: a file may be sorted by class."""
    most = min(count, plan.calibration_count)
    if plan.draw == "random":
        return np.sort(np.random.default_rng(plan.seed).permutation(count)[:most])
    return np.arange(most) * count // most if plan.draw == "even" else np.arange(most)


def _part(samples: Samples, plan: DataPlan, *, kept: bool) -> NDArray[np.int64]:
    """Which samples calibrate (``kept``), and which are held out to compare on."""
    order = np.random.default_rng(plan.seed).permutation(_count(samples))
    held_out = max(1, round(len(order) * HELD_OUT))
    return np.sort(order[held_out:] if kept else order[:held_out])


def _count(samples: Samples) -> int:
    return len(next(iter(samples.inputs.values())))
