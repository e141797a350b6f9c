"""What a framework's child imports."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.frameworks import optional

CHILD = """
import json, sys
import edgekit.frameworks.keras as keras
from edgekit.sources import source
from edgekit.frameworks.optional import UNUSED
keras.load(source.resolve("mlp@keras"))
found = [name for name in ("tensorflow", "torch", *UNUSED) if name in sys.modules]
import sklearn.base, pandas, tensorflow  # a user's file.py may
facts = [sklearn.__name__, pandas.Series([1, 2]).sum().item(), int(tensorflow.constant(7))]
print(json.dumps([found, *facts, keras.keras.Sequential.__name__]))
"""


def test_an_absent_package_looks_uninstalled_for_a_while_and_an_imported_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edgekit_optional.py").write_text("there = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    with optional.absent("edgekit_optional", "json"):
        with pytest.raises(ImportError):
            importlib.import_module("edgekit_optional")
        assert importlib.import_module("json") is json
    assert importlib.import_module("edgekit_optional").there


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_keras_comes_without_packages_that_no_conversion_needs(backend: str) -> None:
    environment = {**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [[backend], "sklearn", 3, 7, "Sequential"]
