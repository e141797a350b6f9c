"""Accuracy of a model before and after, on the same samples, with a paired interval of the drop."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.limits import Family
from edgekit.proof import metrics
from edgekit.proof.intervals import bca_interval, tango_interval
from edgekit.proof.metrics import Metric

#: No statement is planned beyond this many samples.
_MOST_SAMPLES = 10**9


@dataclass(frozen=True)
class Accuracy:
    """The metric of a model before and after, on the same test samples.

    Attributes:
        metric: name in ``edgekit.proof.metrics``.
        higher_is_better: False for perplexity.
        family: which table of the gate judges it.
        samples: number of samples.
        float_: of the source as handed in, run by its framework (``float`` in JSON).
        checkpoint: of the checkpoint, after compression; equal to ``float_`` where there was none.
        artifact: of the artifact in its runtime.
        drop: how much worse the artifact is than ``float_``: in points (0.01 is one percentage point), for family
            ``relative`` as a fraction of ``float_``. Positive is worse.
        drop_ci95: 95 % interval of the drop, paired by sample.
        agreement: share of positions where float and artifact choose the same class; None where none is chosen.
        flips: samples that only the float model gets right, and that only the artifact does; None where a sample
            is not simply right or wrong.
    """

    metric: str
    higher_is_better: bool
    family: Family
    samples: int
    float_: float
    checkpoint: float
    artifact: float
    drop: float
    drop_ci95: tuple[float, float]
    agreement: float | None
    flips: tuple[int, int] | None = None

    def to_json(self) -> dict[str, object]:
        """Return the fields of the JSON result's ``accuracy``."""
        return {
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "samples": self.samples,
            "float": self.float_,
            "checkpoint": self.checkpoint,
            "artifact": self.artifact,
            "drop": self.drop,
            "drop_ci95": list(self.drop_ci95),
            "agreement": self.agreement,
            "flips": None if self.flips is None else list(self.flips),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Accuracy:
        """Rebuild the value from ``to_json``; the family is the metric's."""
        family = metrics.metric(fields["metric"]).family
        rest = {name: value for name, value in fields.items() if name not in ("float", "drop_ci95", "flips")}
        low, high = fields["drop_ci95"]
        flips = fields.get("flips")
        return cls(
            family=family,
            float_=fields["float"],
            drop_ci95=(low, high),
            flips=None if flips is None else (flips[0], flips[1]),
            **rest,
        )

    def samples_needed(self, bound: float) -> int:
        """Return about how many such samples would bring the drop's upper bound down to ``bound``.

        It assumes that the rates seen so far stay: flips are scaled with n and Tango's bound computed anew; other
        intervals shrink with the square root of n.

        Raises:
            UsageError: ``bound`` is not above the drop itself, which no number of samples would help.
        """
        if bound <= self.drop:
            raise UsageError(f"no number of samples shows a drop of {self.drop:.4f} to be below {bound:.4f}")
        high = self.drop_ci95[1]
        if high <= bound:
            return self.samples
        if self.flips is None:
            return math.ceil(self.samples * ((high - self.drop) / (bound - self.drop)) ** 2)
        b, c = (count / self.samples for count in self.flips)
        few, many = self.samples, 2 * self.samples
        while tango_interval(b * many, c * many, many)[1] > bound and many < _MOST_SAMPLES:
            few, many = many, 2 * many
        while many - few > 1:
            middle = (few + many) // 2
            enough = tango_interval(b * middle, c * middle, middle)[1] <= bound
            few, many = (few, middle) if enough else (middle, many)
        return many


def measure_accuracy(
    metric_name: str,
    parts: Iterable[tuple[NDArray[np.generic], NDArray[np.generic], NDArray[np.generic]]],
) -> Accuracy:
    """Score float and artifact on the same samples.

    Args:
        metric_name: name in ``edgekit.proof.metrics``.
        parts: labels, float outputs and artifact outputs of some samples at a time. Labels are what the metric takes,
            mostly ``(samples, ...)`` integers, see ``metrics.check_labels``; outputs what it reads of the source's and
            of the artifact's (``Metric.read``), for most ``(samples, ..., classes)`` logits.

    Raises:
        UsageError: unknown metric, labels that do not fit, shapes that differ, or float outputs that are not finite.
    """
    metric = metrics.metric(metric_name)
    contributions, agreed = [], 0.0
    for labels, float_outputs, artifact_outputs in parts:
        _check_sides(float_outputs, artifact_outputs)
        contributions.append([metric.score(labels, side) for side in (float_outputs, artifact_outputs)])
        if metric.decisions:
            agreed += len(labels) * metrics.agreement(float_outputs, artifact_outputs, metric.decisions)
    before, after = (np.concatenate(side) for side in zip(*contributions, strict=True))
    float_value, artifact_value = metric.value(before.mean(axis=0)), metric.value(after.mean(axis=0))
    flips = (int((before > after).sum()), int((before < after).sum())) if metric.binary else None
    drop = float(metric.drop(float_value, artifact_value))
    if flips is not None:
        # 1.0 - 0.99 is a little more than 0.01: the difference of counts is exact, so that a limit is met exactly.
        drop = (flips[0] - flips[1]) / len(before)
    return Accuracy(
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        family=metric.family,
        samples=len(before),
        float_=float(float_value),
        checkpoint=float(float_value),  # no recipe changes the source yet
        artifact=float(artifact_value),
        drop=drop,
        drop_ci95=drop_interval(metric, before, after, flips),
        agreement=agreed / len(before) if metric.decisions else None,
        flips=flips,
    )


def _check_sides(float_outputs: NDArray[np.generic], artifact_outputs: NDArray[np.generic]) -> None:
    if float_outputs.shape != artifact_outputs.shape:
        raise UsageError(
            f"outputs differ in shape: float {float_outputs.shape}, artifact {artifact_outputs.shape}",
            hint="Bring both to the source's layout, classes on the last axis.",
        )
    if not np.isfinite(float_outputs).all():
        raise UsageError(
            "the float model's outputs hold NaN or infinity", hint="Check the source's weights and the samples."
        )


def drop_interval(
    metric: Metric,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    flips: tuple[int, int] | None,
) -> tuple[float, float]:
    """Return the 95 % interval of the drop, paired by sample: Tango's for proportions, BCa for the rest.

    Args:
        metric: how contributions become a value.
        before: ``(samples, m)`` contributions of the float model.
        after: the same of the artifact.
        flips: discordant counts of a ``binary`` metric, as in ``Accuracy``; None for others.
    """
    samples, columns = before.shape
    if flips is not None:
        return tango_interval(*flips, samples)
    if metric.bounded and np.array_equal(before, after):
        # Nothing changed in any sample, which a bootstrap would call certain. The rate of samples that change is
        # still only known to lie below Tango's bound, and a changed sample costs at most one point of 1.
        return tango_interval(0, 0, samples)

    def drop(means: NDArray[np.float64]) -> NDArray[np.float64]:
        return metric.drop(metric.value(means[..., :columns]), metric.value(means[..., columns:]))

    return bca_interval(np.concatenate([before, after], axis=1), drop)
