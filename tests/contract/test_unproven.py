"""A file that nothing here can execute: NOT_RUN and kept aside, or kept with --allow-unproven; never a PASS."""

import json
import platform
from pathlib import Path

import pytest

from edgekit import api, cli

SOURCE = f"{Path(__file__).parent / 'children' / 'user_models.py'}:sampled"

pytestmark = pytest.mark.skipif(platform.system() == "Darwin", reason="Core ML itself is here and executes the file")


@pytest.fixture
def run(workers, store, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        api, "convert", lambda *a, convert=api.convert, **k: convert(*a, **{**k, "workers": workers, "store": store})
    )

    def run(*arguments):
        code = cli.run([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize("target", ["coreml-fp32", "coreml-fp16"])
def test_it_is_kept_only_where_the_user_says_so_and_exits_9_all_the_same(target, run, tmp_path):
    folder = tmp_path / "artifact"
    code, found = run("convert", SOURCE, "--target", target, "-o", str(folder))
    assert (code, found["status"]) == (9, "NOT_RUN")
    assert "resample" in found["reason"]
    assert not folder.exists()

    code, found = run("convert", SOURCE, "--target", target, "-o", str(folder), "--allow-unproven")
    assert (code, found["status"], found["proof"]["kind"]) == (9, "NOT_RUN", "none")
    assert "resample" in found["reason"]
    assert found["parity"] is None
    assert found["latency"] is None
    assert found["audit"]["weight_bytes"], "the file was looked into all the same"
    assert (folder / "model.mlpackage").is_dir()
    assert not list(folder.rglob("golden.npz"))

    code, checked = run("verify", str(folder))
    assert (code, checked["status"]) == (9, "NOT_RUN")
    weights = next(folder.rglob("weight.bin"))
    weights.write_bytes(weights.read_bytes()[:-1])
    code, checked = run("verify", str(folder))
    assert (code, checked["status"]) == (4, "FAIL_INTEGRITY")
    assert "weight.bin" in checked["reason"]
