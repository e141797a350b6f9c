"""Training with zeros: more and more of a model's weights are zero, or those that are stay so; in PyTorch children.

Before each step the weights that are gone are set to zero, and behind it their gradients are: they come to no size
again, whatever the optimizer remembers of them. Nothing is put into the model, of PyTorch or of Keras on the torch
backend.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from edgekit.compress.graph import Graph
from edgekit.compress.matrices import Unruled, find_matrices, no_rule
from edgekit.compress.prune import masks
from edgekit.compress.prune.patterns import Pattern
from edgekit.errors import FailedError, UnsupportedError, UsageError
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.trainable import by_name, frozen
from edgekit.result.recipe import PrunedLayer
from edgekit.scheme import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.compress.graph import Places

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

#: What is pruned. A depthwise convolution has few weights, and no others for the same channel; a table is looked up.
PRUNED: tuple[Kind, ...] = ("conv", "transposed-conv", "linear")


@dataclass(frozen=True)
class Prunable:
    """Weights that may go: the model's own tensor, and where in it each of ``(rows, inputs)`` lies."""

    name: str
    kind: Kind
    own: Tensor
    rows: Places
    channels: int

    def values(self) -> NDArray[np.float32]:
        """The weights, as ``masks`` reads them."""
        flat = self.own.detach().numpy().reshape(-1)
        return flat[self.rows].reshape(len(self.rows), self.channels, -1)

    def placed(self, where: NDArray[np.bool_]) -> Tensor:
        """What ``masks`` says of each weight, in the tensor's own layout."""
        flat = np.zeros(self.own.numel(), np.bool_)
        flat[self.rows] = where.reshape(self.rows.shape)
        return torch.from_numpy(flat.reshape(self.own.shape))


def find(model: LoadedModel, pattern: Pattern) -> tuple[list[Prunable], list[str], dict[str, str]]:
    """The layers that are pruned, those that are not, with why, and by name those without a rule, with why."""
    found, left, without = list[Prunable](), list[str](), dict[str, str]()
    still = {tensor.data_ptr() for tensor in frozen(model).values()}
    for each in find_matrices(Graph(model)):
        if isinstance(each, Unruled):
            without |= dict.fromkeys(each.names if each.kind in (*PRUNED, "recurrent") else (), each.why)
        elif each.kind in PRUNED and each.stored.own.data_ptr() in still:
            left.append(f"{each.stored.called}: it is frozen")
        elif each.kind in PRUNED and masks.fits(pattern, each.channels):
            found.append(Prunable(each.stored.called, each.kind, each.stored.own, each.rows, each.channels))
        elif each.kind in PRUNED:
            left.append(f"{each.stored.called}: {each.channels} input channels are no groups of {pattern.group}")
    return found, left, without


def check(layers: Sequence[Prunable], left: Sequence[str], without: Mapping[str, str], *, allow_mixed: bool) -> None:
    """Refuse a model of which nothing can be pruned, or not all without being asked.

    Raises:
        UnsupportedError: layers without a rule, by name, or no layer at all.
    """
    if without and not allow_mixed:
        hint = "Pass --allow-mixed to prune the others; these keep all their weights."
        raise no_rule("pruning of", without, hint)
    if not layers:
        why = f": {left[0]}" if left else ": none is a convolution or a product with weights"
        raise UnsupportedError(
            f"no layer of this model can be pruned so{why}",
            hint="Prune another share, --prune 0.5, or leave layers trainable.",
        )


class Zeros:
    """Zeros of a model in training.

    Attributes:
        layers: of which weights go; none where those that are zero stay so.
    """

    def __init__(self, tensors: Sequence[Tensor], layers: Sequence[Prunable] = ()) -> None:
        self.layers = layers
        self._tensors = tensors
        self._gone = [torch.zeros(tensor.shape, dtype=torch.bool) for tensor in tensors]

    def begin(self, epoch: int) -> None:
        """Before the first step of an epoch, counted from 1: what is zero is gone."""
        self._gone = [tensor.detach() == 0 for tensor in self._tensors]

    @contextmanager
    def step(self, parameters: Sequence[Tensor]) -> Iterator[None]:
        """While a loss and its gradients are computed: weights that are gone are zero, and so are their gradients."""
        self.restore()
        yield
        trained = {parameter.data_ptr(): parameter for parameter in parameters}
        for tensor, gone in zip(self._tensors, self._gone, strict=True):
            gradient = trained[tensor.data_ptr()].grad if tensor.data_ptr() in trained else None
            if gradient is not None:
                gradient.masked_fill_(gone, 0)

    def restore(self) -> None:
        """Set to zero what is gone: an optimizer that remembers earlier gradients has moved it."""
        for tensor, gone in zip(self._tensors, self._gone, strict=True):
            tensor.detach().masked_fill_(gone, 0)

    @contextmanager
    def all(self) -> Iterator[None]:
        """Within, all that shall go in the end is zero; behind it what is still there has its weights again."""
        self.restore()
        yield

    def finish(self) -> None:
        """Set to zero all that shall go."""


def with_zeros(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The matrices with weights that are zero."""
    return [tensor for tensor in parameters if tensor.ndim > 1 and bool((tensor.detach() == 0).any())]


class Held(Zeros):
    """Weights that are zero stay so: those of all matrices that are trained."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        super().__init__(with_zeros(parameters))


class Growing(Zeros):
    """More and more weights go.

    Args:
        layers: of which they go.
        pattern: which.
        together: whether the smallest of all layers go, or those of each.
        steps: of one epoch.
        ramp: steps until all are gone.
        held: what stays zero where it is so at the beginning, also in layers of which no more go; none where zeros
            are there by accident.

    Raises:
        UsageError: a layer would have no weight left, or all have all.
    """

    def __init__(
        self,
        layers: Sequence[Prunable],
        pattern: Pattern,
        *,
        together: bool,
        steps: int,
        ramp: int,
        held: Sequence[Tensor] = (),
    ) -> None:
        own = [layer.own for layer in layers]
        places = {tensor.data_ptr() for tensor in own}
        others = [tensor for tensor in with_zeros(held) if tensor.data_ptr() not in places]
        super().__init__([*own, *others], layers)
        self._held = bool(held)
        self._pattern, self._together = pattern, together
        self._per_epoch, self._ramp = steps, ramp
        self._step, self._share = 0, 0.0
        try:
            gone = self._where(pattern.share)
        except FailedError as error:
            raise UsageError(
                str(error), hint='Prune less, or each layer alone: scope = "layer" in a recipe.'
            ) from error
        if not any(bool(where.any()) for where in gone):
            raise UsageError(f"pruning {pattern} leaves out no weight", hint=_enough(layers, together=together))

    def begin(self, epoch: int) -> None:
        """The same, where zeros are not there by accident."""
        if epoch > 1 or self._held:
            super().begin(epoch)
        self._step, self._share = (epoch - 1) * self._per_epoch, 0.0

    @contextmanager
    def step(self, parameters: Sequence[Tensor]) -> Iterator[None]:
        """The same, of as many weights as the schedule has at this step."""
        share = masks.share_at(self._step, self._ramp, self._pattern.share)
        self.restore()
        if share > self._share:
            more = self._where(share)
            grown = [gone | now for gone, now in zip(self._gone, more, strict=False)]  # the layers come first
            self._gone, self._share = [*grown, *self._gone[len(more) :]], share
        self._step += 1
        with super().step(parameters):
            yield

    @contextmanager
    def all(self) -> Iterator[None]:
        """The same: what is still to go is chosen by the weights as they are."""
        self.restore()
        before = [tensor.detach().clone() for tensor in self._tensors]
        self.finish()
        try:
            yield
        finally:
            for tensor, values in zip(self._tensors, before, strict=True):
                tensor.detach().copy_(values)

    def finish(self) -> None:
        """The same."""
        for layer, gone in zip(self.layers, self._where(self._pattern.share), strict=True):
            layer.own.detach().masked_fill_(gone, 0)

    def _where(self, share: float) -> list[Tensor]:
        """What goes of each layer; zeros go first, so that what is gone stays so."""
        found = masks.smallest([layer.values() for layer in self.layers], self._pattern, share, together=self._together)
        empty = [layer.name for layer, gone in zip(self.layers, found, strict=True) if gone.all()]
        if empty:
            raise FailedError(f"pruning {self._pattern} leaves no weight of {', '.join(empty[:5])}")
        return [layer.placed(gone) for layer, gone in zip(self.layers, found, strict=True)]


def _enough(layers: Sequence[Prunable], *, together: bool) -> str:
    """The smallest share of which a weight goes."""
    sizes = [layer.rows.size for layer in layers]
    most = sum(sizes) if together else max(sizes)
    of = f"all {most} weights" if together else f"the {most} weights of the largest layer"
    digits = 1 - math.floor(math.log10(1 / most))
    share = math.ceil(10**digits / most) / 10**digits
    return f"One of {of} is a share of {share:.2g}: prune that or more."


def counted(layers: Sequence[Prunable]) -> tuple[PrunedLayer, ...]:
    """Layers with the zeros that they have now."""
    return tuple(
        PrunedLayer(name=one.name, kind=one.kind, weights=one.rows.size, zeros=int((one.values() == 0).sum()))
        for one in layers
    )


def recounted(model: LoadedModel, layers: Sequence[PrunedLayer]) -> tuple[PrunedLayer, ...]:
    """Layers that were pruned before, with the weights and zeros that they have now: some may have lost channels."""
    tensors = by_name(model)
    return tuple(
        PrunedLayer(name=one.name, kind=one.kind, weights=own.numel(), zeros=int((own.detach() == 0).sum()))
        if (own := tensors.get(one.name)) is not None
        else one
        for one in layers
    )
