"""What the user asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit import target as targets
from edgekit.data.plan import DataPlan
from edgekit.devices.device import HERE, Device
from edgekit.errors import UsageError
from edgekit.sources.source import Source
from edgekit.target import Target

#: Fewer calibration samples than this are used, but warned about.
FEW_CALIBRATION_SAMPLES = 32


@dataclass(frozen=True)
class Order:
    """One conversion.

    ``roles`` is what the user says that outputs are for, by name. Without ``latency`` nothing is timed: the first route
    that passes is chosen, and the result names no speed. ``device`` is what executes and times the files.
    """

    source: Source
    target: Target
    plan: DataPlan
    output: Path | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    search_routes: bool = False
    allow_mixed: bool = False
    allow_unproven: bool = False
    latency: bool = True
    device: Device = HERE

    def check(self) -> None:
        """Refuse a target whose ranges come from samples where there are none, before any work."""
        if self.target.needs_calibration and self.plan.task is None and self.plan.calibrate is None:
            raise UsageError(
                f"{self.target.name} needs calibration samples and none were given",
                hint="Pass --calibrate DATA (a few hundred real inputs), or take "
                f"{' or '.join(targets.without_calibration(self.target)) or 'a dynamic target'}.",
            )
