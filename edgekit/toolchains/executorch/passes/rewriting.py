"""Rewriting an exported graph into the few forms that ExecuTorch's XNNPACK delegate and quantizer take.

What is exported from Keras is full of copies, permutes between channel orders and BatchNorm written out in
arithmetic. As it is, convolutions are not delegated, quantization annotates none of it, or the file fails when it runs
(``_clone_dim_order``). All rewritings keep the function that is computed.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import fx

from edgekit.errors import UsageError
from edgekit.toolchains._shared.torch_graph import crops, erase_identities, own_filters
from edgekit.toolchains.executorch.graphs import (
    attribute,
    fold_constants,
    in_plain_order,
    infer,
    one_dimensional,
    replace,
    tidy,
)
from edgekit.toolchains.executorch.passes.affine import fold_affine, matmul_to_linear
from edgekit.toolchains.executorch.passes.layout import sink_permutes
from edgekit.toolchains.executorch.passes.padding import absorb_pads, finite_pads, repeat_edges
from edgekit.toolchains.executorch.passes.variances import two_pass

aten = torch.ops.aten

#: Key in a node's ``meta``: it stays in float when sums and products are quantized (a cube does not fit int8).
FLOAT = "edgekit_float"

#: Other names of one and the same operator.
_SYNONYMS = {
    aten.subtract.Tensor: aten.sub.Tensor, aten.multiply.Tensor: aten.mul.Tensor, aten.divide.Tensor: aten.div.Tensor,
    aten.absolute.default: aten.abs.default,
}  # fmt: skip
_TRAINING = frozenset((
    aten._native_batch_norm_legit_functional.default, aten._native_batch_norm_legit.default,
    aten.native_dropout.default,
))  # fmt: skip
_SHAPE_ONLY = frozenset((aten.zeros_like.default, aten.ones_like.default, aten.full_like.default))
_SQRT_2_PI = math.sqrt(2 / math.pi)


def rewritten(program: torch.export.ExportedProgram, *, exact_gelu: bool = False) -> fx.GraphModule:
    """A graph of the same inputs and outputs in the forms that quantizer and delegate know.

    The program is not changed. Its in-place operators become plain ones before any copy is removed. With ``exact_gelu``
    the tanh form of GELU is left to XNNPACK, which computes the exact one in one operator instead of six: what that
    costs is below the noise of int8 (targets/REASONS.md#tanh-gelu).

    Raises:
        UsageError: a layer was exported as it behaves in training.
    """
    example = program.example_inputs[0] if program.example_inputs else ()
    functional = program.run_decompositions(_recurrent())
    _refuse_training(functional)
    graph = functional.module(check_guards=False)
    assert isinstance(graph, fx.GraphModule)
    _erase(graph)
    repeat_edges(graph)
    two_pass(graph)
    fold_constants(graph)
    infer(graph, example)
    while sink_permutes(graph):
        infer(graph, example)
    fold_constants(graph)
    matmul_to_linear(graph)
    infer(graph, example)
    while fold_affine(graph):
        pass
    infer(graph, example)
    absorb_pads(graph)
    finite_pads(graph)
    _pools(graph)
    if not exact_gelu:
        _tanh_gelu(graph)
    tidy(graph)
    own_filters(graph, one_dimensional(graph))
    in_plain_order(graph)
    infer(graph, example)
    return graph


def _recurrent() -> dict[Any, Any]:
    """How recurrent layers are unrolled: as one operator each, the quantizer would leave all their gates in float."""
    table = torch.export.default_decompositions()
    layers = (aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input)
    known = {layer: table[layer] for layer in layers if layer in table}
    # A padding that takes away passes export and fails when it runs: error 0x12 (ExecuTorch 1.4).
    return {**known, **crops()}


def _refuse_training(program: torch.export.ExportedProgram) -> None:
    """Refuse statistics of the batch: they lower without an error to a file that is wrong for every input."""
    for node in program.graph.nodes:
        if node.op == "call_function" and node.target in _TRAINING:
            raise UsageError(
                f"{node.target} computes with the statistics of the batch: the model was exported in training mode",
                hint="Call model.eval(), on the outermost module, before exporting or handing it in.",
            )


def _erase(graph: fx.GraphModule) -> None:
    """Remove identities; give operators that have several names one."""
    erase_identities(graph)
    for node in list(graph.graph.nodes):
        if node.op != "call_function":
            continue
        node.target = _SYNONYMS.get(node.target, node.target)
        if node.target is aten.pad.default and (len(node.args) < 3 or node.args[2] == "constant"):
            node.target, node.args = aten.constant_pad_nd.default, (*node.args[:2], *node.args[3:])
        if node.target is aten.relu6.default:
            node.target, node.args = aten.hardtanh.default, (node.args[0], 0.0, 6.0)
        elif node.target in (aten.transpose.int, aten.swapaxes.default, aten.numpy_T.default, aten.t.default):
            node.target, node.args = aten.permute.default, (node.args[0], _order(node))
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node):
            continue
        if node.target is operator.getitem and source.target is aten._native_batch_norm_legit_no_training.default:
            *data, momentum, epsilon = source.args
            node.target, node.args = aten.batch_norm.default, (*data, False, momentum, epsilon, False)
            continue
        if node.target in _SHAPE_ONLY:
            value = node.target(torch.zeros(source.meta["val"].shape, dtype=source.meta["val"].dtype), *node.args[1:],
                                **{k: v for k, v in node.kwargs.items() if k == "dtype"})  # fmt: skip
            replace(node, attribute(graph, node, value))
    tidy(graph)


def _order(node: fx.Node) -> list[int]:
    """The axes of a transposition as a permutation."""
    rank = node.meta["val"].dim()
    order, axes = list(range(rank)), list[Any](node.args[1:3])
    if node.target is aten.numpy_T.default or (node.target is aten.t.default and rank == 2):
        return order[::-1]
    if node.target is not aten.t.default:
        first, second = (int(a) % rank for a in axes)
        order[first], order[second] = order[second], order[first]
    return order


def _pools(graph: fx.GraphModule) -> None:
    """Write averages over an image as the pooling that the delegate and the quantizer know."""
    for node in list(graph.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is aten.mean.dim and not node.kwargs:
            data, axes, *kept = list[Any](node.args)
            if data.meta["val"].dim() == 4 and sorted(int(a) % 4 for a in axes) == [2, 3] and not any(kept):
                _mean(graph, node, data)
        elif node.target is aten.adaptive_avg_pool2d.default and list[Any](node.args)[1] in ([1, 1], 1):
            # With channels last in memory it would be decomposed with a stride trick that no delegate takes.
            _mean(graph, node, node.args[0])
        elif node.target is aten.avg_pool2d.default and _unpadded(node):
            kernel, stride = node.args[1], node.args[2] if len(node.args) > 2 and node.args[2] else node.args[1]
            node.args = (node.args[0], kernel, stride, [0, 0], False, False)
        elif node.target is aten.max_pool2d.default and (len(node.args) < 3 or not node.args[2]):
            node.args = (node.args[0], node.args[1], node.args[1], *node.args[3:])  # the partitioner reads the stride
        elif node.target is aten.adaptive_max_pool2d.default:
            _maximum(graph, node)


def _maximum(graph: fx.GraphModule, node: fx.Node) -> None:
    """Write a maximum over equal windows as a pooling: ExecuTorch has no kernel for the adaptive one."""
    data: Any = node.args[0]
    sides = list(zip(data.meta["val"].shape[-2:], node.meta["val"][0].shape[-2:], strict=True))
    indices_read = any(reader.args[1] for reader in node.users)
    if indices_read or any(size % into for size, into in sides):
        return
    windows = [size // into for size, into in sides]
    with graph.graph.inserting_before(node):
        pooled = graph.graph.call_function(aten.max_pool2d.default, (data, windows, windows))
    for reader in list(node.users):
        replace(reader, pooled)


def _mean(graph: fx.GraphModule, node: fx.Node, image: Any) -> None:
    """The mean of each channel in the only form that is delegated: two axes, both kept."""
    with graph.graph.inserting_before(node):
        pooled = graph.graph.call_function(aten.mean.dim, (image, [2, 3], True))
        shape = list(node.meta["val"].shape)
        replace(node, graph.graph.call_function(aten.reshape.default, (pooled, shape)) if len(shape) != 4 else pooled)


def _unpadded(node: fx.Node) -> bool:
    """Whether an average pooling is of full windows only: the delegate refuses padding that is counted."""
    padding: Any = node.args[3] if len(node.args) > 3 else 0
    padded = any(padding) if isinstance(padding, list | tuple) else bool(padding)
    ceiling = len(node.args) > 4 and node.args[4]
    return not padded and not ceiling and (len(node.args) < 7 or node.args[6] is None)


def _tanh_gelu(graph: fx.GraphModule) -> None:
    """Write the tanh form of GELU out: ExecuTorch 1.4 gives it to XNNPACK as the exact one, without a word.

    0.5 x (1 + tanh(u)) with u = sqrt(2 / pi) (x + 0.044715 x^3), Hendrycks and Gimpel 2016, arXiv:1606.08415, which is
    x sigmoid(2 u). See targets/REASONS.md#tanh-gelu (mended upstream in pytorch/executorch#22851).
    """
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target is not aten.gelu.default:
            continue
        if node.kwargs.get("approximate", "none") != "tanh" and "tanh" not in node.args[1:]:
            continue
        x = node.args[0]
        with graph.graph.inserting_before(node):

            def call(target: Any, *args: Any) -> fx.Node:
                made = graph.graph.call_function(target, args)
                made.meta[FLOAT] = True
                return made

            square = call(aten.mul.Tensor, x, x)
            slope = call(aten.add.Tensor, call(aten.mul.Tensor, square, 2 * _SQRT_2_PI * 0.044715), 2 * _SQRT_2_PI)
            replace(node, call(aten.mul.Tensor, x, call(aten.sigmoid.default, call(aten.mul.Tensor, slope, x))))
