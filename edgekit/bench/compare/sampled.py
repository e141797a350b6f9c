"""Two artifacts of one zoo model, run on the test samples of its task: their answers are paired sample by sample.

The interval of the difference is that of a conversion (``proof.accuracy.drop_interval``: Tango's, or BCa), with OLD
in the place of the float model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edgekit import zoo
from edgekit.bench.compare.sides import Side
from edgekit.data import tasks
from edgekit.data.plan import DataPlan
from edgekit.errors import EdgekitError
from edgekit.jobs.confine import untrusted
from edgekit.jobs.run import Given, Ref, Run
from edgekit.jobs.store import Entry, Store
from edgekit.jobs.workers import Workers, reading
from edgekit.result import Accuracy
from edgekit.signature import Signature
from edgekit.steps import execute, samples, score


def paired(old: Side, new: Side, workers: Workers, progress: Callable[[str, str], None]) -> Accuracy | str:
    """What NEW loses against OLD on the test samples of their task, or why they cannot be run on them."""
    if old.source != new.source or new.source is None:
        return "they are not of one model of the zoo"
    name, config, framework = new.source
    spec = zoo.architecture(name).configs.get(config) if name in zoo.names() else None
    if spec is None or spec.task is None:
        return f"the zoo has no task for {name}:{config}"
    signatures = {part: spec.signature(framework, part) for part in spec.parts or new.parts}
    if any(side.parts != tuple(signatures) for side in (old, new)):
        return "their parts are not those of the model"
    plan = DataPlan(task=spec.task, metric=tasks.task(spec.task).metric)
    try:
        with Store().lease() as lease:
            run = Run(workers, lease, progress)
            made = run.step(samples.run, "data", "samples:test", samples.Request(plan, "test", signatures))
            file = Ref(made, "samples.npz")
            before, after = (_executed(run, side, signatures, file, spec.task) for side in (old, new))
            request = score.Request(
                signatures, file, Ref(before, ""), Ref(after, ""), metric=plan.metric, task=spec.task
            )  # fmt: skip
            found = run.step(score.baseline, "data", "score:test", request).value
    except EdgekitError as error:
        return f"they cannot be run on the samples: {error}"
    return found.model_copy(update={"split": "test"})


def _executed(run: Run, side: Side, signatures: Mapping[str, Signature], file: Ref, task: str) -> Entry[execute.Answer]:
    """An artifact's outputs on the samples; its files are named by its seal, which covers those beside them."""
    assert side.subject is not None
    contender, seal = side.subject.contender, side.subject.row.made.sha256
    assert seal is not None
    paths = {part: Path(contender.files[part]) for part in signatures}
    request = execute.Request(
        toolchain=contender.toolchain,
        files={part: Given(path, f"{seal}/{part}") for part, path in paths.items()},
        options=contender.options,
        signatures=signatures,
        samples=file,
        task=task,
        entries=contender.entries,
    )
    with untrusted.blame(side.given):
        return run.step(execute.run, "runtime", f"run {side.given}", request, reading=reading(*paths.values()))
