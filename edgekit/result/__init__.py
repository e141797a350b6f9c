"""The result of a conversion: what ``--json`` prints, what the manifest holds, what the Python API returns.

Field names are a contract (schema 1): more may be added, none changes its meaning. What was not measured is None.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from edgekit.result.frozen import Frozen
from edgekit.result.parity import Parity, Second
from edgekit.result.recipe import RecipeFacts
from edgekit.result.speed import Gain, Latency
from edgekit.result.use import Preprocessing
from edgekit.scheme import Kind

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

#: How a drop is judged: points of a proportion, points of another score (mean IoU, average precision, AUC, equal and
#: word error rate, R2), or a fraction of the float value.
Family = Literal["top1", "map", "relative"]


class Proof(Frozen):
    """Who executed the artifact: the runtime that ships it, a named stand-in, or nobody."""

    kind: Literal["runtime", "stand-in", "none"]
    by: str | None = None


class SourceFacts(Frozen):
    """What was handed in.

    ``licence`` is that of its weights, as far as somebody said it; ``second`` is what another implementation makes of
    one sample of it, where there is one.
    """

    given: str
    kind: str
    name: str
    config: str | None = None
    sha256: str
    notes: tuple[str, ...] = ()
    licence: str | None = None
    second: Second | None = None


class TargetFile(Frozen):
    """A target's TOML: its bytes' hash, where it lies (the packaged ones say no path), whose place it takes."""

    name: str
    sha256: str
    path: str | None = None
    stands_in: bool = False


class RouteTried(Frozen):
    """One route of the target and how it ended, on selection samples; ``measured_at`` says when it was timed.

    ``recipe`` is what was done to the weights before: ``qat``, ``finetune``, ``smoothquant``,
    ``gptq`` or several in order; None for nothing. ``chosen`` is the one that the file is of.
    """

    route: str
    recipe: str | None = None
    chosen: bool = False
    status: Status
    reason: str = ""
    sqnr_db: float | None = None
    latency_ratio: float | None = None
    measured_at: str | None = None
    size_bytes: int | None = None


class KeptFloat(Frozen):
    """A layer that is not what the target says, as the user asked or mixed precision found, by the matched name.

    ``becomes`` is what it is instead: ``float``, or a precision.
    """

    part: str
    name: str
    kind: Kind
    macs: int
    becomes: str = "float"


class HigherLayer(Frozen):
    """A layer of a file below 8 bits whose weights have more, and why."""

    part: str
    name: str
    kind: Kind
    weight_type: str
    because: str


class RoutePassedOver(Frozen):
    """One route of the target that was not tried: by which key of its TOML, and the reason that stands there."""

    route: str
    by: Literal["unless", "only", "needs"]
    reason: str


class File(Frozen):
    """One file of the artifact, relative to its folder."""

    path: str
    sha256: str
    bytes: int


class IO(Frozen):
    """One input or output as the file stores it: real = (stored - zero_point) * scale."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class Layer(Frozen):
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


class Audit(Frozen):
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
        entries: names of the signatures, methods or functions of the file; empty where its format has none.
        beside: further files that it needs, its weights for one; relative to its folder.
    """

    inputs: tuple[IO, ...]
    outputs: tuple[IO, ...]
    entries: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def alone(self) -> Audit:
        """The audit alone."""
        return Audit(**{name: getattr(self, name) for name in Audit.model_fields})


class Accuracy(Frozen):
    """The task metric of a model before and after, on the same samples; ``proof.accuracy`` measures it.

    Attributes:
        metric: name in ``edgekit.proof.metrics``, whose family says how a drop is judged.
        higher_is_better: False for perplexity and errors.
        samples: number of samples.
        float_: of the source as handed in, run by its framework (``float`` in JSON).
        checkpoint: of the checkpoint, after a recipe; equal to ``float_`` where there was none.
        artifact: of the artifact in its runtime.
        drop: how much worse the artifact is than ``float_``: in points (0.01 is one percentage point), for family
            ``relative`` as a fraction of ``float_``. Positive is worse.
        drop_ci95: 95 % interval of the drop, paired by sample.
        agreement: share of positions where float and artifact choose the same class; None where none is chosen.
        flips: samples that only the float model gets right, and that only the artifact does; None where a sample
            is not simply right or wrong.
        split: which samples; the manifest's are those of test, run once.
        trivial: the metric of an answer that does not look at the samples (the majority class, the mean); None where
            it was not measured.
        gain_ci95: 95 % interval of how much better ``float_`` is than that, in the unit of ``drop``.
        outputs: those of the model that the metric reads, of a model that has several.
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
    outputs: tuple[str, ...] = ()

    @property
    def weak(self) -> bool:
        """Whether the float model is not certainly better than an answer that does not look at the samples."""
        return self.gain_ci95 is not None and self.gain_ci95[0] <= 0


class AgreementFacts(Frozen):
    """Of samples without labels: how often float and artifact have the same largest value. Accuracy stays unknown.

    ``output`` is the one whose values are compared.
    """

    share: float
    samples: int
    output: str | None = None


class Part(Frozen):
    """One model of an artifact with its own evidence: a file, or one of several entries of a file that parts share.

    ``entry`` is what the format calls it by: a LiteRT signature, an ExecuTorch method, a Core ML function. None: the
    file's only one.
    """

    file: str
    entry: str | None = None
    inputs: tuple[IO, ...]
    outputs: tuple[IO, ...]
    audit: Audit
    parity: Parity | None


class StateFacts(Frozen):
    """A state of a part: the output goes into the input at the next step; ``initial`` at the first of a sequence.

    That is the value of every element, or one value for each of the input's shape, the last axis fastest.
    """

    output: str
    input: str
    initial: float | tuple[float, ...]


class SamplesFacts(Frozen):
    """Which samples were used, and where they come from.

    Of each split the count, the SHA-256 and how many were ``dropped`` because they are in another one; ``classes`` are
    the names of class folders in the order of the model's outputs.
    """

    origin: str
    seed: int
    splits: dict[str, dict[str, Any]]
    classes: tuple[str, ...] = ()


class RangesFacts(Frozen):
    """How activations got their ranges from samples.

    Attributes:
        plan: name in ``calibration/``.
        method: how the chosen file's ranges were found. ``tool``: by what quantizes it, in its own way.
        settings: of the method.
        samples: how many it was shown.
        draw: which ones, where there were more.
    """

    plan: str
    method: str
    settings: dict[str, float]
    samples: int
    draw: str


class Host(Frozen):
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


class ErrorFacts(Frozen):
    """Why there is no result, and the next step."""

    code: str
    message: str
    hint: str


class Result(Frozen):
    """The outcome of ``edgekit convert``; with several parts the top-level figures are the worst part's.

    ``preprocessing`` is what makes the input of images, where the samples came as such; ``tokenizer`` names the file of
    the artifact that makes it of text, where one was handed in.
    """

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
    keep_float: tuple[str, ...] = ()
    kept_float: tuple[KeptFloat, ...] = ()
    kept_macs_share: float | None = None
    higher_layers: tuple[HigherLayer, ...] = ()
    files: tuple[File, ...] = ()
    size_bytes: int | None = None
    float_size_bytes: int | None = None
    parts: dict[str, Part] = Field(default={})
    state: dict[str, tuple[StateFacts, ...]] = Field(default={})
    audit: Audit | None = None
    parity: Parity | None = None
    accuracy: Accuracy | None = None
    agreement: AgreementFacts | None = None
    latency: Latency | None = None
    gate: dict[str, Any]
    samples: SamplesFacts
    preprocessing: Preprocessing | None = None
    tokenizer: str | None = None
    ranges: RangesFacts | None = None
    recipe: RecipeFacts | None = None
    gain: Gain | None = None
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
