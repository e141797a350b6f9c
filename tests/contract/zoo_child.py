"""What the zoo's contract tests run in children: ``python zoo_child.py COMMAND FOLDER``.

One Keras backend per process (``KERAS_BACKEND``); results are left in FOLDER as ``.npz`` and ``.json``.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgekit.proof import stream
    from edgekit.zoo import Config

Results = dict[str, np.ndarray]


def outputs(folder: Path) -> None:
    """Run every trained architecture in Keras on ``inputs.npz``, and save it as ``.keras``."""
    import keras

    from edgekit import zoo
    from edgekit.signature import WHOLE
    from edgekit.zoo import weights

    backend = keras.backend.backend()
    given = np.load(folder / "inputs.npz")
    results, facts = {}, {}
    for name in zoo.names():
        path = zoo.weights_path(name, "tiny")
        if path is None:
            continue
        config = zoo.architecture(name).configs["tiny"]
        built = importlib.import_module(f"edgekit.zoo.{name}.keras").build(**config.settings)
        facts[name] = {}
        for part, model in (built if config.parts else {WHOLE: built}).items():
            tensors = weights.read(path)
            tensors = weights.of_part(tensors, part) if config.parts else tensors
            weights.load_keras(model, tensors)
            back = weights.from_keras(model)
            facts[name][part] = {
                "name": model.name,
                "inputs": {t.name: list(t.shape) for t in model.inputs},
                "outputs": dict(zip(model.output_names, (list(t.shape) for t in model.outputs), strict=True)),
                "same": all(np.array_equal(back[_path(k)], v) for k, v in tensors.items()),
            }
            model.save(folder / f"{name if part == WHOLE else f'{name}.{part}'}-{backend}.keras")
        if config.parts:
            results |= _streamed(name, config, built, given[f"{name}/0"], folder)
        else:
            results |= _named(name, config.outputs, built(_inputs(given, name), training=False))
    np.savez(folder / f"keras-{backend}.npz", **results)
    (folder / f"keras-{backend}.json").write_text(json.dumps(facts))


def _streamed(name: str, config: Config, parts: dict[str, object], given: np.ndarray, folder: Path) -> Results:
    """A model of several parts: what the task's code makes of whole clips, and each part's last step by itself."""
    from edgekit.proof import stream

    signatures = {part: config.signature("keras", part) for part in config.parts}

    def call(part: str) -> stream.Call:
        def step(inputs: stream.Arrays) -> stream.Arrays:
            found = parts[part]([inputs[t.name] for t in signatures[part].inputs], training=False)
            return dict(zip((t.name for t in signatures[part].outputs), _named("", (), found).values(), strict=True))

        return step

    calls = {part: call(part) for part in config.parts}
    outputs, steps = stream.run(stream.host(config.task), signatures, calls, {config.inputs[0].name: given}, 4)
    results = _named(name, config.outputs, list(outputs.values()))
    for part, recorded in steps.items():
        last = {key: array[:, -1] for key, array in recorded.items()}
        np.savez(folder / f"{name}.{part}-step.npz", *(last[f"in/{t.name}"] for t in signatures[part].inputs))
        results |= {f"{name}.{part}/{i}": last[f"out/{t.name}"] for i, t in enumerate(signatures[part].outputs)}
    return results


def _inputs(given: Mapping[str, np.ndarray], name: str) -> object:
    """What a model takes: its one input, or a list of several, in the spec's order."""
    found = [given[f"{name}/{i}"] for i in range(sum(key.startswith(f"{name}/") for key in given))]
    return found if len(found) > 1 else found[0]


def _named(key: str, specs: Sequence[object], outputs: object) -> dict[str, np.ndarray]:
    """What a Keras model returned, one array or several, as ``key/0``, ``key/1`` ... in the spec's order."""
    import keras

    tensors = outputs if isinstance(outputs, list | tuple) else [outputs]
    assert len(tensors) == len(specs) or not specs
    return {f"{key}/{i}": np.asarray(keras.ops.convert_to_numpy(t)) for i, t in enumerate(tensors)}


def _path(name: str) -> str:
    """A canonical name as ``from_keras`` spells it."""
    path, _, leaf = name.rpartition(".")
    return f"{path.replace('.', '_')}.{leaf}"


def counts(folder: Path) -> None:
    """Count the parameters of every configuration in Keras, on torch's meta device: shapes without memory."""
    import keras

    from edgekit import zoo

    found = {}
    with keras.device("meta"):
        for name in zoo.names():
            build = importlib.import_module(f"edgekit.zoo.{name}.keras").build
            for config, facts in zoo.architecture(name).configs.items():
                built = build(**facts.settings)
                models = built.values() if facts.parts else [built]
                found[f"{name}-{config}"] = sum(int(np.prod(v.shape)) for m in models for v in m.trainable_variables)
                keras.backend.clear_session()
    (folder / "counts.json").write_text(json.dumps(found))


def reload(folder: Path) -> None:
    """Open the saved ``.keras`` files as a stranger would: without edgekit."""
    import keras

    given = np.load(folder / "inputs.npz")
    results = {}
    for path in sorted(folder.glob("*.keras")):
        model = keras.models.load_model(path, safe_mode=True)
        name, step = path.stem.split("-")[0], folder / f"{path.stem.split('-')[0]}-step.npz"
        inputs = list(np.load(step).values()) if step.exists() else _inputs(given, name)
        results |= _named(path.stem, (), model(inputs, training=False))
    assert not any(name.partition(".")[0] == "edgekit" for name in sys.modules)
    np.savez(folder / "reload.npz", **results)


def published(folder: Path) -> None:
    """Move weights from keras.applications and transformers, renamed by the tables below, and run both models."""
    results = {}
    cases = {"mobilenet_v2": _mobilenet_v2(), "mobilenet_v3": _mobilenet_v3(), **_resnets()}
    for case, (theirs, ours_torch, ours_keras) in cases.items():
        results |= {f"{case}/theirs": theirs, f"{case}/torch": ours_torch, f"{case}/keras": ours_keras}
    np.savez(folder / "published.npz", **results)


#: keras.applications' layer names -> ours (as ``from_keras`` spells them), applied in order.
MOBILENET_V2_NAMES = (
    (r"^Conv1\.", "stem_conv."),
    (r"^bn_Conv1\.", "stem_norm."),
    (r"^Conv_1\.", "head_conv."),
    (r"^Conv_1_bn\.", "head_norm."),
    (r"^predictions\.", "logits."),
    (r"^expanded_conv_", "blocks_0_"),
    (r"^block_(\d+)_", r"blocks_\1_"),
    (r"_(expand|depthwise|project)\.", r"_\1_conv."),
    (r"_(expand|depthwise|project)_BN\.", r"_\1_norm."),
)

MOBILENET_V3_NAMES = (
    (r"^conv\.", "stem_conv."),
    (r"^conv_bn\.", "stem_norm."),
    (r"^conv_1\.", "last_conv."),
    (r"^conv_1_bn\.", "last_norm."),
    (r"^conv_2\.", "point."),
    (r"^expanded_conv_(\d+)_", r"blocks_\1_"),
    (r"^expanded_conv_", "blocks_0_"),
    (r"_squeeze_excite_conv\.", "_squeeze_fc1."),
    (r"_squeeze_excite_conv_1\.", "_squeeze_fc2."),
    (r"_(expand|depthwise|project)\.", r"_\1_conv."),
    (r"_(expand|depthwise|project)_bn\.", r"_\1_norm."),
)

#: transformers' ResNetForImageClassification -> ours.
RESNET_NAMES = (
    (r"^resnet\.embedder\.embedder\.convolution\.", "conv1."),
    (r"^resnet\.embedder\.embedder\.normalization\.", "bn1."),
    (r"^resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"stages.\1.\2."),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    (r"\.layer\.0\.convolution\.", ".conv1."),
    (r"\.layer\.0\.normalization\.", ".bn1."),
    (r"\.layer\.1\.convolution\.", ".conv2."),
    (r"\.layer\.1\.normalization\.", ".bn2."),
    (r"\.layer\.2\.convolution\.", ".conv3."),
    (r"\.layer\.2\.normalization\.", ".bn3."),
    (r"^classifier\.1\.", "logits."),
)

#: transformers' configurations: block, depths, widths, width of the stem, image, classes.
RESNETS = {
    "resnet-small-basic": ("basic", (2, 1), (16, 32), 16, 40, 7),
    "resnet-small-bottleneck": ("bottleneck", (2, 2), (64, 128), 16, 40, 7),
    "resnet18": ("basic", (2, 2, 2, 2), (64, 128, 256, 512), 64, 64, 1000),
    "resnet50": ("bottleneck", (3, 4, 6, 3), (256, 512, 1024, 2048), 64, 64, 1000),
}

Outputs = tuple[np.ndarray, np.ndarray, np.ndarray]


def _renamed(tensors: dict[str, np.ndarray], table: tuple[tuple[str, str], ...]) -> dict[str, np.ndarray]:
    found = {}
    for name, tensor in tensors.items():
        for pattern, replacement in table:
            name = re.sub(pattern, replacement, name)
        found[name] = tensor
    return found


def _stirred(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give norms statistics, scales and shifts of their own, so that none of them could be mixed up unseen.

    Scales lie below 1 because the statistics are not the data's: the activations of a deep network would grow.
    """
    rng = np.random.default_rng(0)
    ranges = {"running_mean": (-0.3, 0.3), "running_var": (0.5, 1.5), "weight": (0.4, 1.0), "bias": (-0.3, 0.3)}
    return {
        name: rng.uniform(*ranges[name.rpartition(".")[2]], t.shape).astype(np.float32) if t.ndim == 1 else t
        for name, t in sorted(tensors.items())
    }


def _ours(name: str, settings: dict[str, object], tensors: dict[str, np.ndarray], x: np.ndarray) -> list[np.ndarray]:
    """Our two implementations with the same weights on channels-last images ``x``."""
    import keras
    import torch

    from edgekit.zoo import weights

    module = importlib.import_module(f"edgekit.zoo.{name}.pytorch").build(**settings).eval()
    weights.load_torch(module, tensors)
    model = importlib.import_module(f"edgekit.zoo.{name}.keras").build(**settings)
    weights.load_keras(model, tensors)
    with torch.no_grad():
        from_torch = module(torch.from_numpy(x).movedim(-1, 1)).numpy()
    return [from_torch, np.asarray(keras.ops.convert_to_numpy(model(x, training=False)))]


def _mobilenet_v2() -> Outputs:
    import keras

    from edgekit.zoo import weights
    from edgekit.zoo.mobilenet_v2.spec import STAGES

    theirs = keras.applications.MobileNetV2(
        (96, 96, 3), alpha=0.35, weights=None, classes=10, classifier_activation=None
    )
    tensors = _stirred(weights.from_keras(theirs))
    weights.load_keras(theirs, tensors)
    x = np.random.default_rng(1).normal(size=(2, 96, 96, 3)).astype(np.float32)
    settings = {"image_size": 96, "classes": 10, "alpha": 0.35, "stages": STAGES, "head": 1280}
    ours = _ours("mobilenet_v2", settings, _renamed(tensors, MOBILENET_V2_NAMES), x)
    return np.asarray(keras.ops.convert_to_numpy(theirs(x, training=False))), ours[0], ours[1]


def _mobilenet_v3() -> Outputs:
    import keras

    from edgekit.zoo import weights
    from edgekit.zoo.mobilenet_v3.spec import SMALL

    theirs = keras.applications.MobileNetV3Small(
        (64, 64, 3), weights=None, classes=10, classifier_activation=None, include_preprocessing=False
    )
    tensors = _stirred(weights.from_keras(theirs))
    weights.load_keras(theirs, tensors)
    x = np.random.default_rng(1).normal(size=(2, 64, 64, 3)).astype(np.float32)
    settings = {"image_size": 64, "classes": 10, "stem": 16, "rows": SMALL, "last": 576, "point": 1024}
    moved = {
        name: tensor[:, :, 0, 0] if name in ("point.weight", "logits.weight") else tensor
        for name, tensor in _renamed(tensors, MOBILENET_V3_NAMES).items()
    }
    ours = _ours("mobilenet_v3", settings, moved, x)
    return np.asarray(keras.ops.convert_to_numpy(theirs(x, training=False))), ours[0], ours[1]


def _resnets() -> dict[str, Outputs]:
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    from edgekit.zoo import weights

    found = {}
    for case, (kind, depths, widths, stem, size, classes) in RESNETS.items():
        torch.manual_seed(0)
        config = ResNetConfig(
            layer_type=kind, depths=list(depths), hidden_sizes=list(widths), embedding_size=stem, num_labels=classes
        )
        theirs = ResNetForImageClassification(config).eval()
        tensors = _stirred(weights.from_torch(theirs))
        weights.load_torch(theirs, tensors)
        x = np.random.default_rng(1).normal(size=(2, size, size, 3)).astype(np.float32)
        with torch.no_grad():
            expected = theirs(torch.from_numpy(x).movedim(-1, 1)).logits.numpy()
        settings = {
            "image_size": size, "classes": classes, "kind": kind, "depths": depths, "widths": widths,
            "stem": stem, "stem_kernel": 7, "stem_stride": 2,
        }  # fmt: skip
        ours = _ours("resnet", settings, _renamed(tensors, RESNET_NAMES), x)
        found[case] = (expected, ours[0], ours[1])
    return found


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    {"outputs": outputs, "counts": counts, "reload": reload, "published": published}[sys.argv[1]](Path(sys.argv[2]))
