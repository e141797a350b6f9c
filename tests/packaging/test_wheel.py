"""The built wheel works outside of the checkout: catalogues, weights, schema and a real conversion."""

import json
import os
import subprocess
import sys
import zipfile

import pytest


@pytest.fixture(scope="module")
def installed(tmp_path_factory, wheel):
    """The wheel, unpacked as pip would, in a folder that shadows the checkout's editable install."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    return wheel, site


def run(site, folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(site), "EDGEKIT_HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, "-m", "edgekit", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_wheel_holds_what_it_needs_and_nothing_else(installed):
    names = zipfile.ZipFile(installed[0]).namelist()
    assert "edgekit/_catalogues/targets/tflite-int8.toml" in names
    assert "edgekit/_catalogues/calibration/minmax.toml" in names
    assert "edgekit/zoo/mobilenet_v2/tiny.safetensors" in names
    assert "edgekit/manifest.schema.json" in names
    assert all(name.startswith(("edgekit/", "edgekit-")) for name in names)
    assert not any("__pycache__" in name for name in names)
    [entries] = [name for name in names if name.endswith("entry_points.txt")]
    assert "[pytest11]\nedgekit = edgekit.ci.plugin" in zipfile.ZipFile(installed[0]).read(entries).decode()
    assert installed[0].stat().st_size < 15e6


def test_it_lists_and_converts_from_any_folder(installed, tmp_path):
    _, site = installed
    where = subprocess.run(
        [sys.executable, "-c", "import edgekit; print(edgekit.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert where.stdout.startswith(str(site))
    listed = json.loads(run(site, tmp_path, "list", "targets", "--json").stdout)
    assert len(listed["targets"]) >= 12
    done = run(site, tmp_path, "convert", "mlp@torch", "--target", "onnxruntime-int8", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "PASS"
    artifact = tmp_path / "edgekit-artifacts" / "mlp-torch-onnxruntime-int8"
    assert run(site, tmp_path, "verify", str(artifact)).returncode == 0
