"""Estimators of ranges: what each says of a tensor is in the file, by every static route of every toolchain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import calibration_memory
from edgekit import toolchains
from edgekit.jobs.workers import Workers
from tests.contract.conftest import outcomes_of, parameters

#: Routes of the toolchains, from where they start. NNCF hands on ranges as it does for ONNX Runtime, which every run
#: tries; those of PT2E are left to `make nightly`.
LATE = ("coreml", "executorch", "openvino")


def late(case: tuple[str, str]) -> bool:
    """Whether it is left to `make nightly`: LiteRT's routes from PyTorch take longest, those from Keras are tried."""
    return case[0] in LATE or case == ("litert", "torch")


CASES = parameters([*((name, "torch") for name in toolchains.names()), ("litert", "keras-tensorflow")], late)
#: Why a route does not convert one of the models at all, whatever the ranges; a part of what it says.
NOT_THIS = ("no LSTM", "no recurrent", "takes float inputs only")
CONVERTER = "TFLiteConverter quantizes all of a model alike, by the extremes of each tensor"
PLANS = ("minmax", "moving-average", "percentile-99.9", "entropy", "mse")
#: The layer whose input is not in the file with a scale of its own, by toolchain, route and model: PT2E gives a mean
#: one grid on both sides, and coremltools divides the scales of a sum by that of one of its terms.
SHARED = {
    ("litert", "ptq-w8a8-pt2e", "two"): "head",
    ("executorch", "ptq-w8a8-pt2e", "two"): "head",
    ("executorch", "ptq-w8a8-pt2e-matmuls", "two"): "head",
    ("coreml", "ptq-w8a8-pt2e", "two"): "head",
    ("coreml", "ptq-w8a8-coremltools", "attention"): "wide",
    ("coreml", "ptq-w8a8-pt2e", "attention"): "wide",
}
#: What a softmax gives, whose values are bounded: no plan cuts it off. These quantize products of activations alone,
#: by other routes than that of products with weights.
PROBABILITIES, QUANTIZED = "probabilities", ("onnx", "tensorrt")
#: Relative: the runtime that the samples run in rounds otherwise than the framework, which may move a divergence's
#: least place by one.
CLOSE = {"entropy": 2e-2}


@pytest.fixture(scope="module")
def ranged(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> Callable[[str, str], dict[str, Any]]:
    """What ``ranged_models.py`` found."""
    return outcomes_of("ranged_models.py", tmp_path_factory, workers)


def parameters(low: float, high: float, *, bits: int, symmetric: bool) -> tuple[float, int]:
    """Scale and signed zero point of a range, by hand."""
    if symmetric:
        return max(-low, high) / (2 ** (bits - 1) - 1), 0
    scale = (high - low) / (2**bits - 1)
    return scale, round(-(2 ** (bits - 1)) - low / scale)


def there(steps: list[list[Any]], low: float, high: float, *, bits: int, close: float) -> bool:
    """Whether a file holds a grid of a range: with a zero point, which may lie between two integers, or without."""
    for symmetric in (False, True):
        scale, point = parameters(low, high, bits=bits, symmetric=symmetric)
        if any(abs(s / scale - 1) < close and (p is None or abs(p - point) <= 1) for s, p in steps):
            return True
    return False


@pytest.mark.parametrize(("toolchain", "environment"), CASES)
def test_what_an_estimator_says_is_in_the_file(ranged: Any, toolchain: str, environment: str) -> None:
    found = ranged(toolchain, environment)
    assert found["routes"]
    tried = 0
    for key, rows in found["routes"].items():
        model, route = key.split()
        assert not any("raised" in row for row in rows.values()), (key, rows)
        if any(why in rows["tool"].get("refused", "") for why in NOT_THIS):
            continue
        assert "steps" in rows["tool"], (key, rows["tool"])
        if toolchains.routes(toolchain)[route].own == "minmax":
            assert rows["minmax"]["sha256"] == rows["tool"]["sha256"], key
        for plan in PLANS:
            tried += 1
            if route.endswith("-converter"):
                assert plan == "minmax" or CONVERTER in rows[plan]["refused"], (key, plan)
                continue
            assert "steps" in rows[plan], (key, plan, rows[plan])
            bits = 16 if "w8a16" in route else 8
            symmetric = bits == 16 or toolchain == "tensorrt"
            for layer, said in found["expected"].get(model, {}).get(f"{bits} {symmetric}", {}).items():
                also = found["expected"][model].get(f"{bits} True", {}).get(layer, said)
                wanted = [said[plan], also[plan]]
                if layer == PROBABILITIES:
                    if toolchain not in QUANTIZED or route in ("ptq-w8a8-nncf", "ptq-w8a8-qdq-matmuls"):
                        continue
                    wanted = [said["minmax"], (0.0, 1.0)]
                close = CLOSE.get(plan, 1e-3)
                assert SHARED.get((toolchain, route, model)) == layer or any(
                    there(rows[plan]["steps"], *one, bits=bits, close=close) for one in wanted
                ), (key, plan, layer, wanted, rows[plan]["steps"])
        hashes = {rows[plan]["sha256"] for plan in PLANS if "steps" in rows[plan]}
        assert len(hashes) == (1 if route.endswith("-converter") else len(PLANS)) or "w8a16" in route, key
    assert tried


@pytest.mark.parametrize(
    "toolchain", ["onnx", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("litert", "openvino"))]
)
def test_samples_are_not_held_in_memory(toolchain: str, tmp_path: Path) -> None:
    """A thousand samples take 110 MB, more than such a process does; ``calibration_memory.py`` measures the others."""
    (tmp_path / "two.py").write_text(calibration_memory.MODEL)
    for count in (50, 1000):
        calibration_memory.samples(tmp_path / f"{count}.npz", count)
    for row in calibration_memory.measured(toolchain, tmp_path, counts=(50, 1000)):
        assert row["holds"], row
