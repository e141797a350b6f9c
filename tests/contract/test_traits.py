"""One definition of traits: the same models give the same ones in the float files of every toolchain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

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
#: Toolchains whose float file has recurrent layers in products already.
TAKEN_APART = ("executorch", "litert")


@pytest.mark.parametrize(
    ("toolchain", "route", "framework"),
    [
        ("source", "none", "torch"),
        ("onnx", "export-torch-dynamo", "torch"),
        ("openvino", "export-torch-trace", "torch"),
        ("coreml", "export-torch-trace", "torch"),
        pytest.param("executorch", "export-xnnpack", "torch", marks=pytest.mark.nightly),  # a minute
        ("litert", "export-litert-torch", "torch"),
        ("source", "none", "keras"),
        ("onnx", "export-tf2onnx", "keras"),
        ("openvino", "export-saved-model", "keras"),
        ("litert", "export-converter", "keras"),
    ],
)
def test_every_toolchain_finds_the_same(tmp_path: Path, toolchain: str, route: str, framework: str) -> None:
    if find_spec(MODULES[toolchain]) is None:  # imported in the child alone
        pytest.skip(f"{MODULES[toolchain]} is not installed")
    script = Path(__file__).parent / "children" / "traits_models.py"
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(script), toolchain, route, framework, str(tmp_path / "files")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "files" / "traits.json").read_text())
    if framework == "keras":
        assert found == KERAS
    else:
        assert found == TORCH | ({"lstm": APART} if toolchain in TAKEN_APART else {})
