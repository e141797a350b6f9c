"""From what the user handed in to a checkpoint and samples that its framework ran on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from edgekit import checkpoint as checkpoints
from edgekit import zoo
from edgekit.checkpoint import Checkpoint
from edgekit.conversion.order import Order
from edgekit.conversion.samples import SplitFiles
from edgekit.data.tasks import Split
from edgekit.errors import (
    DamagedFileError,
    ElsewhereError,
    FailedError,
    MissingDependencyError,
    NoShapeError,
    UnsafeInputError,
    UsageError,
)
from edgekit.jobs import extras
from edgekit.jobs.confine import untrusted
from edgekit.jobs.run import Given, Ref, Run
from edgekit.result import Accuracy
from edgekit.signature import WHOLE, Environment, Signature, TensorSpec
from edgekit.sources import source as sources
from edgekit.sources.source import Source
from edgekit.steps import describe, reference, samples, score


def load(run: Run, order: Order) -> Checkpoint:
    """Load the source in its framework, part by part; fix its batch to 1 and read its inputs and outputs."""
    source = identify(run, order)
    try:
        return _somewhere(run, order, source)
    except NoShapeError:
        shown = _shown(run, order)
        if not shown:
            raise
        return _somewhere(run, order, replace(source, shown=shown))


def _somewhere(run: Run, order: Order, source: Source) -> Checkpoint:
    """The same in the first kind of child that can run the model."""
    *others, last = sources.environments(source)
    with _missing(order, source):
        for environment in others:
            with contextlib.suppress(ElsewhereError):
                return _load(run, order, source, environment)
        return _load(run, order, source, last)


def _shown(run: Run, order: Order) -> tuple[TensorSpec, ...]:
    """What the user's samples show of the inputs of a model that does not say them itself; nothing without samples."""
    if not order.plan.given:
        return ()
    reading = untrusted.data(order.plan, run.store.root.parent)
    with untrusted.unread(order.plan):
        request = samples.ShapesRequest(order.plan.absolute())
        return run.step(samples.shapes, "data", "shapes", request, reading=reading).value


@contextlib.contextmanager
def _missing(order: Order, source: Source) -> Iterator[None]:
    """Of a framework that is not installed, name the extra that its way to the target needs, which brings both."""
    try:
        yield
    except MissingDependencyError as error:
        whole = extras.of_models(order.target.toolchain, source.framework or "")
        if whole is None:
            raise
        raise MissingDependencyError(str(error), hint=f"Run: pip install 'edgekit[{whole}]'") from error


def _load(run: Run, order: Order, source: Source, environment: Environment) -> Checkpoint:
    """The same in one kind of child."""
    parts: dict[str, Source] = {}
    signatures: dict[str, Signature] = {}
    for part in sources.parts(source):
        request = describe.Request(part, environment, materialise=not has_weights(source))
        with untrusted.damage(part):
            entry = run.step(describe.run, environment, "load", request)
        parts[part.part] = describe.with_saved(part, entry.value.checkpoint, entry.file(""))
        signatures[part.part] = checkpoints.with_roles(entry.value.signature, order.roles)
    known = [output.name for signature in signatures.values() for output in signature.outputs]
    if unknown := [name for name in order.roles if name not in known]:
        raise UsageError(f"--outputs names {unknown[0]!r}; the model's outputs are {', '.join(known)}")
    notes = entry.value.notes + untrusted.unheld(source) + _unread_ranges(order)
    whole = parts.get(WHOLE, source)  # with the weights that were saved, where it has none of its own
    return Checkpoint(whole, parts, signatures, environment, entry.value.framework, notes)


def _unread_ranges(order: Order) -> tuple[str, ...]:
    """That ranges beside a checkpoint are not its files' ranges, where one might think so."""
    source = order.source  # as it was handed in: what is loaded may be a copy
    if source.kind not in sources.FILES or source.path is None or not order.target.needs_calibration:
        return ()
    if not all((source.path.parent / name).is_file() for name in (checkpoints.FACTS, checkpoints.RANGES)):
        return ()
    return (
        f"{checkpoints.RANGES} beside {source.path.name} is not read: ranges of activations come from calibration "
        "samples. A file with the ranges of the training is made from the source, by `edgekit convert` with the recipe",
    )


def has_weights(source: Source) -> bool:
    """Whether every child that loads the source gets the same weights; else they are saved once and shared."""
    if source.kind == "zoo":
        assert source.config is not None
        return zoo.weights_path(source.name, source.config) is not None
    return source.kind != "python"


def identify(run: Run, order: Order) -> Source:
    """Look at a file; decide the framework where it is open: the zoo's by the target, a function's by calling it."""
    source = order.source
    if source.kind in sources.FILES:
        return examine(run, source)
    if source.framework is not None:
        return source
    if source.kind == "zoo":
        return sources.with_framework(source, order.target.default_framework)
    request = describe.IdentifyRequest(source)
    return sources.with_framework(source, run.step(describe.identify, "keras-tensorflow", "load", request).value)


def examine(run: Run, source: Source) -> Source:
    """Have a file looked at in a confined child; returns the source that may be loaded.

    Raises:
        DamagedFileError: it is damaged, or the child did not get through with it.
        UnsafeInputError, UnsupportedError, UsageError: see ``edgekit.sources.check``.
    """
    assert source.path is not None
    size = sources.size(source)
    file = Given(source.path, source.sha256, None if source.trust else size)
    beside = _beside(run, source, file) if source.kind == "onnx" else {}
    request = describe.ExamineRequest(file, source.kind, source.given, source.sha256, source.trust, beside)
    limits = untrusted.limits(run.workers.limits, size + sum(one.path.stat().st_size for one in beside.values()))
    with untrusted.damage(source):
        entry = run.step(describe.examine, "data", "check", request, limits=limits)
    source = sources.with_files(source, {name: one.sha256 for name, one in beside.items()})
    return sources.with_facts(source, entry.value, entry.file(""))


def _beside(run: Run, source: Source, file: Given) -> dict[str, Given]:
    """The files that a model takes its weights from: named by a child, which is not believed, and hashed here.

    Raises:
        DamagedFileError: one of them is not there.
        UnsafeInputError: one is a link, or lies elsewhere.
    """
    assert source.path is not None
    limits = untrusted.limits(run.workers.limits, sources.size(source))
    with untrusted.damage(source):
        names = run.step(describe.beside, "data", "check", describe.BesideRequest(file, source.given), limits=limits)
    found = {}
    for name in names.value:
        path = source.path.parent / name
        if not path.is_file():
            what = "is no file" if path.exists() else "is not there"
            raise DamagedFileError(
                f"{source.given} takes weights from {name!r}, which {what}",
                hint="Copy the file of its weights beside the model.",
            )
        if path.resolve() != path and not source.trust:
            raise UnsafeInputError(
                f"{source.given} takes weights from {name!r}, which is a link, or lies outside of its own folder",
                hint="Keep external data beside the model, or pass --trust if you know where the file comes from.",
            )
        found[name] = Given(path, sources.file_sha256(path), file.untrusted_bytes)
    return found


def gather(run: Run, order: Order, checkpoint: Checkpoint, split: Split, *, ran: bool = True) -> SplitFiles:
    """Make one split and, if ``ran``, run the checkpoint on it in its own framework."""
    wanted = samples.Request(order.plan.absolute(), split, checkpoint.signatures)
    reading = untrusted.data(order.plan, run.store.root.parent)
    with untrusted.unread(order.plan):
        entry = run.step(samples.run, "data", f"samples:{split}", wanted, reading=reading)
    file = Ref(entry, "samples.npz")
    if entry.value.count == 0 or not (ran or checkpoint.streams):
        return SplitFiles(split, entry, None, dict.fromkeys(checkpoint.parts, file))
    request = in_framework(order, checkpoint, file)
    if split == "selection":
        request = replace(request, edges=Ref(entry, samples.EDGES))
    with real_inputs(order):
        outputs = run.step(reference.run, checkpoint.environment, f"reference:{split}", request)
    before = None
    if checkpoint.changed:
        handed_in = replace(request, sources={part.part: part for part in sources.parts(checkpoint.source)})
        before = run.step(reference.run, checkpoint.environment, f"source:{split}", handed_in)
    steps = {name: Ref(outputs, f"{name}.samples.npz") for name in checkpoint.parts}
    return SplitFiles(split, entry, outputs, steps if checkpoint.streams else {WHOLE: file}, before)


def gather_calibration(run: Run, order: Order, checkpoint: Checkpoint) -> SplitFiles | None:
    """The samples that ranges come from and weights are adjusted by, where the target needs them."""
    if not order.reads_samples:
        return None
    calibration = gather(run, order, checkpoint, "calibration", ran=False)
    if order.target.needs_calibration and not checkpoint.streams:  # a sequence is many samples, as its steps tell
        order.ranges.check(calibration.count)
    return calibration


@contextlib.contextmanager
def real_inputs(order: Order) -> Iterator[None]:
    """Say of a model that does not run on generated inputs that it needs real ones: a table has so many rows."""
    try:
        yield
    except FailedError as error:
        if not order.plan.generated:
            raise
        raise UsageError(
            f"the model does not run on generated inputs: {error}",
            hint="Give real ones with --calibrate DATA or --evaluate DATA.",
        ) from error


def in_framework(order: Order, checkpoint: Checkpoint, file: Ref) -> reference.Request:
    """Ask for a run of the checkpoint in its framework."""
    return reference.Request(
        sources=checkpoint.parts,
        environment=checkpoint.environment,
        samples=file,
        task=order.plan.task,
        rows=order.plan.calibration_count,
    )


def baseline(run: Run, order: Order, checkpoint: Checkpoint, selection: SplitFiles) -> None:
    """Score the framework's own run on the user's labels first: a metric that cannot is said before any work."""
    if order.plan.task is None and order.plan.metric is not None and selection.labelled:
        scored(run, order, checkpoint, selection)


def scored(run: Run, order: Order, checkpoint: Checkpoint, selection: SplitFiles) -> Accuracy:
    """What the framework's own run of a model is worth on labelled samples."""
    outputs, plan = selection.outputs, order.plan
    request = score.Request(checkpoint.signatures, selection.file, outputs, outputs, metric=plan.metric, task=plan.task)
    return run.step(score.baseline, "data", "reference:scored", request).value
