"""What one route produced, and what was found inside: the frozen values between convert and choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edgekit.result import AccuracyFacts, LatencyFacts, ParityFacts
    from edgekit.store import Entry

Status = Literal[
    "PASS",
    "FAIL_PARITY",
    "FAIL_ACCURACY",
    "FAIL_PRECISION",
    "UNDECIDED",
    "FAILED",
    "UNSUPPORTED",
    "NOT_RUN",
]


@dataclass(frozen=True)
class IOTensor:
    """An input or output as the file has it.

    ``scale`` and ``zero_point`` are set for quantized tensors: real = (stored - zero_point) * scale.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Audit:
    """What is really inside a file, read from the file itself.

    Attributes:
        inputs: inputs of the file, named as the source names them.
        outputs: outputs of the file, likewise.
        weight_bytes: bytes of constant tensors that carry weights, per element type (``"int8"``, ``"float32"``).
        weight_elements: number of elements, likewise.
        activation_types: number of non-constant tensors per element type.
        ops_total: operators in the file, constants not counted.
        ops_quantized: operators whose arithmetic is integer (integer inputs and outputs).
        macs_total: multiply-accumulates per inference of convolutions and matrix products (batch 1).
        macs_quantized: the part of them with quantized weights and, for static precisions, quantized
            activations.
        float_ops: names of weight-carrying operators (convolution, matrix product, recurrent cell, embedding) whose
            arithmetic or weights stayed in float, at most 20, each as ``TYPE:name``.
        ops_float: operators that compute with float numbers, by type (those that only move or convert them left out);
            None where the toolchain does not count them.
        ops_float_only: types among them for which the runtime has no integer kernel.
        transposes: transposes in the file.
        ops_delegated: operators that the runtime gave to its fast delegate; None where that cannot be known.
        findings: static checks that failed, one sentence each (a non-empty tuple makes FAIL_PRECISION).
    """

    inputs: tuple[IOTensor, ...]
    outputs: tuple[IOTensor, ...]
    weight_bytes: dict[str, int]
    weight_elements: dict[str, int]
    activation_types: dict[str, int]
    ops_total: int
    ops_quantized: int
    macs_total: int
    macs_quantized: int
    float_ops: tuple[str, ...] = ()
    ops_float: dict[str, int] | None = None
    ops_float_only: tuple[str, ...] = ()
    transposes: int = 0
    ops_delegated: int | None = None
    findings: tuple[str, ...] = field(default=())

    @property
    def macs_quantized_share(self) -> float | None:
        """Share of multiply-accumulates that are quantized; None where the file has none."""
        return self.macs_quantized / self.macs_total if self.macs_total else None


@dataclass(frozen=True)
class PartEvidence:
    """What running one part gave.

    Attributes:
        ops_delegated: operators run by the fast delegate, or None.
        parity: closeness to the framework's own run, see ``edgekit.parity``.
    """

    ops_delegated: int | None
    parity: ParityFacts


@dataclass(frozen=True)
class Evidence:
    """What running a candidate on one split gave.

    Attributes:
        split: which samples.
        by: what executed it.
        stand_in: whether that is not the runtime that the files ship to.
        parts: what was found of each part.
        accuracy: the task metric of both, see ``edgekit.gate``; None without labels.
    """

    split: str
    by: str
    stand_in: bool
    parts: Mapping[str, PartEvidence]
    accuracy: AccuracyFacts | None

    @property
    def parity(self) -> ParityFacts:
        """That of the worst part."""
        return min((part.parity for part in self.parts.values()), key=lambda parity: parity.sqnr_db)


@dataclass(frozen=True)
class Part:
    """One part of a model as a route wrote it.

    Attributes:
        entry: the store's entry that holds its files.
        audit: what is inside.
        notes: facts the user must know.
    """

    entry: Entry
    audit: Audit
    notes: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """Name of the main file within its folder."""
        return str(self.entry.value["file"])

    @property
    def folder(self) -> Path:
        """The folder of all its files."""
        return self.entry.file("")


@dataclass(frozen=True)
class Candidate:
    """What one route produced, with its evidence on selection samples, before one is chosen.

    Attributes:
        route: the route's name in its toolchain.
        status: how it ended so far.
        reason: why, where it is not PASS.
        notes: facts the user must know beyond those of its parts.
        parts: every part, in the order in which a step calls them; empty where the route failed.
        evidence: what running it gave.
        latency: against its float twin; None where not measured.
        proof_entry: the store's entry of the latest proof, which holds the files' outputs.
        hint: the next step, where the route raised an error that knows one.
    """

    route: str
    status: Status
    reason: str = ""
    parts: Mapping[str, Part] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    evidence: Evidence | None = None
    latency: LatencyFacts | None = None
    proof_entry: Entry | None = None
    hint: str = ""

    @property
    def worst(self) -> Audit | None:
        """The audit of the part with the smallest share of quantized multiply-accumulates; None without files."""
        audits = [part.audit for part in self.parts.values()]
        return min(audits, key=lambda audit: audit.macs_quantized_share or 0.0, default=None)
