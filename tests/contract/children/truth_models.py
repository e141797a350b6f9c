"""Models whose files are easily taken for right: a user's own file, with the data beside them."""

import numpy as np


def rng(seed=0):
    return np.random.default_rng(seed)


# --- outputs that say nothing though their SQNR is high -------------------------------------------------------------


def offset():
    """Air pressure: about 1013 hPa, plus or minus 5."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    with torch.no_grad():
        model[2].weight *= 20
        model[2].bias += 1013.0
    model.example_inputs = (torch.zeros(1, 8),)
    return model


def offset_data():
    return [rng().normal(size=(256, 8)).astype("float32")]


def offset_labelled():
    import torch

    x = rng(5).normal(size=(400, 8)).astype("float32")
    with torch.no_grad():
        return x, offset()(torch.from_numpy(x)).numpy() + rng(6).normal(size=(400, 1)).astype("float32")


def spread_and_height():
    """Two quantities of one shape, of which the labels are of the second."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.spread, self.height = nn.Linear(8, 1), nn.Linear(8, 1)
            self.example_inputs = (torch.zeros(1, 8),)

        def forward(self, x):
            return {"spread": self.spread(x), "height": self.height(x)}

    torch.manual_seed(0)
    return Model()


def heights():
    import torch

    x = rng(5).normal(size=(400, 8)).astype("float32")
    with torch.no_grad():
        return x, spread_and_height()(torch.from_numpy(x))["height"].numpy()


def boxes_and_scores():
    """Boxes within 0..640 and scores within 0..1 in one output."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.s = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.SiLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.SiLU())
            self.box, self.cls = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 3, 1)
            self.example_inputs = (torch.zeros(1, 3, 32, 32),)

        def forward(self, x):
            h = self.s(x)
            boxes, scores = self.box(h).sigmoid() * 640.0, (self.cls(h) * 4 - 2).sigmoid()
            return torch.cat([boxes.flatten(2), scores.flatten(2)], 1)

    torch.manual_seed(0)
    return Model()


def images():
    return [rng().normal(size=(128, 3, 32, 32)).astype("float32")]


def others():
    return [rng(9).normal(size=(128, 3, 32, 32)).astype("float32")]


def images_labelled():
    """The model's own answers, a little off."""
    import torch

    x = images()[0]
    with torch.no_grad():
        y = boxes_and_scores().eval()(torch.from_numpy(x)).numpy()
    return x, y + rng(7).normal(size=y.shape).astype("float32")


# --- masked, silent, constant and whole-numbered outputs ------------------------------------------------------------


def odd_outputs():
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(6, 5)
            self.register_buffer("ok", torch.tensor([True, True, False, True, False]))
            self.example_inputs = (torch.zeros(1, 6),)

        def forward(self, x):
            y = self.l(x)
            hidden = y.masked_fill(~self.ok, float("-inf"))
            return {"masked": hidden, "large": y.masked_fill(~self.ok, -1e9), "silent": torch.relu(y - 1000.0),
                    "constant": torch.ones(1, 3), "number": y.argmax(-1), "flag": y > 0}  # fmt: skip

    torch.manual_seed(0)
    return Model()


# --- a forward pass that is no function of its inputs ---------------------------------------------------------------


def random_forward():
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(16, 64), nn.Linear(64, 4)
            self.example_inputs = (torch.zeros(1, 16),)

        def forward(self, x):
            return self.b(nn.functional.dropout(torch.relu(self.a(x)), 0.5))  # training=True is the default

    return Model()


def mutated_buffer():
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(6, 6)
            self.register_buffer("ema", torch.zeros(1, 6))
            self.example_inputs = (torch.zeros(1, 6),)

        def forward(self, x):
            self.ema.mul_(0.9).add_(0.1 * x.mean(0, keepdim=True))
            return self.l(x - self.ema)

    return Model()


def keras_noise():
    import keras

    class Noise(keras.layers.Layer):
        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x))

    x = keras.Input((16,), name="x")
    return keras.Model(x, keras.layers.Dense(4)(Noise()(x)))


# --- epsilons, and a model that amplifies rounding ------------------------------------------------------------------


def epsilon():
    """The logarithm of energies, as every log-mel front end has it."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.fb, self.o = nn.Linear(20, 8, bias=False), nn.Linear(8, 4)
            self.example_inputs = (torch.zeros(1, 20),)
            with torch.no_grad():
                self.fb.weight.abs_()

        def forward(self, power):
            return self.o(torch.log(self.fb(power) + 1e-10))

    torch.manual_seed(0)
    return Model()


def energies():
    """Real sound: never exactly zero."""
    return {"power": (rng().normal(size=(64, 20)) ** 2).astype("float32")}


def amplifier():
    """A sum of many products whose last bits become the answer."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(512, 4)
            self.example_inputs = (torch.zeros(1, 512),)

        def forward(self, x):
            return torch.sin(3e4 * self.l(x))

    torch.manual_seed(0)
    return Model()


def wants_pixels():
    """As keras.applications' EfficientNetV2: it takes 0..255, and says so in its first layer."""
    import keras

    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 3), name="x")
    h = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 127.5, offset=-1)(x))
    return keras.Model(x, keras.layers.Dense(4)(keras.layers.Flatten()(h)))


# --- accuracy -------------------------------------------------------------------------------------------------------


def unit():
    """One sigmoid unit."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 1), nn.Sigmoid())
    model.example_inputs = (torch.zeros(1, 8),)
    return model


def unit_labelled():
    import torch

    x = rng(1).normal(size=(1000, 8)).astype("float32")
    with torch.no_grad():
        return x, (unit()(torch.from_numpy(x)).numpy()[:, 0] > 0.5).astype("int64")


def unit_at_chance():
    return unit_labelled()[0], rng(2).integers(0, 2, 1000)


def unit_unlabelled():
    return [unit_labelled()[0]]


def detector():
    """Finds bright squares of 8 pixels on a grid of 4x4 cells; the box is the cell."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            at = torch.arange(4) * 8.0
            y, x = torch.meshgrid(at, at, indexing="ij")
            corners = torch.stack([x, y, x + 8, y + 8], -1).reshape(1, 16, 4) / 32
            self.register_buffer("corners", corners)
            self.example_inputs = (torch.zeros(1, 3, 32, 32),)

        def forward(self, x):
            brightness = nn.functional.avg_pool2d(x, 8).flatten(2).transpose(1, 2)  # cell by channel
            return {"where": self.corners + 0 * brightness.sum(), "sure": 8 * brightness[..., :2] - 4}

    return Model()
