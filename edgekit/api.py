"""The Python API: what the command line does, with typed values.

import edgekit
result = edgekit.convert("lenet5@torch", "tflite-int8")
print(result.status, result.accuracy.drop, result.artifact)
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar, Unpack, get_args, overload

from pydantic import ValidationError

from edgekit import pipeline, schemes, several, toolchains, user_code, zoo
from edgekit import target as targets
from edgekit.artifact import checkpoints
from edgekit.checkpoint import Checkpoint
from edgekit.compress import recipes
from edgekit.compress.recipes import Recipe
from edgekit.conversion import loading
from edgekit.conversion.budget import Budget
from edgekit.conversion.order import Order
from edgekit.conversion.recipe import training
from edgekit.conversion.sensitivity import Sensitivity
from edgekit.data.plan import DataPlan
from edgekit.errors import EdgekitError, UsageError, did_you_mean
from edgekit.jobs import extras, interpreters, wire
from edgekit.jobs.confine import untrusted
from edgekit.jobs.interruption import listening
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store, home, sha256_file, sha256_json
from edgekit.jobs.workers import Confined, Limits, Workers, reading
from edgekit.limits import DROP, DropLimit
from edgekit.proof import once
from edgekit.ranges import plans
from edgekit.result import Inspected, Result
from edgekit.scheme import Equalization, Precision
from edgekit.several import Options
from edgekit.signature import ROLES
from edgekit.sources import source as sources
from edgekit.sources.source import Source
from edgekit.steps import audit
from edgekit.steps import convert as convert_step
from edgekit.steps import train as train_step
from edgekit.target import Rounding, Target

_Word = TypeVar("_Word", bound=str)


@overload
def convert(source: str, target: str, **options: Unpack[Options]) -> Result: ...
@overload
def convert(source: str, target: list[str] | tuple[str, ...], **options: Unpack[Options]) -> list[Result]: ...
def convert(
    source: str,
    target: str | list[str] | tuple[str, ...],
    *,
    calibrate: str | None = None,
    ranges: str | None = None,
    evaluate: str | None = None,
    metric: str = "top1",
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    output: Path | None = None,
    search_routes: bool = False,
    allow_mixed: bool = False,
    keep_float: Sequence[str] = (),
    budget: str | None = None,
    rounding: str | None = None,
    equalize: str | None = None,
    train: str | None = None,
    recipe: str | None = None,
    qat: int | None = None,
    prune: str | None = None,
    fit: str | None = None,
    allow_unproven: bool = False,
    max_drop: float | None = None,
    latency: bool = True,
    trust: bool = False,
    timeout: float = 1800.0,
    memory_limit_mib: int | None = None,
    progress: Callable[[str, str], None] = lambda event, label: None,
    workers: Workers | None = None,
    store: Store | None = None,
) -> Result | list[Result]:
    """Convert a model to a target and prove the file; see ``edgekit convert --help`` for the arguments.

    ``max_drop`` takes the place of the target's limits on a drop. Without ``latency`` nothing is timed, and the first
    route that passes is chosen. ``ranges`` is a plan of ``calibration/`` by name or path; None: that of the target.
    ``recipe`` is one of ``targets/recipes/`` likewise; ``qat`` is a number of epochs and ``prune`` a pattern (``0.5``,
    ``2:4``, ``channels:0.5``), for the packaged ones of these names; ``fit``, as ``file.py:function``, trains in the
    place of edgekit's loop.

    Returns:
        The result. ``status`` is ``PASS`` where the artifact may be used; nothing is raised for a model that fails
        its gate. Of several targets a list, in their order; ``output`` is then the parent of a folder for each.

    Raises:
        EdgekitError: the request is wrong, unsafe, or cannot be served at all. Of several targets a ``SeveralError``,
            when all others are done; it has their results.
    """
    names = (target,) if isinstance(target, str) else target

    def order(name: str) -> Order:
        found = replace(
            _order(source, name, calibrate, ranges, evaluate, metric, inputs, outputs, train=train, trust=trust),
            output=output,
            recipe=_recipe(recipe, qat, prune),
            fit=_fit(fit),
            search_routes=search_routes,
            allow_mixed=allow_mixed,
            keep_float=tuple(keep_float),
            budget=Budget.parse(budget) if budget is not None else None,
            rounding=_one_of("rounding", get_args(Rounding), rounding),
            equalize=_one_of("equalize", get_args(Equalization), equalize),
            allow_unproven=allow_unproven,
            latency=latency,
        )
        if output is not None and not isinstance(target, str):
            found = replace(found, output=output / found.target.name)
        return found if max_drop is None else replace(found, target=_allowing(found.target, max_drop))

    orders = [order(name) for name in names]
    with contextlib.ExitStack() as stack:
        if workers is None:
            stack.enter_context(listening())
            workers = stack.enter_context(Workers(_limits(timeout, memory_limit_mib)))
        if isinstance(target, str):
            return pipeline.convert(orders[0], workers=workers, store=store, progress=progress)
        return several.convert(orders, workers=workers, store=store, progress=progress)


def _allowing(target: Target, max_drop: float) -> Target:
    """A target whose files may lose so much, whatever the metric."""
    try:
        limit = DropLimit(drop_max=max_drop)
    except ValidationError as error:
        raise UsageError(f"a drop of {max_drop} is no limit; allowed: above 0, below 1") from error
    return target.model_copy(update={"gate": target.gate.model_copy(update=dict.fromkeys(DROP, limit))})


def compress(
    source: str,
    target: str,
    *,
    output: Path,
    recipe: str | None = None,
    qat: int | None = None,
    prune: str | None = None,
    fit: str | None = None,
    train: str | None = None,
    evaluate: str | None = None,
    metric: str = "top1",
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    allow_mixed: bool = False,
    trust: bool = False,
    memory_limit_mib: int | None = None,
    progress: Callable[[str, str], None] = lambda event, label: None,
    workers: Workers | None = None,
    store: Store | None = None,
) -> dict[str, Any]:
    """Follow a recipe and write a checkpoint that its framework loads; see ``edgekit compress --help``.

    Returns:
        ``folder``, ``files``, ``framework``, ``recipe`` (what each step did), ``notes`` and ``complete``; the same lies
        in ``recipe.json`` of the folder.

    Raises:
        EdgekitError: the request is wrong, unsafe, or the source cannot be trained.
    """
    order = _order(source, target, None, None, evaluate, metric, inputs, outputs, train=train, trust=trust)
    order = replace(order, recipe=_recipe(recipe, qat, prune), fit=_fit(fit), output=output, allow_mixed=allow_mixed)
    if order.recipe is None:
        raise UsageError("nothing says what is done", hint="Give --recipe NAME, --prune PATTERN or --qat EPOCHS.")
    if workers is not None:
        return checkpoints.compress(order, _trained, workers=workers, store=store, progress=progress)
    with listening(), Workers(_limits(1800.0, memory_limit_mib)) as own:
        return checkpoints.compress(order, _trained, workers=own, store=store, progress=progress)


def _trained(run: Run, order: Order) -> Checkpoint:
    """The checkpoint of a recipe; where activations are trained, too, a file of the target shows their places."""
    if order.trains_activations:
        return pipeline.prepare(run, order).checkpoint
    return training.trained(run, order, loading.load(run, order))


def _order(
    source: str,
    target: str,
    calibrate: str | None,
    ranges: str | None,
    evaluate: str | None,
    metric: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    train: str | None = None,
    trust: bool,
) -> Order:
    """What model goes to what target on what data."""
    found, wanted = sources.resolve(source, inputs=tuple(inputs), trust=trust), targets.load(target)
    estimator = plans.load(ranges or wanted.ranges)
    samples = plan_for(found, calibrate, evaluate, metric, train)
    samples = replace(samples, calibration_count=estimator.samples, draw=estimator.draw)
    return Order(found, wanted, samples, roles=roles_of(outputs), ranges=estimator)


def _one_of(option: str, known: Sequence[_Word], text: str | None) -> _Word | None:
    """What the user wrote, if it is one of a few words."""
    found = next((word for word in known if word == text), None)
    if text is not None and found is None:
        raise UsageError(
            f"--{option} {text!r} is unknown", hint=f"{did_you_mean(text, known)}Allowed: {', '.join(known)}."
        )
    return found


def sensitivity(
    source: str,
    target: str,
    *,
    calibrate: str | None = None,
    ranges: str | None = None,
    evaluate: str | None = None,
    metric: str = "top1",
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    allow_mixed: bool = False,
    trust: bool = False,
    timeout: float = 1800.0,
    memory_limit_mib: int | None = None,
    progress: Callable[[str, str], None] = lambda event, label: None,
    workers: Workers | None = None,
    store: Store | None = None,
) -> Sensitivity:
    """What quantizing each layer alone costs, on selection samples; see ``edgekit sensitivity --help``.

    What an interrupted run has made is answered from the store by the next.

    Raises:
        EdgekitError: the request is wrong, unsafe, or no route of the target quantizes layers one by one.
    """
    order = _order(source, target, calibrate, ranges, evaluate, metric, inputs, outputs, trust=trust)
    order = replace(order, allow_mixed=allow_mixed, latency=False)
    if order.target.scheme.is_float:
        raise UsageError(f"{target} quantizes nothing", hint="Take a target that quantizes.")
    if workers is not None:
        return pipeline.measure_sensitivity(order, workers=workers, store=store, progress=progress)
    with listening(), Workers(_limits(timeout, memory_limit_mib)) as own:
        return pipeline.measure_sensitivity(order, workers=own, store=store, progress=progress)


def roles_of(outputs: Iterable[str]) -> dict[str, str]:
    """What ``--outputs NAME=ROLE`` says; raises ``UsageError`` for what is no role."""
    found: dict[str, str] = {}
    for text in outputs:
        name, separator, role = text.rpartition("=")
        if not separator or not name or role not in ROLES:
            raise UsageError(
                f"--outputs {text!r} is not NAME=ROLE; roles are {', '.join(ROLES)}", hint="--outputs logits=classes"
            )
        found[name] = role
    return found


def _limits(timeout: float, memory_limit_mib: int | None) -> Limits | None:
    if not 0 < timeout < math.inf:  # not a number is neither
        raise UsageError(f"--timeout {timeout} is no time above 0", hint="Give seconds, for example 600.")
    if memory_limit_mib is None:
        return Limits(timeout, Workers.default_memory_bytes())
    if memory_limit_mib <= 0:
        raise UsageError(f"--memory-limit {memory_limit_mib} is not above 0", hint="Give MiB, for example 4096.")
    return Limits(timeout, memory_limit_mib * 2**20)


def _recipe(name: str | None, qat: int | None, prune: str | None) -> Recipe | None:
    """The recipe that was asked for, by name or by the options that stand for one."""
    other = f"--prune {prune}" if prune is not None else f"--qat {qat}" if qat is not None else ""
    if name is not None and other:
        raise UsageError(f"--recipe {name} and {other} both say what is trained", hint="Give one of them.")
    return recipes.load(name) if name is not None else recipes.asked(qat=qat, prune=prune)


def _fit(text: str | None) -> user_code.Function | None:
    """The user's own loop."""
    does = "trains a model in place: def fit(model, data, *, epochs, seed, report)"
    return None if text is None else user_code.find(text, does)


def plan_for(
    source: Source, calibrate: str | None, evaluate: str | None, metric: str, train: str | None = None
) -> DataPlan:
    """Which samples to use: the user's, else the zoo model's own task, else generated ones (parity only).

    Ranges come from training samples, where those of ``calibrate`` are not given.
    """
    if train is not None and evaluate is None:
        raise UsageError(
            f"--train {train}: nothing says which epoch is best", hint="Give other labelled samples with --evaluate."
        )
    calibrate = calibrate or train
    if metric != "top1":
        from edgekit.proof import metrics

        metrics.metric(metric)  # an unknown name is refused before anything runs
    if calibrate is None and evaluate is None:
        if source.kind == "zoo":
            assert source.config is not None
            name = zoo.architecture(source.name).configs[source.config].task
            if name is not None:
                from edgekit.data import tasks

                return DataPlan(task=name, metric=tasks.task(name).metric)
        return DataPlan()
    content = sha256_json([_content(data) for data in (train, calibrate, evaluate) if data is not None])
    scored = metric if evaluate else None
    return DataPlan(train=train, calibrate=calibrate, evaluate=evaluate, metric=scored, content=content)


def _content(data: str) -> Any:
    """What a data argument holds: a file's hash, those of all files of a folder, or what a function depends on."""
    path = Path(re.sub(r"(\.py):[A-Za-z_]\w*$", r"\1", data))
    if path.suffix == ".py" and path.is_file():
        return [str(path.resolve()), user_code.sha256(path, data.removeprefix(f"{path}:"))]
    if path.is_dir():
        below = {*path.rglob("*"), *path.glob("*/*")}  # the first enters no folder that is a link
        return [data, [[str(p.relative_to(path)), sha256_file(p)] for p in sorted(below) if p.is_file()]]
    if path.is_file():
        return [data, sha256_file(path)]
    raise UsageError(f"no such file or folder: {path}", hint="Give an npz file, an image folder, or file.py:function.")


def inspect(path: Path, toolchain: str | None = None, entry: str | None = None) -> dict[str, Any]:
    """Audit a model file or one entry of it, or the parts of an artifact, in a child process.

    Returns:
        ``file``, ``toolchain``, the audit and the fields of ``edgekit.steps.audit.Beyond`` and
        ``Delegated``; of an artifact of several parts ``toolchain`` and the same per part.
    """
    from edgekit.artifact import contents
    from edgekit.artifact import folder as artifact

    if (path / contents.MANIFEST).is_file():
        result = artifact.read(path)
        if entry is not None:
            raise UsageError(f"{path} is an artifact, whose parts are named", hint="Give one of its files.")
        found = {name: _audited(path / part.file, result.toolchain, part.entry) for name, part in result.parts.items()}
        if not found:
            raise UsageError(f"{path} holds no model file", hint=f"{contents.MANIFEST} says what it is.")
        return {"toolchain": result.toolchain, "parts": found} if len(found) > 1 else next(iter(found.values()))
    return _audited(path, toolchain, entry)


def _audited(path: Path, toolchain: str | None, entry: str | None) -> dict[str, Any]:
    if not path.exists():
        raise UsageError(f"no such file: {path}", hint="Give an artifact's folder or a model file.")
    name = toolchain or toolchains.for_file(path)
    with Workers() as workers:
        found = audited(path, name, entry, workers=workers)
        request = audit.Request(name, path.resolve(), entry)
        with tempfile.TemporaryDirectory() as folder, untrusted.blame(str(path)):
            more = workers.ask("runtime", audit.beyond, Path(folder), request, confined=reading(path)).value
            runs = audit.Delegated(None)
            with contextlib.suppress(EdgekitError):  # the runtime may be missing, or not open what can be read
                runs = workers.ask("runtime", audit.delegated, Path(folder), request, confined=reading(path)).value
    named = {} if entry is None else {"entry": entry}
    return {"file": str(path), "toolchain": name, **named, **wire.plain(found), **wire.plain(more), **wire.plain(runs)}


def audited(path: Path, toolchain: str, entry: str | None = None, *, workers: Workers) -> Inspected:
    """What is inside a model file, read in a child that can do nothing else."""
    request = audit.Request(toolchain, path.resolve(), entry)
    with tempfile.TemporaryDirectory() as folder, untrusted.blame(str(path)):
        return workers.ask("runtime", audit.run, Path(folder), request, confined=reading(path)).value


def run_file(
    model: Path,
    inputs: Path | None = None,
    outputs: Path | None = None,
    *,
    toolchain: str | None = None,
    entry: str | None = None,
    shapes: Sequence[str] = (),
) -> dict[str, Any]:
    """Execute a model file, or an artifact of one part, in its runtime, in a child process.

    Args:
        model: the file, or the artifact's folder.
        inputs: npz file of arrays named as the inputs, or npy file of the only one, in the shapes of one sample or
            with the sample as first axis; None draws numbers from a seed.
        outputs: npz file to write, arrays named as the outputs.
        toolchain: whose file it is, where its ending does not tell.
        entry: one of several signatures, methods or functions of the file.
        shapes: ``NAME=1x3x224x224``, where the file leaves a shape open.

    Returns:
        ``file``, ``toolchain`` and the fields of ``edgekit.proof.once.Ran``.

    Raises:
        EdgekitError: the request is wrong, the file is damaged, or its runtime cannot run it here.
    """
    file, name, entry, precision = _one_file(model, toolchain, entry)
    for path in (file, *([inputs] if inputs else [])):
        if not path.exists():
            raise UsageError(
                f"no such file or folder: {path}", hint="Give a model file or an artifact, and an npz file."
            )
    if outputs is not None and not outputs.absolute().parent.is_dir():
        raise UsageError(f"--output {outputs}: there is no folder {outputs.absolute().parent}", hint="Make it first.")
    given = {spec.name: spec.shape for spec in map(sources.parse_input, shapes)}
    with Workers() as workers, tempfile.TemporaryDirectory() as folder:
        request = once.Request(name, file.resolve(), inputs.resolve() if inputs else None, entry, precision, given)
        confined = reading(file, *([inputs] if inputs else []))
        with untrusted.blame(f"{model} or {inputs}" if inputs else str(model)):
            found = workers.ask("runtime", once.run, Path(folder), request, confined=confined).value
        if outputs is not None:
            try:
                shutil.copyfile(Path(folder) / once.OUTPUTS, outputs)
            except OSError as error:
                raise UsageError(f"{outputs} cannot be written: {error.strerror or error}") from error
    return {"file": str(file), "toolchain": name, **asdict(found)}


def _one_file(model: Path, toolchain: str | None, entry: str | None) -> tuple[Path, str, str | None, Precision]:
    """The file that a path names, its toolchain, its entry, and the precision that it claims.

    Of others' files nobody knows the last: sessions look as closely as at integers.
    """
    from edgekit.artifact import contents
    from edgekit.artifact import folder as artifact

    if not (model / contents.MANIFEST).is_file():
        return model, toolchain or toolchains.for_file(model), entry, "int8"
    result = artifact.read(model)
    if len(result.parts) != 1:
        files = ", ".join(part.file for part in result.parts.values()) or "none"
        raise UsageError(f"{model} has {len(result.parts)} parts", hint=f"Give one of its files: {files}.")
    [part] = result.parts.values()
    return model / part.file, result.toolchain, entry or part.entry, schemes.find(result.precision).name


def train(name: str, *, output: Path | None, seed: int | None, progress: Callable[[str, str], None]) -> dict[str, Any]:
    """Train a zoo configuration from its seed in a child process and write its safetensors file."""
    model, _, config = name.partition(":")
    config = config or "tiny"
    spec = zoo.architecture(model)
    if config not in spec.configs or spec.configs[config].training is None:
        trained = [key for key, value in spec.configs.items() if value.training is not None]
        raise UsageError(f"{model}:{config} has no training; trained configurations: {', '.join(trained) or 'none'}")
    destination = output or Path(f"{model}-{config}.safetensors")
    progress("start", f"train:{model}:{config}")
    with listening(), Workers(_limits(24 * 3600.0, None)) as workers:
        request = train_step.Request(model, config, seed, destination.absolute())
        answer = workers.ask("torch", train_step.run, Path(), request)
    progress("done", f"train:{model}:{config}")
    return {"file": str(destination), **asdict(answer.value), "cpu_seconds": answer.cpu_seconds}


def confinement() -> list[dict[str, Any]]:
    """What a child that loads a file of others is kept from on this machine, found by trying it."""
    from edgekit.jobs.confine import trial

    with Workers() as workers:
        confined = Confined("doctor", home(), 1 << 20)
        held = trial.held(
            lambda arguments: (
                workers.call("data", "edgekit.jobs.confine.trial:attempt", arguments, confined=confined).value
            )
        )
    return [asdict(row) for row in held]


def install(toolchain: str, progress: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Give a toolchain an environment of its own, in which its jobs run from then on, and try that they do.

    Returns:
        ``toolchain``, ``python`` (the interpreter), ``routes`` (names that it answered with).
    """
    made = interpreters.install(toolchain, progress)
    with Workers() as workers, tempfile.TemporaryDirectory() as folder:
        routes = workers.ask("runtime", convert_step.routes, Path(folder), convert_step.RoutesRequest(toolchain)).value
    return {"toolchain": toolchain, "python": made.python, "routes": sorted(routes)}


def _environment(extra: str) -> str | None:
    """Of a toolchain with an interpreter of its own, which, or what is wrong with it."""
    try:
        own = interpreters.of(extra) if extra in toolchains.names() else None
    except UsageError as error:
        return str(error)
    return own.python if own else None


def doctor() -> list[dict[str, Any]]:
    """For each extra: what is installed, and the install line for what is not."""
    rows = []
    try:
        found = extras.installable()
    except importlib.metadata.PackageNotFoundError as error:
        raise UsageError("edgekit itself is not installed", hint="Run: pip install -e .") from error
    for extra, wanted in found.items():
        installed, missing = {}, []
        for name in wanted:
            try:
                installed[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                missing.append(name)
        line = f"pip install 'edgekit[{extra}]'" if missing else ""
        row = {"extra": extra, "works": not missing, "installed": installed, "missing": missing, "install": line}
        rows.append({**row, "environment": _environment(extra)})
    return rows
