"""Models that the zoo does not have, in both frameworks, as a user hands them in: ``channel_models.py:function``."""

from __future__ import annotations

from typing import Any


def _example(model: Any, *shape: int) -> Any:
    import torch

    model.example_inputs = (torch.zeros(1, *shape),)
    return model


def dense_torch() -> Any:
    """Concatenations of concatenations, a depthwise convolution of two filters a channel, a gate, a flatten."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 16, 3, padding=1)
            self.second = nn.Conv2d(16, 12, 3, padding=1)
            self.third = nn.Conv2d(28, 16, 1)
            self.norm = nn.BatchNorm2d(44)
            self.depthwise = nn.Conv2d(44, 88, 3, stride=2, padding=1, groups=44)
            self.squeeze, self.excite = nn.Linear(88, 24), nn.Linear(24, 88)
            self.head, self.out = nn.Linear(88 * 16, 40), nn.Linear(40, 5)

        def forward(self, x: Any) -> Any:
            one = functional.relu(self.first(x))
            two = functional.silu(self.second(one))
            both = torch.cat((two, one), 1)
            x = self.norm(torch.cat((both, self.third(both)), 1))
            x = functional.leaky_relu(self.depthwise(x))
            gate = torch.sigmoid(self.excite(functional.relu(self.squeeze(x.mean((2, 3))))))
            x = x * gate[:, :, None, None]
            return self.out(torch.tanh(self.head(x.flatten(1))))

    torch.manual_seed(0)
    return _example(Net(), 3, 8, 8)


def cells_torch() -> Any:
    """A convolution along time, two layers of LSTM in both directions, a GRU, the last step."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.slope = nn.Conv1d(6, 16, 3, padding=1), nn.PReLU(16)
            self.lstm = nn.LSTM(16, 12, 2, batch_first=True, bidirectional=True)
            self.gru = nn.GRU(24, 16, batch_first=True)
            self.out = nn.Linear(16, 4)

        def forward(self, x: Any) -> Any:
            x, _ = self.lstm(self.slope(self.conv(x)).transpose(1, 2))
            x, _ = self.gru(x)
            return self.out(x.mean(1))

    torch.manual_seed(0)
    return _example(Net(), 6, 10)


def gated_torch() -> Any:
    """Gated units of two halves, transposed convolutions, a shared convolution, a stream that is summed."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 16, 3, padding=1)
            self.wide, self.back = nn.Conv2d(16, 48, 1), nn.Conv2d(24, 16, 1)
            self.shared, self.norm = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.InstanceNorm2d(16, affine=True)
            self.up = nn.ConvTranspose2d(16, 8, 2, 2)
            self.out = nn.Conv2d(8, 3, 3, padding=1)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            one, two = self.wide(x).chunk(2, 1)
            x = x + self.back(one * torch.sigmoid(two))
            x = self.shared(functional.relu(self.norm(self.shared(x))))
            return self.out(functional.gelu(self.up(x)))

    torch.manual_seed(0)
    return _example(Net(), 3, 8, 8)


def dense_keras() -> Any:
    """As ``dense_torch``, with one filter a channel and a separable convolution."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    one = layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    two = layers.SeparableConv2D(12, 3, padding="same", activation="silu")(one)
    both = layers.Concatenate()([two, one])
    third = layers.Conv2D(24, 1)(layers.Conv2D(16, 1, activation="relu")(both))
    x = layers.BatchNormalization()(layers.Concatenate()([both, third]))
    x = layers.LeakyReLU()(layers.DepthwiseConv2D(3, 2, padding="same")(x))
    gate = layers.Dense(24, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, layers.Dense(52, activation="sigmoid")(gate)])
    x = layers.Dense(40, activation="tanh")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(5)(x))


def cells_keras() -> Any:
    """As ``cells_torch``."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((10, 6)),
            layers.Conv1D(16, 3, padding="same"),
            layers.PReLU(shared_axes=[1]),
            layers.Bidirectional(layers.LSTM(12, return_sequences=True)),
            layers.TimeDistributed(layers.Dense(16, activation="relu")),
            layers.GRU(16),
            layers.Dense(4),
        ]
    )


def gated_keras() -> Any:
    """As ``gated_torch``."""
    import keras
    from keras import layers, ops

    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    stem = layers.Conv2D(16, 3, padding="same")(image)
    one, two = ops.split(layers.Conv2D(48, 1)(stem), 2, axis=-1)
    x = layers.Add()([stem, layers.Conv2D(16, 1)(one * ops.sigmoid(two))])
    shared = layers.Conv2D(16, 3, padding="same", use_bias=False)
    x = shared(layers.ReLU()(layers.BatchNormalization()(shared(x))))
    x = layers.Activation("gelu")(layers.Conv2DTranspose(8, 2, 2)(x))
    return keras.Model(image, layers.Conv2D(3, 3, padding="same")(x))


def attention_keras() -> Any:
    """Attention as a layer of Keras, whose heads are an axis of their own, beside a feed-forward."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    x = tokens = keras.Input((6, 32))
    x = layers.Add()([x, layers.MultiHeadAttention(4, 8)(layers.LayerNormalization()(x), x)])
    x = layers.Add()([x, layers.Dense(32)(layers.Dense(64, activation="gelu")(layers.LayerNormalization()(x)))])
    return keras.Model(tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def written_out() -> Any:
    """A length that stands in the code."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.out = nn.Linear(8, 16), nn.Linear(16, 3)

        def forward(self, x: Any) -> Any:
            return self.out(torch.relu(self.inner(x)) * torch.ones(16))

    return _example(Net(), 8)


def masked() -> Any:
    """Code that depends on how many channels there are, beside an output that is masked."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.out = nn.Linear(8, 16), nn.Linear(16, 3)

        def forward(self, x: Any) -> Any:
            x = self.inner(x)
            return self.out(x / x.shape[1]).masked_fill(torch.arange(3) == 1, -1e9)

    return _example(Net(), 8)


def groups() -> Any:
    """A convolution of two groups, a norm of groups, and one that could be followed."""
    from torch import nn

    return _example(
        nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=2), nn.Conv2d(16, 16, 3), nn.GroupNorm(4, 16),
            nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3),
        ),
        3, 8, 8,
    )  # fmt: skip


def plain() -> Any:
    """Four inner channels, and as many outputs."""
    from torch import nn

    return _example(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 4)), 8)


def nested() -> Any:
    """A Keras model within a Keras model, which says how many channels it takes."""
    import keras
    from keras import layers

    image = keras.Input((8, 8, 3))
    inner = keras.Sequential([keras.Input((8, 8, 16)), layers.Conv2D(16, 1, activation="relu")], name="inner")
    x = layers.GlobalAveragePooling2D()(inner(layers.Conv2D(16, 3, activation="relu", padding="same")(image)))
    return keras.Model(image, layers.Dense(3)(x))


def subclassed() -> Any:
    """A Keras model that says nothing of how it is made."""
    import keras
    from keras import layers

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.out = layers.Dense(16, activation="relu"), layers.Dense(3)

        def call(self, x: Any) -> Any:
            return self.out(self.inner(x))

    return Net()


def of_bags_torch() -> Any:
    """Means of rows of a table."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.inner, self.out = nn.EmbeddingBag(10, 16), nn.Linear(16, 32), nn.Linear(32, 3)

        def forward(self, x: Any) -> Any:
            return self.out(torch.relu(self.inner(self.table((x.abs() * 3).long().clamp(0, 9)))))

    torch.manual_seed(0)
    return _example(Net(), 8)


def normed() -> Any:
    """Weights that are computed of their norms."""
    import torch
    from torch import nn

    normed = torch.nn.utils.parametrizations.weight_norm(nn.Linear(8, 16))
    return _example(nn.Sequential(normed, nn.ReLU(), nn.Linear(16, 3)), 8)


def stepped() -> Any:
    """A cell that the model's own code calls."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = nn.LSTMCell(4, 16), nn.Linear(16, 3)

        def forward(self, x: Any) -> Any:
            state = torch.zeros(len(x), 16), torch.zeros(len(x), 16)
            for step in x.unflatten(1, (2, 4)).unbind(1):
                state = self.cell(step, state)
            return self.out(state[0])

    return _example(Net(), 8)


def projected() -> Any:
    """An LSTM whose states are narrower than its units."""
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.out = nn.LSTM(4, 16, batch_first=True, proj_size=8), nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            return self.out(self.lstm(x.unflatten(1, (2, 4)))[0][:, -1])

    return _example(Net(), 8)


def offset() -> Any:
    """Whose code reads its width, behind a large number that is the same for all samples."""
    from torch import nn

    class Offset(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x: Any) -> Any:
            y = self.one(x).relu()
            return self.head(self.two(y / y.shape[1]).relu() * y.shape[1]) + 101325.0

    return _example(Offset(), 8)


def excited() -> Any:
    """A gate as long as what it is for, by ``expand_as``, and a transposed convolution of each channel alone."""
    from torch import nn

    class Excited(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.gate = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 16)
            self.up, self.head = nn.ConvTranspose2d(16, 16, 2, 2, groups=16), nn.Linear(16, 4)

        def forward(self, x: Any) -> Any:
            y = self.conv(x).relu()
            count, channels = y.shape[:2]
            gate = self.gate(y.mean((2, 3)).view(count, channels)).sigmoid()
            y = self.up(y * gate.view(count, channels, 1, 1).expand_as(y))
            return self.head(y.relu().mean((2, 3)))

    return _example(Excited(), 3, 8, 8)


def lambda_keras() -> Any:
    """A function of the file's own, which has run already where the model is built."""
    import keras

    given = keras.Input((8,))
    x = keras.layers.Lambda(lambda t: _halved(t))(keras.layers.Dense(16, activation="relu")(given))
    x = keras.layers.Dense(16)(x)
    return keras.Model(given, keras.layers.Dense(4)(x))


def _halved(x: Any) -> Any:
    return x * 0.5


def summed() -> Any:
    """A residual stream, and channels behind it that cannot be followed."""
    from torch import nn

    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(8, 16), nn.Linear(16, 16)
            self.three, self.head = nn.Linear(16, 16), nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            y = self.one(x)
            y = y + self.two(y)
            return self.head(self.three(y).view(-1, 4, 4).mean(1))

    return _example(Summed(), 8)
