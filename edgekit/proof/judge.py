"""Limits applied to scores: the verdict on parity, on accuracy and on latency.

Nothing here executes anything, so that another limit costs no second run.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

from edgekit.limits import Gate, ParityLimits
from edgekit.proof import metrics
from edgekit.proof.accuracy import drop_to, samples_needed
from edgekit.proof.intervals import MIN_BLOCKS, tango_interval
from edgekit.result import Accuracy, Status
from edgekit.result.parity import OutputParity, Parity
from edgekit.result.speed import Speed


class Verdict(NamedTuple):
    """A status with its reason (empty for PASS) and, where one is known, the next step."""

    status: Status
    reason: str
    hint: str = ""


def judge_parity(
    parity: Parity, limits: ParityLimits, classes: Collection[str] = (), floor: Parity | None = None
) -> Verdict:
    """Return PASS, or FAIL_PARITY with the output (and the channel) that is too far off and by how much.

    Args:
        parity: the scores.
        limits: what each output must reach.
        classes: outputs of which only the largest value counts: most of a thousand classes hardly vary on any set of
            samples, so that a bad channel of them is a finding (``findings``), not a failure.
        floor: scores of the framework's own run on inputs moved by one rounding. What misses a limit by no more than
            that is UNDECIDED: no file can be told from a wrong one there.
    """
    doubts = []
    for name, output in parity.per_output.items():
        if output.reason:
            return Verdict("FAIL_PARITY", output.reason)
        own = floor.per_output[name] if floor else None
        for verdict in (_beyond(name, output, limits), _useless(name, output, limits, classes=name in classes)):
            if verdict.status == "PASS":
                continue
            if own is None or not _drowns(output, own):
                return verdict
            moved = f"the framework's own output moves by {own.sqnr_db:.1f} dB when its inputs move by one rounding"
            doubts.append(Verdict("UNDECIDED", f"{verdict.reason}, but {moved}: {AMPLIFIES}", REAL_INPUTS))
    return doubts[0] if doubts else Verdict("PASS", "")


#: Decibels by which a file may be further from the framework than the framework is from itself.
WITHIN_FLOOR_DB = 6.0
AMPLIFIES = "the model amplifies rounding on these inputs"
REAL_INPUTS = "Give real ones with --calibrate or --evaluate; nothing can be said of a file on these."


def _drowns(output: OutputParity, own: OutputParity) -> bool:
    """Whether a file's distance is that of the framework from itself, by every figure that both have."""
    figures = [(one.sqnr_db, one.variation_db, one.channel.db if one.channel else None) for one in (output, own)]
    pairs = [(a, b) for a, b in zip(*figures, strict=True) if a is not None and b is not None]
    return all(ours >= its - WITHIN_FLOOR_DB for ours, its in pairs)


#: What helps where one output holds values of different sizes, or a small change on top of a large number.
WAYS_OUT = (
    "Return these values as an output of their own (a constant offset added outside of the file), or keep the layer "
    "that makes them in float: take a target that quantizes less."
)
CLASSES = " Where only the largest value of the output counts, say so: --outputs {}=classes."


def findings(parity: Parity, limits: ParityLimits, classes: Collection[str]) -> list[str]:
    """What is odd and no failure, one sentence each: what would be one of outputs that hold no classes, for one."""
    still = [name for name, output in parity.per_output.items() if output.still]
    return [
        *(
            f"output {name!r} of the model is the same for all {parity.samples} samples: that the file is close to it "
            "proves little; check the samples, and what the model makes of them"
            for name in still
        ),
        *_of_classes(parity, limits, classes),
    ]


def _of_classes(parity: Parity, limits: ParityLimits, classes: Collection[str]) -> list[str]:
    """What would be a failure of outputs that hold no classes."""
    found = [_useless(name, parity.per_output[name], limits) for name in classes if name in parity.per_output]
    return [f"{verdict.reason}; no failure, because it holds classes" for verdict in found if verdict.status != "PASS"]


def _beyond(name: str, output: OutputParity, limits: ParityLimits) -> Verdict:
    """Whether the error is large against the size of the answers."""
    if output.equal is not None:
        if output.equal < limits.equal_min:
            return _failed(
                name, f"{output.equal:.1%} of its integers are equal, at least {limits.equal_min:.0%} needed"
            )
    elif output.sqnr_db < limits.sqnr_db_min:
        sqnr = _less(output.sqnr_db, limits.sqnr_db_min)
        return _failed(name, f"SQNR {sqnr} dB, at least {limits.sqnr_db_min:g} dB needed")
    elif output.cosine < limits.cosine_min:
        return _failed(name, f"cosine {output.cosine:.5f}, at least {limits.cosine_min:g} needed")
    return Verdict("PASS", "")


def _less(value: float, least: float) -> str:
    """A figure that misses its limit, with as many digits as tell it from that."""
    return next(text for digits in (1, 3, 6, 17) if float(text := f"{value:.{digits}f}") < least or digits == 17)


def _failed(name: str, wrong: str, hint: str = "") -> Verdict:
    return Verdict("FAIL_PARITY", f"output {name!r}: {wrong}", hint)


def _useless(name: str, output: OutputParity, limits: ParityLimits, *, classes: bool = False) -> Verdict:
    """Whether an output says too little although its error is small against its size."""
    hint = WAYS_OUT if classes else WAYS_OUT + CLASSES.format(name)
    if output.equal is not None:
        return _useless_integers(name, output, hint)
    if output.variation_db is not None and output.variation_db < limits.variation_db_min:
        wrong = (
            f"variation {_less(output.variation_db, limits.variation_db_min)} dB, at least "
            f"{limits.variation_db_min:g} dB needed: the error is "
            f"large against how far the answers move (SQNR {output.sqnr_db:.1f} dB)"
        )
        return _failed(name, wrong, hint)
    if output.dead and (output.constant or not classes):
        return _failed(name, output.dead, hint)
    channel = output.channel
    if channel is None or classes or channel.db >= limits.channel_db_min:
        return Verdict("PASS", "")
    wrong = (
        f"channel {channel.index} of axis {channel.axis}: {channel.by} {channel.db:.1f} dB, at least "
        f"{limits.channel_db_min:g} dB needed (SQNR of the whole output {output.sqnr_db:.1f} dB)"
    )
    return _failed(name, wrong, hint)


def _useless_integers(name: str, output: OutputParity, hint: str) -> Verdict:
    """The same of integers and truth values, of which most are equal where an alarm never rings."""
    if output.constant:
        return _failed(name, output.dead, hint)
    channel = output.channel
    if channel is None or channel.db > 0:
        return Verdict("PASS", "")
    wrong = (
        f"channel {channel.index} of axis {channel.axis}: {channel.by} {channel.db:.1f} dB, above 0 dB needed: a "
        f"constant would be closer ({output.equal:.1%} of all its integers are equal)"
    )
    return _failed(name, wrong, hint)


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
        how many samples would decide. On fewer than ``MIN_BLOCKS`` samples a metric that is no share is UNDECIDED.
    """
    family = metrics.metric(accuracy.metric).family
    limit = gate.drop_max(family)
    low, high = accuracy.drop_ci95

    def show(drop: float) -> str:
        return shown(drop, accuracy.metric)

    if accuracy.flips is None and accuracy.samples < MIN_BLOCKS:
        # Resamples of so few have no spread that could be told from chance.
        least = math.ceil(MIN_BLOCKS / share)
        return Verdict(
            "UNDECIDED",
            f"{accuracy.metric} drops by {show(accuracy.drop)} on {accuracy.samples} {split} samples: too few for an "
            f"interval, which needs {MIN_BLOCKS}",
            f"Give at least {least} labelled samples with --evaluate, better hundreds.",
        )
    measured = (
        f"{accuracy.metric} drops by {show(accuracy.drop)} on {accuracy.samples} {split} samples "
        f"(95 % interval {show(low)} to {show(high)})"
    )
    if accuracy.drop <= limit:
        if high <= 2 * limit:
            return Verdict("PASS", "")
        doubt = f"within the limit of {show(limit)}, but {show(2 * limit)} cannot be excluded"
        needed = samples_needed(accuracy, lambda _, high: high <= 2 * limit)
    elif low > 0:
        return Verdict("FAIL_ACCURACY", f"{measured}; the limit is {show(limit)}")
    else:
        doubt = f"above the limit of {show(limit)}, but no drop at all cannot be excluded"
        needed = samples_needed(accuracy, lambda low, _: low > 0)
    if needed is None:
        return Verdict("UNDECIDED", f"{measured}: {doubt}; no number of samples would decide")
    handed = math.ceil(needed / share)
    kept = f" ({share:.0%} of them become {split} samples)" if share < 1 else ""
    return Verdict(
        "UNDECIDED",
        f"{measured}: {doubt}; about {handed} labelled samples{kept} would decide",
        f"Give about {handed} labelled samples with --evaluate; without labels a file is judged by its parity alone, "
        "and nothing is said of its accuracy."
        if share < 1
        else "",
    )


def shown(drop: float, metric: str) -> str:
    """A drop in the unit of its metric."""
    return f"{100 * drop:.2f} {'%' if metrics.metric(metric).family == 'relative' else 'points'}"


class Own(NamedTuple):
    """What of a drop is the checkpoint's own, in words, and whether that alone is beyond the limit."""

    words: str
    alone: bool


#: Part of a drop from which on it is the checkpoint's, and not the file's.
MOSTLY = 0.5


def own_drop(accuracy: Accuracy, gate: Gate) -> Own | None:
    """What of a file's drop is there before any file is made; None where most of it is the file's."""
    if accuracy.checkpoint is None:
        return None
    own = drop_to(accuracy, accuracy.checkpoint)
    if own <= 0 or own < MOSTLY * accuracy.drop:
        return None
    limit = gate.drop_max(metrics.metric(accuracy.metric).family)
    return Own(f"the checkpoint itself is {shown(own, accuracy.metric)} worse than your model", own > limit)


def too_few(accuracy: Accuracy, gate: Gate) -> bool:
    """Whether the drop is within the limit, and on so few samples not even a file that changes nothing would pass."""
    metric = metrics.metric(accuracy.metric)
    limit = gate.drop_max(metric.family)
    if accuracy.drop > limit or not (metric.binary or metric.bounded):
        return False
    return tango_interval(0, 0, accuracy.samples)[1] > 2 * limit


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
