"""NNCF without its habits: no telemetry, no progress bars, the same result every time."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.toolchains._shared.calibration import one_by_one

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Distributions whose versions change what is done here.
PACKAGES = ("nncf",)


def quantize(
    model: Any,
    calibration: Mapping[str, NDArray[np.generic]],
    *,
    attention: bool = False,
    keep_float: Sequence[str] = (),
    ignored: Sequence[str] = (),
) -> Any:
    """Quantize an ``onnx.ModelProto`` or ``openvino.Model`` to static int8.

    Args:
        model: the float model; a copy is quantized.
        calibration: samples by input name, first axis is the sample; all are used.
        attention: use the transformer settings (SmoothQuant, attention products left in float).
        keep_float: types of operators that stay float.
        ignored: names of operators that do.
    """
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    logging.getLogger("nncf").setLevel(logging.WARNING)
    # By default ranges are the mean of the samples' extremes, which clips, and biases are then corrected for that.
    # True extremes and no correction are much closer (targets/REASONS.md#openvino-nncf).
    exact = AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX, disable_bias_correction=True
    )
    random.seed(0)
    np.random.seed(0)  # NNCF draws from the global generator
    rows = list(one_by_one(calibration))
    return nncf.quantize(
        model,
        nncf.Dataset(rows),
        subset_size=len(rows),
        model_type=nncf.ModelType.TRANSFORMER if attention else None,
        advanced_parameters=None if attention else exact,
        ignored_scope=nncf.IgnoredScope(names=list(ignored), types=list(keep_float), validate=False),
    )
