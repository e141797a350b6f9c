"""Executing files in their runtime, and what that is worth."""

from __future__ import annotations

import time
from pathlib import Path

from edgekit import toolchains
from edgekit.proof import execution, metrics
from edgekit.proof.accuracy import measure_accuracy
from edgekit.scheme import Precision
from edgekit.signature import Signature
from edgekit.steps import Json


def run(
    folder: str,
    toolchain_name: str,
    files: dict[str, str],
    precision: Precision,
    signatures: Json,
    samples_file: str,
    reference_folder: str,
    metric: str | None,
    task: str | None,
) -> Json:
    """Execute a model's files in their runtime on samples and score them against the framework's run.

    Parity is of the parts' own outputs; accuracy is of what the task makes of them, and None where there is no metric
    (samples without labels have none). Writes what ``execution.in_runtime`` says.
    """
    sessions = toolchains.open_sessions(toolchain_name, files, precision)
    parts = {name: Signature.from_json(document) for name, document in signatures.items()}
    samples, expected = Path(samples_file), Path(reference_folder)
    start = time.process_time()
    execution.in_runtime(sessions, parts, samples, task, Path(folder))
    spent = time.process_time() - start
    closeness = execution.compare(expected, Path(folder), parts)
    accuracy = None
    if metric is not None:
        scored = execution.scored(expected, Path(folder), samples, task, metrics.metric(metric))
        accuracy = measure_accuracy(metric, scored)
    first = next(iter(sessions.values()))
    return {
        "by": first.by,
        "stand_in": first.stand_in,
        "parts": {
            name: {
                "runtime_precision": session.precision,
                "ops_delegated": session.ops_delegated,
                "parity": closeness[name].to_json(),
            }
            for name, session in sessions.items()
        },
        "accuracy": accuracy.to_json() if accuracy else None,
        "cpu_run": round(spent, 3),
    }
