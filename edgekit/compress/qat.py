"""Quantization-aware training: weights are trained where they will lie, on the target's grid.

A step rounds the weights, computes loss and gradients with them, puts the float weights back, and moves those by the
gradients: the straight-through estimator (Bengio, Leonard & Courville, arXiv 1308.3432) as BinaryConnect has it
(Courbariaux, Bengio & David, NeurIPS 2015). The largest weight of a channel is the largest integer, so that none is
clipped and every gradient passes. So nothing is put into the model, which stays what it is in its framework, PyTorch or
Keras on the torch backend; and in the end its weights lie on the grid that a converter finds again.

Statistics of BatchNorm are frozen for the last third of the epochs (Krishnamoorthi, arXiv 1806.08342, section 4.3):
files hold the running ones. It needs no folding, see ``fakequant``.

Activations are in float, and each route finds their ranges by calibration, as of any model; or training goes through
the graph of ``activations``, where they lie on the steps of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx
from torch.nn import functional

from edgekit.compress.fakequant import Grid, nearest
from edgekit.compress.fitting import Ended, Loss, Step, fit, reproducible
from edgekit.compress.graph import Graph, Stored, operator
from edgekit.compress.products import find, names_of
from edgekit.errors import FailedError, UnsupportedError, UsageError
from edgekit.frameworks import LoadedModel, keras_outputs
from edgekit.frameworks.loaded import named
from edgekit.frameworks.trainable import Modes, frozen, hold, parameters, seed, tensors_of
from edgekit.scheme import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.compress.graph import Places
    from edgekit.compress.prune.zeros import Zeros
    from edgekit.zoo import Training

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

#: ``(names, kind, inputs, channels) -> grid`` of a layer; None where it stays as it is.
Chosen = Callable[[tuple[str, ...], Kind, int, int], Grid | None]


@dataclass(frozen=True)
class Layer:
    """Weights that are trained on a grid: the model's own tensor, and where in it each of ``(rows, inputs)`` lies."""

    name: str
    own: Tensor
    rows: Places
    grid: Grid

    def rounded(self) -> NDArray[np.float32]:
        """The weights as they are on the grid."""
        values = self.own.detach().numpy()
        flat = values.reshape(-1).copy()
        flat[self.rows] = nearest(flat[self.rows].astype("float64"), self.grid)
        return np.asarray(flat.reshape(values.shape))

    def quantize(self) -> None:
        """Round the weights in place."""
        self.own.detach().numpy()[...] = self.rounded()  # shares the tensor's memory, whatever its strides


@dataclass(frozen=True)
class Trained:
    """What training gave; the model has the weights of the best epoch, on the grid.

    Attributes:
        layers: how many have their weights on the grid.
        losses: mean training loss of each epoch.
        values: metric on the selection split with weights on the grid, before training and after each epoch.
        kept: the epoch whose weights are kept; 0 are the source's, rounded.
        stopped: why it ended early; empty where it did not.
        moved: whether any weight has changed.
    """

    layers: int
    losses: tuple[float | None, ...]
    values: tuple[float, ...]
    kept: int
    stopped: str = ""
    moved: bool = True


#: Called behind each epoch with what training would give if it ended there, which the model then holds, and with what
#: ``train`` goes on with behind it: plain values and tensors.
Keep = Callable[[Trained, Mapping[str, Any]], None]
#: A loop of somebody's own: called with what it has to call behind each epoch.
Loop = Callable[[Callable[[Ended], None]], None]


def find_layers(model: LoadedModel, chosen: Chosen) -> tuple[list[Layer], dict[str, str]]:
    """The layers whose weights become integers, and by name those for which there is no rule, with why.

    A recurrent layer, a grouped convolution that is not depthwise, and a tensor that several operators read have none.
    """
    graph = Graph(model)
    found, without = list(_tables(graph, chosen)), dict[str, str]()
    for each in find_matrices(graph):
        if isinstance(each, Unruled):
            asked = (name for name in each.names if chosen(_called(name), each.kind, _ANY, _ANY) is not None)
            without |= dict.fromkeys(asked, each.why)
            continue
        grid = chosen(names_of(each.stored), each.kind, each.rows.shape[1], each.channels)
        if grid is not None:
            found.append(Layer(each.stored.called, each.stored.own, each.rows, grid))
    return found, without


def _tables(graph: Graph, chosen: Chosen) -> Iterator[Layer]:
    """What is looked up in and becomes integers: a row is a channel. Tables that a product reads as well are not."""
    for node in graph.nodes:
        if node.op != "call_function" or operator(node) != "embedding":
            continue
        stored = graph.stored(node.args[0])
        if stored is None or stored.places.ndim != 2:
            continue
        width = stored.places.shape[1]
        grid = chosen(names_of(stored), "embedding", width, width)
        if grid is not None:
            yield Layer(stored.called, stored.own, stored.places, grid)


@dataclass(frozen=True)
class Matrix:
    """Stored weights that an operator multiplies by: what it does, where each of ``(rows, inputs)`` lies in them.

    ``inputs`` are ``channels`` times positions of a kernel; ``node`` is the operator, ``value`` what it multiplies,
    ``own`` the bias that it adds by itself, and ``axis`` the one of its result that has the rows.
    """

    kind: Kind
    stored: Stored
    rows: Places
    channels: int
    node: fx.Node
    value: fx.Node
    own: fx.Node | None
    axis: int


@dataclass(frozen=True)
class Unruled:
    """Names of stored matrices that an operator multiplies by, and that are read in no such way, because of what."""

    kind: Kind
    names: tuple[str, ...]
    why: str


def find_matrices(graph: Graph) -> Iterator[Matrix | Unruled]:
    """What the operators of a graph multiply by, in the order in which they run."""
    for node in graph.nodes:
        product = find(node, graph, ())
        if product is not None:
            yield Matrix(
                product.product.kind, product.stored, product.rows, product.product.channels,
                node, product.value, product.own, product.axes[1],
            )  # fmt: skip
        elif (other := _other(node, graph)) is not None:
            yield other
        elif node.op == "call_function" and (kind := _MULTIPLY.get(operator(node))) is not None:
            yield _unruled(node, kind, graph)


def _unruled(node: fx.Node, kind: Kind, graph: Graph) -> Unruled:
    names = tuple(name for one in node.all_input_nodes if (name := _origin(one)) is not None)
    if not names:
        behind = dict.fromkeys(name for one in node.all_input_nodes for name in _computed_of(one))
        return Unruled(kind, tuple(behind), "the model computes its weights of others")
    if kind == "recurrent":
        why = "a recurrent layer"
    elif any(graph.shared(name) for name in names):
        why = "several operators read it"
    else:
        why = "a convolution of groups" if "conv" in kind else "it is read in no way that has a rule"
    return Unruled(kind, names, why)


def _computed_of(node: fx.Node) -> list[str]:
    """The stored matrices that a value is computed of; none where it depends on the model's inputs as well."""
    found, rest, seen = list[str](), [node], set[fx.Node]()
    while rest:
        one = rest.pop()
        if one in seen:
            continue
        seen.add(one)
        if one.op == "placeholder":
            return []
        if one.op == "get_attr" and sum(n > 1 for n in getattr(one.meta.get("val"), "shape", ())) > 1:
            found.append(str(one.target))
        rest += one.all_input_nodes
    return found


def _other(node: fx.Node, graph: Graph) -> Matrix | None:
    """A depthwise or a transposed convolution; its channels are those of a group."""
    name = operator(node)
    given = list(node.args)
    if name in ("conv1d", "conv2d", "conv3d"):
        transposed, groups = False, given[6] if len(given) > 6 else 1
    elif name in ("conv_transpose1d", "conv_transpose2d"):
        transposed, groups = True, given[6] if len(given) > 6 else 1
    elif name == "convolution":
        transposed, groups = bool(given[6]), given[8]
    else:
        return None
    stored = graph.stored(given[1])
    if stored is None:
        return None
    places = stored.places
    adds: tuple[Any, Any, int] = given[0], given[2] if len(given) > 2 else None, 1
    if transposed and groups == 1:
        rows = places.swapaxes(0, 1).reshape(places.shape[1], -1)
        return Matrix("transposed-conv", stored, rows, places.shape[0], node, *adds)
    if not transposed and (groups == 1 or places.shape[1] == 1):
        kind: Kind = "conv" if groups == 1 else "depthwise-conv"
        return Matrix(kind, stored, places.reshape(len(places), -1), places.shape[1], node, *adds)
    return None


#: Operators that multiply by weights, and what they are. ``find`` and ``_other`` read what they can of them.
_MULTIPLY: dict[str, Kind] = {
    **dict.fromkeys(("linear", "matmul", "mm", "addmm", "einsum"), "linear"),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "_convolution_mode"), "conv"),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), "transposed-conv"),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), "recurrent"),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), "recurrent"),
}


#: Inputs that blocks of every size divide.
_ANY = 128


def _called(name: str) -> tuple[str, str]:
    """A layer and its tensor, as rules call them."""
    return name.rpartition(".")[0], name


def _origin(node: fx.Node) -> str | None:
    """The stored matrix that a value is, behind operators of one argument alone; None where it is computed."""
    while node.op == "call_function" and len(node.all_input_nodes) == 1:
        [node] = node.all_input_nodes
    shape = getattr(node.meta.get("val"), "shape", ()) if node.op == "get_attr" else ()
    return str(node.target) if len(shape) > 1 else None


@contextmanager
def quantized(layers: Sequence[Layer]) -> Iterator[None]:
    """Weights on their grids within, and back as they were behind."""
    before = [layer.own.detach().clone() for layer in layers]
    for layer in layers:
        layer.quantize()
    try:
        yield
    finally:
        for layer, values in zip(layers, before, strict=True):
            layer.own.detach().copy_(values)


def train(
    model: LoadedModel,
    layers: Sequence[Layer],
    fixed: Sequence[Tensor],
    loss: Loss | None,
    inputs: Sequence[Tensor],
    labels: Tensor,
    training: Training,
    score: Callable[[], float],
    *,
    higher: bool,
    through: Callable[..., Any] | None = None,
    zeros: Zeros | None = None,
    keep: Keep | None = None,
    step_done: Step = lambda *_: None,
    behind: Mapping[str, Any] | None = None,
    loop: Loop | None = None,
) -> Trained:
    """Train a model in place, and leave it with the best weights on their grids, in evaluation mode.

    Args:
        model: of PyTorch, or of Keras on the torch backend.
        layers: whose weights are on grids; none for training in float.
        fixed: tensors that are not trained.
        loss: of what the model returns; a loop of somebody's own has its own.
        inputs: training samples, in the order of the model's inputs.
        labels: theirs.
        training: epochs and settings.
        score: metric of the model as it is, on the selection split.
        higher: whether more is better.
        through: what computes its outputs instead, with its own tensors: its graph with activations on their steps.
        zeros: of the weights, which stay or become more; None where none does.
        keep: told behind each epoch.
        step_done: told behind each step.
        behind: what ``keep`` was told behind the epoch to go on behind; the result is that of an undisturbed run.
        loop: takes the place of edgekit's own.

    Raises:
        UsageError: all weights are frozen.
        FailedError: the loss became NaN or infinite before the first epoch had ended.
    """
    native, mode, tensors = model.native, Modes(model), tensors_of(model)
    trained = parameters(model, fixed)
    if loop is None and not trained:
        raise UsageError(
            "no weight of this model can be trained: all are frozen",
            hint="Leave some trainable: requires_grad of PyTorch's parameters, `trainable` of Keras's layers.",
        )
    weights = [*trained, *frozen(model).values()]  # a loop of somebody's own may thaw what it wants to
    first = [t.detach().clone() for t in weights]
    losses, values = list[float | None](), list[float]()
    best: tuple[int, list[Tensor]] = (0, [])

    def measure() -> None:
        nonlocal best
        mode.evaluate()
        with zeros.all() if zeros else nullcontext(), quantized(layers):
            values.append(score())
        first, last = values[0], values[-1]
        # Of equals the later, which was trained longer; but epoch 0 unless training has made it better.
        if len(values) == 1 or (last == (max if higher else min)(values) and last != first):
            best = (len(values) - 1, [t.detach().clone() for t in tensors])

    def hold_best() -> None:
        hold(tensors, best[1])
        if zeros:
            zeros.finish()
        for layer in layers:
            layer.quantize()

    def before(epoch: int) -> None:
        mode.train(statistics=epoch <= training.epochs - training.epochs // 3)
        if zeros:
            zeros.begin(epoch)

    def after(ended: Ended) -> None:
        losses.append(ended.loss)
        measure()
        if keep is None:
            return
        now = [t.detach().clone() for t in tensors]
        hold_best()
        state = {"loop": ended.loop, "tensors": now, "losses": losses, "values": values, "best": list(best)}
        keep(Trained(len(layers), tuple(losses), tuple(values), best[0]), state)
        hold(tensors, now)

    @contextmanager
    def within() -> Iterator[None]:
        with zeros.step(trained) if zeros else nullcontext(), quantized(layers):
            yield

    def forward(*xs: Tensor) -> Any:
        if through is not None:
            return through(*xs)
        return keras_outputs.forward(native, xs, training=True) if model.framework == "keras" else native(*xs)

    stopped = ""
    with reproducible(training.seed):
        if behind is None:
            seed(model, training.seed)
            measure()
        else:
            losses, values = [*behind["losses"]], [*behind["values"]]
            best = (behind["best"][0], behind["best"][1])
            hold(tensors, behind["tensors"])
        try:
            if loop is not None:
                loop(after)
            else:
                assert loss is not None
                fit(
                    forward, trained, loss, inputs, labels, training,
                    before=before, after=after, within=within, step_done=step_done,
                    behind=behind and behind["loop"],
                )  # fmt: skip
        except FailedError as error:
            if not losses:
                raise
            stopped = f"{error}: the weights of epoch {best[0]} were kept"
    moved = any(not torch.equal(a, b) for a, b in zip(first, weights, strict=True))
    hold_best()
    mode.evaluate()
    return Trained(len(layers), tuple(losses), tuple(values), best[0], stopped, moved)


def loss_for(
    model: LoadedModel,
    inputs: Sequence[Tensor],
    labels: Tensor,
    own: Loss | None = None,
    roles: Mapping[str, str] = MappingProxyType({}),
) -> Loss:
    """A loss that fits labels: cross-entropy of classes, the mean square error of values like the output's.

    Args:
        model: whose first output it is, or the one that is said to hold classes.
        inputs: a few samples.
        labels: of all samples.
        own: the architecture's.
        roles: what outputs are said to be for, by name.

    Raises:
        UsageError: labels that fit neither, or several outputs alike.
    """
    if own is not None:
        return own
    outputs = list(model.run({t.name: x.numpy() for t, x in zip(model.signature.inputs, inputs, strict=True)}).values())
    names = [t.name for t in model.signature.outputs]
    said = [name for name in names if roles.get(name) == "classes"]
    alike = [n for n, o in zip(names, outputs, strict=True) if o.ndim == outputs[0].ndim and o.shape[-1:] != (1,)]
    if not said and not labels.is_floating_point() and len(alike) > 1:
        raise UsageError(
            f"the model has the outputs {', '.join(alike)}, and nothing says which of them the labels are of",
            hint=f"--outputs {alike[-1]}=classes",
        )
    at = names.index(said[0]) if said else 0
    first = torch.from_numpy(outputs[at])

    def of(loss: Loss) -> Loss:
        def called(returned: Any, labels: Tensor) -> Tensor:
            return loss(named(returned, torch.is_tensor)[at][1], labels)

        return called

    if labels.is_floating_point() and first.shape[1:] == labels.shape[1:]:
        return of(functional.mse_loss)
    axes = [a for a in ((1, -1) if model.framework == "torch" and first.ndim == 4 else (-1, 1)) if first.ndim > 1]
    fits = [a for a in axes if _without(first, a)[1:] == labels.shape[1:] and int(labels.max()) < first.shape[a] > 1]
    if labels.is_floating_point() or not fits or int(labels.min()) < 0:
        raise UsageError(
            f"labels of shape {tuple(labels.shape[1:])} and type {str(labels.dtype).removeprefix('torch.')} fit no "
            f"loss of an output of shape {tuple(first.shape[1:])}",
            hint="Give class numbers for an output with one value for each class, or values shaped as the output.",
        )
    [axis, *_] = fits
    total = first.sum(axis)
    probabilities = bool((first >= 0).all()) and bool(torch.isclose(total, torch.ones(()), atol=1e-3).all())

    def entropy(output: Tensor, labels: Tensor) -> Tensor:
        moved = output.movedim(axis, 1)
        if probabilities:  # the model ends in a softmax
            return functional.nll_loss(torch.log(moved.clamp_min(1e-7)), labels)
        return functional.cross_entropy(moved, labels)

    return of(entropy)


def _without(tensor: Tensor, axis: int) -> torch.Size:
    shape = list(tensor.shape)
    del shape[axis]
    return torch.Size(shape)


def no_rule(what: str, names: Mapping[str, str], hint: str) -> UnsupportedError:
    """Say of weights that there is nothing for them, naming the first few, and why."""
    more = f", and {len(names) - 5} more" if len(names) > 5 else ""
    shown = ", ".join(f"{name} ({why})" for name, why in list(names.items())[:5])
    return UnsupportedError(f"there is no {what} {shown}{more}", hint=hint)


def check(layers: Sequence[Layer], without: Mapping[str, str], *, allow_mixed: bool) -> None:
    """Refuse a model of which nothing, or not all, can be trained on a grid.

    Raises:
        UnsupportedError: layers without a rule, by name, or no layer at all.
    """
    if without and not allow_mixed:
        raise no_rule(
            "fake quantization for", without, "Pass --allow-mixed to train the others; these stay as they are."
        )
    if not layers:
        raise UnsupportedError(
            "no layer of this model has weights that the target quantizes", hint="Convert it without --qat."
        )
