"""Calibration samples, one by one, as quantizers take them, and what observes tensors on them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import UsageError
from edgekit.ranges.estimator import MINMAX
from edgekit.ranges.observers import Observer, observer
from edgekit.scheme import Range
from edgekit.toolchains import Request, Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray


def calibration_of(request: Request) -> Mapping[str, Rows]:
    """The request's calibration samples; raises ``UsageError`` where a static precision got none, or too few."""
    count = min((len(rows) for rows in (request.calibration or {}).values()), default=0)
    if not request.calibration or count == 0:
        raise UsageError(
            f"{request.scheme.name} needs calibration samples and got none",
            hint="Give --calibrate DATA, or take a target that needs none: dynamic, or of weights alone.",
        )
    request.estimator.check(count)
    return request.calibration


#: Operators whose results lie within bounds, whatever goes in, in small letters.
BOUNDED = frozenset(("softmax", "_softmax", "sigmoid", "hardsigmoid", "sigmoid_hard", "tanh"))


@dataclass(frozen=True)
class OneByOne:
    """One sample after another as a run takes it, each a dict by input name; it may be gone through again."""

    samples: Mapping[str, Rows]

    def __len__(self) -> int:
        return min(len(rows) for rows in self.samples.values())

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        for i in range(len(self)):
            yield {name: rows[i] for name, rows in self.samples.items()}


def one_by_one(samples: Mapping[str, Rows]) -> OneByOne:
    """The samples, each when it is asked for."""
    return OneByOne(samples)


def observers(
    request: Request, names: Iterable[str], *, symmetric: bool = False, bounded: Collection[str] = ()
) -> dict[str, Observer]:
    """An observer by the request's estimator for each of the tensors; of extremes where that is the tool's.

    So are those of tensors whose values are ``bounded`` by what makes them, as probabilities are: few lie near 1, and
    these matter most.
    """
    bits = 16 if request.scheme.activations == "int16" else 8
    estimator = MINMAX if request.estimator.by_tool else request.estimator
    return {name: observer(MINMAX if name in bounded else estimator, bits=bits, symmetric=symmetric) for name in names}


class Kept:
    """Observes a tensor by keeping its values, for a look at a few samples."""

    def __init__(self) -> None:
        self.values: list[NDArray[Any]] = []

    def update(self, values: NDArray[Any]) -> None:
        """Take the values of one sample."""
        self.values.append(np.array(values))

    def range(self) -> tuple[float, float]:
        """The smallest and the largest value; 0 lies between them."""
        return min(0.0, *map(float, map(np.min, self.values))), max(0.0, *map(float, map(np.max, self.values)))


def range_of(tensor: str, observer: Observer, *, symmetric: bool = False) -> Range:
    """What an observer found as the range of a tensor of 8 bits; of one that is always 0, 1 is as good as any."""
    low, high = observer.range()
    return Range(tensor, low, high if low < high else 1.0, symmetric=symmetric)
