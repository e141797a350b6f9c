"""The LiteRT session on an old board: tflite-runtime 2.14.0 and numpy < 2, in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import toolchains
from edgekit.schemes import SCHEMES

pytest.importorskip("ai_edge_litert")
pytestmark = pytest.mark.nightly  # it installs that runtime, of which nothing changes
ROOT = Path(__file__).parents[2]
OLD = ("tflite-runtime==2.14.0", "numpy<2")
SCRIPT = """
import json, sys
import numpy as np
from pathlib import Path
from edgekit import toolchains
from edgekit.schemes import SCHEMES
said = {}
for route in sys.argv[2:]:
    folder = Path(sys.argv[1])
    try:
        options = toolchains.Options(SCHEMES["int8"])
        session = toolchains.open_session("litert", folder / route / "model.tflite", options)
    except Exception as error:
        said[route] = type(error).__name__ + ": " + str(error)
        continue
    inputs = np.load(folder / "samples.npz")
    rows = [session.run({k: inputs[k][i : i + 1] for k in inputs.files}) for i in range(8)]
    np.savez(folder / route / "old.npz", **{k: np.concatenate([r[k] for r in rows]) for k in rows[0]})
    said[route] = [session.by, session.precision]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a fresh environment that has nothing but the old runtime."""
    folder = tmp_path_factory.mktemp("old")
    venv.create(folder, with_pip=True)
    found = str(folder / "bin" / "python")
    done = subprocess.run([found, "-m", "pip", "install", "-q", *OLD], capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"{' '.join(OLD)} cannot be installed for Python {sys.version_info[:2]}: {done.stderr[-300:]}")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The convolutional and the attention net of ``litert_child.py``, converted by the Keras routes."""
    made = tmp_path_factory.mktemp("litert")
    child = str(Path(__file__).parent / "litert_child.py")
    variables = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, child, "keras", str(made), "conv", "attention"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return made


def run_old(python: str, folder: Path, *routes: str) -> dict[str, Any]:
    """Run files in the old environment; its outputs are left beside them."""
    done = subprocess.run(
        [python, "-c", SCRIPT, str(folder), *routes],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_what_the_old_kernels_compute_wrongly_is_refused(python: str, folder: Path) -> None:
    """They read only the first of a matrix's scales and answer zeros, without an error."""
    said = run_old(python, folder / "attention", "dynamic-w8a8-quantizer")
    assert said["dynamic-w8a8-quantizer"].startswith("UnsupportedError")
    assert "FULLY_CONNECTED" in said["dynamic-w8a8-quantizer"]


@pytest.mark.parametrize(("model", "operator"), [("attention", "EMBEDDING_LOOKUP"), ("conv", "TRANSPOSE_CONV")])
def test_files_of_4_bits_are_not_run(python: str, folder: Path, model: str, operator: str) -> None:
    """Lookups would answer wrongly; the other file's transposed convolution it refuses itself."""
    said = run_old(python, folder / model, "dynamic-w4a8-quantizer")["dynamic-w4a8-quantizer"]
    assert said.startswith("UnsupportedError") and operator in said, said


def test_the_session_runs_on_tflite_runtime(python: str, folder: Path) -> None:
    routes = ("export-converter", "ptq-w8a8-converter", "ptq-w8a8-quantizer", "cast-wf16-quantizer")
    folder /= "conv"
    said = run_old(python, folder, *routes)
    assert said["export-converter"] == ["tflite-runtime 2.14.0 XNNPACK", "f32"]
    assert said["ptq-w8a8-converter"][1] == said["ptq-w8a8-quantizer"][1] == "int8"
    inputs = np.load(folder / "samples.npz")
    for route in routes:
        file = folder / route / "model.tflite"
        session, steps = (
            toolchains.open_session("litert", file, toolchains.Options(SCHEMES["int8"])),
            {t.name: t.scale for t in toolchains.audit("litert", file).outputs},
        )
        rows = [session.run({k: inputs[k][i : i + 1] for k in inputs.files}) for i in range(8)]
        for name, old in np.load(folder / route / "old.npz").items():
            new = np.concatenate([row[name] for row in rows])
            step = steps[name]
            # Integer kernels of two releases may round differently: two output steps; float ones agree to rounding.
            assert np.abs(old - new).max() <= (2.01 * step if step else 1e-5), (route, name)
