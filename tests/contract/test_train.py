"""`edgekit train NAME` reproduces a checkpoint from its seed, through the command line."""

import json

import numpy as np
import pytest

from edgekit import cli, zoo
from edgekit.zoo import weights


def train(capsys, path, *options):
    assert cli.run(["train", "mlp", "-o", str(path), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_same_seed_gives_the_same_bytes_and_the_shipped_quality(tmp_path, capsys):
    first = train(capsys, tmp_path / "a.safetensors")
    second = train(capsys, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert first["value"] == second["value"]
    shipped, made = weights.read(zoo.weights_path("mlp", "tiny")), weights.read(tmp_path / "a.safetensors")
    assert shipped.keys() == made.keys()
    # Another processor may sum in another order; on the one that made the shipped file they are equal bit for bit.
    assert all(np.allclose(shipped[name], made[name], atol=0.05) for name in shipped)


def test_another_seed_gives_other_weights(tmp_path, capsys):
    train(capsys, tmp_path / "c.safetensors", "--seed", "7")
    shipped, made = weights.read(zoo.weights_path("mlp", "tiny")), weights.read(tmp_path / "c.safetensors")
    assert any(not np.allclose(shipped[name], made[name], atol=0.05) for name in shipped)


def test_a_configuration_without_training_is_refused(capsys):
    assert cli.run(["train", "mobilenet_v2:reference", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert "tiny" in error["message"]


@pytest.mark.parametrize("name", zoo.names())
def test_every_shipped_checkpoint_has_its_recipe(name):
    config = zoo.architecture(name).configs["tiny"]
    assert config.training is not None
    assert config.task is not None
    assert zoo.weights_path(name, "tiny").stat().st_size < 1e6
