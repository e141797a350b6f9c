"""int8 programs: observers in the rewritten graph (PT2E), static from calibration samples or dynamic."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgekit.errors import UsageError
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.loaded import zeros
from edgekit.toolchains import Converted, Request
from edgekit.toolchains.executorch.lowering import graph_of, lowered
from edgekit.toolchains.executorch.rewriting import FLOAT

aten = torch.ops.aten

#: The operators that carry weights, as the quantizer is told of them.
_WEIGHTED = (aten.linear.default, aten.conv1d.default, aten.conv2d.default, aten.conv_transpose2d.input)


def static(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize everything that the quantizer knows: products, sums, concatenations, pooling."""
    return _quantized(model, request, dynamic=False)


def static_products(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize convolutions and linear layers only; sums and residuals stay in float."""
    return _quantized(model, request, dynamic=False, only=_WEIGHTED)


def dynamic(model: LoadedModel | None, request: Request) -> Converted:
    """int8 weights per channel in linear layers, whose activations get their scale at run time.

    Convolutions stay in float: behind a padding, dynamic ones fail when they run or are wrong (a MobileNetV2 gives
    -1.4 dB), without an error from the converter.
    """
    return _quantized(model, request, dynamic=True, only=(aten.linear.default,))


def _quantized(model: LoadedModel | None, request: Request, *, dynamic: bool, only: tuple[Any, ...] = ()) -> Converted:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    assert model is not None
    graph = graph_of(model)
    _keep_integers(graph)
    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
    quantizer = XNNPACKQuantizer()
    if only:
        for operator in only:
            quantizer.set_operator_type(operator, config)
    else:
        quantizer.set_global(config)
    quantizer.set_filter_function(_quantizable)
    prepared = prepare_pt2e(graph, quantizer)
    with torch.no_grad():
        if dynamic:
            prepared(*(torch.from_numpy(a) for a in zeros(model.signature.inputs)))  # shows the weights to observers
        else:
            _calibrate(prepared, model, request)
        converted = convert_pt2e(prepared)
    return lowered(converted, model, request)


def _calibrate(prepared: fx.GraphModule, model: LoadedModel, request: Request) -> None:
    samples = request.calibration
    if not samples or not all(len(a) for a in samples.values()):
        raise UsageError("static int8 needs calibration samples; got none", hint="Give --calibrate DATA.")
    specs = model.signature.inputs
    arrays = [samples[spec.name].astype(spec.dtype) for spec in specs]
    for i in range(len(arrays[0])):
        prepared(*(torch.from_numpy(array[i : i + 1].copy()) for array in arrays))


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
