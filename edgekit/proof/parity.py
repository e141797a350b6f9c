"""Parity: how close a file's outputs are to those of the checkpoint, run by its own framework.

Two figures per output. ``sqnr_db`` relates the error to the size of the answers, ``variation_db`` to how far they move
from sample to sample: a regression around 1013 that always answers 1013 has 46 dB of the one and 0 of the other. The
second is also taken channel by channel, because scores within 0..1 beside boxes within 0..640 vanish in any sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgekit.errors import UsageError
from edgekit.proof import masks
from edgekit.proof.sums import MOST_DISTINCT, Sums

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

#: A channel whose standard deviation is below this part of its size hardly varies: what is left is rounding, and the
#: error is compared with the channel's size instead.
HARDLY = 2.0**-20

#: Values of its own that a file takes at least where the reference takes four times as many, or more.
DISTINCT = 8


@dataclass(frozen=True)
class Channel:
    """One channel of an output.

    Attributes:
        axis: of the output in data, whose first axis is the sample.
        index: on that axis.
        db: ``variation_db`` over its elements, or what ``by`` says, in dB.
        by: ``magnitude`` where the channel hardly varies, so that its error is compared with its size.
    """

    axis: int
    index: int
    db: float
    by: Literal["variation", "magnitude"]


@dataclass(frozen=True)
class OutputParity:
    """Closeness of one output over all samples.

    Attributes:
        sqnr_db: ``10 log10(sum ref^2 / sum (ref - measured)^2)`` in dB, within +-``SQNR_CAP_DB``; 0 where the
            measured output is not finite.
        cosine: cosine of the two outputs taken as one vector each; 1 where both are all zero, 0 where one is.
        max_abs: largest absolute error in the output's own unit; None where the measured output is not finite.
        reason: what is wrong beyond mere distance (NaN, silent reference, masked places), or an empty string.
        variation_db: ``10 log10(sum V / sum E)`` over the elements, ``V`` the variance of the reference over the
            samples and ``E`` the mean square error; None where it was not measured (``FEWEST``), or the output hardly
            varies.
        channel: the worst channel; None where there are none, or too few samples (``FEWEST_PER_CHANNEL``).
        dead: why the output carries nothing although the reference does, or an empty string.
        constant: whether that is because every sample gets the same answer.
        equal: share of equal values, of integer and boolean outputs; None for others.
        masked: values that the reference masks (``proof.masks``): they must be masked in the file, too, and count
            nowhere else.
    """

    sqnr_db: float
    cosine: float
    max_abs: float | None
    reason: str = ""
    variation_db: float | None = None
    channel: Channel | None = None
    dead: str = ""
    constant: bool = False
    equal: float | None = None
    masked: int = 0


@dataclass(frozen=True)
class Drift:
    """Whether an error grows on the way, where a model feeds its own states back.

    Attributes:
        steps: length of the sequences.
        first20_db: SQNR of the worst output over the first 20 steps, in dB.
        last20_db: the same over the last 20.
    """

    steps: int
    first20_db: float
    last20_db: float


@dataclass(frozen=True)
class Parity:
    """Closeness of all outputs; each top-level figure is the worst of its kind over the outputs.

    Attributes:
        samples: number of samples compared, or of sequences.
        sqnr_db: smallest over the outputs, in dB; integers and booleans left out where there are others.
        cosine: smallest over the same outputs.
        max_abs: largest over the outputs; None where any output is not finite.
        per_output: the same per output, by name.
        reason: the outputs' reasons, joined; empty where there is none.
        drift: of sequences of at least ``2 * DRIFT_STEPS`` steps; None for everything else.
        variation_db: smallest over the outputs; None where none was measured.
        channel_db: that of the worst channel of all; None where none was measured.
    """

    samples: int
    sqnr_db: float
    cosine: float
    max_abs: float | None
    per_output: dict[str, OutputParity] = field(default_factory=dict)
    reason: str = ""
    drift: Drift | None = None
    variation_db: float | None = None
    channel_db: float | None = None

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values (no infinity, no NaN)."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Parity:
        """Rebuild the value from ``to_json``."""
        outputs = {name: _output_from_json(one) for name, one in fields["per_output"].items()}
        drift = Drift(**fields["drift"]) if fields.get("drift") else None
        return cls(**{**fields, "per_output": outputs, "drift": drift})


def _output_from_json(fields: Mapping[str, Any]) -> OutputParity:
    channel = Channel(**fields["channel"]) if fields.get("channel") else None
    return OutputParity(**{**fields, "channel": channel})


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
        reason="; ".join(o.reason for o in outputs.values() if o.reason),
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


def compare_steps(reference: Arrays, measured: Arrays, axes: Mapping[str, Sequence[int]] | None = None) -> Parity:
    """Compare sequences ``(sequences, steps, ...)`` over all their steps, and say whether the error grows.

    Every step of every sequence is a sample of its own; ``axes`` are those of one step with its batch.

    Raises:
        UsageError: as ``compare``.
    """
    sequences = _checked_count(reference, measured)
    expected, found = (
        {name: a.reshape(-1, *a.shape[2:]) for name, a in side.items()} for side in (reference, measured)
    )
    whole = replace(compare(expected, found, axes), samples=sequences)
    steps = min(array.shape[1] for array in reference.values())
    if steps < 2 * DRIFT_STEPS:
        return whole

    def worst(at: slice) -> float:
        first, second = ({name: a[:, at] for name, a in side.items()} for side in (reference, measured))
        return compare(first, second).sqnr_db

    return replace(whole, drift=Drift(steps, worst(slice(DRIFT_STEPS)), worst(slice(-DRIFT_STEPS, None))))


def _output(name: str, found: Sums) -> OutputParity:
    named = f"output {name!r}"
    if found.bad:
        return OutputParity(0.0, 0.0, None, f"{named}: NaN or infinity in {found.bad} of {found.size} values")
    reason = ""
    if found.moved_masks:
        reason = f"{named}: {found.moved_masks} of {found.size} values are masked on one side only"
    elif found.noise > found.signal == 0:
        reason = f"{named}: the reference is all zero and the measured output is not"
    varies = found.variance > HARDLY**2 * found.mean_square
    measured = found.samples >= FEWEST
    dead, constant = _dead(found) if measured and varies else ("", False)
    return OutputParity(
        sqnr_db=_decibels(found.signal, found.noise),
        cosine=_cosine(found.signal, found.power, found.product),
        max_abs=found.max_abs,
        reason=reason,
        variation_db=_decibels(found.variance, found.mean_error) if measured and varies else None,
        channel=_worst_channel(found) if found.samples >= FEWEST_PER_CHANNEL else None,
        dead=dead,
        constant=constant,
        equal=None if found.equal is None else found.equal / found.size,
        masked=found.masked,
    )


def _dead(found: Sums) -> tuple[str, bool]:
    """Why an output carries nothing, and whether that is because every sample gets the same answer."""
    if not found.moves:
        return "the file answers the same for every sample, the framework does not", True
    ours, theirs = len(found.distinct_measured), len(found.distinct_reference)
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
        worst.append(Channel(axis, at, db, "variation" if varies[at] else "magnitude"))
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
