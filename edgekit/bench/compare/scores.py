"""Whether a file became less accurate, from what was counted of it and of what it is compared with.

Both were scored on the same test samples against the model that each was made of. On which samples OLD and NEW differ
is not written down. On how many each differs from its float model is (``result.Accuracy.flips``), and that bounds it:

- **Same float model, right or wrong** (top-1). Say the float model alone is right on ``b1`` samples of OLD and ``b2``
  of NEW, and the file alone on ``c1`` and ``c2``. OLD alone is right on at most ``b2 + c1`` samples and NEW alone on at
  most ``b1 + c2``; both counts are too large by the same number, of samples on which the float model parts with both.
  The difference ``(b2 + c1) - (b1 + c2)`` is therefore exact, and Tango's interval of these counts holds the true
  difference at least as often as the paired one would: it grows with the number of discordant samples.
- **Same float model, another metric.** Two paired intervals are added in squares (G. Zou, A. Donner, Construction of
  confidence limits about effect measures, Statistics in Medicine 27:1693-1702, 2008), as if they were independent: what
  is hard for one file of a model is hard for the other, and a positive correlation makes the true interval narrower.
- **Another float model** (it was trained again), right or wrong: Newcombe's interval of two proportions by the same
  sum, from Wilson's of each (Statistics in Medicine 17:873-890, 1998, method 10); wider than a paired one likewise.
  Of another metric nothing in two rows says how far it moves by chance.

``tests/unit/test_compare_scores.py`` holds all three to their coverage. Where both files and the
samples are at hand, ``sampled.py`` runs them and pairs the samples themselves.
"""

from __future__ import annotations

import math

from scipy.special import ndtri

from edgekit import limits as gates
from edgekit.bench.compare.values import Finding, Limits, Verdict
from edgekit.proof import judge, metrics
from edgekit.proof.intervals import CONFIDENCE, tango_interval
from edgekit.result import Accuracy
from edgekit.schemes import FP32

#: Float values that differ by no more than this are of one model: they are sums in another order.
_ONE_MODEL = 1e-9

Interval = tuple[float, float]


def compare(
    old: Accuracy | None, new: Accuracy | None, limits: Limits, *, one_file: bool = False, other_samples: str = ""
) -> Finding:
    """What became of the accuracy.

    Args:
        old: None where it was not measured.
        new: likewise.
        limits: how much of it may be lost.
        one_file: whether both are of the same bytes, so that equal scores are no estimate.
        other_samples: why the samples are known to be others; empty where they are not.
    """
    if old is None or new is None:
        sides = " and ".join(name for name, one in (("OLD", old), ("NEW", new)) if one is None)
        return _not_compared(f"accuracy of {sides} was not measured: there are no labels")
    if old.metric != new.metric:
        return _not_compared(f"OLD is scored by {old.metric}, NEW by {new.metric}")
    if other_samples or old.samples != new.samples or old.split != new.split:
        why = other_samples or f"{old.samples} {old.split} samples and {new.samples} {new.split} samples"
        return _not_compared(f"scored on other samples: {why}")
    if one_file and old.artifact == new.artifact:
        return Finding(
            what="accuracy", verdict="SAME", unit=new.metric, old=old.artifact, new=new.artifact, change=0.0,
            n=new.samples, limit=limits.drop_of(metrics.metric(new.metric).family), reason="the same file",
        )  # fmt: skip
    change = between(old, new)
    if isinstance(change, str):
        return _not_compared(change)
    return judged(change, limits, "from each file's flips against its float model")


def between(old: Accuracy, new: Accuracy) -> Accuracy | str:
    """OLD in the place of the float model and NEW in that of the file, or why that cannot be said."""
    metric, n = metrics.metric(old.metric), old.samples
    same = math.isclose(old.float_, new.float_, rel_tol=_ONE_MODEL, abs_tol=_ONE_MODEL)
    flips = None
    if same and old.flips is not None and new.flips is not None:
        flips = (new.flips[0] + old.flips[1], old.flips[0] + new.flips[1])
        drop, interval = (flips[0] - flips[1]) / n, _tango(flips, n)
    elif same:
        drop = new.drop - old.drop
        interval = _added((new.drop, new.drop_ci95), (-old.drop, (-old.drop_ci95[1], -old.drop_ci95[0])))
    elif metric.binary:
        drop = old.artifact - new.artifact
        low, high = _wilson(new.artifact, n)
        interval = _added((old.artifact, _wilson(old.artifact, n)), (-new.artifact, (-high, -low)))
    else:
        return f"the float models differ ({old.float_:.4g} and {new.float_:.4g}), and {metric.name} is no proportion"
    return Accuracy(
        metric=metric.name, higher_is_better=metric.higher_is_better, samples=n, float_=old.artifact, checkpoint=None,
        artifact=new.artifact, drop=drop, drop_ci95=interval, agreement=None, flips=flips, split=new.split,
    )  # fmt: skip


def judged(change: Accuracy, limits: Limits, by: str) -> Finding:
    """Judge what changed as a conversion's drop is judged (``proof.judge``), OLD in the place of the float model."""
    family = metrics.metric(change.metric).family
    limit = limits.drop_of(family)
    gate = gates.Gate.model_validate(gates.with_defaults(FP32, {family: {"drop_max": limit}}))
    found = judge.judge_accuracy(change, gate, split=change.split or "test")
    verdict: Verdict
    if found.status == "FAIL_ACCURACY":
        verdict = "WORSE"
    elif found.status == "UNDECIDED":
        verdict = "UNDECIDED"
    else:
        verdict = "BETTER" if change.drop_ci95[1] < 0 else "SAME"
    return Finding(
        what="accuracy", verdict=verdict, unit=change.metric, old=change.float_, new=change.artifact,
        change=change.drop, ci95=change.drop_ci95, n=change.samples, limit=limit, reason=found.reason or by,
    )  # fmt: skip


def _not_compared(reason: str) -> Finding:
    return Finding(what="accuracy", verdict="NOT_COMPARED", reason=reason)


def _tango(flips: tuple[int, int], n: int) -> Interval:
    """Tango's interval; of counts that together exceed the samples, both less what they cannot both be."""
    beyond = max(0, math.ceil((sum(flips) - n) / 2))
    return tango_interval(flips[0] - beyond, flips[1] - beyond, n)


def _wilson(share: float, n: int) -> Interval:
    """Wilson's score interval of a proportion."""
    z = float(ndtri(0.5 + CONFIDENCE / 2))
    centre, scale = share + z * z / (2 * n), 1 + z * z / n
    half = z * math.sqrt(max(share * (1 - share) / n + z * z / (4 * n * n), 0.0))
    return (centre - half) / scale, (centre + half) / scale


def _added(one: tuple[float, Interval], other: tuple[float, Interval]) -> Interval:
    """The interval of a sum from an estimate and its interval of each of two independent terms."""
    (a, (a_low, a_high)), (b, (b_low, b_high)) = one, other
    return a + b - math.hypot(a - a_low, b - b_low), a + b + math.hypot(a_high - a, b_high - b)
