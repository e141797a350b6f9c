"""ExecuTorch's compiler and PyTorch's exporter under it, mended while a graph is lowered."""

from __future__ import annotations

import gc
import graphlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.toolchains._shared.vendors import Fault
from edgekit.toolchains.executorch.passes.transposes import merge_transposes

if TYPE_CHECKING:
    from torch import fx

TRANSPOSES = Fault(
    "of the transposes that the XNNPACK compiler adds, those that undo a permute of the model stay in the file",
    package="executorch",
    first="1.4",
    last="1.4",
    reports=("https://github.com/pytorch/executorch/pull/11316",),  # cancels pairs of the compiler's own, no others
)
FLOAT32_CONVOLUTIONS = Fault(
    "weights and biases of convolutions are written in float32, whatever their type in the graph",
    package="executorch",
    first="1.4",
    last="1.4",
    reports=(
        "https://github.com/pytorch/executorch/issues/9639",
        "https://github.com/pytorch/executorch/pull/9753",  # mends linear layers
    ),
)
KEPT_PROGRAMS = Fault(
    "a cache keeps every program that this process lowered, whole",
    package="executorch",
    first="1.4",
    last="1.4",
    reports=("https://github.com/pytorch/executorch/pull/148",),  # which added the cache
)
TRAINED_PATTERNS = Fault(
    "the quantizer looks for batch norms in training, and exports each pattern of them anew, in graphs that have none",
    package="executorch",
    first="1.4",
    last="1.4",
)
INTEGER_MARKS = Fault(
    "operators of quantized graphs are written between floats and integers, which the runtime refuses without a name",
    package="executorch",
    first="1.4",
    last="1.4",
)
SHARED_SCALES = Fault(
    "of a convolution of 1 x 1 and another on the same input, quantized at run time, the other is wrong (7 dB)",
    package="executorch",
    first="1.4",
    last="1.4",
)
KNOTTED_PARTS = Fault(
    "parts of a graph for the delegate are merged so that two need each other's results, and lowering ends",
    package="executorch",
    first="1.4",
    last="1.4",
)
GROUP_VARIANCE = Fault(
    "group norm and instance norm take a variance for the difference of two squares, which of a constant group may be "
    "below zero: NaN on silence",
    package="executorch",
    first="1.4",
    last="1.4",
)

#: Programs that have together so many bytes of weights, or so many operators, are worth looking for when dropped.
LARGE = (64 << 20, 1000)
#: What was lowered since that was done last.
_lowered = (0, 0)

#: Products whose constants ``products_in_half`` writes in float16, by their names in the delegate's graph.
PRODUCTS = ("aten.convolution.default", "aten.linear.default")


def two_pass_group_norm(
    x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn: bool = True
) -> Any:
    """What PyTorch's group norm computes, by the mean of squared differences; see ``GROUP_VARIANCE``."""
    import torch

    parts = x.reshape(x.shape[0], groups, -1)
    centred = parts - parts.mean(-1, keepdim=True)
    found = (centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + eps)).reshape(x.shape)
    channels = [1, -1, *[1] * (x.ndim - 2)]
    found = found if weight is None else found * weight.reshape(channels)
    return found if bias is None else found + bias.reshape(channels)


def two_pass_instance_norm(
    x: Any, weight: Any, bias: Any, mean: Any, variance: Any, own: bool, momentum: float, eps: float, cudnn: bool
) -> Any:
    """What PyTorch's instance norm computes; ``own``: by each sample's statistics, and not by those of training."""
    if own:
        return two_pass_group_norm(x, x.shape[1], weight, bias, eps)
    channels = [1, -1, *[1] * (x.ndim - 2)]
    found = (x - mean.reshape(channels)) * (variance + eps).rsqrt().reshape(channels)
    found = found if weight is None else found * weight.reshape(channels)
    return found if bias is None else found + bias.reshape(channels)


@contextmanager
def merged_transposes() -> Iterator[None]:
    """While it is open, delegates are serialized without transposes that follow each other.

    The compiler has no hook behind its own passes, so the function that serializes its finished graph is wrapped.
    """
    from executorch.backends.xnnpack import xnnpack_preprocess

    serialize = xnnpack_preprocess.serialize_xnnpack_binary

    def merged(graph: Any, constants: Any) -> Any:
        merge_transposes(graph)
        return serialize(graph, constants)

    xnnpack_preprocess.serialize_xnnpack_binary = merged
    try:
        yield
    finally:
        xnnpack_preprocess.serialize_xnnpack_binary = serialize


def partitioner() -> Any:
    """XNNPACK's partitioner, whose parts can be run one after the other; see ``KNOTTED_PARTS``.

    Whether two parts may be merged is asked of the graph's nodes alone: neither reaches itself through a third one that
    was merged before, of which one node is behind them and another before them.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    class Untied(XnnpackPartitioner):  # type: ignore[misc]
        def get_matched_nodes_from_configs(self, ep: Any) -> Any:
            self.groups = super().get_matched_nodes_from_configs(ep)
            return self.groups

        def generate_partitions(self, ep: Any) -> Any:
            return untied(ep.graph_module.graph, super().generate_partitions(ep), self.groups)

    return Untied()


def untied(graph: fx.Graph, parts: list[Any], groups: Iterable[Iterable[fx.Node]]) -> list[Any]:
    """The parts as they are where an order of them exists; else each cut where data leaves a part and comes back.

    Args:
        graph: all nodes.
        parts: partitions, ``nodes`` of which are delegated together.
        groups: nodes that no cut may separate, such as an operator with what quantizes its result.
    """
    from torch.fx.passes.infra.partitioner import Partition

    part_of = {node: number for number, part in enumerate(parts) for node in part.nodes}
    try:
        in_order(graph, {node: part_of.get(node, node) for node in graph.nodes})
    except graphlib.CycleError:
        group_of = {node: number for number, group in enumerate(groups) for node in group}
        unit_of = {node: group_of.get(node, node) for node in graph.nodes}
        place = {unit: part_of.get(node) for node, unit in unit_of.items()}
        stage: dict[Any, int] = {}
        for unit, before in in_order(graph, unit_of):  # each way out of a part or into one begins a stage
            stage[unit] = max((stage[other] + (place[other] != place[unit]) for other in before), default=0)
        made: dict[Any, Any] = {}
        for node, number in part_of.items():
            part = made.setdefault((number, stage[unit_of[node]]), Partition(id=len(made)))
            part.add_node(node)
        return list(made.values())
    return parts


def in_order(graph: fx.Graph, unit_of: Mapping[fx.Node, Any]) -> list[tuple[Any, set[Any]]]:
    """Units of nodes, each with those that it needs, these first; raises ``CycleError`` where none is first."""
    needed: dict[Any, set[Any]] = {}
    for node in graph.nodes:
        given = (unit_of[n] for n in node.all_input_nodes if n.op == "call_function")  # constants are copied
        needed.setdefault(unit_of[node], set()).update(given)
    for unit, others in needed.items():
        others.discard(unit)
    return [(unit, needed[unit]) for unit in graphlib.TopologicalSorter(needed).static_order()]


@contextmanager
def products_in_half() -> Iterator[None]:
    """While it is open, constants of products are serialized in float16, the biases too.

    XNNPACK reads a float32 bias beside float16 weights as if it were float16 (its ``create_convolution_operator`` takes
    the bias's type from the weights): such a file is noise.
    """
    from executorch.backends.xnnpack.operators import node_visitor

    registry = node_visitor._node_visitor_dict
    before = {target: registry[target] for target in PRODUCTS}
    try:
        for target, visitor in before.items():
            made = type(f"Half{visitor.__name__}", (_HalfConstants, visitor), {"target": target})
            node_visitor.register_node_visitor(made)
        yield
    finally:
        registry.update(before)


class _HalfConstants:
    """Mixed into the serializer's visitor of a product."""

    def define_tensor(self, tensor: fx.Node, graph: Any, ids: Any, *args: Any, **settings: Any) -> None:
        """Define a tensor of the delegate; a product's own float32 constant becomes float16 first."""
        import torch
        from executorch.backends.xnnpack.utils.utils import get_param_tensor, get_tensor_name, is_param_node

        program: Any = self.exported_program  # type: ignore[attr-defined]
        if tensor not in ids and is_param_node(program, tensor) and _is_own(tensor):
            stored = get_param_tensor(program, tensor)
            name = get_tensor_name(program, tensor)
            held = program.state_dict if name in program.state_dict else program.constants
            held[name] = stored.half()
            tensor.meta["val"] = tensor.meta["val"].half()
        if tensor.meta["val"].dtype == torch.float16:
            settings["force_fp32"] = False
        super().define_tensor(tensor, graph, ids, *args, **settings)  # type: ignore[misc]


def _is_own(tensor: fx.Node) -> bool:
    """Whether products alone use a float32 constant: what anything else reads must keep its type."""
    import torch

    products = all(getattr(user.target, "__name__", "") in PRODUCTS for user in tensor.users)
    return products and bool(tensor.meta["val"].dtype == torch.float32)


def quantizer() -> Any:
    """XNNPACK's quantizer of graphs that are not trained; see ``TRAINED_PATTERNS``."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer

    class Untrained(XNNPACKQuantizer):  # type: ignore[misc]
        SUPPORTED_PATTERNS: ClassVar[list[Any]] = [
            each for each in XNNPACKQuantizer.SUPPORTED_PATTERNS if not each.is_qat
        ]

    return Untrained()


def forget_programs() -> None:
    """Clear the caches that keep whole programs.

    By them a second file of a model takes notably more memory than the first (targets/REASONS.md#one-process).
    """
    from executorch.exir.backend import utils
    from torch._subclasses.fake_tensor import FakeTensorMode

    if utils.is_same_node.cache_info().currsize:
        utils.is_same_node.cache_clear()
        FakeTensorMode.cache_clear()
        collect()


def collect(program: Any = None) -> None:
    """Free the programs that only cycles hold, where they are large together; of ``program`` more are made.

    Going through all that ExecuTorch imports takes as long as much of what it does with a small graph.
    """
    global _lowered
    size = (0, 0)
    if program is not None:
        size = sum(tensor.nbytes for tensor in program.state_dict.values()), len(program.graph.nodes)
    _lowered = _lowered[0] + size[0], _lowered[1] + size[1]
    if any(here >= large for here, large in zip(_lowered, LARGE, strict=True)):
        gc.collect()
        _lowered = size  # this one is dropped later
