"""Which products get their activations' scale at run time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from torch import fx
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from edgekit.toolchains.executorch.graphs import attribute, constant, is_constant

aten = torch.ops.aten

_CONVOLUTIONS = (aten.conv2d.default, aten.conv_transpose2d.input)
#: What keeps the order of the channels that its input has: only what the delegate always takes, for behind an operator
#: outside of it everything begins anew.
_KEEPING = frozenset((
    aten.relu.default, aten.hardtanh.default, aten.clamp.default, aten.sigmoid.default, aten.tanh.default,
    aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.cat.default, aten.constant_pad_nd.default,
))  # fmt: skip


class DynamicQuantizer(XNNPACKQuantizer):
    """Linear layers as the vendor's, and every convolution that has a kernel.

    Left alone it passes over convolutions before a ReLU, and spoils those whose input is computed with channels first:
    for these ``ChannelsLastTaggedReshapePass`` of ExecuTorch 1.4 puts the change of layout at the very input of the
    graph and does not tell the operators between (a padding then pads other axes, and the file fails when it runs or is
    wrong). Before operators in float the change is put right, so such a convolution gets one that changes nothing.

    XNNPACK has no such kernel for depthwise convolutions, and ExecuTorch takes those of one channel for depthwise.
    """

    def __init__(self) -> None:
        super().__init__()
        self._config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
        self.set_operator_type(aten.linear.default, self._config)

    def transform_for_annotation(self, model: fx.GraphModule) -> fx.GraphModule:
        """Let every convolution's input come with channels last; runs before ``annotate``."""
        model = super().transform_for_annotation(model)
        turned: set[fx.Node] = set()
        for node in list(model.graph.nodes):
            if node.op != "call_function":
                continue
            if node.target in _CONVOLUTIONS and _taken(node) and not _ready(node.args[0], turned):
                node.update_arg(0, _unchanged(model, node))
            # A constant beside it, a number even, would bring the channels back to the front.
            kept = node.target in _KEEPING and all(a in turned for a in node.all_input_nodes)
            if kept or node.target in _CONVOLUTIONS or _plain_pool(node):
                turned.add(node)
        model.recompile()
        return model

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Say what the inputs of each operator become."""
        model = super().annotate(model)
        for node in model.graph.nodes:
            if node.op == "call_function" and node.target in _CONVOLUTIONS and _taken(node):
                node.meta[Q_ANNOTATION_KEY] = self._annotation(node)
        return model

    def _annotation(self, node: fx.Node) -> QuantizationAnnotation:
        data, weights = list[Any](node.args)[:2]
        spec = self._config.weight
        if node.target is aten.conv_transpose2d.input:
            spec = replace(spec, ch_axis=1)
        return QuantizationAnnotation({data: self._config.input_activation, weights: spec}, _annotated=True)


def _ready(data: Any, turned: set[fx.Node]) -> bool:
    """Whether the delegate has the data with channels last: from an operator before, or from the caller himself."""
    return data in turned or (data.op == "placeholder" and len(data.users) == 1)


def _plain_pool(node: fx.Node) -> bool:
    """Whether it is a pooling that the delegate takes: neither dilated, nor rounded up, nor counting its padding."""
    if node.target is aten.max_pool2d.default:
        return len(node.args) <= 4
    return node.target is aten.avg_pool2d.default and tuple(node.args[3:]) == ([0, 0], False, False)


def _unchanged(model: fx.GraphModule, node: fx.Node) -> fx.Node:
    """A PReLU of slope 1 on a convolution's input: the delegate runs it with channels last."""
    data: Any = node.args[0]
    slopes = attribute(model, node, torch.ones(data.meta["val"].shape[1]))
    with model.graph.inserting_before(node):
        made = model.graph.call_function(aten.prelu.default, (data, slopes))
    made.meta["val"] = data.meta["val"]
    return made


def _taken(node: fx.Node) -> bool:
    """Whether a convolution has a kernel, and no rule keeps it in float."""
    return Q_ANNOTATION_KEY not in node.meta and _has_kernel(node)


def _has_kernel(node: fx.Node) -> bool:
    weights: Any = node.args[1]
    if not is_constant(weights) or constant(weights).dtype != torch.float32:
        return False
    if node.target is aten.conv_transpose2d.input:
        return tuple(node.args[6:7]) in ((), (1,))  # one group
    return constant(weights).shape[1] > 1
