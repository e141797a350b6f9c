"""A toolchain in an environment of its own, made as a user would: its packages come from the index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.nightly  # it installs ONNX Runtime


def test_an_environment_is_made_and_runs_what_its_toolchain_does(tmp_path: Path) -> None:
    variables = {**os.environ, "EDGEKIT_HOME": str(tmp_path / "home")}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "edgekit", *arguments]
        done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    own = str(tmp_path / "home" / "environments" / "onnx" / "bin" / "python")
    assert own in run("doctor", "--install", "onnx")
    assert own in run("doctor")
    assert "PASS" in run("convert", "mlp@torch", "--target", "onnxruntime-int8", "-o", "out")
    assert "onnx's own environment" in (tmp_path / "out" / "manifest.json").read_text()
    assert "PASS" in run("verify", "out")
