"""Calibration samples, one by one, as quantizers take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.toolchains import Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]


def calibration_of(request: Request) -> Arrays:
    """The request's calibration samples; raises ``UsageError`` where a static precision got none."""
    if not request.calibration or min(len(a) for a in request.calibration.values()) == 0:
        raise UsageError(
            f"{request.scheme.name} needs calibration samples and got none",
            hint="Give --calibrate DATA, or take a target that needs none: dynamic, or of weights alone.",
        )
    return request.calibration


def one_by_one(samples: Arrays) -> Iterator[dict[str, NDArray[np.generic]]]:
    """Yield one sample after another as a run takes it, each a dict by input name."""
    for i in range(min(len(a) for a in samples.values())):
        yield {name: array[i] for name, array in samples.items()}
