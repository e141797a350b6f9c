"""The program in an artifact's README runs as it stands, and gives what the file gave when it was made."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit import api, target
from edgekit.artifact import folder as artifact
from edgekit.errors import UsageError

TARGETS = ["tflite-fp32", "tflite-int8", "onnxruntime-int8", "openvino-fp32", "openvino-int8", "executorch-int8"]
KEPT_FOR_THE_NIGHT = sorted({name for name in target.names() if not name.startswith("coreml")} - set(TARGETS))


def programs(folder):
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.DOTALL)


def differences(code, folder):
    """What the program prints: for each output the largest difference to what the file gave when it was recorded."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines() if not line.startswith("INFO")]
    return {" ".join(name): float(value) for *name, value in lines}


def check(folder):
    sealed = artifact.read(folder)
    codes = programs(folder)
    assert len(codes) == len(sealed.parts)
    for code, part in zip(codes, sealed.parts.values(), strict=True):
        assert len(code.splitlines()) <= 14 + 2 * len(part.inputs) + 2 * code.count("out/"), code
        golden = np.load(folder / artifact.golden_of(part))
        found = differences(code, folder)
        assert found.keys() == {name.removeprefix("out/") for name in golden.files if name.startswith("out/")}
        for name, difference in found.items():
            span = np.ptp(golden[f"out/{name}"].astype(float))
            assert difference <= 1e-5 * max(1.0, span), (name, difference)


@pytest.mark.parametrize(
    "name", [*TARGETS, *(pytest.param(name, marks=pytest.mark.nightly) for name in KEPT_FOR_THE_NIGHT)]
)
def test_the_program_of_every_format_runs_its_golden_samples(name, tmp_path, workers, kept):
    source = "mlp@keras" if name.startswith("tflite") else "mlp@torch"
    result = api.convert(source, name, output=tmp_path / "a", latency=False, workers=workers, store=kept)
    if result.status == "UNSUPPORTED":
        pytest.skip(f"no route makes this file: {result.reason}")
    check(Path(result.artifact or result.rejected))


@pytest.mark.nightly
def test_the_programs_of_a_model_of_several_parts_with_states(tmp_path, workers, kept):
    result = api.convert("denoiser_rnn@torch", "onnxruntime-fp32", output=tmp_path / "a", workers=workers, store=kept)
    check(Path(result.artifact))


def test_licence_and_tokenizer_go_into_the_artifact(tmp_path, workers, kept):
    (tmp_path / "words.json").write_text("{}")
    said = {"licence": "CC0-1.0", "tokenizer": tmp_path / "words.json", "latency": False}
    result = api.convert("mlp@torch", "onnxruntime-fp32", output=tmp_path / "a", workers=workers, store=kept, **said)
    assert (result.source.licence, result.tokenizer) == ("CC0-1.0", "words.json")
    assert artifact.verify(tmp_path / "a", workers)["status"] == "PASS"
    digest = hashlib.sha256(b"{}").hexdigest()
    assert f"words.json (SHA-256 {digest})" in (tmp_path / "a" / "README.md").read_text("utf-8")
    with pytest.raises(UsageError, match="no such tokenizer file"):
        api.convert("mlp@torch", "onnxruntime-fp32", output=tmp_path / "b", **{**said, "tokenizer": tmp_path / "none"})
