"""Blocks of several architectures in Keras; ``path`` is the PyTorch module's, with ``_`` for each dot."""

from __future__ import annotations

import math
from typing import Any

from keras import layers, ops

from edgekit.zoo.blocks import InvertedResidual, Padding


def activate(x: Any, path: str, activation: str | None) -> Any:
    """An activation as a layer of its own; none where none is named."""
    if activation == "relu6":
        return layers.ReLU(6.0, name=f"{path}_relu6")(x)
    return layers.Activation(activation, name=f"{path}_{activation}")(x) if activation else x


def norm(x: Any, path: str, activation: str | None = None, *, epsilon: float = 1e-5) -> Any:
    """BatchNorm and an activation; 90 % of the old statistics are kept, as PyTorch keeps 1 - 0.1."""
    return activate(layers.BatchNormalization(epsilon=epsilon, momentum=0.9, name=f"{path}_norm")(x), path, activation)


def padded(x: Any, path: str, kernel: tuple[int, int], stride: int, padding: Padding) -> tuple[Any, str]:
    """What a convolution takes, with zeros around it where Keras has no word for them, and the word it has."""
    if padding == "symmetric":
        if stride == 1:
            return x, "same"
        around = (kernel[0] // 2, kernel[1] // 2)
        return (layers.ZeroPadding2D(around, name=f"{path}_pad")(x), "valid") if any(around) else (x, "valid")
    return x, padding


def conv_norm(
    x: Any,
    path: str,
    outputs: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    *,
    padding: Padding = "symmetric",
    epsilon: float = 1e-5,
    activation: str | None = None,
) -> Any:
    """Convolution without bias, BatchNorm, and an activation where one is named."""
    size = (kernel, kernel) if isinstance(kernel, int) else kernel
    x, word = padded(x, path, size, stride, padding)
    x = layers.Conv2D(outputs, size, stride, padding=word, use_bias=False, name=f"{path}_conv")(x)
    return norm(x, path, activation, epsilon=epsilon)


def squeeze_excite(x: Any, path: str, squeezed: int, gates: tuple[str, str]) -> Any:
    """Weigh each channel by what the averages of all say."""
    weight = layers.GlobalAveragePooling2D(keepdims=True, name=f"{path}_pool")(x)
    weight = layers.Conv2D(squeezed, 1, activation=gates[0], name=f"{path}_fc1")(weight)
    weight = layers.Conv2D(x.shape[-1], 1, activation=gates[1], name=f"{path}_fc2")(weight)
    return layers.Multiply(name=f"{path}_multiply")([x, weight])


def inverted_residual(x: Any, path: str, block: InvertedResidual, *, epsilon: float) -> Any:
    """Expand, filter depthwise, weigh, project without activation; the input is added where shapes allow."""
    wide = x
    if block.expanded != block.inputs:
        wide = conv_norm(x, f"{path}_expand", block.expanded, 1, epsilon=epsilon, activation=block.activation)
    wide = layers.DepthwiseConv2D(
        block.kernel, block.stride, padding="same", use_bias=False, name=f"{path}_depthwise_conv"
    )(wide)
    wide = norm(wide, f"{path}_depthwise", block.activation, epsilon=epsilon)
    if block.squeezed:
        wide = squeeze_excite(wide, f"{path}_squeeze", block.squeezed, block.gates)
    out = conv_norm(wide, f"{path}_project", block.outputs, 1, epsilon=epsilon)
    return layers.Add(name=f"{path}_add")([x, out]) if block.residual else out


def attend(query: Any, key: Any, value: Any, heads: int, mask: Any = None) -> Any:
    """Scaled dot-product attention (Vaswani et al., arXiv:1706.03762) of ``heads`` heads.

    ``query`` (n, T, width), ``key`` and ``value`` (n, S, width) -> (n, T, width); ``mask`` is added to the scores
    (n, heads, T, S).
    """
    _, length, width = query.shape
    size = width // heads
    query = ops.transpose(ops.reshape(query, (-1, length, heads, size)), (0, 2, 1, 3)) * (1 / math.sqrt(size))
    key = ops.transpose(ops.reshape(key, (-1, key.shape[1], heads, size)), (0, 2, 3, 1))
    value = ops.transpose(ops.reshape(value, (-1, value.shape[1], heads, size)), (0, 2, 1, 3))
    scores = ops.matmul(query, key)
    weights = ops.softmax(scores if mask is None else scores + mask, axis=-1)
    return ops.reshape(ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3)), (-1, length, width))
