"""Models of every product that GPTQ knows, in PyTorch; as a source, or saved in other forms."""

import sys

import torch
from torch import nn


class Products(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.wide = nn.Conv2d(3, 8, 3, padding=1)
        self.strided = nn.Conv2d(8, 8, 3, stride=2, padding=(1, 0), dilation=(1, 2))
        self.same = nn.Conv2d(8, 6, (2, 3), padding="same", bias=False)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.line = nn.Conv1d(6, 8, 3, padding=1)
        self.dense = nn.Linear(8 * 24, 12)
        self.factor = nn.Parameter(torch.randn(12, 10) * 0.3)
        self.heads = nn.Parameter(torch.randn(2, 5, 7) * 0.3)
        # It is read twice, so that it is left alone; it lies on a grid of 4 bits already.
        self.tied = nn.Parameter(torch.tensor([[7, -3, 2, 0, 5, -6, 1], [-1, 7, 4, -5, 3, 2, -2]]) / 10)
        self.example_inputs = torch.zeros(1, 3, 12, 12)

    def forward(self, image):
        x = torch.relu(self.strided(torch.relu(self.wide(image))))
        x = torch.relu(self.depthwise(torch.relu(self.same(x))))
        x = torch.relu(self.line(x.flatten(2))).flatten(1)
        x = torch.relu(self.dense(x)) @ self.factor
        x = torch.einsum("bhd,hde->be", x.reshape(-1, 2, 5), self.heads)
        return torch.nn.functional.linear(x, self.tied) * self.tied.abs().mean()


if __name__ == "__main__":
    model, example = Products().eval(), torch.zeros(1, 3, 12, 12)
    torch.export.save(torch.export.export(model, (example,)), sys.argv[1])
    torch.jit.trace(model, example).save(sys.argv[2])
