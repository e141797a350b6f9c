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


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["-o", "w.json"], "w.json does not end in .safetensors"),
        (["-o", "mine.safetensors"], "mine.json is there, and no card of a checkpoint's"),
        (["-o", "nowhere/w.safetensors"], "nowhere/w.safetensors cannot be written"),
        (["--seed", "-1"], "seed -1; allowed: 0 to 4294967295"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_training(tmp_path, monkeypatch, capsys, asked, said):
    """Weights and their card had one name, or the card took that of a file of the user's; both were lost."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text('{"precious": 1}')
    assert cli.run(["train", "mlp", *asked, "--json"]) == 2
    assert said in json.loads(capsys.readouterr().out)["error"]["message"]
    assert (tmp_path / "mine.json").read_text() == '{"precious": 1}'


@pytest.mark.parametrize("name", zoo.names())
def test_every_shipped_checkpoint_has_its_recipe(name):
    config = zoo.architecture(name).configs["tiny"]
    assert config.training is not None
    assert config.task is not None
    assert zoo.weights_path(name, "tiny").stat().st_size < 1e6
