"""Timing files against their float twins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from edgekit import toolchains
from edgekit.data import rows
from edgekit.proof import latency
from edgekit.result.speed import Latency
from edgekit.signature import Signature
from edgekit.steps import File
from edgekit.toolchains import Options, Session


@dataclass(frozen=True)
class Request:
    """The files of both sides by part, and samples of each part; entries of parts that are one of several in a file."""

    toolchain: str
    files: Mapping[str, File]
    options: Options
    float_files: Mapping[str, File]
    float_options: Options
    samples: Mapping[str, File]
    signatures: Mapping[str, Signature]
    entries: Mapping[str, str] = field(default_factory=dict)
    float_entries: Mapping[str, str] = field(default_factory=dict)


def run(folder: Path, request: Request) -> Latency:
    """Time a model against its float twin on the same runtime and the same sample, in turns; all parts once each."""

    def bound(sessions: Mapping[str, Session]) -> Callable[[], object]:
        calls = []
        for name, session in sessions.items():
            some = next(rows.read(Path(request.samples[name]), "x/"))
            calls.append(session.bind({t.name: t.sample(some[t.name], 0) for t in request.signatures[name].inputs}))
        return calls[0] if len(calls) == 1 else lambda: [call() for call in calls]

    floats, artifact = (
        toolchains.open_sessions(request.toolchain, request.float_files, request.float_options, request.float_entries),
        toolchains.open_sessions(request.toolchain, request.files, request.options, request.entries),
    )
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return latency.measure(bound(floats), bound(artifact)).model_copy(update={"measured_at": now})
