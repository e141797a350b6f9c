"""NNCF without its habits: no telemetry, no progress bars, the same result every time."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from edgekit.toolchains import Rows
from edgekit.toolchains._shared.calibration import one_by_one

#: Distributions whose versions change what is done here.
PACKAGES = ("nncf",)


def quantize(
    model: Any,
    calibration: Mapping[str, Rows],
    *,
    attention: bool = False,
    smooth: bool = True,
    keep_float: Sequence[str] = (),
    ignored: Sequence[str] = (),
    own_ranges: bool = True,
    on_grid: bool = False,
) -> Any:
    """Quantize an ``onnx.ModelProto`` or ``openvino.Model`` to static int8.

    Args:
        model: the float model; a copy is quantized.
        calibration: samples by input name; all are used.
        attention: use the transformer settings (SmoothQuant, attention products left in float).
        smooth: whether SmoothQuant and the correction of biases are part of these.
        keep_float: types of operators that stay float.
        ignored: names of operators that do.
        own_ranges: whether NNCF's ranges stay; where others follow, no bias is corrected for the error of its own.
        on_grid: whether weights lie on their grid: they are not smoothed, no bias is corrected for their error, and
            those of the first layer use all 8 bits. NNCF halves these for processors without VNNI, whose sums of two
            products may saturate.
    """
    import nncf
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        AdvancedSmoothQuantParameters,
        OverflowFix,
    )
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    logging.getLogger("nncf").setLevel(logging.WARNING)
    # By default ranges are the mean of the samples' extremes, which clips, and biases are then corrected for that.
    # True extremes and no correction are much closer (targets/REASONS.md#openvino-nncf).
    as_it_comes = smooth and not on_grid
    exact = AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        disable_bias_correction=True,
        overflow_fix=OverflowFix.DISABLE if on_grid else None,
        smooth_quant_alphas=AdvancedSmoothQuantParameters(*(() if as_it_comes else (-1, -1))),
    )
    random.seed(0)
    np.random.seed(0)  # NNCF draws from the global generator
    samples = one_by_one(calibration)
    with _squeeze_excite():
        return nncf.quantize(
            model,
            nncf.Dataset(samples),
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER if attention else None,
            advanced_parameters=None if attention and own_ranges and as_it_comes else exact,
            ignored_scope=nncf.IgnoredScope(names=list(ignored), types=list(keep_float), validate=False),
        )


@contextmanager
def _squeeze_excite() -> Iterator[None]:
    """Quantize squeeze-and-excitation too, which NNCF leaves in float without a setting (REASONS.md#openvino-nncf)."""
    from nncf.common.graph.patterns.manager import PatternsManager
    from nncf.common.graph.patterns.patterns import IgnoredPatternNames
    from nncf.common.utils.backend import BackendType

    kept: list[tuple[Any, Any]] = []
    for backend in (BackendType.OPENVINO, BackendType.ONNX):
        patterns = PatternsManager._get_backend_ignored_patterns_map(backend)
        kept.append((patterns, patterns.pop(IgnoredPatternNames.SE_BLOCK)))
    try:
        yield
    finally:
        for patterns, block in kept:
            patterns[IgnoredPatternNames.SE_BLOCK] = block
