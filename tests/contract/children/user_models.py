"""A user's own file of models, PyTorch ones."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.embed = nn.Embedding(9, 4)
        self.fc = nn.Linear(4, 5)

    def forward(self, image, ids, scale=2.0):
        x = torch.relu(self.norm(self.conv(image))).mean((2, 3))
        words = self.embed(ids).mean(1)
        return {"logits": self.fc(self.drop(x)), "pair": (x * scale, words)}


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image):
        return self.conv(image).mean((2, 3))


class OneAtATime(Plain):
    """Its batch of 1 is written into a reshape: two samples would be mixed without an error."""

    def forward(self, image):
        return self.conv(image).reshape(1, -1).cumsum(1)[:, -4:]


class Table(nn.Module):
    """Takes a table whose rows are no batch, gives a row and a single number."""

    def forward(self, x):
        return torch.softmax(x, 0).sum(0), x.mean()


class States(nn.Module):
    def __init__(self):
        super().__init__()
        self.r = nn.GRU(6, 8, num_layers=2, batch_first=True)

    def forward(self, x, h):
        return self.r(x, h)


def torch_net():
    torch.manual_seed(3)
    model = Net().eval()
    model.norm.running_mean += 0.3
    return model


def trained_mode():
    return torch_net().train()


def with_examples():
    model = torch_net()
    model.example_inputs = (torch.zeros(1, 3, 8, 8), torch.zeros(1, 5, dtype=torch.int32))
    return model


def one_at_a_time():
    model = OneAtATime()
    model.example_inputs = torch.zeros(1, 3, 8, 8)
    return model


def random_weights():
    model = Plain()
    model.example_inputs = {"image": torch.zeros(1, 3, 8, 8)}
    return model


def nan_weights():
    model = with_examples()
    model.fc.weight.data[0, 1] = float("nan")
    return model


def returns_a_class():
    return Net


def raises():
    raise FileNotFoundError("weights.pt")


class Sampled(nn.Module):
    """Core ML has `resample`; the ML Program evaluator lacks it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image, grid):
        return self.conv(nn.functional.grid_sample(image, grid, align_corners=False))


def sampled():
    torch.manual_seed(0)
    model = Sampled().eval()
    model.example_inputs = (torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8, 2))
    return model
