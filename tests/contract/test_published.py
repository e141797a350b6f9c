"""The zoo computes what keras.applications and transformers compute with the same weights; its forms agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit import zoo
from edgekit.zoo import weights

CHILD = Path(__file__).with_name("published_child.py")
TOLERANCE = 1e-4
CASES = (
    "mobilenet_v2", "mobilenet_v3", "resnet-small-basic", "resnet-small-bottleneck", "resnet18", "resnet50", "vgg",
    "densenet", "efficientnet", "inception", "vit", "mamba", "detr",
)  # fmt: skip


#: Architectures that are not listed yet, to which the tests of the zoo do not come.
UNTRAINED = sorted(path.parent.name for path in zoo.ROOT.glob("*/UNTRAINED"))


def ran(command: str, folder: Path) -> dict[str, np.ndarray]:
    env = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = str(Path(zoo.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, str(CHILD), command, str(folder)],
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return dict(np.load(folder / f"{command}.npz"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return ran("published", tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("untrained")
    (folder / "untrained.json").write_text(json.dumps(UNTRAINED))
    return ran("untrained", folder)


@pytest.mark.parametrize("name", UNTRAINED)
def test_what_is_not_trained_is_the_same_in_both_frameworks(name: str, untrained: dict[str, np.ndarray]) -> None:
    for i, spec in enumerate(zoo.architecture(name).configs["tiny"].outputs):
        ours, theirs = untrained[f"{name}/{i}/torch"], untrained[f"{name}/{i}/keras"]
        assert ours.shape[1:] == spec.shape[1:] and ours.std() > 1e-3
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", UNTRAINED)
def test_what_is_not_trained_has_its_number_of_parameters(name: str) -> None:
    assert name not in zoo.names()
    for facts in zoo.architecture(name).configs.values():
        with torch.device("meta"):
            module = import_module(f"edgekit.zoo.{name}.pytorch").build(**facts.settings)
        assert weights.count_parameters(weights.canonical(module)) == facts.parameters


@pytest.mark.nightly  # of sizes that are published: a minute
@pytest.mark.parametrize("framework", ["torch", "keras"])
@pytest.mark.parametrize("case", CASES)
def test_published_variant(case: str, framework: str, published: dict[str, np.ndarray]) -> None:
    """keras.applications' and transformers' own weights give their own outputs in ours."""
    theirs = published[f"{case}/theirs"]
    assert 0.01 < theirs.std() < 10, "outputs too small or too large for the tolerance to mean anything"
    np.testing.assert_allclose(published[f"{case}/{framework}"], theirs, rtol=0, atol=TOLERANCE)


def built(name: str, config: str) -> torch.nn.Module:
    torch.manual_seed(0)
    settings = zoo.architecture(name).configs[config].settings
    module: torch.nn.Module = import_module(f"edgekit.zoo.{name}.pytorch").build(**settings)
    return module.eval()


def test_mamba_in_chunks_is_mamba_token_by_token() -> None:
    chunks, steps = built("mamba", "tiny"), built("mamba", "sequential")
    steps.load_state_dict(chunks.state_dict(), strict=True)
    tokens = torch.randint(0, 96, (3, 64))
    with torch.no_grad():
        assert torch.allclose(chunks(tokens), steps(tokens), atol=1e-5)
        changed = tokens.clone()
        changed[:, 40:] = 0
        early, late = (chunks(changed) - chunks(tokens))[:, :40], (chunks(changed) - chunks(tokens))[:, 40:]
    assert early.abs().max() < 1e-5 < late.abs().max(), "a token sees those behind it"


def test_a_list_of_edges_is_a_dense_adjacency() -> None:
    dense, edges = built("gcn", "tiny"), built("gcn", "edges")
    edges.load_state_dict(dense.state_dict())
    rng = np.random.default_rng(0)
    adjacency = np.where(rng.random((24, 24)) < 0.3, rng.random((24, 24)), 0).astype(np.float32)
    target, source = np.nonzero(adjacency)
    rows = 256 - len(source)
    assert rows > 0
    lists = [np.pad(part, (0, rows)) for part in (source, target, adjacency[target, source])]
    features = torch.randn(1, 24, 8)
    given = [torch.from_numpy(part)[None] for part in lists]
    with torch.no_grad():
        expected = dense(features, torch.from_numpy(adjacency)[None])
        found = edges(features, given[0].int(), given[1].int(), given[2])
    assert torch.allclose(found, expected, atol=1e-5)
