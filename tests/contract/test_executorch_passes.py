"""Rewritings of ExecuTorch's graphs on random ones: the same outputs, and an end after which nothing changes."""

from __future__ import annotations

import copy
import graphlib
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

pytest.importorskip("executorch")

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.operator_support import OperatorSupportBase
from torch.fx.passes.utils.fuser_utils import validate_partition

from edgekit.toolchains.executorch import vendor
from edgekit.toolchains.executorch.graphs import infer
from edgekit.toolchains.executorch.passes import transposes
from edgekit.toolchains.executorch.passes.affine import fold_affine, matmul_to_linear
from edgekit.toolchains.executorch.passes.layout import sink_permutes
from edgekit.toolchains.executorch.passes.padding import absorb_pads
from edgekit.toolchains.executorch.passes.rewriting import rewritten

aten = torch.ops.aten
Draw = Callable[[st.SearchStrategy[Any]], Any]

#: Random graphs are small, so that a failing one can be read; there are many of them instead. The same in every run.
rigorous = settings(
    max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


class Sketch:
    """A graph that grows operator by operator; it is computed along, so that shapes and values are known."""

    def __init__(self, draw: Draw, *shapes: tuple[int, ...]) -> None:
        self.draw = draw
        self.random = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
        self.root, self.graph = nn.Module(), fx.Graph()
        self.inputs = [self._tensor(shape) for shape in shapes]
        self.values = [(self.graph.placeholder(f"x{i}"), x) for i, x in enumerate(self.inputs)]

    def _tensor(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self.random, dtype=torch.float64)

    def pick(self, fits: Callable[[Tensor], bool] = lambda _: True) -> tuple[fx.Node, Tensor] | None:
        """One of the values so far, the newest most likely."""
        fitting = [value for value in self.values if fits(value[1])]
        return fitting[-1 - min(self.draw(st.sampled_from([0, 0, 0, 1, 2])), len(fitting) - 1)] if fitting else None

    def constant(self, value: tuple[int, ...] | Tensor) -> tuple[fx.Node, Tensor]:
        """A stored tensor of a shape, or a given one."""
        tensor = value if isinstance(value, Tensor) else self._tensor(value)
        name = f"stored{len(list(self.root.buffers()))}"
        self.root.register_buffer(name, tensor)
        return self.graph.get_attr(name), tensor

    def call(self, target: Any, *args: Any, **kwargs: Any) -> tuple[fx.Node, Tensor]:
        """An operator on values (pairs of node and tensor), numbers and lists of them."""
        made = target(*_each(args, 1), **kwargs)
        self.values.append((self.graph.call_function(target, _each(args, 0), kwargs), made))
        return self.values[-1]

    def module(self) -> fx.GraphModule:
        """The graph; its outputs are the newest value and whatever else nothing reads."""
        nodes = [node for node, _ in self.values if not node.users] or [self.values[-1][0]]
        self.graph.output(tuple(nodes))
        made = fx.GraphModule(self.root, self.graph)
        infer(made, self.inputs)
        return made


def _each(args: Any, side: int) -> Any:
    """Arguments in which pairs of node and tensor are one of the two."""
    if isinstance(args, tuple) and len(args) == 2 and isinstance(args[0], fx.Node):
        return args[side]
    return type(args)(_each(a, side) for a in args) if isinstance(args, list | tuple) else args


def assert_same(before: fx.GraphModule, after: fx.GraphModule, inputs: list[Tensor]) -> None:
    """Equal shapes, types and values; sums may come in another order."""
    with torch.no_grad():
        for old, new in zip(before(*inputs), after(*inputs), strict=True):
            torch.testing.assert_close(new, old, rtol=1e-9, atol=1e-9, equal_nan=True)


def text(graph: fx.GraphModule) -> list[str]:
    """The operators with their arguments, whatever they are called."""
    numbers = {node: i for i, node in enumerate(graph.graph.nodes)}
    return [
        f"{node.op} {node.target if node.op != 'get_attr' else ''} {fx.map_arg((node.args, node.kwargs), numbers.get)}"
        for node in graph.graph.nodes
    ]


def to_the_end(graph: fx.GraphModule, inputs: list[Tensor], once: Callable[[fx.GraphModule], bool]) -> None:
    """Apply a rewriting until it says that nothing changed: in bounded rounds, and truly nothing more to do then."""
    most = 2 + len(graph.graph.nodes) ** 2  # every permute passes every operator at most once
    for _ in range(most):
        if not once(graph):
            break
        infer(graph, inputs)
    else:
        raise AssertionError(f"no end after {most} rounds")
    infer(graph, inputs)
    left = text(graph)
    assert not once(graph)
    assert text(graph) == left


UNARY = (aten.relu.default, aten.sigmoid.default, aten.tanh.default, aten.neg.default, aten.abs.default)
BINARY = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.maximum.default)


@st.composite
def permuted(draw: Draw) -> tuple[fx.GraphModule, list[Tensor]]:
    """Permutes between operators that let them through, and some that do not."""
    rank = draw(st.integers(2, 4))
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank)))
    sketch = Sketch(draw, shape, shape)
    order = draw(st.permutations(range(rank)))  # few different ones, so that they meet
    orders = [order, [order.index(i) for i in range(rank)], draw(st.permutations(range(rank)))]
    steps = {
        "permute": _permute, "unary": _unary, "binary": _binary, "stored": _stored, "cat": _cat, "pad": _pad,
        "mean": _mean, "reshape": _reshape, "softmax": _softmax,
    }  # fmt: skip
    kinds = st.sampled_from(["permute"] * 9 + list(steps))
    for kind in draw(st.lists(kinds, min_size=1, max_size=10)):
        if kind == "permute":
            _permute(sketch, orders)
        else:
            steps[kind](sketch)
    return sketch.module(), sketch.inputs


def _permute(sketch: Sketch, orders: list[list[int]]) -> None:
    rank = len(orders[0])
    found = sketch.pick(lambda t: t.dim() == rank)
    if found is not None:
        order = sketch.draw(st.sampled_from(orders))
        axes = [a - rank if sketch.draw(st.booleans()) else a for a in order]
        sketch.call(aten.permute.default, found, axes)


def _unary(sketch: Sketch) -> None:
    sketch.call(sketch.draw(st.sampled_from(UNARY)), sketch.pick())


def _binary(sketch: Sketch) -> None:
    first = sketch.pick()
    assert first is not None

    def fits(other: Tensor) -> bool:
        return other.dim() == first[1].dim() and all(
            m in (n, 1) for m, n in zip(other.shape, first[1].shape, strict=True)
        )

    sketch.call(sketch.draw(st.sampled_from(BINARY)), first, sketch.pick(fits))


def _stored(sketch: Sketch) -> None:
    """An operator with a stored tensor that is broadcast, or with a number, on either side."""
    value = sketch.pick()
    assert value is not None
    kept = value[1].shape[sketch.draw(st.integers(0, value[1].dim())) :]
    shape = tuple(n if sketch.draw(st.booleans()) else 1 for n in kept)
    target = sketch.draw(st.sampled_from(BINARY[:4]))
    if sketch.draw(st.booleans()):
        sketch.call(target, value, sketch.draw(st.sampled_from([2, 0.5])))
    else:
        operands = [value, sketch.constant(shape)]
        sketch.call(target, *(operands[::-1] if sketch.draw(st.booleans()) else operands))


def _cat(sketch: Sketch) -> None:
    first = sketch.pick()
    assert first is not None
    parts = [first, sketch.pick(lambda t: t.shape == first[1].shape)]
    sketch.call(aten.cat.default, parts, sketch.draw(st.integers(-first[1].dim(), first[1].dim() - 1)))


def _pad(sketch: Sketch) -> None:
    value = sketch.pick(lambda t: max(t.shape) < 12)
    if value is not None:
        axes = sketch.draw(st.integers(1, value[1].dim()))
        amounts = sketch.draw(st.lists(st.integers(0, 2), min_size=2 * axes, max_size=2 * axes))
        sketch.call(aten.constant_pad_nd.default, value, amounts, *sketch.draw(st.sampled_from([(), (0.5,)])))


def _mean(sketch: Sketch) -> None:
    value = sketch.pick(lambda t: t.dim() > 1)
    if value is not None:
        rank = value[1].dim()
        axes = sketch.draw(st.lists(st.integers(0, rank - 1), min_size=1, max_size=rank - 1, unique=True))
        axes = [a - rank if sketch.draw(st.booleans()) else a for a in axes]
        sketch.call(aten.mean.dim, value, axes, *sketch.draw(st.sampled_from([(), (False,), (True,)])))


def _reshape(sketch: Sketch) -> None:
    value = sketch.pick()
    assert value is not None
    sketch.call(aten.reshape.default, value, [*value[1].shape[::-1]])


def _softmax(sketch: Sketch) -> None:
    sketch.call(aten.softmax.int, sketch.pick(), -1)


@rigorous
@given(permuted())
def test_permutes_sink_to_an_end_and_change_no_output(made: tuple[fx.GraphModule, list[Tensor]]) -> None:
    graph, inputs = made
    note("\n".join(text(graph)))
    before = copy.deepcopy(graph)
    to_the_end(graph, inputs, sink_permutes)
    assert_same(before, graph, inputs)
    follow = [n for n in graph.graph.nodes if n.target is aten.permute.default]
    assert not [n for n in follow if n.args[0].target is aten.permute.default], "two permutes in a row are one"


@st.composite
def products(draw: Draw) -> tuple[fx.GraphModule, list[Tensor]]:
    """Products with stored weights, and after each what may be folded into it or only looks so."""
    c, n = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    kind = draw(st.sampled_from(["conv1d", "conv2d", "conv_transpose2d", "linear", "matmul"]))
    space = {"conv1d": 1, "conv2d": 2, "conv_transpose2d": 2}.get(kind)
    lead = draw(st.sampled_from([(2,), (2, 4), (1, 3, 4)]))
    shape = (2, c, *(5,) * space) if space else (*lead, c)
    if space and draw(st.booleans()) and draw(st.booleans()):
        shape = shape[1:]  # one image, without a batch
    sketch = Sketch(draw, shape)
    value = _product(sketch, sketch.values[0], kind, c, n, space)
    for _ in range(draw(st.integers(0, 4))):
        value = _shift(sketch, value)
    if draw(st.booleans()):
        sketch.call(aten.relu.default, value)
    if draw(st.booleans()):  # read twice: what follows is not the only reader
        sketch.call(aten.neg.default, sketch.pick())
    return sketch.module(), sketch.inputs


def _product(sketch: Sketch, x: Any, kind: str, c: int, n: int, space: int | None) -> Any:
    if kind == "matmul":
        return sketch.call(aten.matmul.default, x, sketch.constant((c, n)))
    bias = sketch.draw(st.sampled_from([True, False]))
    if kind == "linear":
        return sketch.call(aten.linear.default, x, sketch.constant((n, c)), *((sketch.constant((n,)),) if bias else ()))
    kernel = (3,) * (space or 0)
    if kind == "conv_transpose2d":
        groups = sketch.draw(st.sampled_from([1, c]))
        weights = sketch.constant((c, n, *kernel))
        more = (sketch.constant((n * groups,)) if bias else None, [1, 1], [0, 0], [0, 0], groups)
        return sketch.call(aten.conv_transpose2d.input, x, weights, *more)
    groups = sketch.draw(st.sampled_from([1, c]))
    weights = sketch.constant((n * groups, c // groups, *kernel))
    target = aten.conv1d.default if space == 1 else aten.conv2d.default
    more = (sketch.constant((n * groups,)) if bias else None, [1], [1], [1], groups)
    return sketch.call(target, x, weights, *more)


def _shift(sketch: Sketch, value: Any) -> Any:
    """A scale, a shift or a BatchNorm over one axis of a value, not always that of its channels."""
    tensor = value[1]
    axis = sketch.draw(st.integers(0, tensor.dim() - 1))
    size = tensor.shape[axis]
    how = sketch.draw(st.sampled_from(["number", "single", "axis", "axis", "norm", "norm"]))
    if how == "norm" and tensor.dim() > 1:
        size = tensor.shape[1]
        weight, bias, mean = (sketch.constant((size,)) if sketch.draw(st.booleans()) else None for _ in range(3))
        mean = mean or sketch.constant((size,))
        variance = sketch.constant(sketch._tensor((size,)).abs() + 0.5)
        settings_ = (False, 0.1, 1e-3, False)
        return sketch.call(aten.batch_norm.default, value, weight, bias, mean, variance, *settings_)
    target = sketch.draw(st.sampled_from(BINARY[:4]))
    if how == "number":
        return sketch.call(target, value, sketch.draw(st.sampled_from([2, 0.5, -3.0])))
    shape = (1,) * sketch.draw(st.integers(0, 2)) if how == "single" else (size, *(1,) * (tensor.dim() - 1 - axis))
    stored = sketch.constant(sketch._tensor(shape).abs() + 0.5)
    return sketch.call(target, *((stored, value) if sketch.draw(st.booleans()) else (value, stored)))


@rigorous
@given(products())
def test_what_follows_a_product_is_folded_into_it_to_an_end(made: tuple[fx.GraphModule, list[Tensor]]) -> None:
    graph, inputs = made
    note("\n".join(text(graph)))
    before = copy.deepcopy(graph)
    matmul_to_linear(graph)
    infer(graph, inputs)
    assert_same(before, graph, inputs)
    to_the_end(graph, inputs, fold_affine)
    assert_same(before, graph, inputs)


class Steps(nn.Module):
    """A linear layer over features, then a norm over the steps before them, of which there are as many."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(5, 4), nn.BatchNorm1d(4)
        self.norm.running_mean = torch.arange(4.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))


class Pool(nn.Module):
    """A padding of zeros behind a ReLU and before a maximum over windows."""

    def __init__(self, *window: Any) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(nn.functional.pad(nn.functional.relu(x), (1, 1, 1, 1)), *self.window)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        pytest.param(Steps(), (2, 4, 5), id="norm-over-steps"),
        pytest.param(Pool(3, 3, 0, 1, True), (1, 2, 5, 5), id="windows-rounded-up"),
        pytest.param(Pool(2, 1, 0, 2, False), (1, 2, 1, 3), id="dilated"),
    ],
)
def test_what_only_looks_as_if_it_could_be_absorbed_stays(module: nn.Module, shape: tuple[int, ...]) -> None:
    inputs = [torch.linspace(-1, 1, math.prod(shape)).reshape(shape)]
    with torch.no_grad():
        wanted = module.eval()(*inputs)
        found = rewritten(torch.export.export(module, tuple(inputs), strict=False))(*inputs)
    torch.testing.assert_close(found, wanted)


def test_a_constant_of_a_wider_type_is_not_folded() -> None:
    """The sum is of the wider type, the product is not."""
    root, graph = nn.Module(), fx.Graph()
    root.register_buffer("weights", torch.ones(2, 3))
    root.register_buffer("shift", torch.ones(2, dtype=torch.float64))
    product = graph.call_function(aten.linear.default, (graph.placeholder("x"), graph.get_attr("weights")))
    graph.output((graph.call_function(aten.add.Tensor, (product, graph.get_attr("shift"))),))
    made, inputs = fx.GraphModule(root, graph), [torch.ones(1, 3)]
    infer(made, inputs)
    before = copy.deepcopy(made)
    to_the_end(made, inputs, fold_affine)
    assert_same(before, made, inputs)


@st.composite
def padded(draw: Draw) -> tuple[fx.GraphModule, list[Tensor]]:
    """Paddings before convolutions and maximum poolings, some of which can pad by themselves."""
    sketch = Sketch(draw, draw(st.sampled_from([(1, 2, 4, 5), (1, 2, 1, 3), (2, 3, 3)])))
    for _ in range(draw(st.integers(1, 2))):
        sketch.call(draw(st.sampled_from([aten.relu.default] * 4 + [aten.neg.default])), sketch.values[-1])
        for _ in range(draw(st.integers(1, 2))):
            _border(sketch)
        draw(st.sampled_from([_convolution, _pool, _pool]))(sketch)
    return sketch.module(), sketch.inputs


def _border(sketch: Sketch) -> None:
    across, down = sketch.draw(st.sampled_from([(1, 1), (1, 1), (1, 0), (0, 1), (2, 1)]))
    more = sketch.draw(st.sampled_from([0, 0, 0, 1]))  # uneven
    value = sketch.draw(st.sampled_from([(), (0.0,), (0.0,), (1.0,)]))
    sketch.call(aten.constant_pad_nd.default, sketch.values[-1], [across, across + more, down, down], *value)


def _window(sketch: Sketch) -> tuple[list[int], list[int], list[int], list[int]]:
    """Kernel, stride, padding and dilation; the kernel reaches no further than the image."""
    image = sketch.values[-1][1].shape[-2:]
    pair = lambda low, high: sketch.draw(st.lists(st.integers(low, high), min_size=2, max_size=2))  # noqa: E731
    kernel, dilation = pair(2, 3), sketch.draw(st.sampled_from([[1, 1], [1, 1], [2, 2]]))
    kernel = [k if (k - 1) * d < n else 1 for k, d, n in zip(kernel, dilation, image, strict=True)]
    return kernel, pair(1, 3), sketch.draw(st.sampled_from([[0, 0]] * 3 + [[k // 2 for k in kernel]])), dilation


def _pool(sketch: Sketch) -> None:
    arguments = (*_window(sketch), sketch.draw(st.booleans()))
    sketch.call(
        aten.max_pool2d.default, sketch.values[-1], *arguments[: sketch.draw(st.sampled_from([2, 3, 5, 5, 5, 5]))]
    )


def _convolution(sketch: Sketch) -> None:
    kernel, *window = _window(sketch)
    channels = sketch.values[-1][1].shape[-3]
    bias = sketch.constant((2,)) if sketch.draw(st.booleans()) else None
    arguments = (bias, *window)
    weights = sketch.constant((2, channels, *kernel))
    sketch.call(aten.conv2d.default, sketch.values[-1], weights, *arguments[: sketch.draw(st.integers(0, 4))])


def absorb(graph: fx.GraphModule) -> bool:
    """Absorb paddings; whether there were any to absorb."""
    before = text(graph)
    absorb_pads(graph)
    return text(graph) != before


@rigorous
@given(padded())
def test_paddings_go_into_what_pads_by_itself_and_change_no_output(
    made: tuple[fx.GraphModule, list[Tensor]],
) -> None:
    graph, inputs = made
    note("\n".join(text(graph)))
    before = copy.deepcopy(graph)
    to_the_end(graph, inputs, absorb)
    assert_same(before, graph, inputs)


@pytest.mark.parametrize(
    ("shape", "amounts"), [((1, 2, 5, 4), (0, 1, 2, 0)), ((1, 2, 6), (3, 1)), ((1, 2, 3, 4, 5), (1,) * 6)]
)
def test_edges_are_repeated_by_pieces_and_not_looked_up(shape: tuple[int, ...], amounts: tuple[int, ...]) -> None:
    class Repeats(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.pad(x, amounts, mode="replicate")

    x = torch.arange(float(math.prod(shape))).reshape(shape)
    graph = rewritten(torch.export.export(Repeats(), (x,), strict=False))
    assert not any("pad" in line or "index" in line for line in text(graph))
    torch.testing.assert_close(graph(x), Repeats()(x), rtol=0, atol=0)


@st.composite
def delegates(draw: Draw) -> Any:
    """A graph as XNNPACK's compiler hands it over to be serialized: transposes, conversions and other operators."""
    from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema

    rank = 4
    order = draw(st.permutations(range(rank)))
    orders = [order, [order.index(i) for i in range(rank)], list(range(rank)), draw(st.permutations(range(rank)))]
    nodes: list[Any] = []
    for made in range(1, 1 + draw(st.integers(1, 8))):
        read = made - 1 - min(draw(st.sampled_from([0, 0, 0, 1, 2])), made - 1)
        kind = draw(st.sampled_from(["transpose", "transpose", "convert", "abs", "add"]))
        if kind == "transpose":
            union: Any = schema.XNNStaticTranspose(rank, list(draw(st.sampled_from(orders))), read, made, 0)
        elif kind == "add":
            union = schema.XNNAdd(read, draw(st.integers(0, made - 1)), made, 0)
        else:
            union = (schema.XNNConvert if kind == "convert" else schema.XNNAbs)(read, made, 0)
        nodes.append(schema.XNode(union, 0))
    last = len(nodes)
    outputs = sorted({last, *draw(st.lists(st.integers(1, last), max_size=2))})
    return schema.XNNGraph("0", nodes, [], 1, [0], outputs, [])


def computed(graph: Any) -> list[np.ndarray[Any, Any]]:
    """What a delegate's outputs are, for one input whose elements all differ; shapes are those of a cube."""
    values = {0: np.arange(16.0).reshape(2, 2, 2, 2) - 7.3}
    for node in graph.xnodes:
        this = node.xnode_union
        match type(this).__name__:
            case "XNNStaticTranspose":
                made = values[this.input_id].transpose(this.perm)
            case "XNNConvert":
                made = np.round(values[this.input_id])
            case "XNNAbs":
                made = np.abs(values[this.input_id])
            case _:
                made = values[this.input1_id] + values[this.input2_id]
        values[this.output_id] = made
    return [values[i] for i in graph.output_ids]


@rigorous
@given(delegates())
def test_merged_transposes_change_no_output_and_leave_none_to_merge(graph: Any) -> None:
    before = computed(graph)
    transposes.merge_transposes(graph)
    for old, new in zip(before, computed(graph), strict=True):
        np.testing.assert_array_equal(new, old)
    once = copy.deepcopy(graph)
    transposes.merge_transposes(graph)
    assert graph == once


class NormedBehindRelu(nn.Module):
    """What Keras makes of Conv2D(activation="relu") and BatchNormalization: channels last but for the convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("mean", torch.rand(1, 1, 1, 4))
        self.register_buffer("scale", torch.rand(1, 1, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        return (y - self.mean) * self.scale


def test_constants_that_moved_with_a_permute_have_the_strides_of_their_shape() -> None:
    """By others ExecuTorch takes them for channels last, and XNNPACK refuses them when it runs."""
    program = torch.export.export(NormedBehindRelu().eval(), (torch.zeros(1, 8, 8, 3),), strict=False)
    constants = [value for _, value in rewritten(program).named_buffers() if value.shape == (1, 4, 1, 1)]
    assert len(constants) == 2
    assert {value.stride() for value in constants} == {(4, 1, 1, 1)}


class Twice(nn.Module):
    """One layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x).relu())


def test_a_one_dimensional_convolution_that_is_called_twice_is_lowered() -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    torch.manual_seed(0)
    model, x = Twice().eval(), torch.randn(1, 4, 8)
    graph = rewritten(torch.export.export(model, (x,), strict=False))
    torch.testing.assert_close(graph(x), model(x))
    calls = [node for node in graph.graph.nodes if node.target is aten.conv1d.default]
    assert len({node.args[1].target for node in calls}) == len({node.args[2].target for node in calls}) == 2
    program = torch.export.export(graph, (x,), strict=False)
    to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])  # the compiler's own pass raised


@pytest.mark.parametrize("square", [torch.square, lambda x: x**2, lambda x: x * x], ids=["square", "power", "product"])
def test_a_variance_written_as_a_difference_of_squares_is_never_below_zero(square):
    class Norm(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mean = x.mean((1, 2), keepdim=True)
            return square(x).mean((1, 2), keepdim=True) - square(mean)

    example = torch.randn(2, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    graph = rewritten(torch.export.export(Norm(), (example,)))
    assert torch.allclose(graph(example), Norm()(example), atol=1e-6)
    constant = torch.full((2, 8, 8, 3), 1234.567)
    assert Norm()(constant).abs().max() > 1e-3, "what it is about does not show here"
    assert graph(constant).min() >= 0
    assert graph(constant).max() < 1e-6


class Sums(OperatorSupportBase):
    def is_node_supported(self, submodules: Any, node: fx.Node) -> bool:
        return node.target is torch.add


def of_parts(graph: fx.Graph, parts: list[Any]) -> dict[fx.Node, Any]:
    part_of = {node: number for number, part in enumerate(parts) for node in part.nodes}
    return {node: part_of.get(node, node) for node in graph.nodes}


def test_parts_that_need_each_other_are_cut_and_groups_are_not() -> None:
    # Three CPU seconds, which every process that collects tests would spend.
    from executorch.exir.backend.canonical_partitioners.group_partitioner import GroupBasedPartitioner

    cut = 0
    for seed in range(150):
        rng = random.Random(seed)
        graph = fx.Graph()
        made = [graph.placeholder("x")]
        for _ in range(14):
            operator = torch.add if rng.random() < 0.6 else torch.mul
            made.append(graph.call_function(operator, (rng.choice(made[-6:]), rng.choice(made))))
        graph.output(tuple(node for node in made if not node.users))
        module = fx.GraphModule({}, graph)
        sums = [node for node in module.graph.nodes if node.target is torch.add]
        groups = [pair for pair in zip(sums[::4], sums[3::4], strict=False) if validate_partition(list(pair))]
        try:
            vendor.in_order(module.graph, {n: next((g for g in groups if n in g), n) for n in module.graph.nodes})
        except graphlib.CycleError:
            continue  # no order of the groups themselves
        parts = GroupBasedPartitioner(module, Sums(), True, node_groups=groups).propose_partitions()
        found = vendor.untied(module.graph, parts, groups)
        vendor.in_order(module.graph, of_parts(module.graph, found))
        assert {node for part in found for node in part.nodes} == set(sums)
        assert all(len({of_parts(module.graph, found)[node] for node in group}) == 1 for group in groups)
        cut += found is not parts
    assert cut > 3
