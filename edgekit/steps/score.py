"""What two runs on the same samples are worth: nothing is executed here, and nothing judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.data import plan as planning
from edgekit.proof import execution, metrics
from edgekit.proof.accuracy import measure_accuracy
from edgekit.result import Accuracy
from edgekit.result.parity import Parity
from edgekit.signature import WHOLE, Signature
from edgekit.steps import File


@dataclass(frozen=True)
class Request:
    """Two runs, as the folders that ``reference.py`` and ``execute.py`` wrote.

    Attributes:
        signatures: of every part.
        samples: file of the samples.
        reference: the checkpoint's run, which parity is taken against; of outputs that the metric scores nothing of
            the source's.
        measured: the files' run.
        source: run of the source as it was handed in, which a drop is taken from; the checkpoint's where a recipe
            changed nothing.
        metric: of the labels; None where there are none.
        task: code around the model that makes of its outputs what the metric reads.
        agree_on: without labels, the output whose largest value is compared; None where no output has several.
        edges: whether both also ran on inputs at the edge of what the model meets.
    """

    signatures: Mapping[str, Signature]
    samples: File
    reference: File
    measured: File
    source: File | None = None
    metric: str | None = None
    task: str | None = None
    agree_on: str | None = None
    edges: bool = False


@dataclass(frozen=True)
class Answer:
    """The scores.

    Attributes:
        parity: of each part's own outputs.
        accuracy: of what the task makes of them; None where there is no metric.
        agreement: share of positions at which both have the same largest value of the output ``agree_on``.
        edges: where the files are not finite on inputs at the edge and the framework is, a sentence each.
    """

    parity: Mapping[str, Parity]
    accuracy: Accuracy | None = None
    agreement: float | None = None
    edges: tuple[str, ...] = ()


def run(folder: Path, request: Request) -> Answer:
    """Compare two runs part by part, and score them on the labels."""
    parts, expected, measured = request.signatures, Path(request.reference), Path(request.measured)
    agreement, unread, source, accuracy = None, set[str](), None, None
    names = [output.name for part in parts.values() for output in part.outputs]
    if request.metric is not None:
        accuracy, metric = _accuracy(request), metrics.metric(request.metric)
        if len(names) > 1:
            unread = execution.unread(expected, Path(request.samples), request.task, metric, parts)
            accuracy = accuracy.model_copy(update={"outputs": tuple(n for n in names if n not in unread)})
        if request.source is not None:
            source = Path(request.source)  # nothing else would say what a recipe cost the outputs that are not read
    if request.agree_on is not None:
        agreement = execution.agreement(expected, measured, parts[WHOLE], request.agree_on)
    return Answer(
        parity=execution.compare(expected, measured, parts, source, unread),
        accuracy=accuracy,
        agreement=agreement,
        edges=tuple(execution.lost_on_edges(expected, measured, parts)) if request.edges else (),
    )


def baseline(folder: Path, request: Request) -> Accuracy:
    """Score the framework's run alone, before any file is made of the model.

    Outputs that the metric cannot read (logits where it takes probabilities) are refused here.
    """
    return _accuracy(request)


def _accuracy(request: Request) -> Accuracy:
    assert request.metric is not None
    samples, metric = Path(request.samples), metrics.metric(request.metric)
    runs = [Path(run) for run in (request.source or request.reference, request.reference, request.measured)]
    read = execution.scored(runs, samples, request.task, metric, request.signatures)
    return measure_accuracy(request.metric, read, lambda: planning.load(samples).inputs)
