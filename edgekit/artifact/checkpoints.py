"""A checkpoint as a folder that its framework loads without edgekit: the model, and what was done to it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgekit.artifact import publishing
from edgekit.checkpoint import Checkpoint
from edgekit.conversion.order import Order
from edgekit.errors import UsageError
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.signature import WHOLE
from edgekit.steps.recipe import save

#: What was done, beside the model.
FACTS = "recipe.json"
#: The ranges of activations that training had, by nodes of the model's exported graph.
RANGES = "ranges.json"


def check(destination: Path) -> None:
    """Refuse a folder that is there already, or cannot be written, before any work."""
    if os.path.lexists(destination):
        raise UsageError(f"{destination} is there already", hint="Give a new folder with -o.")
    publishing.check(destination)


def write(run: Run, destination: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Save the model in its framework, and publish it with its facts, complete or not at all."""
    assert checkpoint.steps is not None
    request = save.SaveRequest(checkpoint.parts[WHOLE], checkpoint.environment)
    entry = run.step(save.save, checkpoint.environment, "save", request)
    facts = {
        "source": checkpoint.source.given,
        "framework": checkpoint.framework,
        "files": list(entry.value),
        "recipe": checkpoint.steps.model_dump(mode="json"),
        "notes": list(checkpoint.notes),
    }
    with publishing.writing(destination) as folder:
        for name in entry.value:
            publishing.copy_into(folder, name, entry.file(name))
        (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
        if checkpoint.ranges:
            ranges = [asdict(replace(one, tensor=node)) for node, one in checkpoint.on_steps.items()]
            (folder / RANGES).write_text(json.dumps(ranges, indent=1) + "\n")
    return {"folder": str(destination), **facts}


def compress(
    order: Order,
    trained: Callable[[Run, Order], Checkpoint],
    *,
    workers: Workers,
    store: Store | None = None,
    progress: Callable[[str, str], None] = lambda event, label: None,
) -> dict[str, Any]:
    """Write what the order's recipe makes into its folder.

    Args:
        order: source, recipe, data and folder.
        trained: follows the recipe.
        workers: as of ``pipeline.convert``, and so are the others.
        store: where results of steps are kept.
        progress: called as the run goes on.
    """
    assert order.output is not None
    check(order.output)
    order.check()
    with (store or Store()).lease() as lease:
        run = Run(workers, lease, progress)
        return write(run, order.output, trained(run, order))
