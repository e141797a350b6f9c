"""Architectures of others to ONNX Runtime and LiteRT in fp32: as the committed rows say, PASS where there is none yet.

Models of timm need the folder that ``EDGEKIT_OUTSIDE_TIMM`` names (``benchmarks/outside.py``); else they are left out.
"""

import os

import pytest

import edgekit
from benchmarks import outside
from edgekit.errors import EdgekitError
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers

KNOWN = outside.newest()
MODELS = [model for model in outside.models() if model.library != "timm" or os.environ.get("EDGEKIT_OUTSIDE_TIMM")]


@pytest.mark.parametrize("name", ["onnxruntime-fp32", "tflite-fp32"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_outside(model, name, tmp_path):
    expected = KNOWN.get((model.name, name), {"status": "PASS"})["status"]
    model.teach()
    with Workers() as workers:  # libraries change what others import
        options = {"calibrate": model.data, "output": tmp_path / "out", "latency": False, "trust": True}
        try:
            result = edgekit.convert(model.source, name, workers=workers, store=Store(tmp_path / "home"), **options)
        except EdgekitError as error:
            assert (error.code, bool(error.hint)) == (expected, True), str(error)
            return
    assert result.status == expected, result.reason
