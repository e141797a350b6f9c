"""Live models and arrays become files; nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.ci import handed, parity
from edgekit.errors import UsageError


def test_arrays_are_written_as_a_conversion_reads_them(tmp_path: Path) -> None:
    x, y = np.zeros((3, 2), np.float32), [0, 1, 1]
    assert handed.file(None, tmp_path / "none.npz") is None
    assert handed.file("photos/", tmp_path / "none.npz") == "photos/"
    assert handed.file(Path("a.npz"), tmp_path / "none.npz") == "a.npz"
    with np.load(str(handed.file((x, y), tmp_path / "pair.npz"))) as found:
        assert {name: found[name].shape for name in found.files} == {"x": (3, 2), "y": (3,)}
    with np.load(str(handed.file({"a": x, "b": x}, tmp_path / "named.npz"))) as found:
        assert found.files == ["a", "b"]


@pytest.mark.parametrize("data", [(1, 2, 3), ([[1], [1, 2]], [0]), object()])
def test_what_is_no_array_is_refused(data: object, tmp_path: Path) -> None:
    with pytest.raises((UsageError, ValueError)):
        handed.file(data, tmp_path / "x.npz")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    assert handed.source("lenet5@torch", tmp_path, None) == "lenet5@torch"
    with pytest.raises(UsageError, match="dict is no model"):
        handed.source({}, tmp_path, None)


def test_importing_edgekit_and_its_plug_in_is_light() -> None:
    code = (
        "import sys, edgekit, edgekit.ci.plugin\n"
        "heavy = {'torch', 'keras', 'tensorflow', 'numpy', 'scipy', 'pydantic', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert 'assert_parity' in edgekit.__all__\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_is_public() -> None:
    assert edgekit.assert_parity is parity.assert_parity
