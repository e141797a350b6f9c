"""What a program computes of numbers alone is there as its result; weights and chance are left as they are."""

from __future__ import annotations

from typing import Any

FOLDED = """
import torch
from torch import nn
from edgekit.toolchains._shared.torch_graph import folded

class Placed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.shift = torch.tensor([0.5])  # a constant that is no buffer
        self.register_buffer("scale", torch.arange(1.0, 9.0))
    def forward(self, x):
        omega = 1.0 / 100.0 ** (torch.arange(8, dtype=torch.float64) / 8)
        index = torch.zeros(8, dtype=torch.int64)
        index[0] = 3
        x = self.inner(x) * omega.to(torch.float32) + self.shift
        return x[:, index] + self.scale * 2 + (self.inner.weight * 2).sum()

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)
    def forward(self, x):
        return self.inner(x).relu()

class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.rand(8)

x = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
model = Placed().eval()
program = torch.export.export(model, (x,), strict=False)
made = folded(program)
torch.testing.assert_close(made.module()(x), model(x))
names = {str(node.target) for node in made.graph.nodes if node.op == "call_function"}
assert not any("arange" in name or "pow" in name or "zeros" in name for name in names), names
assert any("sum" in name for name in names), "what is computed of weights stays"
assert set(model.state_dict()) - {"scale"} <= set(made.state_dict), made.state_dict.keys()
assert not any(t.dtype == torch.float64 for t in made.state_dict.values())
made.run_decompositions({})

program = torch.export.export(Plain().eval(), (x,), strict=False)
assert folded(program) is program
program = torch.export.export(Noisy().eval(), (x,), strict=False)
names = [str(node.target) for node in folded(program).graph.nodes]
assert any("rand" in name for name in names), names
"""


def test_what_depends_on_no_input_is_computed_once(printed: Any) -> None:
    printed(FOLDED, environment="torch")
