"""The machine while something is measured on it, and when it was too disturbed for the figures to be compared."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from edgekit.proof.latency import cpu_seconds
from edgekit.proof.speed.measurement import Conditions

#: Facts of the machine are true of it alone.
MEASURES = True

#: Above these a row is NOISY. Wall time beyond CPU time is time in which the process, on one thread, did not run.
WALL_OVER_CPU = 1.1
#: How often another process may take the core, per second: what one in twenty blocks of 2 ms is. A share of blocks
#: would grow with their length.
INTERRUPTIONS_PER_S = 25.0
#: Change in the time of a fixed piece of work from before to after.
DRIFT = 0.05
#: Share of the machine's time that the hypervisor gave to others.
STEAL = 0.05

_WORK = b"\0" * (1 << 18)


@dataclass(frozen=True)
class State:
    """The machine at one moment; None is what it does not tell."""

    load: float | None
    clock_mhz: float | None
    temperature_c: float | None
    governor: str | None
    ticks: tuple[int, int] | None
    work_ms: float


def state() -> State:
    """The machine now; takes some milliseconds of fixed work, whose time tells how fast the core is."""
    return State(_load(), clock_mhz(), temperature_c(), _governor(), _ticks(), _work_ms())


def between(
    before: State, after: State, *, wall_over_cpu: float | None, interruptions: float | None, lost: int
) -> Conditions:
    """What lay between two moments.

    Args:
        before: when measuring began.
        after: when it ended.
        wall_over_cpu: of the medians; None where more than one thread computed.
        interruptions: involuntary switches per second; None likewise.
        lost: measurements in which the clock did not go forward.
    """
    drift = after.work_ms / before.work_ms - 1
    stolen = None
    if before.ticks and after.ticks and (total := after.ticks[1] - before.ticks[1]) > 0:
        stolen = (after.ticks[0] - before.ticks[0]) / total
    because = []
    if lost:
        because.append(f"the clock went backwards, or stood, in {lost} measurements, which count for nothing")
    if wall_over_cpu is not None and wall_over_cpu > WALL_OVER_CPU:
        because.append(f"wall time is {wall_over_cpu:.2f} x CPU time (allowed: {WALL_OVER_CPU})")
    if interruptions is not None and interruptions > INTERRUPTIONS_PER_S:
        allowed = f"{INTERRUPTIONS_PER_S:.0f}"
        because.append(f"another process took the core {interruptions:.0f} times a second (allowed: {allowed})")
    if abs(drift) > DRIFT:
        how = "slower" if drift > 0 else "faster"
        because.append(f"a fixed piece of work became {abs(drift):.0%} {how} meanwhile (allowed: {DRIFT:.0%})")
    if stolen is not None and stolen > STEAL:
        because.append(f"the hypervisor gave {stolen:.0%} of the time to others (allowed: {STEAL:.0%})")
    return Conditions(
        wall_over_cpu=wall_over_cpu,
        interruptions_per_s=interruptions,
        clock_drift=drift,
        steal_share=stolen,
        load_before=before.load,
        load_after=after.load,
        clock_mhz_before=before.clock_mhz,
        clock_mhz_after=after.clock_mhz,
        temperature_c_before=before.temperature_c,
        temperature_c_after=after.temperature_c,
        governor=after.governor,
        noisy_because=tuple(because),
    )


def memory() -> tuple[int, int]:
    """Resident bytes of this process: now, and the most since the last call.

    Where the kernel cannot forget the most (``proc_pid_clear_refs(5)``), it is that of the process's whole life.
    """
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    now = most
    with contextlib.suppress(OSError, ValueError):
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
        now, most = (int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return now, most


def temperature_c() -> float | None:
    """The hottest of the machine's thermal zones."""
    found = []
    for path in Path("/sys/class/thermal").glob("thermal_zone*/temp"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(path.read_text()) / 1000)
    return max(found, default=None)


def clock_mhz() -> float | None:
    """The clock now, as the mean over the cores."""
    found = []
    for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(path.read_text()) / 1000)
    if not found:
        with contextlib.suppress(OSError, ValueError):
            lines = Path("/proc/cpuinfo").read_text().splitlines()
            found = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return sum(found) / len(found) if found else None


def _load() -> float | None:
    with contextlib.suppress(OSError):
        return os.getloadavg()[0]
    return None


def _governor() -> str | None:
    with contextlib.suppress(OSError):
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    return None


def _ticks() -> tuple[int, int] | None:
    """Stolen and all time of the machine's cores, in the kernel's ticks (``proc_stat(5)``)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return fields[7], sum(fields)
    return None


def _work_ms() -> float:
    """CPU milliseconds of a fixed piece of work, the fastest of several tries."""
    times: list[float] = []
    end = time.perf_counter() + 0.05
    while len(times) < 7 or (len(times) < 31 and time.perf_counter() < end):
        start = cpu_seconds()
        hashlib.sha256(_WORK).digest()
        times.append(cpu_seconds() - start)
    return max(min(times) * 1e3, 1e-6)
