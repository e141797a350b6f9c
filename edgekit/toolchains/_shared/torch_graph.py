"""Exported PyTorch graphs: traits, for float targets, before there is a file; places; identities taken out."""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from edgekit.frameworks import LoadedModel
from edgekit.toolchains import Request
from edgekit.toolchains._shared.calibration import calibration_of, one_by_one
from edgekit.toolchains._shared.traits import Graph, Node, by_op
from edgekit.toolchains._shared.vendors import Fault
from edgekit.user_code import source_line

if TYPE_CHECKING:
    import torch
    from torch import fx

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

COPIED_HISTORY = Fault(
    "each pass over an exported graph copies, for each node, the whole chain of nodes that it came from",
    package="torch",
    first="2.13",
    last="2.13",
    reports=("https://github.com/pytorch/pytorch/pull/175853", "https://github.com/pytorch/pytorch/pull/193051"),
)
ASKED_AGAIN = Fault(
    "taking operators apart looks all of them up, once for each library of operators, and makes a type for each",
    package="torch",
    first="2.13",
    last="2.13",
)

#: Operators that are the identity at inference; here and below, ATen's without their overload.
IDENTITIES = (
    "dropout", "feature_dropout", "clone", "contiguous", "detach", "alias", "alias_copy", "lift_fresh",
    "lift_fresh_copy",
)  # fmt: skip
#: Conversions: identities where the element type stays.
CONVERSIONS = ("to", "_to_copy")
_KINDS = by_op({
    "matmul": ("linear", "matmul", "mm", "bmm", "addmm", "einsum"),
    "cell": ("lstm", "gru", "rnn_tanh", "rnn_relu"),
    "attention": ("scaled_dot_product_attention",),
    "softmax": ("softmax", "_softmax"),
    "sigmoid": ("sigmoid", "hardsigmoid"),
    "multiply": ("mul",),
    "loop": ("while_loop",),
    "branch": ("cond",),
    "move": (
        "view", "reshape", "permute", "transpose", "t", "squeeze", "unsqueeze", "expand", "flatten",
        "unflatten", "split", "split_with_sizes", "chunk", "unbind", "getitem", "select", "slice", "cat", "stack",
        "pad", "constant_pad_nd", "where", "masked_fill", *IDENTITIES, *CONVERSIONS,
    ),
})  # fmt: skip


@contextlib.contextmanager
def unrepeated() -> Iterator[None]:
    """While it is open, PyTorch's exporter does not do again what it has done (targets/REASONS.md#one-process).

    Passes share the chain of nodes that a node came from, of which nothing changes a link; operators are looked up
    where there are more than before; the type of a function, written where a function is defined, is taken from
    ``typing``, which keeps what it made.
    """
    import torch
    from torch._export import utils
    from torch.fx.traceback import NodeSource

    look_up, known = utils._materialize_cpp_cia_ops, 0

    def look_up_new() -> None:
        nonlocal known
        there = len(torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd"))
        if there != known:
            look_up()
            known = there

    mended: list[tuple[Any, str, Any]] = []
    if COPIED_HISTORY.here() and not hasattr(NodeSource, "__deepcopy__"):  # it may be open already
        mended += [(NodeSource, "__deepcopy__", lambda self, memo: self)]
    if ASKED_AGAIN.here():
        mended += [(utils, "_materialize_cpp_cia_ops", look_up_new), (torch._ops, "Callable", typing.Callable)]
    before = [(owner, name, vars(owner).get(name)) for owner, name, _ in mended]
    for owner, name, value in mended:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            if value is None:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


def graph(model: LoadedModel) -> Graph:
    """Export a model; its inputs and outputs are called by the signature's names."""
    from edgekit.frameworks.torch import torch_export

    program = torch_export(model)
    signature = program.graph_signature
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    constants = {
        name: _array(program.state_dict.get(target, program.constants.get(target))) for name, target in stored.items()
    }
    constants |= {
        name: _array(program.constants[target])
        for name, target in signature.inputs_to_lifted_tensor_constants.items()
    }  # fmt: skip
    named = dict(zip(signature.user_inputs, (t.name for t in model.signature.inputs), strict=False))
    nodes = list(_nodes(program.graph, named))
    outputs = zip(signature.user_outputs, (t.name for t in model.signature.outputs), strict=False)
    nodes += [Node("move", "output", (named.get(value, value),), (name,)) for value, name in outputs]
    return Graph(tuple(nodes), constants)


def samples(model: LoadedModel, request: Request) -> Iterator[tuple[torch.Tensor, ...]]:
    """The calibration samples one by one, each as the model is called; raises ``UsageError`` where there are none."""
    import torch

    for sample in one_by_one(calibration_of(request)):
        yield tuple(torch.from_numpy(sample[t.name].astype(t.dtype)) for t in model.signature.inputs)


def erase_identities(graph: fx.GraphModule) -> fx.GraphModule:
    """Remove what hands a value on unchanged, in place; a squeeze that undoes an unsqueeze, and assertions, too.

    PT2E gives each an observer of its own, and then two scales stand where there is one value. litert-torch drops the
    operator with the second scale, and keeps the next bias quantized with it: the file is noise, without an error.
    A view becomes a reshape: what made its input's strides fit may be gone.
    """
    import torch

    for node in list(graph.graph.nodes):
        if _aten(node) in ("view", "_unsafe_view") and not isinstance(node.args[1], torch.dtype):
            node.target = torch.ops.aten.reshape.default
        elif _aten(node) == "_assert_tensor_metadata":
            graph.graph.erase_node(node)
        elif (source := _unchanged(node)) is not None:
            node.replace_all_uses_with(source)
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def stored(graph: fx.GraphModule, before: fx.Node, value: torch.Tensor) -> fx.Node:
    """Store a tensor as a parameter, which torchao can fold norms into; its node is placed before another."""
    from torch import nn

    name = f"_own_{sum(1 for known, _ in graph.named_parameters() if known.startswith('_own_'))}"
    graph.register_parameter(name, nn.Parameter(value.detach().clone(), requires_grad=False))
    with graph.graph.inserting_before(before):
        made = graph.graph.get_attr(name)
    made.meta["val"] = value.detach()
    return made


def read(graph: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    """The tensor behind a ``get_attr`` node."""
    found: torch.Tensor = attrgetter(str(node.target))(graph)
    return found


def own_filters(graph: fx.GraphModule, calls: Iterable[fx.Node], places: Sequence[int] = (1, 2)) -> None:
    """Give each of these calls a filter and a bias that no other of them reads, in place.

    Args:
        graph: holds the calls, of convolutions or linear layers.
        calls: of these alone it is asked what they share.
        places: which arguments; 2 is the bias.
    """
    seen: set[str] = set()
    for node in calls:
        arguments = list[Any](node.args)
        for place in places:
            given: Any = arguments[place] if place < len(arguments) else None
            if getattr(given, "op", "") != "get_attr":
                continue
            if given.target in seen:
                arguments[place] = stored(graph, node, read(graph, given))
            seen.add(given.target)
        node.args = tuple(arguments)


def cropped(x: torch.Tensor, pad: Sequence[int], value: float = 0) -> Any:
    """Decomposition of ``aten.constant_pad_nd``: what it takes away is a slice, which converters know.

    Given pairs of numbers for the last axis first. Left as it is where it takes nothing away.
    """
    import torch

    if min(pad) >= 0:
        return NotImplemented
    for place in range(0, len(pad), 2):
        axis, (before, behind) = x.dim() - 1 - place // 2, pad[place : place + 2]
        if min(before, behind) < 0:
            end = x.shape[axis] + min(behind, 0)
            x = torch.ops.aten.slice.Tensor(x, axis, -min(before, 0), end)
    added = [max(number, 0) for number in pad]
    return torch.ops.aten.constant_pad_nd.default(x, added, value) if any(added) else x.clone()


def crops() -> dict[Any, Any]:
    """Decompositions of paddings that take away, as they stand in a program; others stay as they are."""
    import torch

    def pad(x: torch.Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
        return cropped(x, pad, value or 0) if mode == "constant" else NotImplemented

    return {torch.ops.aten.pad.default: pad, torch.ops.aten.constant_pad_nd.default: cropped}


def _unchanged(node: fx.Node) -> Any:
    """The node whose value an operator hands on; None where it makes another."""
    op = _aten(node)
    source: Any = node.args[0] if node.args else None
    if op in IDENTITIES:
        return source
    if op in CONVERSIONS and node.meta["val"].dtype == source.meta["val"].dtype:
        return source
    return source.args[0] if str(node.target) == "aten.squeeze.dim" and _unsqueezed_at(source, node.args[1]) else None


def _unsqueezed_at(node: Any, axis: Any) -> bool:
    rank = node.meta["val"].dim()
    return _aten(node) == "unsqueeze" and bool(node.args[1] % rank == axis % rank)


def _aten(node: fx.Node) -> str:
    """Name of ATen's operator; empty for a node that calls none."""
    library, _, name = str(node.target).partition(".")
    return name.partition(".")[0] if node.op == "call_function" and library == "aten" else ""


def places(program: Any, missing: Sequence[str], shape: Sequence[int] = ()) -> list[str]:
    """Layer and source line of every node of a ``torch.export`` program that calls one of the operators.

    Of those that make an image or a sequence, with a ``shape`` only those of its size, wherever its channels stand.
    """
    nodes = list(program.graph.nodes)
    stems = [name.split(".")[1].strip("_") for name in missing if "." in name]  # _linalg_svd was linalg_svdvals before
    if not any(stem in str(node.target) for node in nodes for stem in stems):
        stems = [stem.partition("_")[0] for stem in stems]  # _fft_r2c was fft_rfft before
    found = []
    for node in nodes:
        if node.op == "call_function" and any(stem in str(node.target) for stem in stems):
            size = getattr(node.meta.get("val"), "shape", ())[2:]
            if shape and not set(size) <= set(shape):
                continue
            path, kind = list(node.meta.get("nn_module_stack", {"": ("", "")}).values())[-1]
            layer = f"layer {path}, " if path else ""
            found.append(f"{layer}{source_line(node.meta.get('stack_trace') or '') or kind}")
    return found


def _array(tensor: Any) -> Any:
    return tensor.detach().numpy()


def _nodes(graph: Any, named: Mapping[str, str]) -> Iterator[Node]:
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        op = getattr(node.target, "__name__", str(node.target)).split(".")[0]
        kind = _KINDS.get(op, "other")
        inputs = [named.get(n.name, n.name) for n in node.all_input_nodes]
        groups = channels = 1
        if op == "addmm":  # the bias comes first
            inputs = [*inputs[1:], inputs[0]]
        elif op.startswith(("conv1d", "conv2d", "conv3d", "conv_transpose", "convolution")):
            kind = "conv_transpose" if op.startswith("conv_transpose") else "conv"
            groups, channels = _groups(node), node.args[0].meta["val"].shape[1]
        yield Node(kind, op, tuple(inputs), (node.name,), groups, channels)


def _groups(node: Any) -> int:
    """Of a convolution: its argument of that name, wherever the operator has it."""
    names = [argument.name for argument in node.target._schema.arguments]
    place = names.index("groups")
    return int(node.args[place] if place < len(node.args) else node.kwargs.get("groups", 1))


def folded(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with what is computed of numbers alone, as places in a sequence are, in its result's place.

    Converters compute such results in other types, or keep what there is of float64 on the way to them. What is
    computed of weights stays.
    """
    import torch
    from torch import fx

    module = program.run_decompositions({}).module(check_guards=False)  # nothing is written in place in these
    known: dict[fx.Node, Any] = {}
    with torch.no_grad():
        for node in module.graph.nodes:
            if node.op == "get_attr" and not isinstance(
                value := attrgetter(str(node.target))(module), torch.nn.Parameter
            ):
                known[node] = value
            elif node.op == "call_function" and known.keys() >= set(node.all_input_nodes) and _computes(node.target):
                args, kwargs = fx.node.map_arg((node.args, node.kwargs), known.__getitem__)
                known[node] = node.target(*args, **kwargs)
    if not any(node.op == "call_function" for node in known):
        return program
    saved = dict(module.named_buffers())
    for number, (node, value) in enumerate(known.items()):
        # Constants that are no buffers cannot be exported a second time.
        if torch.is_tensor(value) and str(node.target) not in saved and not known.keys() >= set(node.users):
            module.register_buffer(f"_computed_{number}", value.clone())
            with module.graph.inserting_before(node):
                node.replace_all_uses_with(module.graph.get_attr(f"_computed_{number}"))
    constants = {str(node.target) for node in known if node.op == "get_attr"} - saved.keys()
    for node in reversed(known):  # with assertions of their types, which are no dead code to PyTorch
        if not node.users:
            module.graph.erase_node(node)
    for target in constants - {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}:
        owner, _, name = target.rpartition(".")
        delattr(module.get_submodule(owner), name)
    module.recompile()
    example = program.example_inputs
    assert example is not None
    with torch.no_grad():
        return torch.export.export(module, *example, strict=False)


def _computes(target: Any) -> bool:
    """Whether an operator gives the same result each time, and writes nowhere."""
    import torch

    if not isinstance(target, torch._ops.OpOverload):
        return True
    return torch.Tag.nondeterministic_seeded not in target.tags and not target._schema.is_mutable
