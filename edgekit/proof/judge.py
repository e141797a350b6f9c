"""Limits applied to scores: the verdict on parity, on accuracy and on latency.

Nothing here executes anything, so that another limit costs no second run.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

from edgekit.limits import Gate, ParityLimits
from edgekit.proof.accuracy import Accuracy
from edgekit.proof.parity import OutputParity, Parity
from edgekit.result import Speed, Status


class Verdict(NamedTuple):
    """A status with its reason (empty for PASS) and, where one is known, the next step."""

    status: Status
    reason: str
    hint: str = ""


def judge_parity(parity: Parity, limits: ParityLimits, classes: Collection[str] = ()) -> Verdict:
    """Return PASS, or FAIL_PARITY with the output (and the channel) that is too far off and by how much.

    Args:
        parity: the scores.
        limits: what each output must reach.
        classes: outputs of which only the largest value counts: most of a thousand classes hardly vary on any set of
            samples, so that a bad channel of them is a finding (``findings``), not a failure.
    """
    for name, output in parity.per_output.items():
        if output.reason:
            return Verdict("FAIL_PARITY", output.reason)
        if wrong := _beyond(output, limits):
            return Verdict("FAIL_PARITY", f"output {name!r}: {wrong}")
        if wrong := _useless(output, limits, classes=name in classes):
            largest = "" if name in classes else CLASSES.format(name)
            return Verdict("FAIL_PARITY", f"output {name!r}: {wrong}", WAYS_OUT + largest)
    return Verdict("PASS", "")


#: What helps where one output holds values of different sizes, or a small change on top of a large number.
WAYS_OUT = (
    "Return these values as an output of their own (a constant offset added outside of the file), or keep the layer "
    "that makes them in float: take a target that quantizes less."
)
CLASSES = " Where only the largest value of the output counts, say so: --outputs {}=classes."


def findings(parity: Parity, limits: ParityLimits, classes: Collection[str]) -> list[str]:
    """What would be a failure of outputs that hold no classes, one sentence each."""
    found = {name: _useless(parity.per_output[name], limits) for name in classes if name in parity.per_output}
    return [f"output {name!r}: {wrong}; no failure, because it holds classes" for name, wrong in found.items() if wrong]


def _beyond(output: OutputParity, limits: ParityLimits) -> str:
    """What of the whole output is beyond a limit, first the one that says most; empty where nothing is."""
    if output.equal is not None:
        if output.equal < limits.equal_min:
            return f"{output.equal:.1%} of its integers are equal, at least {limits.equal_min:.0%} needed"
        return ""
    if output.sqnr_db < limits.sqnr_db_min:
        return f"SQNR {output.sqnr_db:.1f} dB, at least {limits.sqnr_db_min:g} dB needed"
    if output.cosine < limits.cosine_min:
        return f"cosine {output.cosine:.5f}, at least {limits.cosine_min:g} needed"
    return ""


def _useless(output: OutputParity, limits: ParityLimits, *, classes: bool = False) -> str:
    """Why an output says too little although its error is small against its size; empty where it does not."""
    if output.equal is not None:
        return output.dead if output.constant else ""
    if output.variation_db is not None and output.variation_db < limits.variation_db_min:
        return (
            f"variation {output.variation_db:.1f} dB, at least {limits.variation_db_min:g} dB needed: the error is "
            f"large against how far the answers move (SQNR {output.sqnr_db:.1f} dB)"
        )
    if output.dead and (output.constant or not classes):
        return output.dead
    channel = output.channel
    if channel is None or classes or channel.db >= limits.channel_db_min:
        return ""
    return (
        f"channel {channel.index} of axis {channel.axis}: {channel.by} {channel.db:.1f} dB, at least "
        f"{limits.channel_db_min:g} dB needed (SQNR of the whole output {output.sqnr_db:.1f} dB)"
    )


def judge_accuracy(accuracy: Accuracy, gate: Gate, *, split: str = "test", share: float = 1.0) -> Verdict:
    """Judge the drop: its estimate against the limit, its 95 % interval against chance.

    Args:
        accuracy: what was measured.
        gate: the limits.
        split: which samples these are.
        share: of the samples that the user hands in, those that come into this split.

    Returns:
        PASS where the drop is within the limit and its upper bound within twice the limit; FAIL_ACCURACY where the drop
        is above the limit and its lower bound above 0 (three flips of 294 prove nothing); else UNDECIDED, with about
        how many samples would decide.
    """
    limit = gate.drop_max(accuracy.family)
    low, high = accuracy.drop_ci95

    def show(drop: float) -> str:
        return f"{100 * drop:.2f} {'%' if accuracy.family == 'relative' else 'points'}"

    measured = (
        f"{accuracy.metric} drops by {show(accuracy.drop)} on {accuracy.samples} {split} samples "
        f"(95 % interval {show(low)} to {show(high)})"
    )
    if accuracy.drop <= limit:
        if high <= 2 * limit:
            return Verdict("PASS", "")
        doubt = f"within the limit of {show(limit)}, but {show(2 * limit)} cannot be excluded"
        needed = accuracy.samples_needed(lambda _, high: high <= 2 * limit)
    elif low > 0:
        return Verdict("FAIL_ACCURACY", f"{measured}; the limit is {show(limit)}")
    else:
        doubt = f"above the limit of {show(limit)}, but no drop at all cannot be excluded"
        needed = accuracy.samples_needed(lambda low, _: low > 0)
    if needed is None:
        return Verdict("UNDECIDED", f"{measured}: {doubt}; no number of samples would decide")
    handed = math.ceil(needed / share)
    kept = f" ({share:.0%} of them become {split} samples)" if share < 1 else ""
    return Verdict(
        "UNDECIDED",
        f"{measured}: {doubt}; about {handed} labelled samples{kept} would decide",
        f"Give about {handed} labelled samples with --evaluate." if share < 1 else "",
    )


#: A float twin below this is dominated by the call itself, which both files pay: a ratio near 1 says little.
SMALLEST_FLOAT_MS = 0.2
#: A file is slower only where even the lower bound of the ratio says so; and whatever the float twin takes where that
#: bound is beyond ``MUCH_SLOWER``, because the call itself only brings the ratio closer to 1.
SLOWER_THAN = 1.05
MUCH_SLOWER = 1.75


def judge_latency(float_ms: float, ratio_ci95: tuple[float, float]) -> Speed:
    """Compare a file with its float twin: median CPU milliseconds of the twin, and the bounds of the paired ratio."""
    low, high = ratio_ci95
    if low > MUCH_SLOWER or (low > SLOWER_THAN and float_ms >= SMALLEST_FLOAT_MS):
        return "SLOWER"
    if float_ms < SMALLEST_FLOAT_MS:
        return "TOO_SMALL_TO_TELL"
    return "FASTER" if high < 1.0 else "SAME"
