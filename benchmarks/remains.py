"""What runs leave behind: processes, scratch folders, and what is there by its name and not whole."""

from __future__ import annotations

from pathlib import Path

import psutil

from edgekit.artifact import contents
from edgekit.jobs.store import Store


class Remains:
    """Of runs in a home, with a temporary folder and an output folder of their own.

    Attributes:
        home: ``EDGEKIT_HOME`` of the runs, which none but they have.
        tmp: their ``TMPDIR``.
        out: where their artifact appears as ``made``.
    """

    def __init__(self, folder: Path) -> None:
        self.home, self.tmp, self.out = folder / "home", folder / "tmp", folder / "out"
        for path in (self.tmp, self.out):
            path.mkdir(parents=True)

    def processes(self) -> list[psutil.Process]:
        """Whatever runs with this home in its environment."""
        found = []
        for process in psutil.process_iter():
            try:
                alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get("EDGEKIT_HOME") == str(self.home):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def left(self) -> list[str]:
        """Whatever is neither an entry of the store nor the artifact."""
        folders = [self.tmp, self.home / "runs", self.home / "locks", self.home / "rooms"]
        left = [str(path) for folder in folders if folder.is_dir() for path in folder.iterdir()]
        return left + [str(path) for path in self.out.iterdir() if path.name != "made"]

    def faults(self) -> list[str]:
        """What is there by its name and not whole."""
        found = list(Store(self.home).verify())
        if (self.out / "made").exists():
            found += [f"{name} {what}" for name, what in contents.faults(self.out / "made").items()]
        return found
