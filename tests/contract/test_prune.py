"""Training with zeros: the same in both frameworks, kept by what comes behind, in every file, and bad input."""

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
from edgekit.proof import sparsity

CODE = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import json, math, sys
import numpy as np, torch
from edgekit.compress import qat
from edgekit.compress.training import fitting, losses
from edgekit.compress.fakequant import grid_of
from edgekit.compress.prune import patterns, zeros
from edgekit.errors import EdgekitError
from edgekit.frameworks import keras as keras_models, torch as torch_models
from edgekit.schemes import SCHEMES
from edgekit.sources import source as sources
from edgekit.zoo import Training, weights

def loaded(name, framework="torch"):
    source = sources.with_framework(sources.resolve(name), framework)
    return (keras_models if framework == "keras" else torch_models).load(source)

def growing(model, pattern, steps=4, ramp=6, together=True, held=False):
    layers, left, without = zeros.find(model, patterns.parse(pattern))
    zeros.check(layers, left, without, allow_mixed=False)
    return zeros.Growing(layers, patterns.parse(pattern), together=together, steps=steps, ramp=ramp,
                         held=qat.parameters(model) if held else ()), left

found = {"same": {}}
for name, pattern in (("mobilenet_v2", "0.5"), ("unet", "2:4"), ("char_llama", "0.75")):
    after, left = {}, {}
    for framework in ("torch", "keras"):
        model = loaded(name, framework)
        canonical = weights.from_keras if framework == "keras" else weights.from_torch
        grown, left[framework] = growing(model, pattern)
        grown.finish()
        after[framework] = {k.replace(".", "_"): v for k, v in canonical(model.native).items()}
        counted = zeros.counted(grown.layers)
    found["same"][f"{name} {pattern}"] = {
        "equal": all((after["torch"][k] == after["keras"][k]).all() for k in after["torch"]),
        "layers": len(counted), "left": [len(left["torch"]), len(left["keras"])],
        "share": sum(one.zeros for one in counted) / sum(one.weights for one in counted),
        "text": left["torch"][:1], "kinds": sorted({one.kind for one in counted}),
    }

rng = np.random.default_rng(0)
labels = torch.from_numpy(rng.integers(0, 10, 256))
x = torch.from_numpy(rng.standard_normal((256, 64)).astype("float32")) + labels[:, None] / 3

def run(pattern, bad=None, epochs=3, framework="torch", **more):
    model, steps, shares = loaded("mlp", framework), 0, []
    inputs = x.reshape(256, *model.signature.inputs[0].row)
    grown, _ = growing(model, pattern, **more)
    loss = losses.loss_for(model, [inputs[:8]], labels)
    def counted(outputs, of):
        nonlocal steps
        steps += 1
        shares.append(float(np.mean(np.concatenate([one.values().ravel() == 0 for one in grown.layers]))))
        return loss(outputs, of) * (math.nan if steps == bad else 1)
    def score():
        [outputs] = model.run({model.signature.inputs[0].name: inputs.numpy()}).values()
        return float((outputs.argmax(1) == labels.numpy()).mean())
    trained = qat.train(model, [], [], counted, [inputs], labels, Training(epochs=epochs, batch=64), score,
                        higher=True, zeros=grown)
    return model, trained, shares, zeros.counted(grown.layers), counted, inputs, score

for framework in ("torch", "keras"):
    model, trained, shares, layers, loss, inputs, score = run("0.5", framework=framework)
    _, again, _, _, _, _, _ = run("0.5", framework=framework)
    share = sum(one.zeros for one in layers) / sum(one.weights for one in layers)
    before = [one.zeros for one in layers]
    grids, _ = qat.find_layers(model, lambda _, *layer: grid_of(SCHEMES["int4-dynamic"], ("linear",), *layer))
    held = zeros.Held(qat.parameters(model))
    plain = losses.loss_for(model, [inputs[:8]], labels)
    then = qat.train(model, grids, [], plain, [inputs], labels, Training(epochs=2, batch=64), score, higher=True,
                     zeros=held)
    now, _, _ = zeros.find(model, patterns.parse("0.5"))
    moved = any(not torch.equal(a, b) for a, b in zip(model.native.state_dict().values(),
                                                       loaded("mlp").native.state_dict().values())) \
        if framework == "torch" else True
    found[framework] = {"shares": shares, "share": share, "repeats": trained == again, "losses": trained.losses,
                        "values": trained.values, "kept": trained.kept, "before": before, "moved": moved,
                        "then": [one.zeros for one in zeros.counted(now)], "curve": then.values}

model, stopped, _, layers, *_ = run("0.5", bad=7)
found["stopped"] = {"text": stopped.stopped, "epochs": len(stopped.losses),
                    "share": sum(one.zeros for one in layers) / sum(one.weights for one in layers),
                    "finite": all(bool(torch.isfinite(v).all()) for v in model.native.state_dict().values())}

def emptied():
    model = loaded("mlp")
    with torch.no_grad():
        list(model.native.parameters())[-2].mul_(1e-6)
    growing(model, "0.9")

for key, wrong in (("early", lambda: run("0.5", bad=2)), ("emptied", emptied),
                   ("without", lambda: growing(loaded("lstm_classifier"), "0.5")),
                   ("computed", lambda: growing(loaded(f"{sys.argv[1]}:normed"), "0.5")),
                   ("stepped", lambda: growing(loaded(f"{sys.argv[1]}:stepped"), "0.5")),
                   ("nothing", lambda: growing(loaded("lenet5"), "2:31"))):
    try:
        wrong()
    except EdgekitError as error:
        found[key] = [type(error).__name__, str(error), error.hint]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(printed: Any) -> Any:
    models = Path(__file__).with_name("channel_models.py")
    return json.loads(printed(CODE, models).splitlines()[-1])


@pytest.mark.parametrize(("name", "share"), [("mobilenet_v2 0.5", 0.5), ("unet 2:4", 0.5), ("char_llama 0.75", 0.75)])
def test_both_frameworks_leave_out_the_same_weights(name: str, share: float, found: Any) -> None:
    same = found["same"][name]
    assert same["equal"] and same["layers"] > 5 and same["left"][0] == same["left"][1]
    assert abs(same["share"] - share) < 1e-3
    assert "depthwise-conv" not in same["kinds"]


def test_layers_that_groups_do_not_divide_are_named(found: Any) -> None:
    [text] = found["same"]["unet 2:4"]["text"]
    assert "input channels are no groups of 4" in text
    kind, text, _ = found["nothing"]
    assert kind == "UnsupportedError" and "no layer of this model can be pruned so" in text and "groups of 31" in text


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_zeros_become_more_and_stay(framework: str, found: Any) -> None:
    """Four steps an epoch, six until all are gone: none at the first, all from the seventh on, no step has fewer."""
    trained = found[framework]
    shares = trained["shares"]
    assert shares[0] == 0 and shares == sorted(shares) and len(shares) == 12
    assert all(abs(share - 0.5) < 1e-3 for share in shares[6:]) and abs(trained["share"] - 0.5) < 1e-3
    assert shares[3] == pytest.approx(0.5 * (1 - 0.5**3), abs=1e-3)
    assert trained["repeats"] and trained["losses"][-1] < trained["losses"][0], "it learns"


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_training_on_the_grid_keeps_the_zeros(framework: str, found: Any) -> None:
    trained = found[framework]
    assert trained["moved"] and len(trained["curve"]) == 3
    assert all(then >= before for then, before in zip(trained["then"], trained["before"], strict=True))


def test_a_loss_that_is_no_number_keeps_the_last_good_epoch_with_all_zeros(found: Any) -> None:
    """It happens in the second epoch, in which not all were gone yet."""
    stopped = found["stopped"]
    assert "nan in epoch 2, step 3 of 4" in stopped["text"] and stopped["epochs"] == 1 and stopped["finite"]
    assert abs(stopped["share"] - 0.5) < 1e-3
    assert found["early"][0] == "FailedError" and "nan in epoch 1" in found["early"][1]


def test_a_share_that_empties_a_layer_is_refused_by_name(found: Any) -> None:
    kind, text, hint = found["emptied"]
    assert kind == "UsageError" and "pruning 0.9 leaves no weight of" in text and 'scope = "layer"' in hint


def test_layers_that_cannot_be_pruned_are_named(found: Any) -> None:
    kind, text, hint = found["without"]
    assert kind == "UnsupportedError" and "there is no pruning of" in text and "--allow-mixed" in hint
    assert "0.parametrizations.weight.original1 (the model computes its weights of others)" in found["computed"][1]
    assert "cell.weight_ih (a recurrent layer)" in found["stepped"][1]


ALSO = pytest.mark.nightly
FILES = [
    ("lenet5@torch", "tflite-int4", {"prune": "0.5"}),  # rounded by GPTQ
    ("mlp@keras", "tflite-int4", {"prune": "0.5", "qat": 1}),
    ("lenet5@torch", "onnxruntime-int8", {"prune": "2:4"}),
    ("lenet5@torch", "coreml-int8-weights", {"prune": "0.5"}),
    # Its trained file has other names of tensors than that of the source, which has no ranges of a training.
    pytest.param("resnet@keras", "tflite-int8", {"prune": "0.5", "qat": 1}, marks=ALSO),
    pytest.param("lenet5@torch", "tflite-fp32", {"prune": "0.5"}, marks=ALSO),
    pytest.param("lenet5@keras", "tflite-int8", {"prune": "0.5"}, marks=ALSO),
    pytest.param("lenet5@torch", "openvino-int8", {"prune": "0.5"}, marks=ALSO),
    pytest.param("lenet5@torch", "executorch-int8", {"prune": "0.5"}, marks=ALSO),
    pytest.param("lenet5@torch", "coreml-fp16", {"prune": "0.5"}, marks=ALSO),
    pytest.param("lenet5@torch", "coreml-lut4", {"prune": "0.5"}, marks=ALSO),
    pytest.param("lenet5@torch", "tensorrt-int8", {"prune": "2:4"}, marks=ALSO),
]


@pytest.mark.parametrize(("source", "target", "asked"), FILES)
def test_files_have_the_zeros_and_say_what_was_gained(
    source: str, target: str, asked: dict[str, Any], store: Store, tmp_path: Path, workers: Workers
) -> None:
    result = edgekit.convert(
        source, target, output=tmp_path / "out", latency=False, store=store, workers=workers, **asked,
    )  # fmt: skip
    assert result.status == "PASS", result.reason
    assert result.recipe is not None and result.gain is not None and result.audit is not None
    pruning = result.recipe.steps[0].pruning
    assert pruning is not None and abs(pruning.zeros - 0.5) < 0.01
    zeros = sum((layer.zeros or 0) * _weights(layer) for layer in result.audit.layers)
    assert zeros >= sum(layer.zeros for layer in pruning.layers)
    assert sparsity.lost(result.recipe.pruned, result.recipe.grouped, result.audit.layers) == ""
    gain = result.gain
    assert gain.against == "target"
    assert gain.compressed_bytes < 0.95 * gain.compressed_bytes_without
    stored = target.startswith("coreml") and target != "coreml-lut4"
    assert (gain.size_bytes < 0.95 * gain.size_bytes_without) == stored
    assert gain.words[0].startswith("the file takes" if stored else "no room is gained")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["gain"]["size_bytes"] == result.size_bytes == gain.size_bytes
    if asked == {"prune": "2:4"}:
        assert all(layer.zeros_2_4 == 1 for layer in result.audit.layers if layer.zeros_2_4 is not None)
        assert pruning.left, "the first convolution has one input channel"


def _weights(layer: Any) -> int:
    count = 1
    for size in layer.shape:
        count *= size
    return count


def test_a_pruned_checkpoint_is_written_with_its_zeros(tmp_path: Path, workers: Workers, store: Store) -> None:
    made = api.compress(
        "mlp@torch", "tflite-fp32", prune="0.75", output=tmp_path / "out", store=store, workers=workers,
    )  # fmt: skip
    code = """
import sys
from safetensors.torch import load_file
state = load_file(sys.argv[1] + "/model.safetensors")
print(sum(int((w == 0).sum()) for w in state.values() if w.ndim == 2))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "out"], capture_output=True, text=True, check=True)
    [step] = made["recipe"]["steps"]
    assert int(done.stdout) == sum(layer["zeros"] for layer in step["pruning"]["layers"]) > 1000
    assert step["pruning"]["pattern"] == "0.75" and step["kind"] == "prune"
