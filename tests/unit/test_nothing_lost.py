"""Whatever a conversion is refused for, the artifact that lies where its own would go stays as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import api
from edgekit.errors import UsageError
from edgekit.jobs.store import Store
from edgekit.result import Result
from tests import null


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Samples, a store, and catalogue files with a key that nothing knows."""
    folder = tmp_path_factory.mktemp("given")
    with null.installed(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_PATH", str(null.HERE))
        data = null.samples(folder)
        with np.load(data["calibrate"]) as stored:
            np.savez(folder / "few.npz", **{name: stored[name][:3] for name in stored.files})
        text = (null.HERE / "targets" / "null-int8.toml").read_text()
        (folder / "target.toml").write_text(text.replace("precision =", "precison = 'int8'\nprecision =", 1))
        (folder / "plan.toml").write_text("schema = 1\ntitle = 'x'\nmethd = 'mse'\n")
        yield {**data, "folder": folder, "store": Store(folder / "home")}


def convert(given: dict[str, Any], output: Path, target: str = "null-int8", **options: Any) -> Result:
    asked = {name: given[name] for name in ("calibrate", "evaluate") if name in given} | options
    with null.Here() as workers:
        return api.convert("dense@torch", target, workers=workers, store=given["store"], output=output, **asked)


def content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


REFUSED = {
    "layer": ({"keep_float": ("dens",)}, "no layer is 'dens'; there is dense", ""),
    "every-layer": ({"keep_float": ("*",)}, "all 2 layers are to be kept in float", ""),
    "target-key": ({"target": "target.toml"}, "target.toml: precison", "Did you mean 'precision'?"),
    "plan-key": ({"ranges": "plan.toml"}, "unknown key 'methd'; did you mean 'method'", ""),
    "ranges": ({"ranges": "entopy"}, "unknown range 'entopy'", "Did you mean 'entropy'?"),
    "rounding": ({"rounding": "gtpq"}, "--rounding 'gtpq' is unknown", "Did you mean 'gptq'?"),
    "equalize": ({"equalize": "smothquant"}, "--equalize 'smothquant' is unknown", "Did you mean 'smoothquant'?"),
    "budget": ({"budget": "latencey=0.6x"}, "--budget 'latencey=0.6x' is no budget", "Did you mean 'latency'?"),
    "samples": ({"calibrate": "few.npz", "ranges": "entropy"}, "needs 32 .* or more, and there are 3", "--calibrate"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refused_conversion_leaves_the_artifact_that_is_there(given: Any, tmp_path: Path, what: str) -> None:
    assert convert(given, tmp_path / "a").status == "PASS"
    before = content(tmp_path)
    options, said, hint = REFUSED[what]
    paths = {name: str(given["folder"] / value) for name, value in options.items() if str(value).endswith(("l", "z"))}
    with pytest.raises(UsageError, match=said) as raised:
        convert(given, tmp_path / "a", **{**options, **paths})
    assert hint in raised.value.hint
    assert content(tmp_path) == before


def test_a_budget_that_nothing_meets_leaves_it_too_and_says_what_was_reached(given: Any, tmp_path: Path) -> None:
    assert convert(given, tmp_path / "a").status == "PASS"
    before = content(tmp_path / "a")
    result = convert(given, tmp_path / "a", budget="size=9B", allow_mixed=True)
    assert result.status == "FAILED"
    assert f"{result.size_bytes} bytes; the budget is size=9B" in result.reason
    assert content(tmp_path / "a") == before
