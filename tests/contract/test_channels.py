"""Channels that are taken out: the narrow model computes what the wide one does without them, or is refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit import api
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers

MODELS = Path(__file__).with_name("channel_models.py")

CODE = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import json, sys, tempfile
from pathlib import Path
from edgekit.errors import EdgekitError
from edgekit.frameworks.once import load
from edgekit.jobs import wire
from edgekit.sources import source as sources
from edgekit.steps.recipe import channels

found = {}
for key, name, inputs, asked in json.loads(sys.argv[1]):
    framework = "keras" if "keras" in key or key in ("subclassed", "nested") else "torch"
    source = sources.with_framework(sources.resolve(name, inputs=inputs), framework)
    environment = "keras-torch" if framework == "keras" else "torch"
    said = {"ratio": 0.5, "keep": (), "residual": False, "allow_refused": False, **asked}
    with tempfile.TemporaryDirectory() as folder:
        try:
            answer = channels.narrowed(Path(folder), channels.CutRequest(source, environment, **said))
        except EdgekitError as error:
            found[key] = [type(error).__name__, str(error), error.hint]
            continue
        narrow = load(sources.with_weights(source, Path(folder) / answer.file), environment).native
        tensors = narrow.trainable_weights if framework == "keras" else list(narrow.parameters())
        found[key] = {**wire.plain(answer), "loaded": int(sum(t.numel() if framework == "torch" else t.numpy().size
                                                          for t in tensors))}
print(json.dumps(found))
"""

ZOO = ("lenet5", "resnet", "mobilenet_v2", "mobilenet_v3", "unet", "lstm_classifier")
OWN = ("dense", "cells", "gated")


ALONE = ("of_bags_torch", "excited", "lambda_keras")


def cut(printed: Any, *asked: tuple[str, str, list[str], dict[str, Any]]) -> Any:
    return json.loads(printed(CODE, json.dumps(asked)).splitlines()[-1])


@pytest.fixture(scope="module")
def exact(printed: Any) -> Any:
    return cut(
        printed,
        *((f"{name}@{f}", f"{name}@{f}", [], {}) for name in ZOO for f in ("torch", "keras")),
        *((f"{name}_{f}", f"{MODELS}:{name}_{f}", [], {"residual": True}) for name in OWN for f in ("torch", "keras")),
        *((name, f"{MODELS}:{name}", [], {}) for name in ALONE),
    )


@pytest.mark.parametrize("key", [f"{name}@{f}" for name in ZOO for f in ("torch", "keras")])
def test_a_zoo_model_computes_what_it_does_without_those_channels(key: str, exact: Any) -> None:
    found = exact[key]
    assert isinstance(found, dict), found
    assert found["error"] <= 1e-4 and found["refused"] == []
    assert found["loaded"] == found["parameters"][1] < 0.8 * found["parameters"][0]


@pytest.mark.parametrize("key", [*(f"{name}_{f}" for name in OWN for f in ("torch", "keras")), *ALONE])
def test_so_does_a_model_that_the_zoo_does_not_have(key: str, exact: Any) -> None:
    found = exact[key]
    assert isinstance(found, dict), found
    assert found["error"] <= 1e-4 and found["refused"] == []
    assert found["loaded"] == found["parameters"][1] < 0.5 * found["parameters"][0]
    assert all(width["after"] < width["before"] for width in found["widths"])


@pytest.mark.parametrize("name", ["resnet", "mobilenet_v2", "mobilenet_v3", "unet"])
def test_both_frameworks_choose_as_many_of_the_same_layers(name: str, exact: Any) -> None:
    def widths(framework: str) -> dict[str, tuple[int, int]]:
        found = exact[f"{name}@{framework}"]["widths"]
        return {
            w["name"].replace(".", "_").replace("/", "_").rpartition("_")[0]: (w["before"], w["after"]) for w in found
        }

    assert widths("torch") == widths("keras") != {}
    assert exact[f"{name}@torch"]["parameters"][1] <= exact[f"{name}@torch"]["parameters"][0] * 0.7


HOOKED = """
import tempfile
from pathlib import Path
import numpy as np, torch
from edgekit.compress.channels import choice, walk
from edgekit.frameworks.once import forget, load
from edgekit.sources import source as sources
from edgekit.steps.recipe import channels

source = sources.with_framework(sources.resolve("resnet"), "torch")
wide = load(source, "torch").native
walked = walk.follow(load(source, "torch"))
removed = choice.choose(walked, 0.5).removed
norms = {name: module for name, module in wide.named_modules() if name.endswith("bn1") and name != "bn1"}
for tensor in walked.tensors.values():
    module = norms.get(tensor.name.removesuffix(".weight"))
    if module is not None:
        left = torch.tensor([root not in removed for root in walked.labels.roots(tensor.axes[0]).tolist()])
        assert int(left.sum()) * 2 == len(left)
        module.register_forward_hook(lambda m, i, o, left=left: o * left[:, None, None])
x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    expected = wide(x)
forget()
with tempfile.TemporaryDirectory() as folder:
    answer = channels.narrowed(Path(folder), channels.CutRequest(source, "torch", 0.5, (), False, False))
    narrow = load(sources.with_weights(source, Path(folder) / answer.file), "torch").native
with torch.no_grad():
    found = narrow(x)
assert len(norms) == 3 and (found - expected).abs().max() <= 1e-4 * expected.abs().max(), (found - expected).abs().max()
assert (expected - load(source, "torch").native(x)).abs().max() > 0.1, "the channels did something"
"""


def test_it_is_the_model_whose_activations_are_zero_there(printed: Any) -> None:
    """Told apart from how the step itself silences channels: by hooks on what the convolutions give."""
    printed(HOOKED)


#: Models -> the layer that cannot be followed, and the true reason.
UNFOLLOWED = {
    "normed": "0.parametrizations.weight.original1: are computed of their norms by `_weight_norm`",
    "stepped": "cell.weight_ih: cannot be followed through `lstm_cell` in cell",
    "projected": "lstm.weight_ih_l0: are projected (proj_size) by `lstm` in lstm",
}


@pytest.fixture(scope="module")
def refused(printed: Any) -> Any:
    own = f"{MODELS}:"
    return cut(
        printed,
        ("empties", own + "plain", [], {"ratio": 0.9}),
        ("groups", own + "groups", [], {}),
        ("allowed", own + "groups", [], {"allow_refused": True}),
        ("kept", own + "groups", [], {"keep": ["0", "2", "3*"]}),
        ("unknown", own + "plain", [], {"keep": ["inner"]}),
        ("written", own + "written_out", [], {}),
        ("masked", own + "masked", [], {}),
        ("offset", own + "offset", [], {}),
        ("nothing", own + "summed", [], {"allow_refused": True, "keep": ["one*"]}),
        ("rounded", own + "plain", [], {"ratio": 0.05}),
        ("nested", own + "nested", [], {}),
        *((name, own + name, [], {}) for name in UNFOLLOWED),
        ("subclassed", own + "subclassed", ["x=1x8"], {}),
        ("outputs", own + "plain", [], {"keep": ["0*"]}),
        ("gpt", "gpt@torch", [], {}),
        ("gpt_allowed", "gpt@torch", [], {"allow_refused": True}),
        ("attention_keras", own + "attention_keras", [], {}),
        ("residual", "resnet@torch", [], {"residual": True}),
    )


def test_a_ratio_that_empties_a_layer_names_it(refused: Any) -> None:
    kind, text, hint = refused["empties"]
    assert kind == "UsageError" and "0.9 empties 0.weight, which gives 4 channels" in text and "keep" in hint


def test_channels_that_cannot_be_followed_are_named_with_the_operation(refused: Any) -> None:
    kind, text, hint = refused["groups"]
    assert kind == "UnsupportedError" and "--allow-mixed" in hint
    assert "0.weight" in text and "groups of 8 channels are mixed" in text and "conv2d" in text
    assert "3.weight" in text and "group_norm" in text


@pytest.mark.parametrize("name", UNFOLLOWED)
def test_the_reason_is_the_true_one(name: str, refused: Any) -> None:
    kind, text, hint = refused[name]
    assert kind == "UnsupportedError" and UNFOLLOWED[name] in text and "keep" in hint


def test_they_stay_where_that_is_allowed_or_said(refused: Any) -> None:
    for key in ("allowed", "kept"):
        found = refused[key]
        assert [(w["name"], w["before"], w["after"]) for w in found["widths"]] == [("5.weight", 16, 8)]
    assert len(refused["allowed"]["refused"]) == 3 and refused["kept"]["refused"] == []


def test_a_pattern_that_fits_nothing_is_an_error(refused: Any) -> None:
    kind, text, _ = refused["unknown"]
    assert kind == "UsageError" and "'inner'" in text


def test_a_length_that_stands_in_the_code_is_an_error(refused: Any) -> None:
    kind, text, hint = refused["written"]
    assert kind == "UnsupportedError" and "fewer channels" in text and "keep" in hint


def test_what_computes_otherwise_is_refused_beside_a_mask_too(refused: Any) -> None:
    kind, text, hint = refused["masked"]
    assert kind == "UnsupportedError" and "computes otherwise" in text and "keep" in hint


def test_a_large_number_that_never_varies_hides_nothing(refused: Any) -> None:
    kind, text, _ = refused["offset"]
    assert kind == "UnsupportedError" and "computes otherwise" in text


def test_where_nothing_is_left_the_reasons_are_the_true_ones(refused: Any) -> None:
    kind, text, hint = refused["nothing"]
    assert kind == "UnsupportedError" and "three.weight: are laid out anew by `view`" in text
    assert "frozen" not in text
    kind, text, hint = refused["rounded"]
    assert kind == "UsageError" and "a ratio of 0.05 takes no channel" in text and "Raise the ratio" in hint


def test_a_keras_model_that_cannot_be_made_again_is_refused(refused: Any) -> None:
    kind, text, hint = refused["nested"]
    assert kind == "UnsupportedError" and "cannot be made again" in text and "inner" in text and "keep" in hint
    kind, text, hint = refused["subclassed"]
    assert kind == "UnsupportedError" and "cannot be made again" in text and "functional" in hint


def test_nothing_to_take_out_is_said(refused: Any) -> None:
    kind, text, _ = refused["outputs"]
    assert kind == "UnsupportedError" and "no channels can be taken out" in text


def test_attention_that_lays_heads_out_is_named_and_the_rest_goes(refused: Any) -> None:
    kind, text, _ = refused["gpt"]
    assert kind == "UnsupportedError" and "block.0.qkv.weight" in text and "reshape" in text
    names = {width["name"] for width in refused["gpt_allowed"]["widths"]}
    assert names and all("inner" in name for name in names)


def test_residual_streams_go_where_that_is_said(refused: Any, exact: Any) -> None:
    plain, more = exact["resnet@torch"], refused["residual"]
    assert {w["name"] for w in plain["widths"]} < {w["name"] for w in more["widths"]}
    assert more["parameters"][1] < plain["parameters"][1] and more["error"] <= 1e-4


def test_heads_of_attention_go_whole_where_they_are_an_axis(refused: Any) -> None:
    found = refused["attention_keras"]
    assert isinstance(found, dict), found
    widths = {width["name"].rpartition("/")[0]: (width["before"], width["after"]) for width in found["widths"]}
    assert found["error"] <= 1e-4 and (64, 32) in widths.values()
    assert [key for key, width in widths.items() if width == (4, 2)], "two of four heads"


RECIPE = """
schema = 1
title = "x"
[[step]]
kind = "prune"
pattern = "channels:0.5"
keep = ["c1"]
epochs = 3
learning_rate = 4e-3
[[step]]
kind = "qat"
epochs = 1
"""


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_file_is_of_the_narrow_model(framework: str, tmp_path: Path, workers: Workers, store: Store) -> None:
    """Cut, trained, trained on the grid, converted, run: each step goes on from the narrow model of the one before."""
    (tmp_path / "own.toml").write_text(RECIPE)
    result = edgekit.convert(
        f"lenet5@{framework}", "tflite-int4", recipe=str(tmp_path / "own.toml"), output=tmp_path / "out",
        latency=False, max_drop=0.2, store=store, workers=workers,
    )  # fmt: skip
    assert result.status == "PASS", result.reason
    assert result.parity.sqnr_db >= 40, "held against the narrow model, whose weights the file carries"
    first, second = json.loads((tmp_path / "out" / "manifest.json").read_text())["recipe"]["steps"]
    narrowing = first["narrowing"]
    widths = {w["name"].replace("/", ".").split(".")[0]: (w["before"], w["after"]) for w in narrowing["widths"]}
    assert widths and "c1" not in widths and second["narrowing"] is None
    shapes = {layer.shape[0] for part in result.parts.values() for layer in part.audit.layers}
    assert {after for _, after in widths.values()} <= shapes, "the file's layers are as narrow"
    assert result.gain is not None and result.gain.size_bytes < 0.8 * result.gain.size_bytes_without
    assert any("weights left (channels:0.5)" in note for note in result.notes)


LOADED = {
    "keras": """
import sys, numpy as np, keras
model = keras.saving.load_model(sys.argv[1] + "/model.keras")
count = sum(int(np.prod(w.shape)) for w in model.weights)
""",
    "torch": """
import sys, torch
from safetensors.torch import load_file
module, state = torch.export.load(sys.argv[1] + "/model.pt2"), load_file(sys.argv[1] + "/model.safetensors")
assert all(torch.equal(value, module.state_dict[name]) for name, value in state.items())
count = sum(w.numel() for w in state.values())
""",
}


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_narrow_checkpoint_loads_without_edgekit(
    framework: str, tmp_path: Path, workers: Workers, store: Store
) -> None:
    made = api.compress(
        f"mlp@{framework}", "tflite-fp32", prune="channels:0.5", output=tmp_path / "out", store=store, workers=workers,
    )  # fmt: skip
    [step] = made["recipe"]["steps"]
    code = LOADED[framework] + "print(count)\nassert not any(m.startswith('edgekit') for m in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "out"], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    before, after = step["narrowing"]["parameters"]
    assert int(done.stdout.split()[-1]) == after < 0.7 * before
    assert (step["kind"], step["settings"]["epochs"], step["pruning"]) == ("prune", 5, None)
