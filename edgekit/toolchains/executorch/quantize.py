"""Programs of 8 and 4 bits: observers in the rewritten graph (PT2E), static from calibration samples or dynamic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from edgekit.frameworks import LoadedModel
from edgekit.frameworks.loaded import example as example_of
from edgekit.scheme import Scheme
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import pt2e, rules, torch_graph
from edgekit.toolchains.executorch import vendor
from edgekit.toolchains.executorch.export import graph_of, lowered
from edgekit.toolchains.executorch.passes.rewriting import FLOAT

aten = torch.ops.aten

#: The operators that carry weights, as the quantizer is told of them.
_WEIGHTED = (aten.linear.default, aten.conv1d.default, aten.conv2d.default, aten.conv_transpose2d.input)


@torch_graph.unrepeated()
def static(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize everything that the quantizer knows: products, sums, concatenations, pooling."""
    assert model is not None
    return _statically(graph_of(model, exact_gelu=True), model, request)


@torch_graph.unrepeated()
def static_products(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize convolutions and linear layers only; sums and residuals stay in float."""
    assert model is not None
    return _statically(graph_of(model, exact_gelu=True), model, request, only=_WEIGHTED)


@torch_graph.unrepeated()
def dynamic(model: LoadedModel | None, request: Request) -> Converted:
    """int8 weights per channel in linear layers and convolutions, whose activations get their scale at run time.

    See ``DynamicQuantizer`` for the convolutions that stay in float.
    """
    from edgekit.toolchains.executorch.passes.dynamic import DynamicQuantizer

    assert model is not None
    example = [[torch.from_numpy(a) for a in example_of(model)]]  # shows the weights to their observers
    return _quantized(graph_of(model, exact_gelu=True), model, request, DynamicQuantizer(), example)


@torch_graph.unrepeated()
def in_blocks(model: LoadedModel | None, request: Request) -> Converted:
    """int4 weights in blocks in linear layers that they divide, int8 tables; all else as ``dynamic`` does it."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    from edgekit.toolchains.executorch.passes import blocks
    from edgekit.toolchains.executorch.passes.dynamic import DynamicQuantizer

    assert model is not None and request.scheme.group is not None
    graph, group = graph_of(model, exact_gelu=True), request.scheme.group
    _keep_integers(graph)
    found = rules.outcomes(request, pt2e.layers(graph) if request.layers else (), able=_by_layer)
    left = {*found.floats, *found.schemes}
    small = [node.name for node in graph.graph.nodes if node.name not in left and blocks.fits(node, group)]
    tables = [node.name for node in graph.graph.nodes if node.name not in found.floats and blocks.looks_up(node)]
    pt2e.pass_over(graph, {*found.floats, *small})
    pt2e.ready(graph)
    prepared = prepare_pt2e(graph, DynamicQuantizer().set_filter_function(_quantizable))
    with torch.no_grad():
        prepared(*(torch.from_numpy(a) for a in example_of(model)))
        converted = convert_pt2e(prepared)
        blocks.quantize(converted, small, group)
        blocks.store_tables(converted, tables)
    return replace(lowered(converted, model, request), kept=found.kept)


def _by_layer(scheme: Scheme) -> bool:
    """Whether ``in_blocks`` can give a scheme to a single layer: it is what others get."""
    return (scheme.weights, scheme.activations, scheme.dynamic) == ("int8", "int8", True)


def _statically(graph: fx.GraphModule, model: LoadedModel, request: Request, only: tuple[Any, ...] = ()) -> Converted:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import get_symmetric_quantization_config

    config = get_symmetric_quantization_config(is_per_channel=True)
    quantizer = vendor.quantizer()
    if only:
        for operator in only:
            quantizer.set_operator_type(operator, config)
    else:
        quantizer.set_global(config)
    return _quantized(graph, model, request, quantizer, torch_graph.samples(model, request))


def _quantized(
    graph: fx.GraphModule, model: LoadedModel, request: Request, quantizer: Any, samples: Iterable[Iterable[Tensor]]
) -> Converted:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    _keep_integers(graph)
    quantizer.set_filter_function(_quantizable)
    pt2e.ready(graph)
    kept = pt2e.keep_floats(graph, request)
    prepared = pt2e.estimating(prepare_pt2e(graph, quantizer), request)
    with torch.no_grad():
        for sample in samples:
            prepared(*sample)
        pt2e.give_ranges(prepared, model, request)
        ranges = pt2e.ranges_of(prepared) if request.scheme.needs_calibration else ()
        converted = convert_pt2e(prepared)
    return replace(lowered(converted, model, request), kept=kept, ranges=ranges)


def _floating(node: fx.Node) -> bool:
    """Whether an operator works on floats: index arithmetic must not be observed."""
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _quantizable(node: fx.Node) -> bool:
    return _floating(node) and FLOAT not in node.meta


def _keep_integers(graph: fx.GraphModule) -> None:
    """Store the numbers of integer sums and products as integers: the quantizer would store them as floats."""
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target not in (aten.add.Tensor, aten.mul.Tensor) or _floating(node):
            continue
        for place, value in enumerate(node.args):
            if isinstance(value, int):
                name = f"_integer_{sum(1 for known, _ in graph.named_buffers() if known.startswith('_integer_'))}"
                graph.register_buffer(name, torch.tensor(value, dtype=node.meta["val"].dtype))
                with graph.graph.inserting_before(node):
                    node.update_arg(place, graph.graph.get_attr(name))
    graph.recompile()
