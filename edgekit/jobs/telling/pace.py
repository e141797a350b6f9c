"""How fast a step gets on."""

from __future__ import annotations

import time

from edgekit.jobs.wire import Told


class Pace:
    """How fast a step gets on, and what is said of that."""

    _WIDTH = 20

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def said(self, label: str, told: Told) -> tuple[str, str]:
        """An event of progress: ``at`` for what the next one replaces, ``note`` for what stays."""
        now, share = time.monotonic(), min(max(told.share, 0.0), 1.0)
        begun, before = self._first = self._first or (now, share)
        if told.lasting:
            return "note", f"{label}: {told.text}"
        done = round(self._WIDTH * share)
        left = f", {clock((now - begun) * (1 - share) / (share - before))} left" if share > before else ""
        return "at", f"{label} [{'#' * done}{'-' * (self._WIDTH - done)}] {told.text}{left}"


def clock(seconds: float) -> str:
    """``0:07``, ``12:30``, ``1:02:03``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
