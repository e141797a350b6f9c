"""Limits applied to scores: the verdict on parity and on accuracy."""

from __future__ import annotations

from typing import NamedTuple

from edgekit.limits import Gate, ParityLimits
from edgekit.proof.accuracy import Accuracy
from edgekit.proof.parity import Parity
from edgekit.result import Status


class Verdict(NamedTuple):
    """A status with its reason (empty for PASS)."""

    status: Status
    reason: str


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
