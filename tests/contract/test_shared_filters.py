"""What quantizers of exported graphs do to a convolution that is called twice, or read twice."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

pytest.importorskip("torchao")

import torch
from torch import nn

from edgekit.toolchains._shared.pt2e import ready

#: Module and class of the quantizer of each toolchain that has such a route.
QUANTIZERS = {
    "executorch": ("executorch.backends.xnnpack.quantizer.xnnpack_quantizer", "XNNPACKQuantizer"),
    "litert": ("litert_torch.quantize.pt2e_quantizer", "PT2EQuantizer"),
    "coreml": ("torchao.testing.pt2e._xnnpack_quantizer", "XNNPACKQuantizer"),
}


class Towers(nn.Module):
    """Two images through the same layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=8)

    def tower(self, x: Any) -> Any:
        return self.second(torch.relu(self.first(x))).mean((2, 3))

    def forward(self, one: Any, other: Any) -> Any:
        return torch.abs(self.tower(one) - self.tower(other))


def quantized(toolchain: str, *, apart: bool) -> list[bool]:
    """Whether each convolution's input is quantized."""
    name, kind = QUANTIZERS[toolchain]
    module = pytest.importorskip(name)
    example = (torch.randn(1, 1, 8, 8), torch.randn(1, 1, 8, 8))
    graph = torch.export.export(Towers().eval(), example).module(check_guards=False)
    if apart:
        ready(graph)
    getattr(module, kind)().set_global(module.get_symmetric_quantization_config(is_per_channel=True)).annotate(graph)
    key = importlib.import_module("torchao.quantization.pt2e.quantizer.quantizer").Q_ANNOTATION_KEY
    convolutions = [node for node in graph.graph.nodes if "conv2d" in str(node.target)]
    return [bool(node.meta.get(key) and node.meta[key].input_qspec_map) for node in convolutions]


@pytest.mark.parametrize("toolchain", QUANTIZERS)
def test_every_call_of_a_shared_convolution_is_quantized(toolchain: str) -> None:
    assert quantized(toolchain, apart=False).count(True) < 4, "the quantizer no longer does this: drop the pass"
    assert quantized(toolchain, apart=True) == [True] * 4


class Dense(nn.Module):
    """A convolution that is read by a norm and beside it, as in DenseNet; or a norm behind two calls of it."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.shared = shared
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        nn.init.uniform_(self.norm.running_mean, -1, 1)
        nn.init.uniform_(self.norm.running_var, 0.2, 3)

    def forward(self, image: Any) -> Any:
        found = self.conv(image)
        behind = self.norm(self.conv(image * 0.5) if self.shared else found)
        return torch.cat((self.norm(found) if self.shared else found, behind), 1)


@pytest.mark.parametrize("taken_apart", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_a_norm_is_folded_into_what_it_alone_reads(shared: bool, taken_apart: bool) -> None:
    from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

    module = importlib.import_module(QUANTIZERS["coreml"][0])
    torch.manual_seed(0)
    model, image = Dense(shared=shared).eval(), torch.randn(1, 3, 8, 8)
    program = torch.export.export(model, (image,))
    program = program.run_decompositions() if taken_apart else program
    graph = program.module(check_guards=False)
    ready(graph)
    quantizer = module.XNNPACKQuantizer().set_global(module.get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)  # observers change nothing
    assert torch.allclose(prepared(image), model(image), atol=1e-5)
