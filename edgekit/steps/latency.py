"""Timing files against their float twins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from edgekit import toolchains
from edgekit.data import rows
from edgekit.proof import latency
from edgekit.scheme import Precision
from edgekit.signature import Signature
from edgekit.steps import Json
from edgekit.toolchains import Session


def run(
    folder: str,
    toolchain_name: str,
    files: dict[str, str],
    precision: Precision,
    float_files: dict[str, str],
    samples_files: dict[str, str],
    signatures: Json,
) -> Json:
    """Time a model against its float twin on the same runtime and the same sample, in turns; all parts once each."""

    def bound(sessions: Mapping[str, Session]) -> Callable[[], object]:
        calls = []
        for name, session in sessions.items():
            some = next(rows.read(Path(samples_files[name]), "x/"))
            inputs = Signature.from_json(signatures[name]).inputs
            calls.append(session.bind({t.name: t.sample(some[t.name], 0) for t in inputs}))
        return calls[0] if len(calls) == 1 else lambda: [call() for call in calls]

    floats, artifact = (
        toolchains.open_sessions(toolchain_name, float_files, "fp32"),
        toolchains.open_sessions(toolchain_name, files, precision),
    )
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {**asdict(latency.measure(bound(floats), bound(artifact))), "measured_at": now}
