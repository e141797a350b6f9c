"""Making one split of samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from edgekit.data import plan as planning
from edgekit.jobs.store import sha256_file
from edgekit.proof import stream
from edgekit.signature import WHOLE, Signature
from edgekit.steps import Json


def run(folder: str, plan: Json, split: str, signatures: Json) -> Json:
    """Make one split as ``samples.npz``; ``{"count": 0}`` where the plan has none."""
    parts = {name: Signature.from_json(document) for name, document in signatures.items()}
    if stream.streams(parts):
        made = planning.make_sequences(planning.DataPlan(**plan), cast(Any, split), parts)
    else:
        made = planning.make(planning.DataPlan(**plan), cast(Any, split), parts[WHOLE])
    if made is None:
        return {"count": 0, "labels": False, "sha256": None}
    path = Path(folder) / "samples.npz"
    planning.save(made, path)
    count = len(next(iter(made.inputs.values())))
    return {"count": count, "labels": made.labels is not None, "sha256": sha256_file(path)}
