"""What steps took the last time they ran, beside the store: for whoever waits, and nothing depends on it."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

_FILE = "times.sqlite"
#: Of a lock that another process holds: no run waits for this.
_WAIT_SECONDS = 0.1
#: A step that did not run for so long is forgotten.
_KEPT_SECONDS = 90 * 24 * 3600.0
_TABLE = "CREATE TABLE IF NOT EXISTS took (model TEXT, step TEXT, seconds REAL, at REAL, PRIMARY KEY (model, step))"


class Times:
    """Wall seconds of steps, by the model and by what the step is called; no error leaves it."""

    def __init__(self, around: Path) -> None:
        self._file = around / _FILE

    def before(self, model: str, step: str) -> float | None:
        """What a step took the last time; None where that is not known."""
        if not self._file.is_file():
            return None
        row = self._do(("SELECT seconds FROM took WHERE model = ? AND step = ?", (model, step)))
        return float(row[0]) if row else None

    def took(self, model: str, step: str, seconds: float) -> None:
        """Note what a step took."""
        now = time.time()
        self._do(
            (_TABLE, ()),
            ("INSERT OR REPLACE INTO took VALUES (?, ?, ?, ?)", (model, step, seconds, now)),
            ("DELETE FROM took WHERE at < ?", (now - _KEPT_SECONDS,)),
        )

    def _do(self, *statements: tuple[str, tuple[str | float, ...]]) -> tuple[float] | None:
        """Run statements, all or none, and return what the last one found; nothing where the file cannot be used."""
        with (
            contextlib.suppress(sqlite3.Error, OSError),
            contextlib.closing(sqlite3.connect(self._file, timeout=_WAIT_SECONDS)) as found,
            found,
        ):
            rows = [found.execute(text, values).fetchone() for text, values in statements]
            return rows[-1]
        return None
