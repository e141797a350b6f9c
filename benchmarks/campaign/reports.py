"""Small models after public reports of wrong results, and the kind of samples that each report needs; PyTorch.

Each report is a function that builds the model and one, ``NAME_data``, that yields samples: what ``edgekit convert
reports.py:NAME --calibrate reports.py:NAME_data`` takes. ``known.py`` has the reports' addresses and the targets.
"""

import math

import torch
from torch import nn
from torch.nn import functional

COUNT = 160


def _batches(*shapes, names=("x",), change=lambda arrays, chance: arrays):
    """Samples from a normal distribution, changed by what a report is about."""
    chance = torch.Generator().manual_seed(7)
    arrays = [torch.randn(COUNT, *shape, generator=chance) for shape in shapes]
    yield {name: array.numpy() for name, array in zip(names, change(arrays, chance), strict=True)}


class RMSNorm(nn.Module):
    """A root mean square norm behind a projection, of activations with a few spikes."""

    example_inputs = (torch.zeros(1, 8, 64),)

    def __init__(self):
        super().__init__()
        self.norm = nn.RMSNorm(64, eps=1e-5)

    def forward(self, x):
        return self.norm(x)


def _spiky(arrays, chance):
    [x] = arrays
    x = 1e-2 * x
    x[..., 5] *= 3000
    return [x]


def rms_norm():
    return RMSNorm()


def rms_norm_data():
    return _batches((8, 64), change=_spiky)


class OddConv(nn.Module):
    example_inputs = (torch.zeros(1, 2, 5, 5),)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, (3, 2), padding=1, stride=2, bias=False)

    def forward(self, x):
        return self.conv(x)


def odd_conv():
    return OddConv()


def odd_conv_data():
    return _batches((2, 5, 5))


class LargeBetween(nn.Module):
    """Squares of large activations leave half precision, and their root comes back into it."""

    example_inputs = (torch.zeros(1, 32),)

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(32, 8)

    def forward(self, x):
        y = 300 * x
        return self.head(y / torch.sqrt((y * y).sum(-1, keepdim=True)))


def large_between():
    return LargeBetween()


def large_between_data():
    return _batches((32,))


class StridedConstant(nn.Module):
    """A constant that is a transposed view of a larger one, round-tripped through the state."""

    example_inputs = (torch.zeros(1, 1, 32, 64),)

    def __init__(self):
        super().__init__()
        whole = torch.randn(2, 64, 32, generator=torch.Generator().manual_seed(3))
        self.register_buffer("table", whole[1:2].transpose(1, 2).unsqueeze(1))
        assert not self.table.is_contiguous()

    def forward(self, x):
        return x * self.table + self.table.mean()


def strided_constant():
    return StridedConstant()


def strided_constant_data():
    return _batches((1, 32, 64))


class Alpha(nn.Module):
    example_inputs = (torch.zeros(1, 10), torch.zeros(1, 10))

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, z):
        return self.function(x, z, alpha=10)


def add_alpha():
    return Alpha(torch.add)


def add_alpha_data():
    return _batches((10,), (10,), names=("x", "z"))


def sub_alpha():
    return Alpha(torch.sub)


def sub_alpha_data():
    return _batches((10,), (10,), names=("x", "z"))


class SamePadding(nn.Module):
    example_inputs = (torch.zeros(1, 256),)

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 16, (32, 1), padding="same"), nn.ReLU())

    def forward(self, x):
        return self.conv(x.reshape(-1, 1, 256, 1))


def same_padding():
    return SamePadding()


def same_padding_data():
    return _batches((256,))


class Halves(nn.Module):
    example_inputs = (torch.zeros(1, 3, 32, 32),)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        return y[:, :4] + y[:, 4:]


def halves():
    return Halves()


def halves_data():
    return _batches((3, 32, 32))


class Product(nn.Module):
    example_inputs = (torch.zeros(1, 16, 32), torch.zeros(1, 32, 16))

    def forward(self, x, z):
        return torch.matmul(x, z)


def product():
    return Product()


def product_data():
    return _batches((16, 32), (32, 16), names=("x", "z"))


class Windows(nn.Module):
    """Attention within windows of a map, between two layers that see all of it; a few channels are far larger."""

    example_inputs = (torch.zeros(1, 64, 32),)

    def __init__(self):
        super().__init__()
        self.inner = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        self.outer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)

    def forward(self, x):
        y = x.reshape(-1, 2, 4, 2, 4, 32).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, 32)
        y = self.inner(y).reshape(-1, 2, 2, 4, 4, 32).permute(0, 1, 3, 2, 4, 5).reshape(-1, 64, 32)
        return self.outer(y)


def _channels(arrays, chance):
    [x] = arrays
    x[..., 3] *= 40
    x[..., 17] += 25
    return [x]


def windows():
    return Windows()


def windows_data():
    return _batches((64, 32), change=_channels)


class Residual(nn.Module):
    """Convolutions without a bias before norms that have been trained, with a shortcut."""

    example_inputs = (torch.zeros(1, 3, 16, 16),)

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.one = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 5)
        for norm in self.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.normal_(norm.running_mean)
                nn.init.uniform_(norm.running_var, 0.1, 3)
                nn.init.normal_(norm.weight, 1, 0.3)
                nn.init.normal_(norm.bias)

    def forward(self, x):
        x = self.stem(x)
        return self.head(functional.relu(x + self.two(self.one(x))).mean((2, 3)))


def residual():
    return Residual()


def residual_data():
    return _batches((3, 16, 16))


class NamedAsItsOperator(nn.Module):
    example_inputs = (torch.zeros(1, 6),)

    def forward(self, x):
        return {"softmax": torch.flip(functional.softmax(x, dim=1), (1,)), "flip": torch.flip(x, (1,))}


def named_as_its_operator():
    return NamedAsItsOperator()


def named_as_its_operator_data():
    return _batches((6,))


class PaddedPool(nn.Module):
    example_inputs = (torch.zeros(1, 3, 9, 9),)

    def forward(self, x):
        return functional.avg_pool2d(functional.pad(x, (1, 2, 1, 2)), 3, stride=2, count_include_pad=False)


def padded_pool():
    return PaddedPool()


def padded_pool_data():
    return _batches((3, 9, 9), change=lambda arrays, chance: [arrays[0] + 2])


class PoolAndAdd(nn.Module):
    example_inputs = (torch.zeros(1, 3, 16, 16),)

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8 * 16, 10)

    def forward(self, x):
        x = functional.relu(self.one(x))
        x = functional.avg_pool2d(x + functional.relu(self.two(x)), 4)
        return self.head(x.reshape(-1, 8 * 16))


def pool_and_add():
    return PoolAndAdd()


def pool_and_add_data():
    return _batches((3, 16, 16))


class Transposed(nn.Module):
    """Transposed convolutions with unequal strides, dilation, groups and rest, behind a convolution."""

    example_inputs = (torch.zeros(1, 4, 7, 9),)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1)
        self.up = nn.ConvTranspose2d(
            6, 8, (3, 4), stride=(2, 3), padding=(1, 2), output_padding=(1, 2), dilation=(2, 1), groups=2
        )

    def forward(self, x):
        return self.up(self.conv(x))


def transposed():
    return Transposed()


def transposed_data():
    return _batches((4, 7, 9))


class Softsign(nn.Module):
    """Softsign behind a rectifier whose output is used twice."""

    example_inputs = (torch.zeros(1, 3, 4, 4),)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        y = functional.relu(self.conv(x))
        return functional.softsign(y), y


def softsign():
    return Softsign()


def softsign_data():
    return _batches((3, 4, 4))


class FirstOfEqual(nn.Module):
    """The place of the largest of values of which several are equal."""

    example_inputs = (torch.zeros(1, 12),)

    def forward(self, x):
        return x.argmax(1, keepdim=True), x * 2


def _ties(arrays, chance):
    return [arrays[0].round().clamp(-1, 1)]


def first_of_equal():
    return FirstOfEqual()


def first_of_equal_data():
    return _batches((12,), change=_ties)


class CrossAttention(nn.Module):
    """A decoder's queries over an encoder's output."""

    example_inputs = (torch.zeros(1, 12, 32), torch.zeros(1, 6, 32))

    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.q, self.k, self.v, self.head = (nn.Linear(32, 32) for _ in range(4))

    def forward(self, x, z):
        kept = self.encoder(x)
        scores = self.q(z) @ self.k(kept).transpose(1, 2) / math.sqrt(32)
        return self.head(z + torch.softmax(scores, -1) @ self.v(kept))


def cross_attention():
    return CrossAttention()


def cross_attention_data():
    return _batches((12, 32), (6, 32), names=("x", "z"))


class Deformable(nn.Module):
    """Samples of a map at places that are learned, some outside of it."""

    example_inputs = (torch.zeros(1, 8, 12, 12),)

    def __init__(self):
        super().__init__()
        self.offsets = nn.Conv2d(8, 2, 3, padding=1)
        self.mix = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        places = self.offsets(x).permute(0, 2, 3, 1) * 2
        return self.mix(functional.grid_sample(x, places, mode="bilinear", padding_mode="zeros", align_corners=False))


def deformable():
    return Deformable()


def deformable_data():
    return _batches((8, 12, 12))
