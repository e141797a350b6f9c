"""The calibration sets beside the range plans, one per kind of task, from the calibration splits of the zoo's tasks.

python -m benchmarks.calibration_sets          writes calibration/*.npz
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.data import tasks

FOLDER = Path(__file__).parents[1] / "calibration"
#: File -> task, number of samples, and what the values are stored as: eight bits of a pixel and a sample of sound fit
#: into half precision, and a token into two bytes.
SETS = {
    "images": ("textures", 64, np.float16),
    "tokens": ("sentences", 128, np.int16),
    "audio": ("noisy_speech", 32, np.float16),
}


def made(name: str) -> dict[str, NDArray[np.generic]]:
    """The arrays of one set."""
    task, count, dtype = SETS[name]
    found = tasks.load(task, "calibration", count).inputs
    return {key: array.astype(dtype) for key, array in found.items()}


if __name__ == "__main__":
    for name in SETS:
        np.savez_compressed(FOLDER / f"{name}.npz", **made(name))  # type: ignore[arg-type]
