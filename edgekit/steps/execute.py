"""Executing files in their runtime.

What a run needs is ``samples.npz``, and what it gives is ``outputs.npz`` with facts of the runtime: whatever executes
files elsewhere answers a ``Request`` with the same. Nothing is compared here (``score.py``) and nothing judged
(``proof/judge.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit import toolchains
from edgekit.proof import execution
from edgekit.signature import Signature
from edgekit.steps import File
from edgekit.toolchains import Options


@dataclass(frozen=True)
class Request:
    """The files of all parts and the samples that they are run on.

    Attributes:
        toolchain: whose runtime.
        files: by part.
        options: how they are opened.
        signatures: of every part.
        samples: file of the samples.
        task: code that calls the parts of a model step by step; None where it is called once.
        edges: file of inputs at the edge of what the model meets; None where it is not run on them.
        entries: of parts that are one of several in their file, which.
        reference: folder of the framework's run, on whose steps parts that carry nothing on are compared; None where
            the model is called once.
    """

    toolchain: str
    files: Mapping[str, File]
    options: Options
    signatures: Mapping[str, Signature]
    samples: File
    task: str | None = None
    edges: File | None = None
    entries: Mapping[str, str] = field(default_factory=dict)
    reference: File | None = None


@dataclass(frozen=True)
class PartRan:
    """How one file was executed: in which precision, and by how many operators of a fast delegate, if that is known."""

    runtime_precision: str
    ops_delegated: int | None = None


@dataclass(frozen=True)
class Answer:
    """What executed the files, and whether that is not the runtime that they ship to; facts of each part."""

    by: str
    stand_in: bool
    parts: Mapping[str, PartRan]


def run(folder: Path, request: Request) -> Answer:
    """Run all parts on the samples, one by one; writes what ``execution.in_runtime`` says, ``edges/`` likewise."""
    sessions = toolchains.open_sessions(request.toolchain, request.files, request.options, request.entries)
    reference = None if request.reference is None else Path(request.reference)
    execution.in_runtime(sessions, request.signatures, Path(request.samples), request.task, folder, reference)
    if request.edges is not None:
        (folder / execution.EDGES).mkdir()
        edges = folder / execution.EDGES
        execution.in_runtime(sessions, request.signatures, Path(request.edges), request.task, edges)
    first = next(iter(sessions.values()))
    parts = {name: PartRan(session.precision, session.ops_delegated) for name, session in sessions.items()}
    return Answer(first.by, first.stand_in, parts)
