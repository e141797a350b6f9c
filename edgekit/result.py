"""The result of a conversion: what ``--json`` prints, what the manifest holds, what the Python API returns.

Field names are a contract (schema 1): more may be added, none changes its meaning. What was not measured is None.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

#: Distributions whose versions change what is done here.
PACKAGES = ("pydantic",)

Status = Literal[
    "PASS",
    "FAIL_PARITY",
    "FAIL_ACCURACY",
    "FAIL_PRECISION",
    "FAIL_INTEGRITY",
    "UNDECIDED",
    "FAILED",
    "UNSUPPORTED",
    "NOT_RUN",
]
Flag = Literal["SLOWER", "LARGER", "WEAK_SOURCE", "NOISY", "REUSED", "ESTIMATE", "CUSTOM_GATE", "CUSTOM_TARGET"]


#: The latency of an artifact against its float twin's.
Speed = Literal["FASTER", "SAME", "SLOWER", "TOO_SMALL_TO_TELL"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class Proof(_Frozen):
    """Who executed the artifact: the runtime that ships it, a named stand-in, or nobody."""

    kind: Literal["runtime", "stand-in", "none"]
    by: str | None = None


class SourceFacts(_Frozen):
    """What was handed in."""

    given: str
    kind: str
    name: str
    config: str | None = None
    sha256: str
    notes: tuple[str, ...] = ()


class TargetFile(_Frozen):
    """A target's TOML: its bytes' hash, where it lies (the packaged ones say no path), whose place it takes."""

    name: str
    sha256: str
    path: str | None = None
    stands_in: bool = False


class RouteTried(_Frozen):
    """One route of the target and how it ended, on selection samples; ``measured_at`` says when it was timed."""

    route: str
    status: Status
    reason: str = ""
    sqnr_db: float | None = None
    latency_ratio: float | None = None
    measured_at: str | None = None
    size_bytes: int | None = None


class RoutePassedOver(_Frozen):
    """One route of the target that was not tried: by which key of its TOML, and the reason that stands there."""

    route: str
    by: Literal["unless", "only", "needs"]
    reason: str


class File(_Frozen):
    """One file of the artifact, relative to its folder."""

    path: str
    sha256: str
    bytes: int


class IO(_Frozen):
    """One input or output as the file stores it: real = (stored - zero_point) * scale."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class Audited(_Frozen):
    """What is inside the file, read from the file itself; see ``edgekit.toolchains.Audit`` for each meaning."""

    weight_bytes: dict[str, int]
    weight_elements: dict[str, int]
    activation_types: dict[str, int]
    ops_total: int
    ops_quantized: int
    macs_total: int
    macs_quantized_share: float | None
    ops_delegated: int | None
    transposes: int
    float_ops: tuple[str, ...]
    findings: tuple[str, ...]
    ops_float: dict[str, int] | None = None
    ops_float_only: tuple[str, ...] = ()
    macs_quantized: int | None = None
    macs_between_activations: int | None = None
    float_weights: tuple[str, ...] = ()


class DriftFacts(_Frozen):
    """Whether the error grows over a sequence: SQNR of the worst output over the first and the last 20 steps."""

    steps: int
    first20_db: float
    last20_db: float


class ParityFacts(_Frozen):
    """Closeness to the framework's own run on the same samples (of a stream: over all steps of so many sequences).

    ``sqnr_db`` relates the error to the size of the answers, ``variation_db`` to how far they move from sample to
    sample, ``channel_db`` is that of the worst channel; see ``edgekit.proof.parity``. ``noise_floor_db`` is the SQNR of
    the framework's own run when its inputs move by one rounding, measured where parity misses its limit.
    """

    reference: str
    inputs: Literal["data", "generated"]
    samples: int
    sqnr_db: float
    cosine: float
    max_abs: float | None
    per_output: dict[str, dict[str, Any]]
    runtime: str
    runtime_precision: str
    drift: DriftFacts | None = None
    variation_db: float | None = None
    channel_db: float | None = None
    noise_floor_db: float | None = None


class AccuracyFacts(_Frozen):
    """The task metric on the test split, run once; ``drop`` positive is worse.

    ``trivial`` is the metric of an answer that does not look at the sample (the majority class, the mean), and
    ``gain_ci95`` the 95 % interval of how much better ``float`` is, in the unit of ``drop``.
    """

    metric: str
    higher_is_better: bool
    samples: int
    float_: Annotated[float, Field(alias="float")]
    checkpoint: float | None
    artifact: float
    drop: float
    drop_ci95: tuple[float, float]
    agreement: float | None
    flips: tuple[int, int] | None = None
    split: str | None = None
    trivial: float | None = None
    gain_ci95: tuple[float, float] | None = None


class AgreementFacts(_Frozen):
    """Of samples without labels: how often float and artifact have the same largest value. Accuracy stays unknown."""

    share: float
    samples: int


class LatencyFacts(_Frozen):
    """CPU milliseconds per inference (all parts once), one thread, in turns with the float twin on the same runtime.

    Attributes:
        measured_at: when, in UTC, as ISO 8601 has it.
        reused: whether that was in an earlier run, on this machine.
    """

    float_cpu_ms: float
    artifact_cpu_ms: float
    ratio: float
    ratio_ci95: tuple[float, float]
    verdict: Speed
    noisy: bool
    blocks: int
    runs_per_block: tuple[int, int]
    wall_over_cpu: float
    measured_at: str | None = None
    reused: bool = False


class Part(_Frozen):
    """One model file of an artifact with its own evidence."""

    file: str
    inputs: tuple[IO, ...]
    outputs: tuple[IO, ...]
    audit: Audited
    parity: ParityFacts | None


class StateFacts(_Frozen):
    """A state of a part: the output goes into the input at the next step; ``initial`` at the first of a sequence."""

    output: str
    input: str
    initial: float


class SamplesFacts(_Frozen):
    """Which samples were used, and where they come from.

    Of each split the count, the SHA-256 and how many were ``dropped`` because they are in another one; ``classes`` are
    the names of class folders in the order of the model's outputs.
    """

    origin: str
    seed: int
    splits: dict[str, dict[str, Any]]
    classes: tuple[str, ...] = ()


class Host(_Frozen):
    """Where this was measured.

    Attributes:
        processor_model: vendor, family, model and stepping (on Arm: implementer, part, variant and revision).
        features: instruction sets and other features that the processor reports, sorted.
        libc: the C library, whose functions compute exponentials and the like; empty where it has no number.
    """

    system: str
    machine: str
    processor: str
    cores: int
    memory_bytes: int
    python: str
    processor_model: str = ""
    features: str = ""
    libc: str = ""


class ErrorFacts(_Frozen):
    """Why there is no result, and the next step."""

    code: str
    message: str
    hint: str


class Result(_Frozen):
    """The outcome of ``edgekit convert``; with several parts the top-level figures are the worst part's."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    status: Status
    flags: tuple[Flag, ...] = ()
    reason: str = ""
    proof: Proof
    artifact: str | None
    rejected: str | None = None
    target: str
    target_files: tuple[TargetFile, ...] = ()
    format: str
    toolchain: str
    precision: str
    precision_reached: str | None
    framework: str
    source: SourceFacts
    route: str | None
    routes_tried: tuple[RouteTried, ...]
    routes_passed_over: tuple[RoutePassedOver, ...] = ()
    traits: tuple[str, ...] | None = None
    files: tuple[File, ...] = ()
    size_bytes: int | None = None
    float_size_bytes: int | None = None
    parts: dict[str, Part] = {}
    state: dict[str, tuple[StateFacts, ...]] = {}
    audit: Audited | None = None
    parity: ParityFacts | None = None
    accuracy: AccuracyFacts | None = None
    agreement: AgreementFacts | None = None
    latency: LatencyFacts | None = None
    gate: dict[str, Any]
    samples: SamplesFacts
    notes: tuple[str, ...] = ()
    tools: dict[str, str]
    host: Host
    cpu_seconds: dict[str, float]
    peak_rss_bytes: int
    reused: tuple[str, ...] = ()
    error: ErrorFacts | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with the contract's names."""
        return self.model_dump(mode="json", by_alias=True)
