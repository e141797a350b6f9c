"""Golden data: recorded with an artifact, run again by whoever receives it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit import toolchains
from edgekit.data import rows
from edgekit.proof import execution
from edgekit.scheme import Precision
from edgekit.signature import State
from edgekit.steps import Json


def run(
    folder: str, part: str | None, samples_file: str, measured_folder: str, reference_folder: str, count: int
) -> Json:
    """Write ``golden.npz``: a few inputs with the artifact's own outputs and the framework's.

    With ``part``, the steps of that part in the first sequences: inputs as the artifact got them, states included.
    """
    measured, reference = Path(measured_folder), Path(reference_folder)
    if part:
        own, floats = (execution.steps_of(side, part) for side in (measured, reference))
        arrays = {name: array[:count] for name, array in own.items()}
        arrays |= {f"float/{name[4:]}": array[:count] for name, array in floats.items() if name.startswith("out/")}
    else:
        sources = {
            "in": (Path(samples_file), "x/"),
            "out": (measured / execution.OUTPUTS, execution.PREFIX),
            "float": (reference / execution.OUTPUTS, execution.PREFIX),
        }
        found = next(rows.side_by_side(*sources.values()))
        arrays = {f"{side}/{n}": a[:count] for side, some in zip(sources, found, strict=True) for n, a in some.items()}
    np.savez(Path(folder) / "golden.npz", **arrays)  # type: ignore[arg-type]
    return {"samples": len(next(iter(arrays.values())))}


def replay(
    folder: str,
    toolchain_name: str,
    file: str,
    precision: Precision,
    golden_file: str,
    steps: bool,
    state: Json,
    shapes: dict[str, list[int]],
) -> Json:
    """Run a part's golden inputs again and compare with the outputs that were recorded with the artifact.

    With ``steps`` they are sequences of steps, and the part feeds its own states back. ``shapes`` are those of its
    inputs. ``identical``: to the last bit.
    """
    session = toolchains.open_session(toolchain_name, Path(file), precision)
    recorded = execution.Golden.load(Path(golden_file), steps, tuple(State(**row) for row in state), shapes)
    found = recorded.replay(session)
    identical = all(output.max_abs == 0 for output in found.per_output.values())
    return {"by": session.by, "parity": found.to_json(), "identical": identical}
