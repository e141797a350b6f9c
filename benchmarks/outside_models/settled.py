"""Random weights that behave: every layer matters, signals keep their size, and BatchNorm has seen its inputs.

Libraries begin with weights that are good for training and bad for a comparison: last scales of a block that are zero,
layer scales of 1e-6, deviations of 0.02 in a model that is 32 wide. A wrong block would not be seen behind them.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import sys
from typing import Any

import numpy as np

#: A folder with timm and the torchvision that it imports (`pip install --no-deps --target FOLDER timm torchvision`).
TIMM = "EDGEKIT_OUTSIDE_TIMM"


def torch_model(model: Any, **example: Any) -> Any:
    """A PyTorch module in evaluation mode with settled weights, that knows its inputs by name."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in model.modules():
            _settle(layer, generator)
        for name, parameter in model.named_parameters():
            if re.search(r"layer_?scale|gamma|lambda\d?$", name):
                parameter.uniform_(0.4, 0.8, generator=generator)
        norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.momentum = 1.0
            norm.train()  # these alone: dropout and what else differs in training stay out
        if norms:
            model(**{name: _like(tensor, generator) for name, tensor in example.items()})
    model.eval()
    model.example_inputs = example
    return model


def _like(tensor: Any, generator: Any) -> Any:
    """Another batch of what an example shows."""
    import torch

    if not tensor.is_floating_point():
        return tensor.repeat(4, *[1] * (tensor.ndim - 1))
    if tensor.ndim == 4:
        return torch.from_numpy(next(iter(images(tensor.shape[-1]))))
    return torch.randn(4, *tensor.shape[1:], generator=generator)


def _settle(layer: Any, generator: Any) -> None:
    """Weights of one layer, by its fan-in."""
    import torch

    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    if not isinstance(weight, torch.nn.Parameter):
        return
    if weight.ndim == 1:  # a norm's scale
        weight.uniform_(0.7, 1.3, generator=generator)
    elif isinstance(layer, torch.nn.Embedding):
        weight.normal_(0, 0.5, generator=generator)
    else:
        weight.normal_(0, 1 / math.sqrt(weight[0].numel()), generator=generator)
    if isinstance(bias, torch.nn.Parameter):
        bias.normal_(0, 0.1, generator=generator)


def keras_model(model: Any, *, scale: float = 1.0, shift: float = 0.0) -> Any:
    """A Keras model with settled weights; BatchNorm sees images of this scale."""
    import keras

    rng = np.random.default_rng(0)
    for layer in model._flatten_layers(include_self=False):
        for weight in layer._trainable_variables:
            weight.assign(_values(weight.path, tuple(weight.shape), rng))
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in model._flatten_layers()):
        batch = next(iter(images(model.inputs[0].shape[1], last=True, scale=scale, shift=shift)))
        model(batch, training=True)
    return model


def _values(path: str, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Weights by their name and shape."""
    if path.endswith(("gamma", "scale")):
        return rng.uniform(0.7, 1.3, shape)
    if len(shape) == 1:
        return rng.normal(0, 0.1, shape)
    fan = math.prod(shape[:2]) if "depthwise" in path else math.prod(shape[:-1])
    return rng.normal(0, 0.5 if "embedding" in path else 1 / math.sqrt(fan), shape)


def timm() -> Any:
    """Import timm, beside a PyTorch that PyPI's torchvision was not built for: it has to be importable, no more."""
    import torch

    if folder := os.environ.get(TIMM):
        sys.path.append(folder)
    for _ in range(20):
        try:
            return importlib.import_module("timm")
        except RuntimeError as error:
            found = re.search(r"operator (\S+) does not exist", str(error))
            if found is None:
                raise
            torch.library.define(found[1], "(Tensor a, Tensor b, float c) -> Tensor")
            for module in [m for m in sys.modules if m.startswith(("torchvision", "timm"))]:
                del sys.modules[module]
    raise ImportError("timm")


def images(size: int = 64, *, last: bool = False, scale: float = 1.0, shift: float = 0.0) -> Any:
    """Batches of random images that differ as photographs do: in colour, contrast and coarse structure, with noise."""
    rng = np.random.default_rng(7)
    for _ in range(4):
        colour, contrast = rng.normal(0, 0.6, (16, 3, 1, 1)), rng.uniform(0.2, 1.5, (16, 1, 1, 1))
        coarse = rng.standard_normal((16, 3, size // 8, size // 8)).repeat(8, 2).repeat(8, 3)
        found = colour + contrast * (0.8 * coarse + 0.3 * rng.standard_normal((16, 3, size, size)))
        found = found * scale + shift
        yield (found.transpose(0, 2, 3, 1) if last else found).astype("float32")


def tokens(*lengths: int, vocabulary: int = 128) -> Any:
    """Batches of random tokens, one array for each length."""
    rng = np.random.default_rng(7)
    for _ in range(4):
        found = tuple(rng.integers(3, vocabulary, (16, length)) for length in lengths)
        yield found if len(found) > 1 else found[0]


def waves(length: int) -> Any:
    """Batches of tones that come and go in noise, 16 kHz."""
    rng = np.random.default_rng(7)
    time = np.arange(length) / 16000
    for _ in range(4):
        pitch, level = rng.uniform(100, 3000, (16, 3, 1)), rng.uniform(0, 1, (16, 3, 1))
        tones = (
            level * np.sin(2 * np.pi * pitch * time) * (1 + np.sin(2 * np.pi * rng.uniform(2, 9, (16, 3, 1)) * time))
        )
        yield (tones.sum(1) / 3 + 0.1 * rng.standard_normal((16, length))).astype("float32")
