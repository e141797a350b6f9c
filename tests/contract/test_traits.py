"""One definition of traits: the same models give the same ones in the float files of every toolchain."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgekit.jobs.workers import Workers
from tests.contract.conftest import inside

MODULES = {"onnx": "onnx", "openvino": "openvino", "litert": "litert_torch", "executorch": "executorch",
           "coreml": "coremltools", "source": "torch"}  # fmt: skip
APART = ["gated", "recurrent", "unrolled"]
TORCH = {
    "wavenet": ["gated"],
    "excite": ["gated"],
    "siamese": [],
    "tied": [],
    "lstm": ["cells", "recurrent"],
    "steps": APART,
    "step": ["gated", "recurrent", "stateful"],
    "attention": ["attention"],
    "swish": [],
    "convolutions": ["depthwise", "grouped", "transposed"],
    "normed": [],
}
KERAS = {
    "lstm": ["gated", "looped", "loops", "recurrent"],
    "unrolled": APART,
    "attention": ["attention"],
    "conv": [],
}
ALSO = pytest.mark.nightly
#: Toolchains whose float file has recurrent layers in products already.
TAKEN_APART = ("executorch", "litert")


@pytest.mark.parametrize(
    ("toolchain", "route", "framework"),
    [
        ("source", "none", "torch"),
        ("onnx", "export-torch-dynamo", "torch"),
        ("openvino", "export-torch-trace", "torch"),
        pytest.param("coreml", "export-torch-trace", "torch", marks=ALSO),  # from the trace that OpenVINO gets, too
        pytest.param("executorch", "export-xnnpack", "torch", marks=ALSO),  # a minute
        pytest.param("litert", "export-litert-torch", "torch", marks=ALSO),  # LiteRT's files are read from Keras, too
        ("source", "none", "keras"),
        ("onnx", "export-tf2onnx", "keras"),
        pytest.param("openvino", "export-saved-model", "keras", marks=ALSO),  # the SavedModel that LiteRT's is made of
        ("litert", "export-converter", "keras"),
    ],
)
def test_every_toolchain_finds_the_same(
    tmp_path: Path, workers: Workers, toolchain: str, route: str, framework: str
) -> None:
    if find_spec(MODULES[toolchain]) is None:  # imported in the child alone
        pytest.skip(f"{MODULES[toolchain]} is not installed")
    arguments = (toolchain, route, framework, str(tmp_path / "files"))
    environment = "torch" if framework == "torch" else "keras-tensorflow"
    inside(workers, "traits_models.py", *arguments, environment=environment)
    found = json.loads((tmp_path / "files" / "traits.json").read_text())
    if framework == "keras":
        assert found == KERAS
    else:
        assert found == TORCH | ({"lstm": APART} if toolchain in TAKEN_APART else {})
