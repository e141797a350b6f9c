"""Models of which an integer LiteRT file is easily wrong; frameworks are imported by the functions."""

from __future__ import annotations

from typing import Any

import numpy as np


def counted_tokens() -> Any:
    """Tokens are int64 in PyTorch; litert-torch writes them as int32."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(40, 16), nn.Linear(16, 3)
            self.example_inputs = (torch.zeros(1, 8, dtype=torch.int64),)

        def forward(self, ids: Any) -> Any:
            return self.head(torch.relu(self.table(ids)).mean(1))

    torch.manual_seed(0)
    return Model().eval()


def counted_tokens_keras() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    ids = keras.Input((8,), dtype="int32", name="ids")
    hidden = keras.layers.ReLU()(keras.layers.Embedding(40, 16)(ids))
    return keras.Model(ids, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(hidden)))


def sine_positions() -> Any:
    """Places in an image by sines of running sums of ones, as DETR has them: nothing of it depends on the input."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3)
            self.example_inputs = (torch.zeros(1, 3, 8, 8),)

        def forward(self, image: Any) -> Any:
            whole = torch.ones(1, 1, 2 * image.shape[-2], 2 * image.shape[-1])  # LiteRT's converter keeps its resizing
            mask = nn.functional.interpolate(whole, size=image.shape[-2:])[0, 0].bool()
            across, down = mask.cumsum(1, dtype=torch.float32), mask.cumsum(0, dtype=torch.float32)
            angles = torch.stack([across, down])[:, None] / 10 ** torch.arange(4)[None, :, None, None].div(4)
            places = torch.sin(angles).flatten(0, 1)[None]
            return self.last(torch.relu(self.first(image) + places))

    torch.manual_seed(0)
    return Model().eval()


def _causal(below: float) -> Any:
    """Attention to what came before; ``below`` is added to all other scores."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.read, self.head = nn.Embedding(40, 16), nn.Linear(16, 48), nn.Linear(16, 5)
            nn.init.normal_(self.read.weight)
            self.example_inputs = (torch.zeros(1, 8, dtype=torch.int64),)

        def forward(self, ids: Any) -> Any:
            queries, keys, values = self.read(self.table(ids)).chunk(3, dim=-1)
            places = torch.arange(8)
            mask = torch.where(places[None] <= places[:, None], 0.0, below)
            scores = queries @ keys.transpose(1, 2) / 16 + mask
            return self.head(torch.softmax(scores, -1) @ values)

    torch.manual_seed(0)
    return Model().eval()


def masked_by_infinity() -> Any:
    """As transformers masks."""
    return _causal(float("-inf"))


def masked_by_thousands() -> Any:
    """As many write it: beside -10000 all scores are one integer."""
    return _causal(-10000.0)


def _between(function: Any) -> Any:
    """Two convolutions and what is computed between them."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
            self.example_inputs = (torch.zeros(1, 3, 8, 8),)

        def forward(self, image: Any) -> Any:
            return self.last(function(self.first(image)))

    torch.manual_seed(0)
    return Model().eval()


def response_norm() -> Any:
    """Channels by their length over all places (ConvNeXt V2): a root of squared magnitudes."""
    import torch

    def norm(found: Any) -> Any:
        length = torch.linalg.vector_norm(found, dim=(2, 3), keepdim=True)
        return found * length / (length.mean(1, keepdim=True) + 1e-6)

    return _between(norm)


def magnitudes() -> Any:
    """The logarithm of one more than an exponential of a magnitude: three functions of one value."""
    import torch

    return _between(lambda found: torch.log(torch.exp(-torch.abs(found)) + 1))


def shares() -> Any:
    """Shares of channels, which are no last axis, beside shares of one value."""
    import torch

    return _between(lambda found: found * torch.softmax(found, 1) * torch.softmax(found.mean((2, 3), keepdim=True), 2))


def learned_queries() -> Any:
    """Attention of queries that are weights, as in DETR, then to keys and values that are: stored factors."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries = nn.Parameter(torch.randn(1, 4, 10, 12))
            self.keys, self.values = (nn.Parameter(torch.randn(1, 4, 6, 12)) for _ in range(2))
            self.read, self.out = nn.Linear(48, 96), nn.Linear(48, 64)
            self.example_inputs = (torch.zeros(1, 16, 48),)

        def forward(self, x: Any) -> Any:
            keys, values = self.read(x).reshape(1, 16, 2, 4, 12).permute(2, 0, 3, 1, 4).unbind(0)
            shares = torch.softmax(self.queries @ keys.transpose(-1, -2) / 12**0.5, -1)
            found = shares @ values
            shares = torch.softmax(found @ self.keys.transpose(-1, -2) / 12**0.5, -1)
            found = found + shares @ self.values
            return self.out(found.transpose(1, 2).reshape(1, 10, 48))

    torch.manual_seed(0)
    return Model().eval()


def encoder() -> Any:
    """A block of an encoder with hard swish in it."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.read, self.out = nn.LayerNorm(48), nn.Linear(48, 144), nn.Linear(48, 8)
            self.example_inputs = (torch.zeros(1, 16, 48),)

        def forward(self, x: Any) -> Any:
            parts = self.read(self.norm(x)).reshape(1, 16, 3, 4, 12).permute(2, 0, 3, 1, 4)
            queries, keys, values = parts[0], parts[1], parts[2]
            found = torch.softmax(queries @ keys.transpose(-1, -2) / 12**0.5, -1) @ values
            return self.out(nn.functional.hardswish(x + found.transpose(1, 2).reshape(1, 16, 48)))

    torch.manual_seed(0)
    return Model().eval()


def distances() -> Any:
    """From a mean, as a norm has them, and from a number."""
    import keras
    import tensorflow as tf

    class Squared(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            mean = tf.reduce_mean(x, -1, keepdims=True)
            return tf.math.squared_difference(x, mean) + tf.math.squared_difference(x, 30.0)

    keras.utils.set_random_seed(0)
    x = keras.Input((16, 48), name="x")
    return keras.Model(x, keras.layers.Dense(4)(Squared()(x)))


def far_hard_swish() -> Any:
    """Of numbers that are not normed, as pixels of 0 to 255 are behind a layer: hundreds on both sides."""
    return _of_rows(lambda x: _hard_swish(200 * x))


def far_hard_sigmoid() -> Any:
    """The gate of such numbers."""
    import torch

    return _of_rows(lambda x: x * torch.nn.functional.hardsigmoid(400 * x))


def dead_hard_swish() -> Any:
    """Of numbers that all lie below -3: zeros."""
    return _of_rows(lambda x: x + _hard_swish(x / 10 - 9))


def _hard_swish(x: Any) -> Any:
    import torch

    return torch.nn.functional.hardswish(x)


def _of_rows(function: Any) -> Any:
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.example_inputs = (torch.zeros(1, 16, 48),)

        def forward(self, x: Any) -> Any:
            return function(x)

    return Model().eval()


def sequences() -> dict[str, Any]:
    """Rows of numbers."""
    return {"x": np.random.default_rng(0).standard_normal((64, 16, 48)).astype("float32")}


def padded_norm() -> Any:
    """A norm of padding, which is nothing but zeros, with the epsilon of BERT."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.norm = nn.Embedding(40, 16, padding_idx=0), nn.LayerNorm(16, eps=1e-12)
            self.head = nn.Linear(16, 4)
            self.example_inputs = (torch.zeros(1, 8, dtype=torch.int64),)

        def forward(self, ids: Any) -> Any:
            return self.head(self.norm(self.table(ids)))

    torch.manual_seed(0)
    return Model().eval()


def sentences() -> dict[str, Any]:
    """Tokens, and zeros behind a sentence's end."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 40, (64, 8))
    for row, length in zip(ids, rng.integers(3, 9, 64), strict=True):
        row[length:] = 0
    return {"ids": ids}


def noise() -> Any:
    """Images."""
    return {"image": np.random.default_rng(0).standard_normal((64, 3, 8, 8)).astype("float32")}
