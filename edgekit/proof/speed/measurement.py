"""What a benchmark measured of a file on a machine: the values that come back from a device, whichever it is.

Every time is in milliseconds and every size in bytes, and says so in its name. What was not measured is None.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

#: Distributions whose versions change what is done here.
PACKAGES = ("pydantic",)

#: Where the inputs come from: samples that were recorded with the artifact, the user's, or numbers drawn by edgekit.
Inputs = Literal["golden", "given", "generated"]

#: What drives inferences.
Engine = Literal["edgekit", "loadgen"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Spread(_Frozen):
    """How a time is distributed over measurements of it.

    Attributes:
        n: measurements.
        p90_ms: the 90 % quantile; None below ``proof.speed.steady.ENOUGH[90]`` measurements. ``p99_ms`` likewise.
        mad_ms: median of the absolute differences from the median.
        p50_ci95_ms: bootstrap 95 % interval of the median over blocks.
    """

    n: int
    min_ms: float
    p50_ms: float
    p90_ms: float | None
    p99_ms: float | None
    mean_ms: float
    mad_ms: float
    p50_ci95_ms: tuple[float, float] | None


class Blocks(_Frozen):
    """The measurements that comparisons are made of: one inference's time in each block, in the order of time.

    Of several files that were measured in one run, block i of each ran side by side.

    Attributes:
        calls: inferences of a block.
        cpu_ms: CPU time of all threads, mean over a block's inferences.
        wall_ms: median over a block's inferences.
    """

    calls: int
    cpu_ms: tuple[float, ...]
    wall_ms: tuple[float, ...]


class Conditions(_Frozen):
    """The machine while a file was measured; None is what the system does not tell.

    Attributes:
        wall_over_cpu: median wall time over median CPU time, of runs on one thread.
        interruptions_per_s: how often another process took the core (involuntary switches), per second of wall time
            of the blocks; None of several threads, which take cores from each other.
        clock_drift: how much slower a fixed piece of work became from start to end: 0.05 is 5 %.
        steal_share: of the time, what the hypervisor gave to others.
        noisy_because: why the row is NOISY, a sentence each; empty where it is not.
    """

    wall_over_cpu: float | None
    interruptions_per_s: float | None
    clock_drift: float
    steal_share: float | None
    load_before: float | None
    load_after: float | None
    clock_mhz_before: float | None
    clock_mhz_after: float | None
    temperature_c_before: float | None
    temperature_c_after: float | None
    governor: str | None
    noisy_because: tuple[str, ...]


class Operator(_Frozen):
    """What one operator, or kernel, took of an inference, as the runtime's own profiler says."""

    name: str
    kind: str
    ms: float


class Tokens(_Frozen):
    """Of a model that writes text: one token after the other, each chosen from the scores before it."""

    prompt: int
    written: int
    first_token_ms: float
    tokens_per_s: float


class Sustained(_Frozen):
    """One step of a long run: when it began, and the median of the inferences in it."""

    at_s: float
    wall_p50_ms: float
    cpu_p50_ms: float
    temperature_c: float | None
    clock_mhz: float | None


class Measured(_Frozen):
    """One file on one machine.

    Attributes:
        by: runtime, version and engine.
        unit: what it ran on.
        threads: of the runtime. ``pinned_cpus`` are the cores that the process was held to; empty where it was not.
        precision: that the runtime really executes in, read back from it where it can be.
        ops_delegated: operators that the fast delegate runs, of ``ops_total``; None where the runtime does not tell.
        import_ms: loading the runtime's library, once per process.
        load_ms: opening and compiling the file.
        first_ms: the first inference.
        wall: the steady state, per inference. ``cpu`` is the CPU time of all threads, per inference in each block.
        steps: of a model with states, those of the sequence that one inference stands for the mean of; 1 without.
        peak_rss_bytes: largest memory of the process, the runtime included; None where others were measured in it.
        model_rss_bytes: what of that opening and running the file added.
        of_square_matmul: multiply-accumulates per second (of CPU time on one thread), as a share of those of a product
            of two square matrices in the same runtime and precision; None where there is no such file.
        operators: the longest first.
        inputs: where they come from.
        engine: what drove the inferences: ``edgekit`` or ``loadgen``.
    """

    by: str
    unit: str
    threads: int
    pinned_cpus: tuple[int, ...]
    precision: str
    ops_delegated: int | None
    ops_total: int | None
    import_ms: float | None
    load_ms: float
    first_ms: float
    wall: Spread
    cpu: Spread
    blocks: Blocks
    steps: int = 1
    peak_rss_bytes: int | None
    model_rss_bytes: int | None
    of_square_matmul: float | None = None
    operators: tuple[Operator, ...] = ()
    tokens: Tokens | None = None
    sustained: tuple[Sustained, ...] = ()
    conditions: Conditions
    inputs: Inputs
    engine: Engine = "edgekit"

    @property
    def noisy(self) -> bool:
        """Whether the machine was disturbed; such a row is kept and shown, and compared with none."""
        return bool(self.conditions.noisy_because)
