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


#: What an operator does with its weights, one vocabulary for all formats. ``linear``: a matrix product with one matrix;
#: ``matmul``: with several at once, or with weights on the left.
Kind = Literal["conv", "depthwise-conv", "transposed-conv", "linear", "matmul", "recurrent", "embedding"]


class Layer(_Frozen):
    """An operator with weights, one row each: weights that two operators share are two layers.

    Attributes:
        name: as the file has it; the source's own until a file is given short names.
        operator: its type in the words of the format.
        kind: what it does, in words that all formats share.
        shape: of the weights, laid out alike for all formats: output channels, input channels of a group, the kernel.
            Of a recurrent layer the rows of all gates and directions, the columns of input and state beside each
            other. Of an embedding its rows and their numbers.
        weight_type: how a weight is stored (``int8``, ``int4``, ``float16``); with ``+`` between where matrices differ.
        granularity: what shares a scale: ``tensor``, ``channel`` (each output channel, or row of a table, has its own),
            ``block:32`` (so many weights of a channel have); None of floats.
        zeros: share of the weights that are zero as stored, of integers that is equal to their zero point; None where
            they cannot be read one by one.
        zeros_2_4: share of the groups of four weights along the input channels of which at least two are zero: 1 in a
            layer that is sparse 2:4. None where their number is no multiple of 4, and of tables.
        macs: multiply-accumulates of one run.
        in_integers: whether the runtime multiplies integers; of a table whether it is stored in them.
    """

    name: str
    operator: str
    kind: Kind
    shape: tuple[int, ...]
    weight_type: str
    granularity: str | None
    zeros: float | None
    zeros_2_4: float | None
    macs: int
    in_integers: bool


class Audit(_Frozen):
    """What is really inside a file, read from the file itself.

    ``macs_total``, ``macs_quantized`` and their share are sums over ``layers``, and ``float_ops`` and ``float_weights``
    name some of them. ``weight_elements`` and ``weight_bytes`` are not: a constant that layers share counts once there,
    and biases, norms and other constants count too. Manifests of 0.1.0 have no layers.

    Attributes:
        weight_bytes: bytes of constant tensors that hold numbers, per element type (``"int8"``, ``"float32"``).
        weight_elements: number of elements, likewise.
        activation_types: number of non-constant tensors per element type.
        ops_total: operators in the file, constants not counted.
        ops_quantized: operators whose arithmetic is integer (integer inputs and outputs).
        macs_total: multiply-accumulates per inference of convolutions and matrix products with weights, at batch 1,
            the bodies of loops times their trips (once where the file does not tell them).
        macs_quantized: the part of them that the runtime executes in integers: int4 or int8 weights and int8 or int16
            activations at that operator.
        macs_quantized_share: the share of that part; None where the file has no such product.
        macs_between_activations: multiply-accumulates of products of two activations (attention), which are not in
            ``macs_total`` and belong to no layer.
        float_ops: layers whose arithmetic stayed in float, at most 20, each as ``OPERATOR:name``.
        float_weights: layers whose weights are stored as floats, likewise.
        ops_float: operators that compute with float numbers, by type (those that only move or convert them left out);
            None where the toolchain does not count them.
        ops_float_only: types among them for which the runtime has no integer kernel.
        transposes: transposes in the file.
        ops_delegated: operators that the runtime gave to its fast delegate; None where that cannot be known.
        findings: static checks that failed, one sentence each (a non-empty tuple makes FAIL_PRECISION).
        layers: every operator with weights; of an ``If`` those of the costlier branch.
    """

    weight_bytes: dict[str, int]
    weight_elements: dict[str, int]
    activation_types: dict[str, int]
    ops_total: int
    ops_quantized: int
    macs_total: int
    macs_quantized: int | None = None
    macs_quantized_share: float | None
    macs_between_activations: int | None = None
    float_ops: tuple[str, ...] = ()
    float_weights: tuple[str, ...] = ()
    ops_float: dict[str, int] | None = None
    ops_float_only: tuple[str, ...] = ()
    transposes: int = 0
    ops_delegated: int | None = None
    findings: tuple[str, ...] = ()
    layers: tuple[Layer, ...] = ()


class Inspected(Audit):
    """A file as a toolchain reads it: the audit, and what goes in and out, which a manifest has beside it.

    Attributes:
        inputs: inputs of the file, named as the source names them.
        outputs: outputs of the file, likewise.
    """

    inputs: tuple[IO, ...]
    outputs: tuple[IO, ...]

    def alone(self) -> Audit:
        """The audit alone."""
        return Audit(**{name: getattr(self, name) for name in Audit.model_fields})


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
    audit: Audit
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
    audit: Audit | None = None
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
