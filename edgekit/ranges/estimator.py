"""An estimator of ranges as a value: which method with which settings, on how many samples, and how these are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from edgekit.errors import UsageError

#: ``tool``: whatever the tool that quantizes does by itself; the others are those of ``observers.py``.
Method = Literal["tool", "minmax", "moving-average", "percentile", "entropy", "mse"]
#: ``random``: by the plan's seed; ``even``: at equal distances over all that there are; ``first``: from the start.
Draw = Literal["random", "even", "first"]
Setting = Literal["percentile", "momentum", "bins"]

#: The settings that each method takes, and must be given.
SETTINGS: Mapping[Method, tuple[Setting, ...]] = {
    "tool": (),
    "minmax": (),
    "moving-average": ("momentum",),
    "percentile": ("percentile", "bins"),
    "entropy": ("bins",),
    "mse": ("bins",),
}
#: Fewer bins do not show where a range should end: an int8 has 256 steps itself.
FEWEST_BINS = 512
MOST_BINS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """How the range of an activation comes from calibration samples.

    Attributes:
        name: of the plan.
        method: what is made of the values that were seen.
        percentile: of the values that the range holds, above 50 and below 100.
        momentum: share that each new sample leaves of what was there before, within 0 and 1.
        bins: of the histogram, at least; it has fewer than twice as many.
        samples: calibration samples used at most.
        draw: which ones, where there are more.
        least: fewer samples are refused.

    Raises:
        ValueError: no such method, or settings that it does not take or that mean nothing.
    """

    name: str
    method: Method
    percentile: float | None = None
    momentum: float | None = None
    bins: int | None = None
    samples: int = 256
    draw: Draw = "random"
    least: int = 1

    def __post_init__(self) -> None:
        _one_of("method", self.method, get_args(Method))
        _one_of("draw", self.draw, get_args(Draw))
        for key in get_args(Setting):
            wanted, given = key in SETTINGS[self.method], getattr(self, key) is not None
            if wanted != given:
                raise ValueError(f"{key}: the method {self.method} {'needs it' if wanted else 'does not take it'}")
        _between("percentile", 50, self.percentile, 100)
        _between("momentum", 0, self.momentum, 1)
        _between("bins", FEWEST_BINS - 1, self.bins, MOST_BINS + 1)
        _between("samples", 0, self.samples, 1 << 31)
        _between("least", 0, self.least, self.samples + 1)

    @property
    def by_tool(self) -> bool:
        """Whether ranges are left to the tool that quantizes."""
        return self.method == "tool"

    def check(self, count: int) -> None:
        """Raise ``UsageError`` where there are fewer samples than the estimate needs."""
        if count < self.least:
            raise UsageError(
                f"--ranges {self.name} needs {self.least} calibration samples or more, and there are {count}: "
                "of so few it would cut off what is merely rare",
                hint="Give more real inputs with --calibrate DATA, or take --ranges minmax.",
            )


def _one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{key}: {value!r} is none of {', '.join(known)}")


def _between(key: str, low: float, value: float | None, high: float) -> None:
    if value is not None and not low < value < high:
        raise ValueError(f"{key}: {value} does not lie above {low} and below {high}")


#: What every tool does where nobody asks for anything.
TOOL = Estimator(name="tool", method="tool")
#: The extremes of all samples.
MINMAX = Estimator(name="minmax", method="minmax")
