"""Executing files in their runtime, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekit import toolchains
from edgekit.data import plan as planning
from edgekit.proof import execution, metrics
from edgekit.proof.accuracy import Accuracy, measure_accuracy
from edgekit.scheme import Precision
from edgekit.signature import WHOLE, Signature
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
    agree_on: str | None = None,
    edges_file: str | None = None,
) -> Json:
    """Execute a model's files in their runtime on samples and score them against the framework's run.

    Parity is of the parts' own outputs; accuracy is of what the task makes of them, and None where there is no metric
    (samples without labels have none; how often both sides agree on the largest value of the output ``agree_on`` is
    told instead). ``edges`` says where the files are not finite on ``edges_file`` and the framework is. Writes what
    ``execution.in_runtime`` says.
    """
    sessions = toolchains.open_sessions(toolchain_name, files, precision)
    parts = {name: Signature.from_json(document) for name, document in signatures.items()}
    samples, expected = Path(samples_file), Path(reference_folder)
    execution.in_runtime(sessions, parts, samples, task, Path(folder))
    closeness = execution.compare(expected, Path(folder), parts)
    accuracy = score(parts, samples, expected, Path(folder), metric, task) if metric is not None else None
    agreement = None
    if agree_on is not None:
        agreement = execution.agreement(expected, Path(folder), parts[WHOLE], agree_on)
    edges = []
    if edges_file is not None:
        edges = execution.lost_on_edges(sessions, parts, Path(edges_file), task, expected, Path(folder))
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
        "agreement": agreement,
        "edges": edges,
    }


def baseline(
    folder: str, signatures: Json, samples_file: str, reference_folder: str, metric: str, task: str | None
) -> Json:
    """Score the framework's run alone, before any file is made of the model.

    Outputs that the metric cannot read (logits where it takes probabilities) are refused here.
    """
    parts = {name: Signature.from_json(document) for name, document in signatures.items()}
    expected = Path(reference_folder)
    return score(parts, Path(samples_file), expected, expected, metric, task).to_json()


def score(
    parts: Mapping[str, Signature], samples: Path, expected: Path, measured: Path, metric: str, task: str | None
) -> Accuracy:
    """The metric of two runs on the same samples."""
    read = execution.scored(expected, measured, samples, task, metrics.metric(metric), parts)
    return measure_accuracy(metric, read, lambda: planning.load(samples).inputs)
