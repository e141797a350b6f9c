"""Parity: how close a file's outputs are to those of the checkpoint, run by its own framework.

Two figures per output. ``sqnr_db`` relates the error to the size of the answers, ``variation_db`` to how far they move
from sample to sample: a regression around 1013 that always answers 1013 has 46 dB of the one and 0 of the other. The
second is also taken channel by channel, because scores within 0..1 beside boxes within 0..640 vanish in any sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import UsageError
from edgekit.proof import masks
from edgekit.proof.sums import MOST_DISTINCT, Sums
from edgekit.result.parity import Channel, Drift, OutputParity, Parity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]
    #: Some samples at a time: pairs of reference and measured.
    Pairs = Iterable[Sequence[Arrays]]

#: Ratios are reported within +-300 dB: JSON has no infinity, and 300 dB is below one part in 1e15 of float64, so
#: +300 means "no difference at all" and -300 "noise where the reference is silent".
SQNR_CAP_DB = 300.0

#: Steps at either end of a sequence whose error is told apart.
DRIFT_STEPS = 20

#: Samples below which a variation says nothing, and below which that of a single channel does not.
FEWEST = 8
FEWEST_PER_CHANNEL = 32
#: Samples from which on one and the same answer to all of them is no chance.
FEWEST_ALIKE = 4

#: A channel whose standard deviation is below this part of its size hardly varies: what is left is rounding, and the
#: error is compared with the channel's size instead.
HARDLY = 2.0**-20

#: Values of its own that a file takes at least where the reference takes four times as many, or more.
DISTINCT = 8


def compare(reference: Arrays, measured: Arrays, axes: Mapping[str, Sequence[int]] | None = None) -> Parity:
    """Compare measured outputs with the reference, output by output, in float64.

    Args:
        reference: the checkpoint's outputs by name, each ``(samples, ...)``.
        measured: the file's outputs under the same names and shapes. Logits, not probabilities: a saturated
            softmax hides noise.
        axes: where the channels of each output lie, in its shape with the samples first; an output that is missing
            here has none.

    Raises:
        UsageError: names or shapes differ, there is no sample, or the reference itself holds NaN.
    """
    return compare_parts(lambda: [(reference, measured)], axes)


def compare_parts(parts: Callable[[], Pairs], axes: Mapping[str, Sequence[int]] | None = None) -> Parity:
    """Compare as ``compare`` does, given some samples at a time; ``parts`` begins anew at each call.

    One pass over the samples; two more where an output may hold masked values, whose size shows only at the end.
    """
    samples, sums = _added(parts(), axes or {}, {})
    far = [name for name, one in sums.items() if one.far]
    if limits := masks.limits(parts(), far):
        samples, sums = _added(parts(), axes or {}, limits)
    if not samples:
        raise UsageError("there is no sample to compare", hint="Give at least one.")
    return _whole(samples, {name: _output(name, one) for name, one in sums.items()})


def _added(pairs: Pairs, axes: Mapping[str, Sequence[int]], limits: Mapping[str, float]) -> tuple[int, dict[str, Sums]]:
    sums: dict[str, Sums] = {}
    samples = 0
    for reference, measured in pairs:
        samples += _checked_count(reference, measured)
        for name, array in reference.items():
            if name not in sums:
                sums[name] = Sums(name, array, tuple(axes.get(name, ())), limits.get(name))
            sums[name].add(array, measured[name])
    return samples, sums


def _whole(samples: int, outputs: dict[str, OutputParity]) -> Parity:
    real = [o for o in outputs.values() if o.equal is None] or list(outputs.values())
    errors = [o.max_abs for o in outputs.values()]
    return Parity(
        samples=samples,
        sqnr_db=min(o.sqnr_db for o in real),
        cosine=min(o.cosine for o in real),
        max_abs=None if None in errors else max(e for e in errors if e is not None),
        per_output=outputs,
        variation_db=min((o.variation_db for o in real if o.variation_db is not None), default=None),
        channel_db=min((o.channel.db for o in real if o.channel), default=None),
    )


def _checked_count(reference: Arrays, measured: Arrays) -> int:
    if not reference or reference.keys() != measured.keys():
        raise UsageError(
            f"outputs differ in name: reference has {sorted(reference)}, measured has {sorted(measured)}",
            hint="Map the file's outputs to the names of the source's signature.",
        )
    counts = {len(array) if array.ndim else 0 for array in reference.values()}
    if len(counts) != 1 or 0 in counts:
        raise UsageError(f"outputs must hold one and the same number of samples, at least 1; got {sorted(counts)}")
    return counts.pop()


def compare_steps(
    reference: Arrays, measured: Arrays, axes: Mapping[str, Sequence[int]] | None = None, steps: int | None = None
) -> Parity:
    """Compare sequences ``(sequences, steps, ...)`` over all steps that are there, and say whether the error grows.

    Every step of every sequence is a sample of its own; ``axes`` are those of one step with its batch. ``steps`` is how
    many a sequence had, where not all are there: the first and the last ones are.

    Raises:
        UsageError: as ``compare``.
    """
    sequences = _checked_count(reference, measured)
    expected, found = (
        {name: a.reshape(-1, *a.shape[2:]) for name, a in side.items()} for side in (reference, measured)
    )
    whole = compare(expected, found, axes).model_copy(update={"samples": sequences})
    there = min(array.shape[1] for array in reference.values())
    if there < 2 * DRIFT_STEPS:
        return whole

    def worst(at: slice) -> float:
        first, second = ({name: a[:, at] for name, a in side.items()} for side in (reference, measured))
        return compare(first, second).sqnr_db

    first, last = worst(slice(DRIFT_STEPS)), worst(slice(-DRIFT_STEPS, None))
    return whole.model_copy(update={"drift": Drift(steps=steps or there, first20_db=first, last20_db=last)})


def _output(name: str, found: Sums) -> OutputParity:
    named = f"output {name!r}"
    if found.bad:
        wrong = f"{named}: NaN or infinity in {found.bad} of {found.size} values"
        return OutputParity(sqnr_db=0.0, cosine=0.0, max_abs=None, reason=wrong)
    reason = ""
    if found.moved_masks:
        reason = f"{named}: {found.moved_masks} of {found.size} values are masked on one side only"
    elif found.noise > found.signal == 0:
        reason = f"{named}: the reference is all zero and the measured output is not"
    varies = found.variance > HARDLY**2 * found.mean_square
    measured = found.samples >= FEWEST
    dead, constant = _dead(found) if found.samples >= FEWEST_ALIKE and varies else ("", False)
    channel = _worst_channel(found) if measured else None
    if channel and found.samples < FEWEST_PER_CHANNEL and channel.db > 0:
        channel = None  # of so few samples only this much is certain: a constant would be closer
    return OutputParity(
        sqnr_db=_decibels(found.signal, found.noise),
        cosine=_cosine(found.signal, found.power, found.product),
        max_abs=found.max_abs,
        reason=reason,
        variation_db=_decibels(found.variance, found.mean_error) if measured and varies else None,
        channel=channel,
        dead=dead,
        constant=constant,
        still=found.samples > 1 and not varies,
        equal=None if found.equal is None else found.equal / found.size,
        masked=found.masked,
    )


def _dead(found: Sums) -> tuple[str, bool]:
    """Why an output carries nothing, and whether that is because every sample gets the same answer."""
    if not found.moves:
        return "the file answers the same for every sample, the framework does not", True
    ours, theirs = len(found.distinct_measured), len(found.distinct_reference)
    if found.samples < FEWEST:
        return "", False
    if found.equal is None and ours < min(DISTINCT, theirs / 4):
        most = "at least " if theirs >= MOST_DISTINCT else ""
        return f"the file takes {ours} distinct values, the framework {most}{theirs}", False
    return "", False


def _worst_channel(found: Sums) -> Channel | None:
    """The channel with the smallest ratio of variance, or of size where it hardly varies, to mean square error.

    A channel that is all zero has neither: its error is compared with the size of the whole output.
    """
    worst: list[Channel] = []
    for axis, one in found.channels.items():
        varies = one.variance > HARDLY**2 * one.mean_square
        size = np.where(one.mean_square > 0, one.mean_square, found.mean_square)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(one.mean_error > 0, np.where(varies, one.variance, size) / one.mean_error, np.inf)
        at = int(np.argmin(ratios))
        db = _decibels(float(ratios[at]), 1.0) if np.isfinite(ratios[at]) else SQNR_CAP_DB
        worst.append(Channel(axis=axis, index=at, db=db, by="variation" if varies[at] else "magnitude"))
    return min(worst, key=lambda channel: channel.db, default=None)


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return SQNR_CAP_DB
    if signal == 0.0:
        return -SQNR_CAP_DB
    return float(np.clip(10.0 * (math.log10(signal) - math.log10(noise)), -SQNR_CAP_DB, SQNR_CAP_DB))


def _cosine(signal: float, power: float, product: float) -> float:
    norms = math.sqrt(signal) * math.sqrt(power)
    if norms == 0.0:
        return 1.0 if signal == power == 0.0 else 0.0
    return float(np.clip(product / norms, -1.0, 1.0))
