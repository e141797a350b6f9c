"""What is read in a TensorFlow-side graph: its traits, for float targets, before there is a file, and places.

Calls of functions are written out, so that a value is followed through them. The number of groups of a convolution is
not in TensorFlow's graph: ``grouped`` is not found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.frameworks import LoadedModel
from edgekit.toolchains._shared.traits import Body, Graph, Node, by_op

#: Distributions whose versions change what is done here.
PACKAGES = ("tensorflow",)

_KINDS = by_op({
    "matmul": ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"),
    "conv": ("Conv2D", "Conv3D", "DepthwiseConv2dNative"),
    "conv_transpose": ("Conv2DBackpropInput",),
    "softmax": ("Softmax",),
    "sigmoid": ("Sigmoid",),
    "multiply": ("Mul",),
    "loop": ("While", "StatelessWhile"),
    "branch": ("If", "StatelessIf"),
    "move": (
        "Identity", "ReadVariableOp", "Cast", "Reshape", "Squeeze", "ExpandDims", "Transpose", "Slice",
        "StridedSlice", "Split", "SplitV", "ConcatV2", "Pack", "Unpack", "Tile", "BroadcastTo", "Pad", "PadV2",
        "GatherV2", "ResourceGather", "SelectV2",
    ),
})  # fmt: skip
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def graph(model: LoadedModel) -> Graph:
    """Trace a model; its inputs and outputs are called by the signature's names."""
    import tensorflow as tf

    from edgekit.frameworks.saved_model import forward_function

    call, _ = forward_function(model)
    specs = [tf.TensorSpec(t.shape, t.dtype) for t in model.signature.inputs]
    traced = tf.function(call, input_signature=specs, autograph=False).get_concrete_function()
    definition = traced.graph.as_graph_def()
    given = [tensor.op.name for tensor in traced.inputs[: len(specs)]]
    # Variables are captured: placeholders that stand behind the inputs.
    constants: dict[str, Any] = {tensor.op.name: f"variable {tensor.op.name}" for tensor in traced.inputs[len(specs) :]}
    scope = _Scope({f.signature.name: f for f in definition.library.function}, constants)
    named = dict(zip(given, (t.name for t in model.signature.inputs), strict=True))
    nodes = list(scope.nodes(definition.node, "", named))
    flat = tf.nest.flatten(traced.outputs)
    outputs = zip(flat, (t.name for t in model.signature.outputs), strict=False)
    nodes += [Node("move", "output", (scope.value(_plain(t.name), "", named),), (name,)) for t, name in outputs]
    return Graph(tuple(nodes), constants)


def places(folder: Path, missing: Sequence[str]) -> list[str]:
    """Names, which begin with the layer's, of a SavedModel's nodes that are one of the operators."""
    from edgekit.frameworks import saved_model

    return [
        f"at {node.name}"
        for graph in saved_model.graphs(folder)
        for function in graph.library.function
        for node in function.node_def
        if node.op in missing
    ]


def _plain(reference: str) -> str:
    """A value's name: the first output of a node goes by the node's own."""
    return reference.removesuffix(":0")


class _Scope:
    """Functions by name; constants and results of calls are added as they are met."""

    def __init__(self, library: Mapping[str, Any], constants: dict[str, Any]) -> None:
        self.library, self.constants = library, constants
        self._returned: dict[str, str] = {}

    def value(self, reference: str, scope: str, named: Mapping[str, str]) -> str:
        """The name of a value that a node of this scope refers to."""
        if reference in named:
            return named[reference]
        name = scope + reference
        return self._returned.get(name, name)

    def nodes(self, definitions: Iterable[Any], scope: str, named: Mapping[str, str]) -> Iterator[Node]:
        """The nodes of a function's body, calls written out, in an order in which they can run."""
        import tensorflow as tf

        definitions = _ordered(list(definitions))
        referred: dict[str, list[str]] = {}
        for definition in definitions:
            for reference in _inputs(definition):
                referred.setdefault(reference.split(":")[0], []).append(reference)
        for definition in definitions:
            inputs = [self.value(reference, scope, named) for reference in _inputs(definition)]
            outputs = sorted({scope + reference for reference in referred.get(definition.name, [definition.name])})
            if definition.op == "Const":
                value = tf.make_ndarray(definition.attr["value"].tensor)
                self.constants |= dict.fromkeys(outputs, value)
            elif definition.op in _CALLS:
                yield from self._call(definition, f"{scope}{definition.name}/", inputs, outputs)
            elif definition.op not in ("Placeholder", "NoOp"):
                yield self._node(definition, scope, inputs, outputs)

    def _node(self, definition: Any, scope: str, inputs: list[str], outputs: list[str]) -> Node:
        op, inner = definition.op, f"{scope}{definition.name}/"
        kind = _KINDS.get(op, "other")
        bodies: list[Body] = []
        if kind == "loop":
            bodies = [self._body(definition.attr["body"], inner, inputs, loop=True)]
        elif kind == "branch":
            branches = ("then_branch", "else_branch")
            bodies = [self._body(definition.attr[b], f"{inner}{b}/", inputs[1:], loop=False) for b in branches]
        if kind == "conv_transpose":  # its shape comes first
            inputs = [inputs[2], inputs[1], inputs[0]]
        groups = channels = 2 if op == "DepthwiseConv2dNative" else 1
        return Node(kind, op, tuple(inputs), tuple(outputs), groups, channels, tuple(bodies))

    def _call(self, definition: Any, scope: str, inputs: list[str], outputs: list[str]) -> Iterator[Node]:
        function = self.library[definition.attr["f"].func.name]
        named = dict(zip((a.name for a in function.signature.input_arg), inputs, strict=True))
        yield from self.nodes(function.node_def, scope, named)
        returned = [self._result(function, a.name, scope, named) for a in function.signature.output_arg]
        for output in outputs:
            place = output.rpartition(":")[2]
            self._returned[output] = returned[int(place) if place.isdigit() else 0]

    def _body(self, attribute: Any, scope: str, inputs: list[str], *, loop: bool) -> Body:
        function = self.library[attribute.func.name]
        arguments = [a.name for a in function.signature.input_arg]
        named = {name: scope + name for name in arguments}
        before = set(self.constants)
        nodes = tuple(self.nodes(function.node_def, scope, named))
        constants = {name: self.constants.pop(name) for name in set(self.constants) - before}
        again: tuple[tuple[str, str], ...] = ()
        if loop:
            results = (self._result(function, a.name, scope, named) for a in function.signature.output_arg)
            again = tuple(zip(results, (scope + name for name in arguments), strict=True))
        return Body(Graph(nodes, constants, again), dict(zip((scope + n for n in arguments), inputs, strict=True)))

    def _result(self, function: Any, output: str, scope: str, named: Mapping[str, str]) -> str:
        """What a function returns, looking through identities."""
        reference = _plain(function.ret[output])
        made = {node.name: node for node in function.node_def}
        while reference not in named and (node := made.get(reference.split(":")[0])) is not None:
            if node.op != "Identity":
                break
            reference = _inputs(node)[0]
        return self.value(reference, scope, named)


def _inputs(definition: Any) -> list[str]:
    return [_plain(name) for name in definition.input if not name.startswith("^")]


def _ordered(definitions: list[Any]) -> list[Any]:
    """Nodes behind those that they take from: a ``GraphDef`` may have them in any order."""
    waiting = {d.name: d for d in definitions}
    found: list[Any] = []
    for start in definitions:
        stack = [start.name]
        while stack:
            name = stack[-1]
            before = [r.split(":")[0] for r in _inputs(waiting[name])] if name in waiting else []
            open_ = [other for other in before if other in waiting and other != name]
            if open_:
                stack.extend(open_)
                continue
            stack.pop()
            if name in waiting:
                found.append(waiting.pop(name))
    return found
