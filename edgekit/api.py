"""The Python API: what the command line does, with typed values, and of objects as well as of files; see docs/api.md.

import edgekit
result = edgekit.convert("lenet5@torch", "tflite-int8")
print(result.status, result.accuracy.drop, result.artifact)
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack, get_args, overload

from pydantic import ValidationError

from edgekit import handed, pipeline, several, toolchains, user_code, zoo
from edgekit import target as targets
from edgekit.artifact import checkpoints
from edgekit.artifact.use import opening
from edgekit.artifact.use.opening import audited as audited
from edgekit.checkpoint import Checkpoint
from edgekit.compress import recipes
from edgekit.compress.recipes import Recipe
from edgekit.conversion import loading
from edgekit.conversion.budget import Budget
from edgekit.conversion.given import one_of, roles_of
from edgekit.conversion.given import plan_for as plan_for
from edgekit.conversion.order import Order
from edgekit.conversion.recipe import training
from edgekit.conversion.sensitivity import Sensitivity
from edgekit.errors import UsageError
from edgekit.handed import Handed
from edgekit.handed import options as given
from edgekit.jobs import extras, interpreters
from edgekit.jobs.interruption import listening
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store, home
from edgekit.jobs.workers import Confined, Limits, Workers
from edgekit.limits import DROP, DropLimit
from edgekit.ranges import plans
from edgekit.result import Result
from edgekit.scheme import Equalization
from edgekit.several import Options
from edgekit.sources import source as sources
from edgekit.steps import convert as convert_step
from edgekit.steps import train as train_step
from edgekit.target import Rounding, Target


@overload
def convert(source: object, target: str | Path, **options: Unpack[Options]) -> Result: ...
@overload
def convert(
    source: object, target: list[str] | list[Path] | tuple[str | Path, ...], **options: Unpack[Options]
) -> list[Result]: ...
def convert(
    source: object,
    target: str | Path | list[str] | list[Path] | tuple[str | Path, ...],
    *,
    example_inputs: object = None,
    calibrate: object = None,
    ranges: str | Path | None = None,
    evaluate: object = None,
    metric: str = "top1",
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    output: str | Path | None = None,
    search_routes: bool = False,
    allow_mixed: bool = False,
    keep_float: Sequence[str] = (),
    budget: str | None = None,
    rounding: str | None = None,
    equalize: str | None = None,
    train: object = None,
    recipe: str | Path | None = None,
    qat: int | None = None,
    prune: str | None = None,
    fit: str | None = None,
    allow_unproven: bool = False,
    max_drop: float | None = None,
    licence: str | None = None,
    tokenizer: str | Path | None = None,
    latency: bool = True,
    trust: bool = False,
    timeout: float = 1800.0,
    memory_limit_mib: int | None = None,
    progress: Callable[[str, str], None] = lambda event, label: None,
    workers: Workers | None = None,
    store: Store | None = None,
) -> Result | list[Result]:
    """Convert a model to a target and prove the file; see ``edgekit convert --help`` for the arguments.

    ``source`` is text or a path as of the command line, a Keras model, or a ``torch.nn.Module`` with ``example_inputs``
    (a tensor or array, a tuple in the order of ``forward``, a dict by its parameters' names; shapes with the batch).
    ``calibrate``, ``evaluate`` and ``train`` are text or a path, an array ``(samples, ...)``, a dict of arrays by input
    name (labels ``y``), a tuple of arrays in the order of the inputs with the labels last, a pair of a dict and the
    labels, or an iterable of such batches: a ``DataLoader``, a ``tf.data.Dataset``, a generator, which is read once and
    written to a file as it comes. Dtypes are those that the model takes.

    ``max_drop`` takes the place of the target's limits on a drop. Without ``latency`` nothing is timed, and the first
    route that passes is chosen. ``ranges`` is a plan of ``calibration/`` by name or path; None: that of the target.
    ``recipe`` is one of ``targets/recipes/`` likewise; ``qat`` is a number of epochs and ``prune`` a pattern (``0.5``,
    ``2:4``, ``channels:0.5``), for the packaged ones of these names; ``fit``, as ``file.py:function``, trains in the
    place of edgekit's loop. ``licence`` (of the source's weights) and ``tokenizer`` (a file) go into the artifact for
    whoever receives it.

    Returns:
        The result. ``status`` is ``PASS`` where the artifact may be used; nothing is raised for a model that fails
        its gate. Of several targets a list, in their order; ``output`` is then the parent of a folder for each.

    Raises:
        EdgekitError: the request is wrong, unsafe, or cannot be served at all; a value of a wrong type is a
            ``WrongTypeError``, which is a ``TypeError`` as well. Of several targets a ``SeveralError``, when all others
            are done; it has their results.
    """
    names = given.targets(target)
    given.check(
        {
            "ranges": ranges, "metric": metric, "output": output, "budget": budget, "rounding": rounding,
            "equalize": equalize, "recipe": recipe, "qat": qat, "prune": prune, "fit": fit, "max_drop": max_drop,
            "search_routes": search_routes, "allow_mixed": allow_mixed, "allow_unproven": allow_unproven,
            "latency": latency, "licence": licence,
            "tokenizer": tokenizer, "trust": trust, "timeout": timeout, "memory_limit_mib": memory_limit_mib,
        },
        optional=_OPTIONAL,
    )  # fmt: skip
    inputs, outputs, parent = given.texts("inputs", inputs), given.texts("outputs", outputs), output

    def order(name: str) -> Order:
        found = replace(
            _order(files, name, ranges, metric, inputs, outputs, trust=trust),
            output=None if output is None else Path(output),
            recipe=_recipe(recipe, qat, prune),
            fit=_fit(fit),
            search_routes=search_routes,
            allow_mixed=allow_mixed,
            keep_float=given.texts("keep_float", keep_float),
            budget=Budget.parse(budget) if budget is not None else None,
            rounding=one_of("rounding", get_args(Rounding), rounding),
            equalize=one_of("equalize", get_args(Equalization), equalize),
            allow_unproven=allow_unproven,
            latency=latency,
            licence=licence,
            tokenizer=None if tokenizer is None else Path(tokenizer),
        )
        if parent is not None and not isinstance(target, str | Path):
            found = replace(found, output=Path(parent) / found.target.name)
        return found if max_drop is None else replace(found, target=_allowing(found.target, max_drop))

    data = {"calibrate": calibrate, "evaluate": evaluate, "train": train}
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(handed.given(source, example_inputs=example_inputs, inputs=inputs, **data))
        orders = [order(name) for name in names]
        if workers is None:
            stack.enter_context(listening())
            workers = stack.enter_context(Workers(limits_of(timeout, memory_limit_mib)))
        if isinstance(target, str | Path):
            return pipeline.convert(orders[0], workers=workers, store=store, progress=progress)
        return several.convert(orders, workers=workers, store=store, progress=progress)


#: Options that may be None.
_OPTIONAL = (
    "ranges", "output", "budget", "rounding", "equalize", "recipe", "qat", "prune", "fit", "max_drop",
    "memory_limit_mib", "licence", "tokenizer",
)  # fmt: skip


def _allowing(target: Target, max_drop: float) -> Target:
    """A target whose files may lose so much, whatever the metric."""
    try:
        limit = DropLimit(drop_max=max_drop)
    except ValidationError as error:
        raise UsageError(f"a drop of {max_drop} is no limit; allowed: above 0, below 1") from error
    return target.model_copy(update={"gate": target.gate.model_copy(update=dict.fromkeys(DROP, limit))})


def compress(
    source: object,
    target: str | Path,
    *,
    output: str | Path,
    recipe: str | Path | None = None,
    qat: int | None = None,
    prune: str | None = None,
    fit: str | None = None,
    train: object = None,
    evaluate: object = None,
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

    ``source``, ``train`` and ``evaluate`` are what ``convert`` takes; a live ``torch.nn.Module`` cannot be trained, of
    which only what it computes can be handed on: hand in ``file.py:function``.

    Returns:
        ``folder``, ``files``, ``framework``, ``recipe`` (what each step did), ``notes`` and ``complete``; the same lies
        in ``recipe.json`` of the folder.

    Raises:
        EdgekitError: the request is wrong, unsafe, or the source cannot be trained.
    """
    given.check({"target": target, "output": output, "metric": metric, "trust": trust})
    given.check({"recipe": recipe, "qat": qat, "prune": prune, "fit": fit}, optional=_OPTIONAL)
    inputs, outputs = given.texts("inputs", inputs), given.texts("outputs", outputs)
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(handed.given(source, inputs=inputs, train=train, evaluate=evaluate))
        order = replace(
            _order(files, str(target), None, metric, inputs, outputs, trust=trust),
            recipe=_recipe(recipe, qat, prune),
            fit=_fit(fit),
            output=Path(output),
            allow_mixed=allow_mixed,
        )
        if order.recipe is None:
            raise UsageError("nothing says what is done", hint="Give --recipe NAME, --prune PATTERN or --qat EPOCHS.")
        if workers is None:
            stack.enter_context(listening())
            workers = stack.enter_context(Workers(limits_of(1800.0, memory_limit_mib)))
        return checkpoints.compress(order, _trained, workers=workers, store=store, progress=progress)


def _trained(run: Run, order: Order) -> Checkpoint:
    """The checkpoint of a recipe; where activations are trained, too, a file of the target shows their places."""
    if order.trains_activations:
        return pipeline.prepare(run, order).checkpoint
    return training.trained(run, order, loading.load(run, order))


def _order(
    files: Handed,
    target: str,
    ranges: str | Path | None,
    metric: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    trust: bool,
) -> Order:
    """What model goes to what target on what data."""
    found, wanted = sources.resolve(files.source, inputs=tuple(inputs), trust=trust), targets.load(target)
    if files.called is not None:
        found = replace(found, given=files.called.words, name=files.called.name)
    estimator = plans.load(str(ranges or wanted.ranges))
    samples = plan_for(
        found, files.data.get("calibrate"), files.data.get("evaluate"), metric, files.data.get("train"), files.arrays
    )
    samples = replace(samples, calibration_count=estimator.samples, draw=estimator.draw)
    return Order(found, wanted, samples, roles=roles_of(outputs), ranges=estimator)


def sensitivity(
    source: object,
    target: str | Path,
    *,
    example_inputs: object = None,
    calibrate: object = None,
    ranges: str | Path | None = None,
    evaluate: object = None,
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

    ``source``, ``example_inputs``, ``calibrate`` and ``evaluate`` are what ``convert`` takes. What an
    interrupted run has made is answered from the store by the next.

    Raises:
        EdgekitError: the request is wrong, unsafe, or no route of the target quantizes layers one by one.
    """
    given.check({"target": target, "metric": metric, "trust": trust, "timeout": timeout})
    inputs, outputs = given.texts("inputs", inputs), given.texts("outputs", outputs)
    data = {"calibrate": calibrate, "evaluate": evaluate}
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(handed.given(source, example_inputs=example_inputs, inputs=inputs, **data))
        order = _order(files, str(target), ranges, metric, inputs, outputs, trust=trust)
        order = replace(order, allow_mixed=allow_mixed, latency=False)
        if order.target.scheme.is_float:
            raise UsageError(f"{target} quantizes nothing", hint="Take a target that quantizes.")
        if workers is None:
            stack.enter_context(listening())
            workers = stack.enter_context(Workers(limits_of(timeout, memory_limit_mib)))
        return pipeline.measure_sensitivity(order, workers=workers, store=store, progress=progress)


def limits_of(timeout: float, memory_limit_mib: int | None) -> Limits | None:
    """The limits of one step, as options say them; raises ``UsageError`` for what is none."""
    if not 0 < timeout < math.inf:  # not a number is neither
        raise UsageError(f"--timeout {timeout} is no time above 0", hint="Give seconds, for example 600.")
    if memory_limit_mib is None:
        return Limits(timeout, Workers.default_memory_bytes())
    if memory_limit_mib <= 0:
        raise UsageError(f"--memory-limit {memory_limit_mib} is not above 0", hint="Give MiB, for example 4096.")
    return Limits(timeout, memory_limit_mib * 2**20)


def _recipe(named: str | Path | None, qat: int | None, prune: str | None) -> Recipe | None:
    """The recipe that was asked for, by name or by the options that stand for one."""
    name = None if named is None else str(named)
    other = f"--prune {prune}" if prune is not None else f"--qat {qat}" if qat is not None else ""
    if name is not None and other:
        raise UsageError(f"--recipe {name} and {other} both say what is trained", hint="Give one of them.")
    return recipes.load(name) if name is not None else recipes.asked(qat=qat, prune=prune)


def _fit(text: str | None) -> user_code.Function | None:
    """The user's own loop."""
    does = "trains a model in place: def fit(model, data, *, epochs, seed, report)"
    return None if text is None else user_code.find(text, does)


def verify(artifact: str | Path, workers: Workers | None = None) -> dict[str, Any]:
    """Re-hash every file of an artifact, or of what was built from one, and run its golden samples again.

    Returns:
        ``status`` (``PASS``; ``FAIL_INTEGRITY`` with the names of what is altered in ``damaged``; ``FAIL_PARITY``; that
        of an artifact that never passed), ``reason``, ``replay`` (who ran it, and the parity with what was recorded;
        None where nothing was run) and ``seal`` (what the hashes prove).

    Raises:
        EdgekitError: no artifact is there, its toolchain is not installed.
    """
    from edgekit.artifact import derived, folder

    place = given.path("artifact", artifact)
    check = derived.verify if derived.is_derived(place) else folder.verify
    if workers is not None:
        return check(place, workers)
    with Workers() as own:
        return check(place, own)


def inspect(path: str | Path, toolchain: str | None = None, entry: str | None = None) -> dict[str, Any]:
    """Audit a model file or one entry of it, or the parts of an artifact, in a child process.

    Returns:
        ``file``, ``toolchain``, the audit and the fields of ``edgekit.steps.audit.Beyond`` and ``Delegated``; of an
        artifact of several parts ``toolchain`` and the same per part.
    """
    return opening.inspect(given.path("path", path), toolchain, entry)


def run_file(
    model: str | Path,
    inputs: str | Path | None = None,
    outputs: str | Path | None = None,
    *,
    toolchain: str | None = None,
    entry: str | None = None,
    shapes: Sequence[str] = (),
    timeout: float = 1800.0,
) -> dict[str, Any]:
    """Execute a model file, or an artifact of one part, in its runtime; see ``edgekit.artifact.use.opening``."""
    return opening.run_file(
        given.path("model", model),
        None if inputs is None else given.path("inputs", inputs),
        None if outputs is None else given.path("outputs", outputs),
        toolchain=toolchain,
        entry=entry,
        shapes=given.texts("shapes", shapes),
        limits=limits_of(timeout, None),
    )


def train(
    name: str, *, output: str | Path | None, seed: int | None, progress: Callable[[str, str], None]
) -> dict[str, Any]:
    """Train a zoo configuration from its seed in a child process and write its safetensors file."""
    model, _, config = name.partition(":")
    config = config or "tiny"
    spec = zoo.architecture(model)
    if config not in spec.configs or spec.configs[config].training is None:
        trained = [key for key, value in spec.configs.items() if value.training is not None]
        raise UsageError(f"{model}:{config} has no training; trained configurations: {', '.join(trained) or 'none'}")
    destination = Path(output or f"{model}-{config}.safetensors")
    train_step.check_output(destination)
    if seed is not None and not 0 <= seed < 2**32:
        raise UsageError(f"seed {seed}; allowed: 0 to {2**32 - 1}")
    progress("start", f"train:{model}:{config}")
    with listening(), Workers(limits_of(24 * 3600.0, None)) as workers:
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
    if toolchain in interpreters.importers():  # it has no routes of its own
        return {"toolchain": toolchain, "python": made.python, "routes": []}
    with Workers() as workers, tempfile.TemporaryDirectory() as folder:
        routes = workers.ask("runtime", convert_step.routes, Path(folder), convert_step.RoutesRequest(toolchain)).value
    return {"toolchain": toolchain, "python": made.python, "routes": sorted(routes)}


def _environment(extra: str) -> str | None:
    """Of a toolchain with an interpreter of its own, which, or what is wrong with it."""
    try:
        own = interpreters.of(extra) if extra in (*toolchains.names(), *interpreters.importers()) else None
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
