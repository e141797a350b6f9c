"""What a file may cost: ``size=2MB`` or ``latency=0.6x``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from edgekit.errors import UsageError, did_you_mean
from edgekit.result.speed import Latency

_WORDS = ("size", "latency")
_UNITS = {"B": 1, "kB": 1000, "MB": 10**6, "KiB": 1 << 10, "MiB": 1 << 20}
_ALLOWED = f"--budget size=2MB ({', '.join(_UNITS)}) or --budget latency=0.6x"


@dataclass(frozen=True)
class Budget:
    """A limit on one of a file's costs.

    Attributes:
        what: ``size`` of all files in bytes, or ``latency`` as a ratio to the float twin's.
        most: the limit.
        given: as the user wrote it.
    """

    what: Literal["size", "latency"]
    most: float
    given: str

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read what the user wrote.

        Raises:
            UsageError: it is no budget.
        """
        size = re.fullmatch(rf"size=(\d+(?:\.\d+)?)({'|'.join(_UNITS)})", text)
        ratio = re.fullmatch(r"latency=(\d+(?:\.\d+)?)x", text)
        if size:
            found = cls("size", float(size[1]) * _UNITS[size[2]], text)
        elif ratio:
            found = cls("latency", float(ratio[1]), text)
        else:
            what = text.partition("=")[0]
            near = "" if what in _WORDS else did_you_mean(what, _WORDS)
            raise UsageError(f"--budget {text!r} is no budget", hint=near + _ALLOWED)
        if found.most <= 0:
            raise UsageError(f"--budget {text!r} is not above 0", hint=_ALLOWED)
        return found

    def missed(self, size_bytes: int | None, latency: Latency | None) -> str:
        """Why a file is not within it; an empty string where it is.

        Args:
            size_bytes: of all files of the model.
            latency: against the float twin; None where it was not measured.
        """
        if self.what == "size":
            return f"{size_bytes} bytes; the budget is {self.given}" if (size_bytes or 0) > self.most else ""
        if latency is None:
            return f"the latency was not measured, so that the budget {self.given} cannot be judged"
        return f"{latency.ratio:.2f}x the float time; the budget is {self.given}" if latency.ratio > self.most else ""
