"""What default static int8 makes of a mask of minus infinity: the case that mixed precision has to bring home."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgekit
from benchmarks import low_bits
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.proof import metrics
from tests.contract.children import structural

SOURCE = Path(structural.__file__)
COUNT = 200


@pytest.fixture(scope="module")
def float_file(tmp_path_factory: pytest.TempPathFactory, workers: Workers, store: Store) -> Callable[[str], Path]:
    """The proven fp32 file of one of the decoders."""

    def made(function: str) -> Path:
        folder = tmp_path_factory.mktemp("float") / function
        result = edgekit.convert(
            f"{SOURCE}:{function}", "onnxruntime-fp32", output=folder, workers=workers, store=store, latency=False
        )
        assert result.status == "PASS", result.reason
        [part] = result.parts.values()
        return folder / part.file

    return made


def perplexity(file: Path) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    batch, *_ = structural.evaluation()
    logits = [session.run(None, {"tokens": batch["tokens"][i : i + 1]})[0][0] for i in range(COUNT)]
    metric = metrics.metric("perplexity")
    return float(metric.value(metric.contributions(batch["y"][:COUNT], np.stack(logits))))


@pytest.mark.parametrize(("function", "least", "most"), [("finite_mask", -0.01, 0.05), ("endless_mask", 0.5, np.inf)])
def test_onnx_runtimes_default_loses_the_scores_to_minus_infinity(
    function: str, least: float, most: float, float_file: Callable[[str], Path], tmp_path: Path
) -> None:
    source, out = float_file(function), tmp_path / "int8.onnx"
    [samples] = structural.calibration()
    low_bits.ort_static(source, out, samples)
    loss = perplexity(out) / perplexity(source) - 1
    assert least < loss < most
