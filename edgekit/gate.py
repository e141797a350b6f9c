"""The gate: limits on parity and accuracy, the accuracy that is judged, and the verdicts.

Reading a target file imports this module, so numpy and scipy are imported in the functions that compute.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from edgekit.candidate import Status
from edgekit.errors import UsageError
from edgekit.precision import Precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.metrics import Family, Metric
    from edgekit.parity import Parity

#: The lowest ``sqnr_db_min`` that a packaged target may ask, per precision. fp32 and fp16 differ from the framework
#: by rounding only (measured 120 to 140 and 63 to 84 dB); an int8 file below 15 dB has something wrong with it, and
#: weights alone in int8 cost less (measured 35 to 60 dB).
SQNR_FLOOR_DB: Mapping[Precision, float] = {
    "fp32": 95.0,
    "fp16": 55.0,
    "int8": 15.0,
    "int8-dynamic": 20.0,
    "int8-weights": 20.0,
    "int16x8": 20.0,
}
#: The lowest ``cosine_min``: noise of 15 dB alone gives 0.984; below that is more than noise.
COSINE_FLOOR = 0.98
#: The highest ``drop_max`` per metric family: points for ``top1`` and ``map``, a fraction for ``relative``.
DROP_CEILING: Mapping[Family, float] = {"top1": 0.02, "map": 0.02, "relative": 0.05}
#: No statement is planned beyond this many samples.
_MOST_SAMPLES = 10**9


class Verdict(NamedTuple):
    """A status with its reason (empty for PASS)."""

    status: Status
    reason: str


class ParityLimits(BaseModel):
    """``[gate.parity]``: the worst output must be at least this close to the checkpoint's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sqnr_db_min: float
    cosine_min: float = Field(ge=0, le=1)


class DropLimit(BaseModel):
    """``[gate.top1]``, ``[gate.map]`` (points, 0.01 is one percentage point) and ``[gate.relative]`` (a fraction)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    drop_max: float = Field(gt=0, lt=1)


class Gate(BaseModel):
    """``[gate]`` of a target: every family has a limit, so that no metric goes unjudged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parity: ParityLimits
    top1: DropLimit
    map: DropLimit
    relative: DropLimit

    def drop_max(self, family: Family) -> float:
        """Return the family's limit on the drop."""
        limits: Mapping[Family, DropLimit] = {"top1": self.top1, "map": self.map, "relative": self.relative}
        return limits[family].drop_max

    def beyond_ceilings(self, precision: Precision) -> list[str]:
        """Return one sentence per limit that is looser than a packaged target may be; empty where none is."""
        found = []
        if self.parity.sqnr_db_min < SQNR_FLOOR_DB[precision]:
            found.append(f"sqnr_db_min = {self.parity.sqnr_db_min} is below {SQNR_FLOOR_DB[precision]} for {precision}")
        if self.parity.cosine_min < COSINE_FLOOR:
            found.append(f"cosine_min = {self.parity.cosine_min} is below {COSINE_FLOOR}")
        found += [
            f"{family}.drop_max = {self.drop_max(family)} is above {ceiling}"
            for family, ceiling in DROP_CEILING.items()
            if self.drop_max(family) > ceiling
        ]
        return found


@dataclass(frozen=True)
class Accuracy:
    """The metric of a model before and after, on the same test samples.

    Attributes:
        metric: name in ``edgekit.metrics``.
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
        from edgekit import metrics

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
        from edgekit.intervals import tango_interval

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
        metric_name: name in ``edgekit.metrics``.
        parts: labels, float outputs and artifact outputs of some samples at a time. Labels are what the metric takes,
            mostly ``(samples, ...)`` integers, see ``metrics.check_labels``; outputs what it reads of the source's and
            of the artifact's (``Metric.read``), for most ``(samples, ..., classes)`` logits.

    Raises:
        UsageError: unknown metric, labels that do not fit, shapes that differ, or float outputs that are not finite.
    """
    import numpy as np

    from edgekit import metrics

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
    import numpy as np

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
    import numpy as np

    from edgekit.intervals import bca_interval, tango_interval

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


def judge_parity(parity: Parity, limits: ParityLimits) -> Verdict:
    """Return PASS, or FAIL_PARITY with the output that is too far off and by how much."""
    for name, output in parity.per_output.items():
        if output.reason:
            return Verdict("FAIL_PARITY", output.reason)
        if output.sqnr_db < limits.sqnr_db_min:
            return Verdict(
                "FAIL_PARITY",
                f"output {name!r}: SQNR {output.sqnr_db:.1f} dB, at least {limits.sqnr_db_min:g} dB needed",
            )
        if output.cosine < limits.cosine_min:
            return Verdict(
                "FAIL_PARITY", f"output {name!r}: cosine {output.cosine:.5f}, at least {limits.cosine_min:g} needed"
            )
    return Verdict("PASS", "")


def judge_accuracy(accuracy: Accuracy, gate: Gate) -> Verdict:
    """Judge the drop: its estimate must be within the limit, its upper 95 % bound within twice the limit.

    Returns:
        PASS; FAIL_ACCURACY where the drop itself is above the limit; UNDECIDED where it is not, but so few samples
        cannot exclude twice the limit (the reason says about how many could).
    """
    limit = gate.drop_max(accuracy.family)
    low, high = accuracy.drop_ci95

    def show(drop: float) -> str:
        return f"{100 * drop:.2f} {'%' if accuracy.family == 'relative' else 'points'}"

    measured = f"{accuracy.metric} drops by {show(accuracy.drop)} (95 % interval {show(low)} to {show(high)})"
    if accuracy.drop > limit:
        return Verdict("FAIL_ACCURACY", f"{measured}; the limit is {show(limit)}")
    if high > 2 * limit:
        return Verdict(
            "UNDECIDED",
            f"{measured}: within the limit of {show(limit)}, but {accuracy.samples} samples cannot exclude "
            f"{show(2 * limit)}; about {accuracy.samples_needed(2 * limit)} could",
        )
    return Verdict("PASS", "")
