"""GPTQ on graphs of both frameworks: every product is found, its inputs are what a hook sees, files keep the grid."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from tests.contract.conftest import inside

CHILDREN = Path(__file__).parent / "children"
SOURCE = f"{CHILDREN}/products.py:Products"


@pytest.fixture
def asked(printed: Any) -> Callable[[str], Any]:
    """Run code in a child, which prints JSON."""
    return lambda text: json.loads(printed(text).splitlines()[-1])


def test_every_product_is_found_with_the_inputs_that_it_gets(asked: Any) -> None:
    found = asked("""
import json, numpy as np, torch
from torch.nn import functional
from edgekit.compress import products
from edgekit.frameworks import torch as frameworks
from edgekit.sources import source
model = frameworks.load(source.resolve("products.py:Products", trust=True))
module = model.native
x = np.random.default_rng(0).standard_normal((5, 1, 3, 12, 12)).astype("float32")
seen, inputs = {}, {}
def keep(product):
    seen[product.name] = (product.kind, list(product.weights.shape), product.channels, product.moments().second)
    return None
products.replace_weights(model, [(one,) for one in x], keep)
for name in ("dense", "wide", "strided", "same", "line"):
    calls = inputs.setdefault(name, [])
    getattr(module, name).register_forward_hook(lambda m, given, out, calls=calls: calls.append((given[0], out)))
with torch.no_grad():
    for one in x: module(torch.from_numpy(one))
far = {}
for name, calls in inputs.items():
    layer, hessian = getattr(module, name), seen[name + ".weight"][3]
    # Independently: the energy of a layer's outputs without their bias is trace(w H w^T).
    weights = layer.weight.detach().reshape(len(layer.weight), -1).double().numpy()
    bias = 0 if layer.bias is None else layer.bias.detach().reshape([1, -1] + [1] * (calls[0][1].ndim - 2))
    energy = sum(float(((out - bias).double() ** 2).sum()) for _, out in calls)
    far[name] = abs(np.trace(weights @ hessian @ weights.T) / energy - 1)
print(json.dumps({"far": far, "seen": {name: row[:3] for name, row in seen.items()}}))
""")
    assert found["seen"] == {
        "wide.weight": ["conv", [8, 27], 3],
        "strided.weight": ["conv", [8, 72], 8],
        "same.weight": ["conv", [6, 48], 8],
        "line.weight": ["conv", [8, 18], 6],
        "dense.weight": ["linear", [12, 192], 192],
        "factor": ["linear", [10, 12], 12],
        "heads": ["linear", [7, 10], 10],
    }, "a convolution of several groups and a tensor that something else reads are left alone"
    assert max(found["far"].values()) < 1e-4, found["far"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("saved")
    files = {"pt2": str(folder / "model.pt2"), "pt": str(folder / "model.pt")}
    inside(workers, "products.py", *files.values(), environment="torch")
    x = np.random.default_rng(0).standard_normal((64, 3, 12, 12)).astype("float32")
    np.savez(folder / "x.npz", image=x)
    return {**files, "py": SOURCE, "data": str(folder / "x.npz")}


@pytest.mark.parametrize("kind", ["py", "pt2", "pt"])
def test_of_every_kind_of_source_the_file_computes_what_the_rounded_model_does(
    kind: str, saved: Any, tmp_path: Path, workers: Workers
) -> None:
    """Without labels parity is taken against the source: the file is as far from it as the rounded model in float."""
    found = edgekit.convert(
        saved[kind], "tflite-int4", calibrate=saved["data"], inputs=("image=1x3x12x12:float32",) * (kind == "pt"),
        output=tmp_path / "out", latency=False, trust=True, rounding="gptq", store=Store(tmp_path / "home"),
        workers=workers,
    )  # fmt: skip
    assert any("weights were rounded by GPTQ on" in note for note in found.notes), found.notes
    said = next(note for note in found.notes if note.startswith("the rounded model in float: SQNR"))
    file, rounded = (10 ** (-db / 10) for db in (found.parity.sqnr_db, float(said.split()[6])))
    assert abs(file - rounded) < 10**-3.4, "activations alone are quantized anew: 34 dB below the answers"


@pytest.mark.nightly
def test_a_norm_that_the_converter_folds_leaves_weights_on_the_grid(
    tmp_path: Path, workers: Workers, store: Store
) -> None:
    """TensorFlow's converter multiplies a norm's scales into the dense layers behind it: the file was 18 dB away."""
    found = edgekit.convert(
        "char_llama@keras", "tflite-int4", output=tmp_path / "out", latency=False, store=store, workers=workers,
    )  # fmt: skip
    tried = {route.route: route.sqnr_db for route in found.routes_tried}
    assert tried["dynamic-w4a8-quantizer-matmuls"] > 30, "against the rounded model: activations alone are new"


def test_a_last_block_that_is_not_full_is_rounded_by_samples_too(
    tmp_path: Path, workers: Workers, store: Store
) -> None:
    """Layers of 48 inputs in blocks of 32 were rounded to the nearest: 8.7 dB behind ten of them."""
    found = edgekit.convert(
        "gcn@torch", "onnxruntime-int4", output=tmp_path / "out", latency=False, store=store, workers=workers,
    )  # fmt: skip
    assert found.status == "PASS", found.reason
    assert found.parity.sqnr_db > 60, "against the rounded model: the quantizer finds the same grid again"
    assert any("10 weights were rounded by GPTQ on" in note for note in found.notes), found.notes


def test_keras_gets_the_same_weights_as_pytorch(tmp_path: Path, workers: Workers, store: Store) -> None:
    results = {}
    for framework in ("torch", "keras"):
        results[framework] = edgekit.convert(
            f"lenet5@{framework}", "tflite-int4", output=tmp_path / framework, latency=False, rounding="gptq",
            store=store, workers=workers,
        )  # fmt: skip
    torch, keras = results["torch"], results["keras"]
    assert (torch.status, keras.status) == ("PASS", "PASS")
    assert torch.accuracy == keras.accuracy
    assert keras.parity.sqnr_db > 30


def test_samples_are_asked_for_and_other_targets_refuse(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgekit", "convert", SOURCE, "--trust", "-o", str(tmp_path / "out")]
    for options, said in (
        (["--target", "tflite-int4", "--rounding", "gptq"], "--rounding gptq needs calibration samples"),
        (["--target", "tflite-int8", "--rounding", "gptq"], "has no int4 weights"),
        (["--target", "tflite-int4", "--rounding", "awq"], "Allowed: nearest, gptq"),
    ):
        done = subprocess.run([*command, *options], capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr


def test_a_layer_that_is_kept_in_float_is_not_rounded(saved: Any, tmp_path: Path, workers: Workers) -> None:
    asked = {"calibrate": saved["data"], "latency": False, "workers": workers, "trust": True}
    asked |= {"store": Store(tmp_path / "home")}
    plain = edgekit.convert(saved["pt2"], "tflite-int4", output=tmp_path / "a", **asked)
    kept = edgekit.convert(saved["pt2"], "tflite-int4", output=tmp_path / "b", keep_float=["*dense*"], **asked)
    assert kept.kept_float
    for result, count in ((plain, 7), (kept, 6)):
        assert any(note.startswith(f"{count} weights were rounded by GPTQ on") for note in result.notes), result.notes


def test_layers_of_keras_are_called_as_in_the_model(asked: Any) -> None:
    names = asked("""
import json, os, sys, tempfile
os.environ["KERAS_BACKEND"] = "torch"
import numpy as np, seams
from edgekit.compress import products
from edgekit.frameworks import keras as frameworks
from edgekit.sources import source
file = os.path.join(tempfile.mkdtemp(), "model.keras")
seams.keras_model().save(file)
found = []
x = np.zeros((1, 12, 12, 3), "float32")
products.replace_weights(frameworks.load(source.resolve(file)), [(x,)], lambda product: found.append(product.names))
print(json.dumps(found))
""")
    assert ["second", "second/kernel"] in names and ["down", "down/kernel"] in names, names
