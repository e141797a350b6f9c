"""PT2E: rules per layer and given ranges, as annotations and observers of the graph that a quantizer prepares."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgekit.frameworks import LoadedModel
from edgekit.scheme import Kind, Range
from edgekit.toolchains import Kept, Request
from edgekit.toolchains._shared import rules
from edgekit.toolchains._shared.calibration import BOUNDED, observers
from edgekit.toolchains._shared.rules import Found
from edgekit.toolchains._shared.torch_graph import own_filters, read, stored

if TYPE_CHECKING:
    from torch import fx

#: Distributions whose versions change what is done here.
PACKAGES = ("torch", "torchao")

#: ATen's operators with weights -> where these are among the arguments.
_WEIGHTS = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "linear"), (1,)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), (1,)),
    **dict.fromkeys(("matmul", "mm", "bmm"), (0, 1)),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), (2, 3)),
    "addmm": (2,),
    "embedding": (0,),
}
_CELLS = ("lstm", "gru", "rnn_tanh", "rnn_relu")


def ready(graph: fx.GraphModule) -> None:
    """Write a graph so that a quantizer may prepare it, in place.

    A convolution that is called twice has one filter. Quantizers mark its node with the first call, take the second
    one for annotated, and leave it in float; where such maps are outputs as well, ExecuTorch's compiler ends with
    KeyError 'val' (a feature pyramid). Of linear layers they look at the operator alone. The norms behind two calls
    would both be folded into one filter. So each call gets a filter of its own.

    A bias in integers has the scale of its call's input, and ExecuTorch writes one that two linear layers share for the
    first of them: a layer that was called three times came out at 9 dB instead of 32.
    """
    own_filters(graph, [node for node in graph.graph.nodes if _op(node).startswith("conv")])
    own_filters(graph, [node for node in graph.graph.nodes if _op(node) == "linear"], places=(2,))
    _write_norms(graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _write_norms(graph: fx.GraphModule) -> None:
    """Write a BatchNorm as a product and a sum where something else reads the convolution before it, too.

    torchao folds such a norm into the convolution all the same, and the other reader gets what is normalized: a
    DenseNet, whose layers are put behind their inputs, is noise then (8.6 dB from a net of three convolutions).
    """
    import torch

    for node in list(graph.graph.nodes):
        taken_apart = _op(node) == "_native_batch_norm_legit_no_training"  # its results come as a tuple
        if not taken_apart and _op(node) != "batch_norm":
            continue
        if not _op(node.args[0]).startswith("conv") or len(node.args[0].users) == 1:
            continue
        data, weight, bias, mean, variance = node.args[:5]
        scale = torch.rsqrt(read(graph, variance) + node.args[6 if taken_apart else 7])
        scale = scale if weight is None else scale * read(graph, weight)
        shift = -read(graph, mean) * scale
        shift = shift if bias is None else shift + read(graph, bias)
        along = [1, -1, *[1] * (data.meta["val"].dim() - 2)]
        factor, summand = (stored(graph, node, value.reshape(along)) for value in (scale, shift))
        with graph.graph.inserting_before(node):
            scaled = graph.graph.call_function(torch.ops.aten.mul.Tensor, (data, factor))
            shifted = graph.graph.call_function(torch.ops.aten.add.Tensor, (scaled, summand))
        scaled.meta, shifted.meta = dict(data.meta), dict(data.meta)
        for result in list(node.users) if taken_apart else [node]:
            result.replace_all_uses_with(shifted)
            graph.graph.erase_node(result)
        if taken_apart:
            graph.graph.erase_node(node)


def keep_floats(graph: fx.GraphModule, request: Request) -> tuple[Kept, ...]:
    """Have quantizers pass over the layers that rules keep in float, before the graph is prepared; returns these."""
    found = rules.outcomes(request, layers(graph))
    pass_over(graph, found.floats)
    return found.kept


def pass_over(graph: fx.GraphModule, names: Collection[str]) -> None:
    """Have quantizers pass over operators."""
    if not names:
        return
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation
    from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

    for node in graph.graph.nodes:
        if node.name in names:  # an annotation that says nothing: annotated it is, and nothing observes it
            node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(_annotated=True)


def estimating(prepared: fx.GraphModule, request: Request) -> fx.GraphModule:
    """Have the activations of a prepared graph observed by the request's estimator, in place.

    What has no choice stays as it is: weights, whose values are known, and outputs of a fixed range. Operators that
    share an observer go on sharing one. Scale and zero point are computed from the range as torchao does.
    """
    if request.estimator.by_tool:
        return prepared
    from torchao.quantization.pt2e.observer import HistogramObserver, MinMaxObserver, MovingAverageMinMaxObserver

    modules = dict(prepared.named_modules(remove_duplicate=False))
    kinds = (HistogramObserver, MinMaxObserver, MovingAverageMinMaxObserver)
    made: dict[int, Any] = {}
    for node in prepared.graph.nodes:
        if node.op == "call_module" and node.args[0].op != "get_attr" and type(modules[node.target]) in kinds:
            bounded = str(node.args[0].target).removeprefix("aten.").partition(".")[0] in BOUNDED
            module = modules[node.target]
            made[id(module)] = made.get(id(module)) or _estimated(module, request, bounded=bounded)
    for place, module in modules.items():
        if id(module) in made:
            prepared.set_submodule(place, made[id(module)])
    return prepared


def _estimated(observer: Any, request: Request, *, bounded: bool) -> Any:
    """An observer of the same integers whose range is the estimator's."""
    import torch
    from torchao.quantization.pt2e.observer import MinMaxObserver

    symmetric = observer.qscheme == torch.per_tensor_symmetric

    class Estimated(MinMaxObserver):  # type: ignore[misc]
        seen = observers(request, ("it",), symmetric=symmetric, bounded=("it",) if bounded else ())["it"]

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            if values.numel():
                self.seen.update(values.detach().to(torch.float32).numpy())
            return values

        def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
            return self._calculate_qparams(*(torch.tensor(end, dtype=torch.float32) for end in self.seen.range()))

    ends = {"quant_min": observer.quant_min, "quant_max": observer.quant_max}
    return Estimated(dtype=observer.dtype, qscheme=observer.qscheme, eps=observer.eps, **ends)


def give_ranges(prepared: fx.GraphModule, model: LoadedModel, request: Request) -> None:
    """Give observers of a prepared graph the ranges that the request has, before it is converted."""
    values = dict[str, str]()
    for node in prepared.graph.nodes:
        if node.op == "get_attr":
            values[node.name] = node.name
        if node.op == "call_function":
            values |= {node.name: node.name, **({_module(node): node.name} if _module(node) else {})}
    given = [node for node in prepared.graph.nodes if node.op == "placeholder"]
    values |= {
        name: node.name for t, node in zip(model.signature.inputs, given, strict=False) for name in (node.name, t.name)
    }
    wanted = rules.ranges(request, values)
    modules = dict(prepared.named_modules(remove_duplicate=False))
    observed = {
        node.args[0].name: modules[node.target]
        for node in prepared.graph.nodes
        if node.op == "call_module" and node.args[0].name in values.values()
    }
    for name, one in wanted.items():
        if name not in observed:
            rules.without_own(one.tensor, observed)
        for place, module in modules.items():
            if module is observed[name]:  # those that share it compute on one scale
                prepared.set_submodule(place, _fixed(module, one))


def ranges_of(prepared: fx.GraphModule) -> tuple[Range, ...]:
    """The ranges of 8 bits that activations of a prepared graph will have, by the names of its nodes.

    Constants that are added or multiplied place by place have one, too: a norm's scales, sines of positions, a mask.
    """
    modules = dict(prepared.named_modules(remove_duplicate=False))
    found = {}
    for node in prepared.graph.nodes:
        if node.op != "call_module":
            continue
        observer = modules[node.target]
        scale, zero = observer.calculate_qparams()
        lowest = -128 if observer.quant_min is None else observer.quant_min
        if scale.numel() == 1 and lowest in (-128, 0):
            name = node.args[0].name
            others = tuple(user.name for user in node.args[0].users if user.op == "call_function")
            found[name] = replace(Range.of_steps(name, float(scale), int(zero) - lowest - 128), unrounded=others)
    return tuple(found.values())


def _fixed(observer: Any, one: Range) -> Any:
    """An observer of a range that is known."""
    from torchao.quantization.pt2e.observer import FixedQParamsObserver

    lowest = observer.quant_min
    shift = one.zero_point + 2 ** (one.bits - 1) + (lowest if lowest is not None else -(2 ** (one.bits - 1)))
    return FixedQParamsObserver(
        one.scale, shift, dtype=observer.dtype, quant_min=observer.quant_min, quant_max=observer.quant_max
    )


def layers(graph: fx.GraphModule) -> Iterator[Found[str]]:
    """The operators of an exported graph that multiply with weights, or look rows up in them."""
    for node in graph.graph.nodes:
        op = _op(node)
        parameters = [p for place in _WEIGHTS.get(op, ()) for p in _parameters(node.args, place)]
        if not parameters:
            continue
        layer = str(parameters[0].target).rpartition(".")[0]
        names = dict.fromkeys(filter(None, (layer, _module(node), node.name)))
        yield Found(node.name, tuple(names), _kind(op, node, parameters), _macs(op, node, parameters))


def _op(node: Any) -> str:
    """ATen's name of an operator, without its overload; of another node none."""
    op = getattr(node, "op", "")
    return str(node.target).removeprefix("aten.").partition(".")[0] if op == "call_function" else ""


def _parameters(arguments: Any, place: int) -> list[Any]:
    """The stored tensors behind an argument, which may be a list, or turned first."""
    if place >= len(arguments):
        return []
    many = arguments[place] if isinstance(arguments[place], list | tuple) else [arguments[place]]
    found = []
    for node in many:
        while getattr(node, "op", "") == "call_function" and len(node.all_input_nodes) == 1:
            node = node.all_input_nodes[0]
        if getattr(node, "op", "") == "get_attr":
            found.append(node)
    return found


def _module(node: fx.Node) -> str:
    """Path of the innermost module that an operator was called in."""
    stack: Mapping[str, Any] = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def _kind(op: str, node: fx.Node, parameters: list[Any]) -> Kind:
    if op in _CELLS:
        return "recurrent"
    if op == "embedding":
        return "embedding"
    if op.startswith("conv_transpose"):
        return "transposed-conv"
    shape = parameters[0].meta["val"].shape
    if op.startswith("conv"):
        source: Any = node.args[0]
        return "depthwise-conv" if shape[1] == 1 and source.meta["val"].shape[1] > 1 else "conv"
    return "linear" if op in ("linear", "addmm") or math.prod(shape[:-2]) == 1 else "matmul"


def _macs(op: str, node: fx.Node, parameters: list[Any]) -> int:
    """Multiply-accumulates as ``products`` defines them."""
    shape = parameters[0].meta["val"].shape
    source: Any = node.all_input_nodes[0]
    taken = source.meta["val"]
    if op == "embedding":
        return 0
    if op in _CELLS:
        steps = math.prod(taken.shape[:-1])
        return int(steps * sum(p.meta["val"].numel() for p in parameters if p.meta["val"].dim() == 2))
    if op.startswith("conv_transpose"):
        return int(taken.numel() * math.prod(shape[1:]))
    made = node.meta["val"].numel()
    if op.startswith("conv"):
        return int(made * math.prod(shape[1:]))
    summed = shape[-1] if op == "linear" else shape[-2]
    return int(made * summed)
