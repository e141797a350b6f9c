"""Parity: how close a file's outputs are to those of the checkpoint, run by its own framework."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: SQNR is reported within +-300 dB: JSON has no infinity, and 300 dB is below one part in 1e15 of float64, so
#: +300 means "no difference at all" and -300 "noise where the reference is silent".
SQNR_CAP_DB = 300.0

#: Values that are compared at a time.
CHUNK = 1 << 20

#: Steps at either end of a sequence whose error is told apart.
DRIFT_STEPS = 20


@dataclass(frozen=True)
class OutputParity:
    """Closeness of one output over all samples.

    Attributes:
        sqnr_db: ``10 log10(sum ref^2 / sum (ref - measured)^2)`` in dB, within +-``SQNR_CAP_DB``; 0 where the
            measured output is not finite.
        cosine: cosine of the two outputs taken as one vector each; 1 where both are all zero, 0 where one is.
        max_abs: largest absolute error in the output's own unit; None where the measured output is not finite.
        reason: what is wrong beyond mere distance (NaN, silent reference), or an empty string.
    """

    sqnr_db: float
    cosine: float
    max_abs: float | None
    reason: str = ""


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
        sqnr_db: smallest over the outputs, in dB.
        cosine: smallest over the outputs.
        max_abs: largest over the outputs; None where any output is not finite.
        per_output: the same per output, by name.
        reason: the outputs' reasons, joined; empty where there is none.
        drift: of sequences of at least ``2 * DRIFT_STEPS`` steps; None for everything else.
    """

    samples: int
    sqnr_db: float
    cosine: float
    max_abs: float | None
    per_output: dict[str, OutputParity] = field(default_factory=dict)
    reason: str = ""
    drift: Drift | None = None

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values (no infinity, no NaN)."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Parity:
        """Rebuild the value from ``to_json``."""
        outputs = {name: OutputParity(**one) for name, one in fields["per_output"].items()}
        drift = Drift(**fields["drift"]) if fields.get("drift") else None
        return cls(**{**fields, "per_output": outputs, "drift": drift})


def compare(reference: Mapping[str, NDArray[np.generic]], measured: Mapping[str, NDArray[np.generic]]) -> Parity:
    """Compare measured outputs with the reference, output by output, in float64.

    Args:
        reference: the checkpoint's outputs by name, each ``(samples, ...)``.
        measured: the file's outputs under the same names and shapes. Logits, not probabilities: a saturated
            softmax hides noise.

    Raises:
        UsageError: names or shapes differ, there is no sample, or the reference itself is not finite.
    """
    return compare_parts([(reference, measured)])


def compare_parts(parts: Iterable[Sequence[Mapping[str, NDArray[np.generic]]]]) -> Parity:
    """Compare as ``compare`` does, given some samples at a time: pairs of reference and measured."""
    sums: dict[str, _Sums] = {}
    samples = 0
    for reference, measured in parts:
        samples += _checked_count(reference, measured)
        for name in reference:
            sums.setdefault(name, _Sums(name)).add(reference[name], measured[name])
    if not samples:
        raise UsageError("there is no sample to compare", hint="Give at least one.")
    outputs = {name: one.parity() for name, one in sums.items()}
    errors = [o.max_abs for o in outputs.values()]
    return Parity(
        samples=samples,
        sqnr_db=min(o.sqnr_db for o in outputs.values()),
        cosine=min(o.cosine for o in outputs.values()),
        max_abs=None if None in errors else max(e for e in errors if e is not None),
        per_output=outputs,
        reason="; ".join(o.reason for o in outputs.values() if o.reason),
    )


def _checked_count(reference: Mapping[str, NDArray[np.generic]], measured: Mapping[str, NDArray[np.generic]]) -> int:
    if not reference or reference.keys() != measured.keys():
        raise UsageError(
            f"outputs differ in name: reference has {sorted(reference)}, measured has {sorted(measured)}",
            hint="Map the file's outputs to the names of the source's signature.",
        )
    counts = {len(array) if array.ndim else 0 for array in reference.values()}
    if len(counts) != 1 or 0 in counts:
        raise UsageError(f"outputs must hold one and the same number of samples, at least 1; got {sorted(counts)}")
    return counts.pop()


def compare_steps(reference: Mapping[str, NDArray[np.generic]], measured: Mapping[str, NDArray[np.generic]]) -> Parity:
    """Compare sequences ``(sequences, steps, ...)`` over all their steps, and say whether the error grows.

    Raises:
        UsageError: as ``compare``.
    """
    whole = compare(reference, measured)
    steps = min(array.shape[1] for array in reference.values())
    if steps < 2 * DRIFT_STEPS:
        return whole

    def worst(at: slice) -> float:
        ends = ({name: array[:, at] for name, array in side.items()} for side in (reference, measured))
        return compare(*ends).sqnr_db

    return replace(whole, drift=Drift(steps, worst(slice(DRIFT_STEPS)), worst(slice(-DRIFT_STEPS, None))))


@dataclass
class _Sums:
    """What of one output adds up over its samples."""

    name: str
    size: int = 0
    bad: int = 0
    signal: float = 0.0
    power: float = 0.0
    product: float = 0.0
    noise: float = 0.0
    max_abs: float = 0.0

    def add(self, reference: NDArray[np.generic], measured: NDArray[np.generic]) -> None:
        if reference.shape != measured.shape:
            raise UsageError(
                f"output {self.name!r} differs in shape: reference {reference.shape}, measured {measured.shape}",
                hint="Bring both to the source's layout before comparing them.",
            )
        wrong = np.count_nonzero(~np.isfinite(reference))
        if wrong:
            raise UsageError(
                f"output {self.name!r} of the reference holds NaN or infinity in {wrong} of {reference.size} values",
                hint="Run the source on these samples: its weights or the samples are not finite.",
            )
        self.size += reference.size
        self.bad += int(np.count_nonzero(~np.isfinite(measured)))
        if self.bad:
            return
        sides = reference.reshape(-1), measured.reshape(-1)
        for start in range(
            0, reference.size, CHUNK
        ):  # float64 copies of all values would take several times their memory
            ref, out = (side[start : start + CHUNK].astype(np.float64) for side in sides)
            error = ref - out
            self.signal += float(ref @ ref)
            self.power += float(out @ out)
            self.product += float(ref @ out)
            self.noise += float(error @ error)
            self.max_abs = max(self.max_abs, float(np.abs(error).max()))

    def parity(self) -> OutputParity:
        named = f"output {self.name!r}"
        if self.bad:
            return OutputParity(0.0, 0.0, None, f"{named}: NaN or infinity in {self.bad} of {self.size} values")
        silent = self.noise > self.signal == 0
        reason = f"{named}: the reference is all zero and the measured output is not" if silent else ""
        cosine = _cosine(self.signal, self.power, self.product)
        return OutputParity(_sqnr_db(self.signal, self.noise), cosine, self.max_abs, reason)


def _sqnr_db(signal: float, noise: float) -> float:
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
