"""Running the model in its own framework."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.data import plan as planning
from edgekit.data import rows
from edgekit.data.tasks import Samples
from edgekit.errors import UsageError
from edgekit.frameworks import KINDS, LoadedModel, repeat
from edgekit.frameworks.brought import watching
from edgekit.frameworks.once import framework, load
from edgekit.proof import execution, stream
from edgekit.result.parity import Second
from edgekit.signature import WHOLE
from edgekit.sources.source import Source
from edgekit.steps import File


@dataclass(frozen=True)
class Request:
    """A model and the samples that it is run on.

    Attributes:
        sources: by part.
        environment: kind of child.
        samples: file of the samples.
        task: code that calls the parts of a model step by step; None where it is called once.
        rows: steps that are kept of each part at most, see ``run``.
        edges: file of inputs at the edge of what the model meets; None where it is not run on them.
    """

    sources: Mapping[str, Source]
    environment: str
    samples: File
    task: str | None = None
    rows: int = 0
    edges: File | None = None


@dataclass(frozen=True)
class Answer:
    """Who ran it, whether it also ran on inputs at the edge (a model may refuse them), and what another one says."""

    by: str
    edges: bool = False
    second: Second | None = None


def run(folder: Path, request: Request) -> Answer:
    """Run the model in its own framework, in float; writes what ``execution.in_framework`` says.

    Of a model that is called step by step, at most ``rows`` steps of each part are written as samples of that part,
    states included (``<part>.samples.npz``): what a part is calibrated and timed with. Inputs at the edge of what it
    meets are run by themselves (``edges/``).

    Raises:
        UsageError: the same inputs give other outputs in a second run, or an output is NaN.
    """
    models, samples = _models(request), Path(request.samples)
    some = functools.partial(execution.some_outputs, models, samples, request.task)
    repeat.check(models, some, functools.partial(watched, folder, request))
    found = execution.in_framework(models, samples, request.task, folder)
    if not found:  # of a stream, what it is compared by tells
        _check(folder, request)
    for name, steps in found.items():
        planning.save(Samples(stream.rows(steps, request.rows), None), folder / f"{name}.samples.npz")
    first = next(iter(models.values()))
    edges = request.edges is not None and _edges(models, Path(request.edges), request.task, folder)
    by = getattr(first, "by", "") or KINDS[request.environment].words or first.framework
    return Answer(by, edges, _second(first, samples))


def _second(model: LoadedModel, samples: Path) -> Second | None:
    """What another implementation makes of the first sample; None where there is no other."""
    run = getattr(model, "second", None)
    if run is None:
        return None
    some = next(rows.read(samples, "x/"))
    found: Second = run(
        model, [np.ascontiguousarray(t.sample(some[t.name], 0), t.dtype) for t in model.signature.inputs]
    )
    return found


def watched(folder: Path, request: Request) -> tuple[str, ...]:
    """Where the model comes near what no file keeps, on the samples and at the edge; see ``watching.found``.

    A model that is called step by step is not watched.
    """
    models = _models(request)
    watch = getattr(framework(request.environment), "watch", None)
    if watch is None or list(models) != [WHOLE] or models[WHOLE].signature.state:
        return ()
    files = [file for file in (request.edges, request.samples) if file is not None]
    some = (next(rows.read(Path(file), "x/")) for file in files)
    said = [text for inputs in some for text in watching.found(models[WHOLE], inputs, watch)]
    return tuple(dict.fromkeys(said))


def _models(request: Request) -> dict[str, LoadedModel]:
    return {name: load(source, request.environment) for name, source in request.sources.items()}


def _check(folder: Path, request: Request) -> None:
    """Refuse a reference that holds NaN, and say where it comes from: no file could be held against it."""
    wrong: dict[str, int] = {}
    count = 0
    for part in rows.read(folder / execution.OUTPUTS, execution.PREFIX):
        count += len(next(iter(part.values())))
        for name, array in part.items():
            if array.dtype.kind == "f" and (bad := int(np.isnan(array.reshape(len(array), -1)).any(1).sum())):
                wrong[name] = wrong.get(name, 0) + bad
    for name, bad in wrong.items():
        told = next((text for text in watched(folder, request) if " makes NaN" in text), "")
        raise UsageError(
            f"output {name!r} of the model holds NaN for {bad} of {count} samples{f': {told}' if told else ''}",
            hint="No file can be held against it: check the weights and the samples, or hand in real ones with "
            "--calibrate DATA.",
        )


def _edges(models: Mapping[str, LoadedModel], samples: Path, task: str | None, folder: Path) -> bool:
    """Whether the model runs on inputs at the edge of what it meets."""
    (folder / execution.EDGES).mkdir()
    try:
        execution.in_framework(models, samples, task, folder / execution.EDGES)
    except Exception:  # the user's model may raise anything on inputs that it was never meant for
        return False
    return True


def moved(folder: Path, request: Request) -> bool:
    """Run the model on the same inputs moved by one rounding each; False where none of them can move.

    A model that amplifies that much gives no reference that a file could be held against.
    """
    samples = Path(request.samples)
    if not any(array.dtype.kind == "f" for array in planning.rows_of(samples).values()):
        return False
    models = _models(request)
    rows.write(folder / "samples.npz", "x/", planning.moved(rows.read(samples, "x/")))
    apart = execution.stateless({name: model.signature for name, model in models.items()})
    before = execution.in_framework(models, samples, request.task, folder) if apart else {}
    execution.in_framework(models, folder / "samples.npz", request.task, folder)
    for name in apart:  # as a file's is compared
        [own] = planning.moved([{key: a for key, a in before[name].items() if key.startswith("in/")}])
        np.savez(folder / f"{name}.npz", **execution.on_steps(models[name].run, {**before[name], **own}))  # type: ignore[arg-type]
    return True
