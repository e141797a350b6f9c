"""Running the model in its own framework."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from edgekit.data import plan as planning
from edgekit.data.tasks import Samples
from edgekit.frameworks import LoadedModel, repeat
from edgekit.proof import execution, stream
from edgekit.signature import Signature
from edgekit.steps import Json
from edgekit.steps.load import load


def run(
    folder: str,
    sources: Json,
    environment: str,
    samples_file: str,
    task: str | None,
    rows: int,
    edges_file: str | None = None,
) -> Json:
    """Run the model in its own framework, in float; writes what ``execution.in_framework`` says.

    Of a model that is called step by step, at most ``rows`` steps of each part are written as samples of that part,
    states included (``<part>.samples.npz``): what a part is calibrated and timed with. Inputs at the edge of what it
    meets are run by themselves (``edges/``); ``edges`` in the answer is false where the model refuses them.

    Raises:
        UsageError: the same inputs give other outputs in a second run.
    """
    models = {name: load(source, environment) for name, source in sources.items()}
    repeat.check(models, functools.partial(execution.some_outputs, models, Path(samples_file), task))
    found = execution.in_framework(models, Path(samples_file), task, Path(folder))
    for name, steps in found.items():
        planning.save(Samples(stream.rows(steps, rows), None), Path(folder) / f"{name}.samples.npz")
    framework = next(iter(models.values())).framework
    return {
        "by": f"{framework} ({environment})",
        "edges": edges_file is not None and _edges(models, Path(edges_file), task, Path(folder)),
    }


def _edges(models: Mapping[str, LoadedModel], samples: Path, task: str | None, folder: Path) -> bool:
    """Whether the model runs on inputs at the edge of what it meets."""
    (folder / execution.EDGES).mkdir()
    try:
        execution.in_framework(models, samples, task, folder / execution.EDGES)
    except Exception:  # the user's model may raise anything on inputs that it was never meant for
        return False
    return True


def moved(
    folder: str,
    sources: Json,
    environment: str,
    samples_file: str,
    task: str | None,
    reference_folder: str,
    signatures: Json,
) -> Json:
    """How far the framework's own outputs move when its inputs move by one rounding, as parity of each part.

    A model that amplifies that much gives no reference that a file could be held against. None where no input is a
    float.
    """
    parts = {name: Signature.from_json(document) for name, document in signatures.items()}
    shaken = planning.moved(planning.load(Path(samples_file)))
    if shaken is None:
        return None
    planning.save(shaken, Path(folder) / "samples.npz")
    models = {name: load(source, environment) for name, source in sources.items()}
    execution.in_framework(models, Path(folder) / "samples.npz", task, Path(folder))
    found = execution.compare(Path(reference_folder), Path(folder), parts)
    return {name: parity.to_json() for name, parity in found.items()}
