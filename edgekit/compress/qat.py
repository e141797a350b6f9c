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

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from edgekit.compress.fakequant import Grid, nearest
from edgekit.compress.graph import Graph, operator
from edgekit.compress.matrices import Unruled, find_matrices, no_rule
from edgekit.compress.products import names_of
from edgekit.compress.training.fitting import Ended, Loss, Step, fit, reproducible
from edgekit.errors import FailedError, UnsupportedError, UsageError
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.of_keras import outputs as keras_outputs
from edgekit.frameworks.trainable import (
    Modes,
    added_losses,
    constrain,
    frozen,
    hold,
    parameters,
    seed,
    tensors_of,
)
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


#: Inputs that blocks of every size divide.
_ANY = 128


def _called(name: str) -> tuple[str, str]:
    """A layer and its tensor, as rules call them."""
    return re.split(r"[./](?=[^./]*$)", name)[0], name


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

    def criterion(returned: Any, labels: Tensor) -> Tensor:
        assert loss is not None
        return sum(added_losses(model, of_weights=through is not None), loss(returned, labels))

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
                fit(
                    forward, trained, criterion, inputs, labels, training,
                    before=before, after=after, within=within, moved=lambda: constrain(model), step_done=step_done,
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
