"""Models with channels whose scale is free, and with some that only look so; in both frameworks."""

import os

import torch
from torch import nn
from torch.nn import functional


class Seams(nn.Module):
    """Channels of very different sizes, as trained networks have them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        # Free: through a batch norm, ReLU and a pool; into a depthwise convolution, and out of it.
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 6, 1)
        # Not free: ReLU6 clips, a residual is added to what has another scale, flattening makes others of channels.
        self.clipped = nn.Conv2d(6, 6, 1)
        self.residual = nn.Conv2d(6, 6, 1)
        self.dense = nn.Linear(6 * 36, 16)
        # Free: a norm that two layers read, a gated product, a bias behind a product.
        self.layer_norm = nn.LayerNorm(16)
        self.gate, self.up = nn.Linear(16, 24, bias=False), nn.Linear(16, 24)
        self.down = nn.Linear(24, 16)
        # Not free: something else reads it, squares it, or shares the weights.
        self.third = nn.Linear(16, 16)
        self.fourth = nn.Linear(16, 16)
        self.shared = nn.Linear(16, 16)
        self.last = nn.Linear(16, 10)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    module.weight.mul_(
                        torch.exp(torch.randn(len(module.weight)).reshape(-1, *[1] * (module.weight.ndim - 1)))
                    )
            self.norm.running_var.uniform_(0.2, 3)
            self.norm.weight.uniform_(0.1, 2)
        self.example_inputs = torch.zeros(1, 3, 12, 12)

    def forward(self, image):
        x = functional.max_pool2d(torch.relu(self.norm(self.first(image))), 2)
        x = torch.relu(self.second(x))
        x = self.point(torch.relu(self.depthwise(x)))
        x = x + self.residual(functional.relu6(self.clipped(x)))
        x = self.layer_norm(self.dense(torch.relu(x).flatten(1)))
        x = self.down(functional.silu(self.gate(x)) * self.up(x))
        x = self.third(x)
        x = self.fourth(x) + x.abs()
        x = self.shared(self.shared(x))
        return self.last(x * x)


FREE = {
    ("norm.weight", "norm.bias"): ("second.weight",),
    ("second.weight", "second.bias"): ("depthwise.weight",),
    ("depthwise.weight", "depthwise.bias"): ("point.weight",),
    ("layer_norm.weight", "layer_norm.bias"): ("gate.weight", "up.weight"),
    ("up.weight", "up.bias"): ("down.weight",),
    ("down.weight", "down.bias"): ("third.weight",),
}


def keras_model():
    """The same kinds in Keras, channels last."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    import numpy as np
    from keras import layers

    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 3), batch_size=1, name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.ReLU()(layers.Conv2D(8, 3, padding="same", name="second")(x))
    x = layers.ReLU()(layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x))
    x = layers.Conv2D(6, 1, name="point")(x)
    x = layers.Dense(16, name="dense")(layers.GlobalAveragePooling2D()(x))
    x = layers.LayerNormalization(name="layer_norm")(x)
    x = layers.Multiply()([layers.Dense(24, activation="silu", name="gate")(x), layers.Dense(24, name="up")(x)])
    model = keras.Model(image, layers.Dense(10, name="down")(x))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if variable.ndim == 1:
            variable.assign(rng.uniform(0.2, 2, variable.shape))
    return model
