"""A device: what executes the files of a candidate, and what times them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgekit.proof.speed import step as speed
from edgekit.result.speed import Latency
from edgekit.steps import execute, latency


@dataclass(frozen=True)
class Device:
    """Another kind of device is another pair of steps, which answer the same requests.

    Attributes:
        name: of the device.
        execute: runs files on samples; leaves ``outputs.npz`` and says what ran them.
        time: times files against their float twins; None for what is no measure of a device.
        measure: measures files for a benchmark, likewise.
    """

    name: str
    execute: Callable[[Path, execute.Request], execute.Answer]
    time: Callable[[Path, latency.Request], Latency] | None
    measure: Callable[[Path, speed.Request], speed.Answer] | None = None


#: This machine, in children of its own.
HERE = Device("here", execute.run, latency.run, speed.run)
