"""What a metric is, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import UsageError
from edgekit.result import Family

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.proof.intervals import Statistic

    Array = NDArray[np.generic]
    Floats = NDArray[np.float64]
    Arrays = Mapping[str, Array]
    Shape = tuple[int, ...]

#: Samples that are scored at a time: float64 copies of all logits of a segmentation would fill a small machine.
CHUNK = 128

#: Labels of two classes.
OF_TWO = "0 or 1"
#: Errors of a file that answers NaN or infinity are this large: it still gets a finite, terrible figure.
BROKEN = 1e30


def first_output(outputs: Arrays, labels: Array) -> Array:
    """Return the first output, its class axis moved to the end where the labels show that it lies second."""
    logits = next(iter(outputs.values()))
    rest = logits.shape[:1] + logits.shape[2:]
    if logits.ndim == labels.ndim + 1 and logits.shape[:-1] != labels.shape and rest == labels.shape:
        return np.moveaxis(logits, 1, -1)
    return logits


def predictions(logits: Array) -> NDArray[np.int64]:
    """Return the class of each position, ``(..., classes) -> (...)``; -1 where a logit is NaN or +infinity.

    Minus infinity forbids a class. Ties go to the lowest class, as in NumPy: an int8 file that answers a constant
    scores like "always class 0".
    """
    sound = ~np.isnan(logits).any(axis=-1) & np.isfinite(logits.max(axis=-1))
    return np.where(sound, np.argmax(logits, axis=-1), -1).astype(np.int64)


@dataclass(frozen=True)
class Metric:
    """How a task is scored.

    Attributes:
        name: what ``Task.metric``, ``--metric`` and the JSON say.
        about: what it scores, a few words.
        labels: what they are, likewise.
        higher_is_better: False for perplexity and errors.
        family: which table of the gate judges it.
        binary: whether each sample contributes one 0 or 1 (a proportion, which gets Tango's interval).
        bounded: whether a sample that changes moves the value by about its share of the samples at most.
        unit: how a value is printed: as a share (``%``), or as a number with this behind it.
        check: ``(labels, shape of the array of read)`` of some samples; raises ``UsageError`` where they do not fit.
        check_set: the same of the labels of all samples, for what they must be together.
        contributions: ``(labels, array of read) -> (samples, m)`` float64: what each sample adds to the metric.
        among: contributions of all samples -> what each counts for, where that depends on the others (neighbours).
        trivial: ``(labels, shape, inputs) -> (samples, m)``: contributions (after ``among``) of the best answer that
            does not look at the sample (the majority class, the mean), or of the input itself where that is an answer.
        statistic: contributions of all samples -> the metric as a function of how often each sample counts.
        read: ``(outputs by name, labels) ->`` the array that is scored; logits with the classes last by default.
        decisions: that array -> the class chosen at each position, -1 where it is not finite; None for signals.
        reads_classes: whether only the largest value (or the side of a threshold) counts of the output that it reads.
        check_values: raises ``UsageError`` where a float model's array of read is not what the metric takes it for.
        zero_is_perfect: whether it is an error that a model may make none of; see ``accuracy.LEAST_ERROR``.
    """

    name: str
    about: str
    higher_is_better: bool
    family: Family
    labels: str
    binary: bool
    bounded: bool
    check: Callable[[Array, Shape], None]
    contributions: Callable[[Array, Array], Floats]
    trivial: Callable[[Array, Shape, Callable[[], Arrays]], Floats]
    statistic: Callable[[Floats], Statistic]
    unit: str = "%"
    check_set: Callable[[Array], None] | None = None
    among: Callable[[Floats], Floats] | None = None
    read: Callable[[Arrays, Array], Array] = first_output
    decisions: Callable[[Array], NDArray[np.int64]] | None = predictions
    reads_classes: bool = False
    check_values: Callable[[Array], None] | None = None
    zero_is_perfect: bool = False

    @property
    def of_two(self) -> bool:
        """Whether it tells two classes apart, by one label of 0 or 1 per sample."""
        return self.labels == OF_TWO

    def score(self, labels: Array, scored: Array) -> Floats:
        """Return the contributions of some samples, ``CHUNK`` at a time."""
        self.check(labels, scored.shape)
        starts = range(0, max(len(labels), 1), CHUNK)
        return np.concatenate([self.contributions(labels[i : i + CHUNK], scored[i : i + CHUNK]) for i in starts])

    def gathered(self, parts: Sequence[Floats]) -> Floats:
        """What all samples count for, from the contributions of some at a time."""
        contributions = np.concatenate(parts)
        return contributions if self.among is None else self.among(contributions)

    def value(self, contributions: Floats) -> float:
        """The metric of all samples, from what they count for."""
        return self.statistic(contributions).value()

    def drop(self, reference: Floats, measured: Floats, least: float = 0.0) -> Floats:
        """Return how much worse ``measured`` is: points, or a fraction of ``reference`` for ``relative``.

        ``least`` is what that fraction is taken of where the reference is smaller still.
        """
        worse = reference - measured if self.higher_is_better else measured - reference
        return worse / np.maximum(np.abs(reference), least) if self.family == "relative" else worse


def agreement(
    reference: Array, measured: Array, decisions: Callable[[Array], NDArray[np.int64]] = predictions
) -> float:
    """Return the share of positions where both arrays ``(samples, ..., classes)`` lead to the same decision."""
    if reference.shape != measured.shape:
        raise UsageError(f"logits differ in shape: reference {reference.shape}, measured {measured.shape}")
    same = []
    for i in range(0, len(reference), CHUNK):
        chosen = decisions(measured[i : i + CHUNK])
        same.append((decisions(reference[i : i + CHUNK]) == chosen) & (chosen >= 0))
    return float(np.mean(np.concatenate(same)))
