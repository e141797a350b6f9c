"""A checkpoint as a folder that its framework loads without edgekit: the model, and what was done to it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgekit.artifact import publishing
from edgekit.checkpoint import FACTS, RANGES, Checkpoint
from edgekit.conversion import loading
from edgekit.conversion.order import Order
from edgekit.conversion.recipe import training
from edgekit.errors import EdgekitError, UsageError
from edgekit.jobs import interruption
from edgekit.jobs.interruption import Interrupted
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.signature import WHOLE
from edgekit.steps.recipe import save

#: What loading says of the first axis: it is of files, and not of a checkpoint that takes any number of samples.
_OF_BATCH = re.compile(r"Dynamic batch of input .* fixed to \d+\.$")


def aside(destination: Path) -> Path:
    """Where the best epoch goes of a training that did not come to its end."""
    return destination.with_name(f"{destination.name}.unfinished")


def check(destination: Path) -> None:
    """Refuse a folder that is there already, or cannot be written, before any work."""
    for path in (destination, aside(destination)):
        if os.path.lexists(path) and not (path != destination and _unfinished(path)):
            raise UsageError(f"{path} is there already", hint="Give a new folder with -o.")
    publishing.check(destination)


def _unfinished(folder: Path) -> bool:
    """Whether a folder holds what ``compress`` put aside, and nothing else."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads((folder / FACTS).read_text())
        names = {path.name for path in folder.iterdir()}
        return facts["complete"] is False and names == {FACTS, *facts["files"]}
    return False


def write(run: Run, destination: Path, checkpoint: Checkpoint, *, complete: bool = True) -> dict[str, Any]:
    """Save the model in its framework, and publish it with its facts, complete or not at all.

    What was put aside before is replaced, and goes with the whole.
    """
    assert checkpoint.steps is not None
    request = save.SaveRequest(checkpoint.parts[WHOLE], checkpoint.environment)
    entry = run.step(save.save, checkpoint.environment, "save", request)
    facts = {
        "source": checkpoint.source.given,
        "framework": checkpoint.framework,
        "files": list(entry.value.files),
        "batch": entry.value.batch,
        "recipe": checkpoint.steps.model_dump(mode="json"),
        "notes": [note for note in checkpoint.notes if entry.value.batch or not _OF_BATCH.match(note)],
        "complete": complete,
    }
    place = destination if complete else aside(destination)
    with publishing.writing(place) as folder:
        for name in entry.value.files:
            publishing.copy_into(folder, name, entry.file(name))
        (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
        if checkpoint.ranges:
            ranges = [asdict(replace(one, tensor=node)) for node, one in checkpoint.on_steps.items()]
            (folder / RANGES).write_text(json.dumps(ranges, indent=1) + "\n")
        if not complete and _unfinished(place):
            shutil.rmtree(place)
    if complete and _unfinished(aside(destination)):
        shutil.rmtree(aside(destination))
    return {"folder": str(place), **facts}


def compress(
    order: Order,
    trained: Callable[[Run, Order], Checkpoint],
    *,
    workers: Workers,
    store: Store | None = None,
    progress: Callable[[str, str], None] = lambda event, label: None,
) -> dict[str, Any]:
    """Write what the order's recipe makes into its folder; what ends it early says where the best epoch so far lies.

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
        run = Run(workers, lease, progress, about=order.source.given)
        loaded = loading.load(run, order)
        try:
            checkpoint = trained(run, order)
        except (EdgekitError, Interrupted, KeyboardInterrupt) as error:
            with interruption.answered():
                _save_so_far(run, order, loaded, error)
            raise
        return write(run, order.output, checkpoint)


def _save_so_far(run: Run, order: Order, loaded: Checkpoint, error: BaseException) -> None:
    """Write the best epoch that there is, and say so with the error; it remains the error whatever comes of this."""
    assert order.output is not None
    try:
        found = training.so_far(run, order, loaded)
        if found is not None:
            place = write(run, order.output, found, complete=False)["folder"]
            training.add(error, f"The best epoch so far is in {place}.")
    except EdgekitError as failed:
        if str(failed) != str(error):  # else nothing was trained, for the same reason
            training.add(error, f"The best epoch so far could not be written: {failed}.")
