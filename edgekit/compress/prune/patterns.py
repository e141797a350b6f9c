"""What pruning leaves out, in one word: ``0.5``, ``2:4`` or ``channels:0.5``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from edgekit.errors import UsageError, did_you_mean

#: Among which weights those that go are the smallest: of all layers, or of each.
Scope = Literal["global", "layer"]
#: What a pattern takes away: single weights, some of each group of weights, whole channels.
Of = Literal["weights", "groups", "channels"]

_ALLOWED = (
    "Allowed: 0.5 (that share of the weights), 2:4 (two of four stay), channels:0.5 (that share of the channels)."
)
#: More weights than this share no group: there is no kernel that would store them so.
_LARGEST_GROUP = 32


@dataclass(frozen=True)
class Pattern:
    """A pattern.

    Attributes:
        of: what it takes away.
        share: how much of it.
        stay: of each group of weights along the input channels, how many stay; 0 where there are no groups.
        group: weights of a group.
    """

    of: Of
    share: float
    stay: int = 0
    group: int = 0

    def __str__(self) -> str:
        if self.of == "groups":
            return f"{self.stay}:{self.group}"
        return f"{'channels:' if self.of == 'channels' else ''}{self.share:g}"


@dataclass(frozen=True)
class Pruning:
    """How a step of a recipe prunes: what goes, among which weights, in which part of the training."""

    pattern: Pattern
    scope: Scope
    ramp: float


def parse(text: str) -> Pattern:
    """The pattern that a text says; raises ``UsageError`` for what is none."""
    if grouped := re.fullmatch(r"(\d{1,3}):(\d{1,3})", text.strip()):
        stay, group = int(grouped[1]), int(grouped[2])
        if not 0 < stay < group <= _LARGEST_GROUP:
            raise UsageError(f"pruning {text!r}: {stay} of {group} weights cannot stay", hint=_ALLOWED)
        return Pattern("groups", 1 - stay / group, stay, group)
    before, colon, number = text.strip().rpartition(":")
    if colon and before != "channels":
        raise UsageError(
            f"pruning {text!r}: there is no {before!r}", hint=f"{did_you_mean(before, ['channels'])}{_ALLOWED}"
        )
    share = _share(number)
    if share is None:
        raise UsageError(f"pruning {text!r} is no share, no groups and no channels", hint=_ALLOWED)
    if not 0 < share < 1:
        raise UsageError(f"pruning {text!r}: a share lies above 0 and below 1", hint=_ALLOWED)
    return Pattern("channels" if colon else "weights", share)


def _share(text: str) -> float | None:
    """A number, which may be said in percent."""
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(%?)", text)
    return float(found[1]) / (100 if found[2] else 1) if found else None
