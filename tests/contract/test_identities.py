"""Each operator that hands its input on unchanged is taken out of the graph before PT2E observes it, by each toolchain
that observes graphs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from edgekit.jobs.workers import Workers
from edgekit.toolchains._shared.torch_graph import CONVERSIONS, IDENTITIES

CHILDREN = Path(__file__).parent / "children"
#: Operators that ``torch.export`` itself writes otherwise.
REWRITTEN = {"lift_fresh": "lift_fresh_copy"}


@pytest.mark.parametrize(
    ("toolchain", "package"), [("litert", "litert_torch"), ("coreml", "coremltools"), ("executorch", "executorch")]
)
def test_no_identity_is_observed(toolchain: str, package: str, tmp_path: Path, workers: Workers) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    asked = {"folder": str(tmp_path), "which": toolchain}
    found = workers.call("torch", "tests.contract.children.identities:left", asked).value
    assert found.keys() == {*IDENTITIES, *CONVERSIONS, "squeeze"}
    for name, (exported, observed) in found.items():
        assert exported == ["linear", "relu", *exported[2:-1], "linear"]
        assert REWRITTEN.get(name, name) in exported, "the model has the operator"
        assert observed == ["linear", "relu", "linear"], name
