"""Numeric formats. A precision is a name in TOML, in JSON and on the command line; a ``Scheme`` is what it means.

Whatever edgekit knows of a precision is read from it; those that there are stand in ``schemes.py``.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

#: The name of a scheme.
Precision = str

#: ``lut4``: each weight is an index of 4 bits into a table of 16 numbers (palettization).
Weights = Literal["float32", "float16", "int8", "int4", "lut4"]
Activations = Literal["float32", "float16", "int16", "int8"]
Granularity = Literal["tensor", "channel", "block"]
#: What an operator does with its weights, one vocabulary for all formats. ``linear``: a matrix product with one matrix;
#: ``matmul``: with several at once, or with weights on the left.
Kind = Literal["conv", "depthwise-conv", "transposed-conv", "linear", "matmul", "recurrent", "embedding"]
#: How channels are scaled before weights are quantized (``edgekit.compress.equalize``).
Equalization = Literal["none", "cle", "smoothquant", "awq"]
#: Weights that may share a scale within one channel.
GROUPS = (32, 64, 128)
#: Weights that a palette of 4 bits must be for: 16 numbers of int8 take the room that half a byte each saves.
PALETTE = 32


@dataclass(frozen=True)
class Floors:
    """How close outputs must be to the checkpoint's by default; ``limits.ParityLimits`` says what each figure is."""

    sqnr_db: float
    cosine: float
    variation_db: float
    channel_db: float
    equal: float


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A numeric format, and what a file of it promises.

    Attributes:
        name: the precision.
        weights: what weights are stored in.
        activations: the narrowest type in which operators with weights take their activations.
        dynamic: integer activations get their scales at run time, and not from calibration samples.
        granularity: of integer weights, the least part that may have a scale of its own; a route may take a larger one.
        group: of ``block``, how many weights of a channel share a scale.
        floors: the gate's limits on parity, where a target says no others.
        stored: least share of weight elements that are stored in ``weights``.
        integers: least share of multiply-accumulates that are computed in integers; None where only storage is
            promised, and what computes in integers is the runtime's choice.

    Raises:
        ValueError: no file can be all of that.
    """

    name: Precision
    weights: Weights
    activations: Activations
    dynamic: bool = False
    granularity: Granularity | None = None
    group: int | None = None
    floors: Floors
    stored: float
    integers: float | None = None

    def __post_init__(self) -> None:
        _one_of("weights", self.weights, get_args(Weights))
        _one_of("activations", self.activations, get_args(Activations))
        _one_of("granularity", self.granularity, (None, *get_args(Granularity)))
        _one_of("group", self.group, (None, *GROUPS))
        integers = self.activations.startswith("int")
        shares = [share for share in (self.stored, self.integers) if share is not None]
        for broken, rule in (
            (self.is_float != (self.granularity is None), "integer weights alone say a granularity, and always do"),
            ((self.group is None) == (self.granularity == "block"), "blocks alone have a group, and always do"),
            (integers and self.is_float, "integer activations need integer weights"),
            (self.dynamic and not integers, "dynamic scales need integer activations"),
            (self.promises_arithmetic and not integers, "arithmetic in integers needs integer activations"),
            (self.needs_calibration and not self.promises_arithmetic, "a static scheme promises arithmetic"),
            (not all(0 < share <= 1 for share in shares), "a share lies above 0 and is at most 1"),
        ):
            if broken:
                raise ValueError(f"scheme {self.name!r}: {rule}")

    def identity(self) -> dict[str, object]:
        """What files and runs depend on: all but what they are judged by."""
        judged = {"floors", "stored", "integers"}
        said = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in judged}
        return {**said, "promises_arithmetic": self.promises_arithmetic}

    @property
    def is_float(self) -> bool:
        """Whether nothing is an integer."""
        return self.weights.startswith("float")

    @property
    def needs_calibration(self) -> bool:
        """Whether the ranges of activations come from calibration samples: the scheme is static."""
        return self.activations.startswith("int") and not self.dynamic

    @property
    def weights_only(self) -> bool:
        """Whether weights are integers and activations are not."""
        return not self.is_float and self.activations.startswith("float")

    @property
    def promises_arithmetic(self) -> bool:
        """Whether a file promises to compute in integers, beside how its weights are stored."""
        return self.integers is not None

    @property
    def stored_as(self) -> tuple[str, ...]:
        """Element types that count as ``weights``: a zero point makes unsigned numbers of signed ones."""
        return (self.weights, f"u{self.weights}") if self.weights.startswith("int") else (self.weights,)

    @property
    def below_8_bits(self) -> bool:
        """Whether weights have fewer bits than 8: formats then have kernels for some kinds of layers only."""
        return self.weights in ("int4", "lut4")

    def too_large_for(self, shape: Sequence[int]) -> str:
        """Why weights cannot share scales as the scheme says, or gain nothing by it; empty where they can.

        Args:
            shape: of weights, laid out as ``result.Layer.shape`` says.
        """
        if self.group is not None and (len(shape) < 2 or shape[1] % self.group):
            return f"blocks of {self.group} do not divide its {shape[1] if len(shape) > 1 else 1} input channels"
        if self.weights == "lut4" and (each := math.prod(shape[1:])) < PALETTE:
            return f"a palette for each of its channels of {each} weights takes more room than int8"
        return ""

    @property
    def words(self) -> str:
        """As a heading says it: ``static int8``, ``int4 weights in blocks of 32``; a scale per channel goes unsaid."""
        if self.is_float:
            return self.name
        if self.weights_only:
            said = f"{self.weights} weights"
        else:
            said = f"{'dynamic' if self.dynamic else 'static'} {self.activations}"
            said += f" on {self.weights} weights" if self.weights != self.activations else ""
        shared = {"tensor": " per tensor", "channel": "", "block": f" in blocks of {self.group}"}
        return said + shared[self.granularity or "channel"]


def _one_of(key: str, value: object, known: tuple[object, ...]) -> None:
    if value not in known:
        raise ValueError(f"{key}: {value!r} is none of {', '.join(map(str, known))}")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What some layers become, whatever the target's scheme says; of several rules for a layer the first counts.

    Attributes:
        becomes: a scheme, or ``float``.
        name: pattern of the layers' names (``*``, ``?``, ``[abc]``); None for any.
        kind: what they do with their weights; None for anything.

    Raises:
        ValueError: it says nothing of the layers, or an unknown kind.
    """

    becomes: Scheme | Literal["float"]
    name: str | None = None
    kind: Kind | None = None

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, (None, *get_args(Kind)))
        if not self.name and self.kind is None:
            raise ValueError("a rule says a pattern of names, a kind, or both")

    @property
    def words(self) -> str:
        """Which layers, as the user says it."""
        return " ".join(filter(None, (self.kind, self.name and repr(self.name))))

    def takes(self, names: Iterable[str], kind: Kind) -> bool:
        """Whether it is for a layer, which may have several names."""
        named = self.name is None or any(fnmatch.fnmatchcase(name, self.name) for name in names)
        return named and self.kind in (None, kind)


@dataclass(frozen=True)
class Range:
    """The range of one activation, learned or given by hand; ``ranges.json`` holds a list of them.

    Attributes:
        tensor: its name in the model.
        low: smallest value that is represented, in the tensor's own unit; 0 lies between the two, since padding must
            be exact.
        high: largest.
        bits: of the integers that represent it.
        granularity: ``tensor`` or ``channel``.
        symmetric: whether zero is represented by the integer 0; the larger of the two bounds then counts.
        unrounded: of a range that was read from a file, results that are computed of the values as they were: a norm
            beside a sum that takes integers.

    Raises:
        ValueError: no integers can represent it.
    """

    tensor: str
    low: float
    high: float
    bits: int = 8
    granularity: Literal["tensor", "channel"] = "tensor"
    symmetric: bool = False
    unrounded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("bits", self.bits, (4, 8, 16))
        _one_of("granularity", self.granularity, ("tensor", "channel"))
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= 0 <= self.high != self.low):
            raise ValueError(f"range of {self.tensor!r}: {self.low} to {self.high} is not a range that holds 0")

    @classmethod
    def of_steps(cls, tensor: str, scale: float, zero_point: int) -> Range:
        """The range of signed integers of 8 bits with this scale and zero point."""
        return cls(tensor, (-128 - zero_point) * scale, (127 - zero_point) * scale)

    def called(self, names: Mapping[str, str]) -> Range:
        """The same range where tensors have other names; results that have none are left out."""
        others = tuple(names[name] for name in self.unrounded if name in names)
        return replace(self, tensor=names.get(self.tensor, self.tensor), unrounded=others)

    @property
    def scale(self) -> float:
        """One step of the integers."""
        if self.symmetric:
            return max(-self.low, self.high) / (2 ** (self.bits - 1) - 1)
        return (self.high - self.low) / (2**self.bits - 1)

    @property
    def zero_point(self) -> int:
        """The signed integer that stands for 0; of unsigned ones it is ``2 ** (bits - 1)`` larger."""
        return 0 if self.symmetric else round(-(2 ** (self.bits - 1)) - self.low / self.scale)

    @property
    def bounds(self) -> tuple[float, float]:
        """The values of the smallest and the largest integer: the range moved so far that 0 is one of its steps."""
        half = 2 ** (self.bits - 1)
        return (-half - self.zero_point) * self.scale, (half - 1 - self.zero_point) * self.scale


def tensors_of(ranges: Iterable[Range]) -> list[str]:
    """The tensors of ranges, and the results that are computed of them unrounded, each once."""
    return list(dict.fromkeys(name for one in ranges for name in (one.tensor, *one.unrounded)))
