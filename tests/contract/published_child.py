"""Weights moved from keras.applications and transformers into the zoo's models: ``published_child.py COMMAND FOLDER``.

Names are changed by the tables below; what both compute on the same inputs is left in FOLDER as ``published.npz``.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Table = Sequence[tuple[str, str]]
#: What theirs answers, what ours answers in PyTorch and in Keras.
Outputs = tuple[np.ndarray, np.ndarray, np.ndarray]


def published(folder: Path) -> None:
    """Move weights, and run both models."""
    results = {}
    for case, (theirs, ours_torch, ours_keras) in {
        **{name: make() for name, make in CASES.items()},
        **_resnets(),
    }.items():
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


def _renamed(tensors: dict[str, np.ndarray], table: Table) -> dict[str, np.ndarray]:
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


def _ours(
    name: str, settings: dict[str, object], tensors: dict[str, np.ndarray], x: np.ndarray, output: int = 0
) -> list[np.ndarray]:
    """One output of our two implementations with the same weights on channels-last images, or tokens, ``x``."""
    import keras
    import torch

    from edgekit.zoo import weights

    module = importlib.import_module(f"edgekit.zoo.{name}.pytorch").build(**settings).eval()
    weights.load_torch(module, tensors)
    model = importlib.import_module(f"edgekit.zoo.{name}.keras").build(**settings)
    weights.load_keras(model, tensors)
    with torch.no_grad():
        given = torch.from_numpy(x)
        found = [module(given.movedim(-1, 1) if x.ndim == 4 else given), model(x, training=False)]
    found = [outputs[output] if isinstance(outputs, list | tuple) else outputs for outputs in found]
    return [found[0].numpy(), np.asarray(keras.ops.convert_to_numpy(found[1]))]


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


def _applied(name: str, theirs: Any, settings: dict[str, object], table: Table, size: int) -> Outputs:
    """A model of keras.applications, without classifier activation, and ours."""
    import keras

    from edgekit.zoo import weights

    tensors = _stirred(weights.from_keras(theirs))
    weights.load_keras(theirs, tensors)
    x = np.random.default_rng(1).normal(size=(2, size, size, 3)).astype(np.float32)
    ours = _ours(name, {"image_size": size, **settings}, _renamed(tensors, table), x)
    return np.asarray(keras.ops.convert_to_numpy(theirs(x, training=False))), ours[0], ours[1]


def _vgg() -> Outputs:
    import keras

    from edgekit.zoo.vgg.spec import VGG16

    theirs = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=10, classifier_activation=None)
    table = [(rf"^block{i + 1}_conv{j + 1}\.", f"stages_{i}_{j}.") for i in range(5) for j in range(3)]
    table += [(r"^fc", "hidden"), (r"^predictions", "logits")]
    settings = {"classes": 10, "stages": VGG16, "hidden": 4096, "dropout": 0.5}
    return _applied("vgg", theirs, settings, table, 32)


def _densenet() -> Outputs:
    import keras

    theirs = keras.applications.DenseNet121(
        weights=None, input_shape=(64, 64, 3), classes=10, classifier_activation=None
    )
    table = [
        (r"^conv1_conv\.", "stem."), (r"^conv1_bn\.", "stem_norm."), (r"^bn\.", "norm."),
        (r"^predictions\.", "logits."),
    ]  # fmt: skip
    for i, depth in enumerate((6, 12, 24, 16)):
        for j in range(depth):
            for theirs_, ours in (
                ("0_bn", "narrow_norm"),
                ("1_conv", "narrow_conv"),
                ("1_bn", "grow_norm"),
                ("2_conv", "grow_conv"),
            ):
                table.append((rf"^conv{i + 2}_block{j + 1}_{theirs_}\.", f"blocks_{i}_{j}_{ours}."))
        table += [
            (rf"^pool{i + 2}_{part}\.", f"transitions_{i}_{ours}.") for part, ours in (("bn", "norm"), ("conv", "conv"))
        ]
    settings = {
        "classes": 10, "stem": (64, 7, 2), "stem_pool": True, "growth": 32, "bottleneck": 128,
        "depths": (6, 12, 24, 16),
    }  # fmt: skip
    return _applied("densenet", theirs, settings, table, 64)


def _efficientnet() -> Outputs:
    """Theirs behind its preprocessing, which is in the file."""
    import keras

    from edgekit.zoo.efficientnet.spec import B0

    whole = keras.applications.EfficientNetB0(
        weights=None, input_shape=(64, 64, 3), classes=10, classifier_activation=None
    )
    theirs = keras.Model(whole.get_layer("stem_conv_pad").input, whole.output)
    table = [
        (r"^stem_bn\.", "stem_norm."),
        (r"^top_conv\.", "head_conv."),
        (r"^top_bn\.", "head_norm."),
        (r"^predictions\.", "logits."),
    ]
    index = 0
    parts = (
        ("expand_conv", "expand_conv"), ("expand_bn", "expand_norm"), ("dwconv", "depthwise_conv"),
        ("bn", "depthwise_norm"), ("se_reduce", "squeeze_fc1"), ("se_expand", "squeeze_fc2"),
        ("project_conv", "project_conv"), ("project_bn", "project_norm"),
    )  # fmt: skip
    for stage, (_, _, repeats, _, _) in enumerate(B0, 1):
        for repeat in "abcd"[:repeats]:
            table += [(rf"^block{stage}{repeat}_{part}\.", f"blocks_{index}_{ours}.") for part, ours in parts]
            index += 1
    settings = {"classes": 10, "stem": 32, "stages": B0, "head": 1280, "dropout": 0.2}
    return _applied("efficientnet", theirs, settings, table, 64)


def _inception() -> Outputs:
    """keras.applications numbers its layers in the order of making, and scales in its norms are all 1."""
    import keras

    from edgekit.zoo import weights
    from edgekit.zoo.inception.spec import INCEPTION_V3

    theirs = keras.applications.InceptionV3(
        weights=None, input_shape=(107, 107, 3), classes=10, classifier_activation=None
    )
    tensors = _stirred(weights.from_keras(theirs))
    weights.load_keras(theirs, tensors)
    settings = {"image_size": 107, "classes": 10, "table": INCEPTION_V3, "dropout": 0.5}
    module = importlib.import_module("edgekit.zoo.inception.pytorch").build(**settings)
    paths = [name.removesuffix(".conv.weight") for name in weights.from_torch(module) if name.endswith(".conv.weight")]

    def numbered(kind: str) -> list[str]:
        found = {name.partition(".")[0] for name in tensors if re.match(rf"{kind}(_\d+)?\.", name)}
        return sorted(found, key=lambda name: int("0" + name[len(kind) + 1 :]))

    moved = {
        name.replace("predictions.", "logits."): tensor for name, tensor in tensors.items() if "predictions" in name
    }
    for path, conv, norm in zip(paths, numbered("conv2d"), numbered("batch_normalization"), strict=True):
        moved[f"{path}.conv.weight"] = tensors[f"{conv}.weight"]
        moved |= {f"{path}.norm.{leaf}": tensors[f"{norm}.{leaf}"] for leaf in ("bias", "running_mean", "running_var")}
        moved[f"{path}.norm.weight"] = np.ones_like(tensors[f"{norm}.bias"])
    x = np.random.default_rng(1).normal(size=(2, 107, 107, 3)).astype(np.float32)
    ours = _ours("inception", settings, moved, x)
    return np.asarray(keras.ops.convert_to_numpy(theirs(x, training=False))), ours[0], ours[1]


#: Of an attention and its feed-forward in transformers.
ATTENTION = (
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.o_proj\.", ".attended."),
)
VIT_NAMES = (
    (r"^vit\.embeddings\.patch_embeddings\.projection\.", "patches."),
    (r"^vit\.embeddings\.cls_token$", "class_token.weight"),
    (r"^vit\.embeddings\.position_embeddings$", "position.weight"),
    (r"^vit\.layers\.", "block."),
    *ATTENTION,
    (r"\.attention\.", "."),
    (r"\.layernorm_before\.", ".attention_norm."),
    (r"\.layernorm_after\.", ".inner_norm."),
    (r"\.mlp\.fc1\.", ".inner."),
    (r"\.mlp\.fc2\.", ".outer."),
    (r"^vit\.layernorm\.", "norm."),
    (r"^classifier\.", "logits."),
)
MAMBA_NAMES = ((r"^backbone\.", ""), (r"\.A_log$", ".decay.weight"), (r"\.D$", ".skip.weight"))
DETR_NAMES = (
    (r"^model\.backbone\.model\.", "resnet."),
    *RESNET_NAMES,
    (r"^model\.", ""),
    *ATTENTION,
    (r"^(en|de)coder\.layers\.", r"\1coder."),
    (r"\.self_attn\.", ".attention."),
    (r"\.encoder_attn\.", ".look."),
    (r"\.self_attn_layer_norm\.", ".attention_norm."),
    (r"\.encoder_attn_layer_norm\.", ".look_norm."),
    (r"\.final_layer_norm\.", ".forth_norm."),
    (r"\.mlp\.fc1\.", ".forth.inner."),
    (r"\.mlp\.fc2\.", ".forth.outer."),
    (r"^decoder\.layernorm\.", "norm."),
    (r"^query_position_embeddings\.", "queries."),
    (r"^input_projection\.", "project."),
    (r"^class_labels_classifier\.", "scores."),
    (r"^bbox_predictor\.layers\.0\.", "box1."),
    (r"^bbox_predictor\.layers\.1\.", "box2."),
    (r"^bbox_predictor\.layers\.2\.", "boxes."),
)


def _vit() -> Outputs:
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    from edgekit.zoo import weights

    torch.manual_seed(0)
    theirs = ViTForImageClassification(
        ViTConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=32,
            patch_size=8, num_labels=7, layer_norm_eps=1e-6,
        )
    ).eval()  # fmt: skip
    tensors = _stirred(weights.from_torch(theirs))
    weights.load_torch(theirs, tensors)
    x = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x).movedim(-1, 1)).logits.numpy()
    moved = {name: t[0] if t.ndim == 3 else t for name, t in _renamed(tensors, VIT_NAMES).items()}
    settings = {
        "image_size": 32, "patch": 8, "classes": 7, "width": 32, "depth": 2, "heads": 4, "inner": 64, "dropout": 0.0,
    }  # fmt: skip
    return (expected, *_ours("vit", settings, moved, x))


def _mamba() -> Outputs:
    import torch
    from transformers import MambaConfig, MambaForCausalLM

    from edgekit.zoo import weights

    torch.manual_seed(0)
    theirs = MambaForCausalLM(
        MambaConfig(vocab_size=50, hidden_size=32, state_size=8, num_hidden_layers=2, time_step_rank=4)
    ).eval()
    tensors = weights.from_torch(theirs)
    tokens = np.random.default_rng(1).integers(0, 50, (2, 24)).astype(np.int32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(tokens).long()).logits.numpy()
    moved = {
        name: t[:, None, None] if name.endswith("skip.weight") else t
        for name, t in _renamed(tensors, MAMBA_NAMES).items()
        if not name.startswith("lm_head")
    }
    settings = {
        "vocabulary": 50, "length": 24, "width": 32, "depth": 2, "state": 8, "rank": 4, "chunk": 6,
    }  # fmt: skip
    return (expected, *_ours("mamba", settings, moved, tokens))


def _detr() -> Outputs:
    import torch
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    from edgekit.zoo import weights

    torch.manual_seed(0)
    trunk = ResNetConfig(
        layer_type="basic", depths=[1, 1], hidden_sizes=[16, 24], embedding_size=16, out_features=["stage2"]
    )
    theirs = DetrForObjectDetection(
        DetrConfig(
            use_timm_backbone=False, backbone=None, use_pretrained_backbone=False, backbone_config=trunk, d_model=32,
            encoder_layers=1, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
            encoder_ffn_dim=64, decoder_ffn_dim=64, num_queries=6, num_labels=5,
        )
    ).eval()  # fmt: skip
    tensors = _stirred(weights.from_torch(theirs))
    weights.load_torch(theirs, tensors)
    x = np.random.default_rng(1).normal(size=(2, 64, 64, 3)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x).movedim(-1, 1)).logits.numpy()
    settings = {
        "image_size": 64, "classes": 5, "kind": "basic", "depths": (1, 1), "widths": (16, 24), "stem": 16,
        "stem_kernel": 7, "stem_stride": 2, "width": 32, "heads": 4, "inner": 64, "encoder": 1, "decoder": 2,
        "queries": 6, "dropout": 0.0,
    }  # fmt: skip
    return (expected, *_ours("detr", settings, _renamed(tensors, DETR_NAMES), x, output=1))


CASES: dict[str, Callable[[], Outputs]] = {
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v3": _mobilenet_v3,
    "vgg": _vgg,
    "densenet": _densenet,
    "efficientnet": _efficientnet,
    "inception": _inception,
    "vit": _vit,
    "mamba": _mamba,
    "detr": _detr,
}


def untrained(folder: Path) -> None:
    """Both implementations of architectures without a checkpoint, with the same random weights on random inputs."""
    import keras
    import torch

    from edgekit import zoo
    from edgekit.zoo import weights

    results = {}
    for name in json.loads((folder / "untrained.json").read_text()):
        config = zoo.architecture(name).configs["tiny"]
        torch.manual_seed(0)
        module = importlib.import_module(f"edgekit.zoo.{name}.pytorch").build(**config.settings).eval()
        tensors = _stirred(weights.from_torch(module))
        weights.load_torch(module, tensors)
        model = importlib.import_module(f"edgekit.zoo.{name}.keras").build(**config.settings)
        weights.load_keras(model, tensors)
        rng = np.random.default_rng(1)
        given = [
            rng.integers(0, 20, (2, *spec.shape[1:])).astype(spec.dtype)
            if spec.dtype == "int32"
            else rng.normal(size=(2, *spec.shape[1:])).astype(np.float32)
            for spec in config.inputs
        ]
        first = [spec.layout == "channels_last" for spec in config.inputs]
        with torch.no_grad():
            ours = module(
                *(
                    torch.from_numpy(x).movedim(-1, 1) if c else torch.from_numpy(x)
                    for x, c in zip(given, first, strict=True)
                )
            )
        theirs = model(given if len(given) > 1 else given[0], training=False)
        ours, theirs = ([one] if not isinstance(one, list | tuple) else one for one in (ours, theirs))
        for i, (spec, x, y) in enumerate(zip(config.outputs, ours, theirs, strict=True)):
            results[f"{name}/{i}/torch"] = (x.movedim(1, -1) if spec.layout == "channels_last" else x).numpy()
            results[f"{name}/{i}/keras"] = np.asarray(keras.ops.convert_to_numpy(y))
    np.savez(folder / "untrained.npz", **results)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    {"published": published, "untrained": untrained}[sys.argv[1]](Path(sys.argv[2]))
