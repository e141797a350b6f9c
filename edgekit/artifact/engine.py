"""Running what a device's builder made, on that device, against the framework's outputs and the stand-in's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.artifact.derived import Executed
from edgekit.proof import parity
from edgekit.toolchains.tensorrt.builder import EngineSession


def run(engine_file: str, golden_file: str, builder: str = "tensorrt") -> Executed:
    """Run golden inputs through an engine; compare with the framework's outputs and with the stand-in's."""
    with np.load(golden_file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    inputs, recorded, framework = (
        {name.removeprefix(side): array for name, array in arrays.items() if name.startswith(side)}
        for side in ("in/", "out/", "float/")
    )
    session = EngineSession(Path(engine_file), builder)
    shapes = session.input_shapes
    count = len(next(iter(inputs.values())))
    rows = [session.run({name: array[i].reshape(shapes[name]) for name, array in inputs.items()}) for i in range(count)]
    measured = {name: np.stack([row[name] for row in rows]).reshape(array.shape) for name, array in recorded.items()}
    return Executed(session.by, count, parity.compare(framework, measured), parity.compare(recorded, measured))
