"""The same six graphs in Keras: images with channels last, all else as in PyTorch."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

RNG = np.random.default_rng(0)
TOKENS = 40


def dense(units: int, **options: object) -> layers.Layer:
    return layers.Dense(units, bias_initializer="random_normal", **options)


def cnn() -> keras.Model:
    image = keras.Input((16, 16, 3), name="image")
    x = layers.ReLU()(layers.Conv2D(8, 3, 2, "same")(image))
    x = layers.ReLU()(layers.Conv2D(16, 3, padding="same", groups=4)(x))
    x = layers.ReLU()(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.ReLU()(layers.Conv2D(12, 1)(x))
    x = layers.ReLU()(layers.Conv2DTranspose(6, 2, 2)(x))
    return keras.Model(image, dense(5)(layers.GlobalAveragePooling2D()(x)))


def two() -> keras.Model:
    """Two convolutions and a dense layer, for what is said of one layer."""
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, 2, "same", activation="relu", name="first")(image)
    x = layers.Conv2D(12, 3, padding="same", activation="relu", name="second")(x)
    return keras.Model(image, dense(5, name="head")(layers.GlobalAveragePooling2D()(x)))


def mlp() -> keras.Model:
    x = keras.Input((24,), name="x")
    return keras.Model(x, dense(10)(dense(32, activation="relu")(x)))


def attention() -> keras.Model:
    given = keras.Input((12, 32), name="x")
    qkv = ops.reshape(dense(96)(layers.LayerNormalization(epsilon=1e-5)(given)), (-1, 12, 3, 4, 8))
    q, k, v = (ops.transpose(qkv[:, :, i], (0, 2, 1, 3)) for i in range(3))
    weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / 8**0.5, -1)
    mixed = ops.reshape(ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3)), (-1, 12, 32))
    x = given + dense(32)(mixed)
    return keras.Model(given, x + dense(32)(dense(64, activation="gelu")(x)))


def lstm() -> keras.Model:
    """The first state is an input: where it is a constant zero, its products are in no unrolled file."""
    inputs = [keras.Input(shape, name=name) for name, shape in (("x", (6, 8)), ("hidden", (16,)), ("memory", (16,)))]
    x, *states = inputs
    return keras.Model(inputs, dense(4)(layers.LSTM(16)(x, initial_state=states)))


def lookup() -> keras.Model:
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    return keras.Model(tokens, dense(24)(layers.Embedding(TOKENS, 16)(tokens)))


def llama() -> keras.Model:
    """A decoder block: RMS norm, rotary positions, four heads that share two of keys and values, SwiGLU."""
    angles = np.arange(8)[:, None] / 100 ** (np.arange(4) / 4)
    cos, sin = (np.tile(f(angles), (1, 2)).astype(np.float32) for f in (np.cos, np.sin))
    mask = np.triu(np.full((8, 8), -60.0, np.float32), 1)

    def heads(x, count):  # type: ignore[no-untyped-def]
        return ops.transpose(ops.reshape(x, (-1, 8, count, 8)), (0, 2, 1, 3))

    def turned(x):  # type: ignore[no-untyped-def]
        return x * cos + ops.concatenate((-x[..., 4:], x[..., :4]), -1) * sin

    def norm(x):  # type: ignore[no-untyped-def]
        return x * ops.rsqrt(ops.mean(x * x, -1, keepdims=True) + 1e-5)

    tokens = keras.Input((8,), dtype="int32", name="tokens")
    x = layers.Embedding(TOKENS, 32)(tokens)
    h = norm(x)
    q, k, v = (heads(dense(n * 8, use_bias=False)(h), n) for n in (4, 2, 2))
    k, v = (ops.repeat(t, 2, 1) for t in (turned(k), v))
    weights = ops.softmax(ops.matmul(turned(q), ops.transpose(k, (0, 1, 3, 2))) / 8**0.5 + mask, -1)
    mixed = ops.reshape(ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3)), (-1, 8, 32))
    x = x + dense(32, use_bias=False)(mixed)
    h = norm(x)
    x = x + dense(32, use_bias=False)(ops.silu(dense(48, use_bias=False)(h)) * dense(48, use_bias=False)(h))
    return keras.Model(tokens, dense(TOKENS, use_bias=False)(norm(x)))


def floats(*shape: int) -> object:
    return lambda count: RNG.normal(size=(count, *shape)).astype(np.float32)


def tokens(steps: int) -> object:
    return lambda count: RNG.integers(0, TOKENS, (count, steps)).astype(np.int32)


MODELS = ("cnn", "mlp", "attention", "lstm", "lookup", "llama")
INPUTS = {
    "cnn": {"image": floats(16, 16, 3)},
    "two": {"image": floats(16, 16, 3)},
    "mlp": {"x": floats(24)},
    "attention": {"x": floats(12, 32)},
    "lstm": {"x": floats(6, 8), "hidden": floats(16), "memory": floats(16)},
    "lookup": {"tokens": tokens(6)},
    "llama": {"tokens": tokens(8)},
}

# Functions without arguments, as ``file.py:function`` sources want them.
for _name in (*MODELS, "two"):
    globals()[f"make_{_name}"] = globals()[_name]
