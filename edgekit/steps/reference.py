"""Running the model in its own framework."""

from __future__ import annotations

from pathlib import Path

from edgekit.data import plan as planning
from edgekit.data.tasks import Samples
from edgekit.proof import execution, stream
from edgekit.steps import Json
from edgekit.steps.load import load


def run(folder: str, sources: Json, environment: str, samples_file: str, task: str | None, rows: int) -> Json:
    """Run the model in its own framework, in float; writes what ``execution.in_framework`` says.

    Of a model that is called step by step, at most ``rows`` steps of each part are written as samples of that part,
    states included (``<part>.samples.npz``): what a part is calibrated and timed with.
    """
    models = {name: load(source, environment) for name, source in sources.items()}
    found = execution.in_framework(models, Path(samples_file), task, Path(folder))
    for name, steps in found.items():
        planning.save(Samples(stream.rows(steps, rows), None), Path(folder) / f"{name}.samples.npz")
    framework = next(iter(models.values())).framework
    return {"by": f"{framework} ({environment})"}
