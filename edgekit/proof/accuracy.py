"""Accuracy of a model before and after, on the same samples, with a paired interval of the drop."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.proof import metrics
from edgekit.proof.intervals import Change, bca_interval, tango_interval
from edgekit.proof.metrics import Metric
from edgekit.result import Accuracy

#: No statement is planned beyond this many samples.
_MOST_SAMPLES = 10**9


def samples_needed(accuracy: Accuracy, decided: Callable[[float, float], bool]) -> int | None:
    """About how many such samples would bring the interval of the drop to where it decides.

    It assumes that the rates seen so far stay: flips are scaled with n and Tango's bounds computed anew; other
    bounds draw near the drop with the square root of n.

    Args:
        accuracy: what was measured.
        decided: whether an interval, lower and upper bound, decides. More samples never undo it.

    Returns:
        None where no number of samples would.
    """
    few, many = accuracy.samples, accuracy.samples
    while not decided(*_interval_of(accuracy, many)):
        few, many = many, 2 * many
        if many > _MOST_SAMPLES:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if decided(*_interval_of(accuracy, middle)) else (middle, many)
    return many


def _interval_of(accuracy: Accuracy, samples: int) -> tuple[float, float]:
    """The interval that so many samples would probably give."""
    scale = samples / accuracy.samples
    if accuracy.flips is None:
        low, high = ((bound - accuracy.drop) / math.sqrt(scale) + accuracy.drop for bound in accuracy.drop_ci95)
        return low, high
    return tango_interval(accuracy.flips[0] * scale, accuracy.flips[1] * scale, samples)


def measure_accuracy(
    metric_name: str,
    parts: Iterable[Sequence[NDArray[np.generic]]],
    inputs: Callable[[], Mapping[str, NDArray[np.generic]]] = dict,
) -> Accuracy:
    """Score source, checkpoint and artifact on the same samples, and the source against a trivial answer.

    Args:
        metric_name: name in ``edgekit.proof.metrics``.
        parts: labels and the outputs of source, checkpoint and artifact of some samples at a time; two sides where
            source and checkpoint are one. Labels are what the metric takes, mostly ``(samples, ...)`` integers, see
            ``Metric.check``; outputs what it reads of each side's (``Metric.read``), for most
            ``(samples, ..., classes)`` logits.
        inputs: reads the samples' inputs, for metrics to which the input itself is an answer.

    Raises:
        UsageError: unknown metric, labels that do not fit, shapes that differ, or float outputs that are not finite.
    """
    metric = metrics.metric(metric_name)
    contributions, known, agreed, shape = [], [], 0.0, (0,)
    for labels, *sides in parts:
        float_outputs, artifact_outputs = sides[0], sides[-1]
        _check_sides(metric, float_outputs, artifact_outputs)
        each = {id(side): metric.score(labels, side) for side in {id(side): side for side in sides}.values()}
        contributions.append([each[id(side)] for side in sides])
        known.append(labels)
        shape = float_outputs.shape
        if metric.decisions:
            agreed += len(labels) * metrics.agreement(float_outputs, artifact_outputs, metric.decisions)
    every = np.concatenate(known)
    if metric.check_set is not None:
        metric.check_set(every)
    scored = [metric.gathered(side) for side in zip(*contributions, strict=True)]
    before, after = scored[0], scored[-1]
    trivial = metric.trivial(every, (len(every), *shape[1:]), inputs)
    float_value, artifact_value, trivial_value = (metric.value(side) for side in (before, after, trivial))
    flips = _flips(metric, before, after)
    least = _least(metric, trivial_value)
    drop = float(metric.drop(np.asarray(float_value), np.asarray(artifact_value), least))
    if flips is not None:
        # 1.0 - 0.99 is a little more than 0.01: the difference of counts is exact, so that a limit is met exactly.
        drop = (flips[0] - flips[1]) / len(before)
    return Accuracy(
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        samples=len(before),
        float_=float_value,
        checkpoint=metric.value(scored[1]) if len(scored) > 2 else float_value,
        artifact=artifact_value,
        drop=drop,
        drop_ci95=drop_interval(metric, before, after, flips, least),
        agreement=agreed / len(before) if metric.decisions else None,
        flips=flips,
        trivial=trivial_value,
        gain_ci95=drop_interval(metric, before, trivial, _flips(metric, before, trivial), least),
    )


#: A relative error is a fraction of the float model's, or of this part of the trivial answer's error where the float
#: model's is smaller: no file keeps to a fraction of nothing where the labels are the model's own answers.
LEAST_ERROR = 0.05


def _least(metric: Metric, trivial: float | None) -> float:
    return LEAST_ERROR * trivial if metric.zero_is_perfect and trivial is not None else 0.0


def drop_to(accuracy: Accuracy, value: float) -> float:
    """How much worse than the source another model of it is that reaches ``value`` on the same samples."""
    metric = metrics.metric(accuracy.metric)
    least = _least(metric, accuracy.trivial)
    return float(metric.drop(np.asarray(accuracy.float_), np.asarray(value), least))


def _flips(metric: Metric, before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[int, int] | None:
    return (int((before > after).sum()), int((before < after).sum())) if metric.binary else None


def _check_sides(metric: Metric, float_outputs: NDArray[np.generic], artifact_outputs: NDArray[np.generic]) -> None:
    if float_outputs.shape != artifact_outputs.shape:
        raise UsageError(
            f"outputs differ in shape: float {float_outputs.shape}, artifact {artifact_outputs.shape}",
            hint="Bring both to the source's layout, classes on the last axis.",
        )
    # Minus infinity forbids a class; anything else that is not finite is no answer.
    if float_outputs.size and not float_outputs.max() < np.inf:  # which NaN is not either
        raise UsageError(
            "the float model's outputs hold NaN or infinity", hint="Check the source's weights and the samples."
        )
    if metric.check_values is not None:
        metric.check_values(float_outputs)


def drop_interval(
    metric: Metric,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    flips: tuple[int, int] | None,
    least: float = 0.0,
) -> tuple[float, float]:
    """Return the 95 % interval of the drop, paired by sample: Tango's for proportions, BCa for the rest.

    Args:
        metric: how contributions become a value.
        before: ``(samples, m)`` contributions of the float model.
        after: the same of the artifact.
        flips: discordant counts of a ``binary`` metric, as in ``Accuracy``; None for others.
        least: see ``Metric.drop``.
    """
    if flips is not None:
        return tango_interval(*flips, len(before))
    if metric.bounded and np.array_equal(before, after):
        # Nothing changed in any sample, which a bootstrap would call certain. The rate of samples that change is
        # still only known to lie below Tango's bound, and a changed sample costs at most one point of 1.
        return tango_interval(0, 0, len(before))
    change = functools.partial(metric.drop, least=least)
    return bca_interval(Change(metric.statistic(before), metric.statistic(after), change))
