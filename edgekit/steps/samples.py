"""Making one split of samples."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edgekit.data import plan as planning
from edgekit.proof import execution, metrics, stream
from edgekit.signature import WHOLE, Signature
from edgekit.steps import Json

#: Inputs at the edge of what the model meets, made of those of selection.
EDGES = "edges.npz"


def run(folder: str, plan: Json, split: str, signatures: Json) -> Json:
    """Make one split as ``samples.npz``; ``{"count": 0}`` where the plan has none.

    Labels that the metric cannot score this model with are refused here, before any work.
    """
    parts = {name: Signature.from_json(document) for name, document in signatures.items()}
    wanted = planning.DataPlan(**plan)

    def check(labels: NDArray[np.generic]) -> None:
        if wanted.metric is not None:
            execution.check_metric(metrics.metric(wanted.metric), labels, parts)

    if stream.streams(parts):
        made = planning.make_sequences(wanted, cast(Any, split), parts)
    else:
        made = planning.make(wanted, cast(Any, split), parts[WHOLE], check)
    if made is None:
        return {"count": 0, "labels": False, "sha256": None, "classes": [], "dropped": 0, "notes": []}
    path = Path(folder) / "samples.npz"
    planning.save(made, path)
    with path.open("rb") as written:
        sha256 = hashlib.file_digest(written, "sha256").hexdigest()
    if split == "selection":
        planning.save(planning.edges(made), Path(folder) / EDGES)
    return {
        "count": len(next(iter(made.inputs.values()))),
        "labels": made.labels is not None,
        "sha256": sha256,
        "classes": list(made.classes),
        "dropped": made.dropped,
        "notes": list(made.notes),
    }
