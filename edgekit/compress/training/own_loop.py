"""A training loop of the user's own, ``fit(model, data, *, epochs, seed, report)``, in the place of edgekit's.

It gets the framework's own model, and trains it in place. Where an operator reads weights that become integers, it
gets them rounded, while the model's own stay in float, and so does what an optimizer moves: gradients pass to them as
they are, as in ``qat``. So nothing is put into the model, and its class, inputs and outputs are the user's.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from edgekit import user_code
from edgekit.compress.qat import Layer, Loop
from edgekit.compress.training.fitting import Ended
from edgekit.errors import FailedError, UnsupportedError, UsageError, with_article
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.of_keras import outputs as keras_outputs
from edgekit.frameworks.trainable import tensors_of

if TYPE_CHECKING:
    from edgekit.zoo import Training

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

#: ``(share of the training that is done, where it is)``.
Say = Callable[[float, str], None]

#: Operators that read weights to compute with them, or lay them out for one that does. What an optimizer does to
#: weights, and what copies or saves them, is not among these: that sees them in float.
_READS = {
    *("linear", "bilinear", "matmul", "mm", "bmm", "addmm", "einsum", "tensordot", "__matmul__", "__rmatmul__"),
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
    *("multi_head_attention_forward", "permute", "transpose", "t", "movedim", "swapaxes", "reshape", "view", "flatten"),
    *("embedding", "embedding_bag", "index_select"),
    *("unsqueeze", "squeeze", "contiguous", "to", "expand", "repeat_interleave"),
}
#: The same as properties: their functions are all called ``__get__``.
_PROPERTIES = (torch.Tensor.T.__get__, torch.Tensor.mT.__get__)  # type: ignore[attr-defined]
#: Samples on which a model's outputs are looked at before and after.
_A_FEW = 4


@dataclass(frozen=True)
class Data:
    """What a loop trains on: tensors in the order of the model's inputs, and labels; the first axis is of samples."""

    inputs: tuple[Tensor, ...]
    labels: Tensor

    def __len__(self) -> int:
        """How many samples."""
        return len(self.labels)

    def batches(self, size: int = 64) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """Inputs and labels of one epoch, shuffled anew; a ragged rest is left out."""
        size = min(size, len(self))
        for rows in torch.randperm(len(self))[: len(self) // size * size].view(-1, size):
            yield tuple(x[rows] for x in self.inputs), self.labels[rows]


class _Rounded(torch.autograd.Function):
    """Weights on their grid, whose gradients are those of the weights."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, layer: Layer) -> Tensor:
        return torch.from_numpy(layer.rounded())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        [gradient] = gradients
        return gradient, None


class OnGrid(TorchFunctionMode):
    """While it is open, operators read the weights of layers rounded.

    Attributes:
        read: addresses of the weights that were read.
        learned: of those that were read where gradients are computed, since somebody last cleared it.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.read, self.learned = set[int](), set[int]()
        self._layers = {layer.own.data_ptr(): layer for layer in layers}
        self._off = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an operator of PyTorch."""
        kwargs = kwargs or {}
        if not self._off and (getattr(func, "__name__", "") in _READS or func in _PROPERTIES):
            args = tuple(map(self._rounded, args))
            kwargs = {name: self._rounded(value) for name, value in kwargs.items()}
        return func(*args, **kwargs)

    def _rounded(self, value: Any) -> Any:
        if isinstance(value, list | tuple):  # what einsum multiplies
            return type(value)(map(self._rounded, value)) if type(value) in (list, tuple) else value
        layer = self._layers.get(value.data_ptr()) if isinstance(value, Tensor) and value.is_leaf else None
        if layer is None or value.shape != layer.own.shape:
            return value
        self.read.add(layer.own.data_ptr())
        if torch.is_grad_enabled():
            self.learned.add(layer.own.data_ptr())
        return _Rounded.apply(value, layer)

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """Weights are what they are within."""
        self._off = True
        try:
            yield
        finally:
            self._off = False


def loop(
    function: user_code.Function,
    model: LoadedModel,
    layers: Sequence[Layer],
    fixed: Sequence[Tensor],
    data: Data,
    training: Training,
    say: Say = lambda share, text: None,
) -> Loop:
    """The user's loop as ``qat.train`` calls it; what is ``fixed`` says of itself meanwhile that it is not trained.

    Raises:
        UsageError: it raised, did not train in place (which is looked at behind every epoch, and at the first step
            that it reports), or reported what is no epoch.
        UnsupportedError: the model reads weights in a way in which they cannot be rounded for it.
        FailedError: it reported a loss that is no number, or left weights that are none.
    """

    def run(after: Callable[[Ended], None]) -> None:
        before = _Look(model, data)
        with _untrained(model, fixed), OnGrid(layers) as grid:
            _check_read(model, layers, data, grid)
            grid.learned.clear()
            report = _Report(model, layers, grid, training.epochs, after, say, partial(before.check, function))
            user_code.call(
                function.path, function.name, model.native, data, epochs=training.epochs, seed=training.seed,
                report=report, takes="takes (model, data, *, epochs, seed, report)",
            )  # fmt: skip
            with grid.off():
                before.check(function, whole=True)
        report.finish()

    return run


@contextlib.contextmanager
def _untrained(model: LoadedModel, fixed: Sequence[Tensor]) -> Iterator[None]:
    """Within, optimizers pass these tensors by."""
    places = {tensor.data_ptr() for tensor in fixed}
    native, keras = model.native, model.framework == "keras"
    variables = [v for v in native.trainable_variables if v.value.data_ptr() in places] if keras else []
    parameters = [p for p in native.parameters() if p.requires_grad and p.data_ptr() in places]
    for variable in variables:
        variable.trainable = False
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for variable in variables:
            variable.trainable = True
        for parameter in parameters:
            parameter.requires_grad_(True)


class _Report:
    """What the user's loop calls: ``report(epoch=1, loss=0.5)`` behind an epoch, with ``step`` and ``steps`` within."""

    def __init__(
        self,
        model: LoadedModel,
        layers: Sequence[Layer],
        grid: OnGrid,
        epochs: int,
        after: Callable[[Ended], None],
        say: Say,
        check: Callable[..., None],
    ) -> None:
        self._model, self._grid, self._epochs, self._after, self._say = model, grid, epochs, after, say
        self._check, self._checked = check, False
        self._ended = 0
        self._then: list[Tensor] = []
        self._layers, self._begun = layers, [layer.own.detach().clone() for layer in layers]

    def __call__(
        self,
        *,
        epoch: int,
        loss: float | None = None,
        step: int | None = None,
        steps: int | None = None,
        **figures: float,
    ) -> None:
        """Say how far it is; behind an epoch, without ``step``, the model is measured on the selection split."""
        value = None if loss is None else float(loss)
        where = f"epoch {epoch}" + (f", step {step}" if step is not None else "")
        if value is not None and not math.isfinite(value):
            raise FailedError(f"training loss became {value} in {where}", hint="Lower the learning rate of your loop.")
        if step is not None:
            if not self._checked:  # what a loop does to a model it does before it trains
                self._check()
                self._checked = True
            share = (epoch - 1 + step / max(steps or step, step, 1)) / max(self._epochs, epoch)
            named = {"loss": value, **figures}
            shown = [f"{name} {float(figure):.4f}" for name, figure in named.items() if figure is not None]
            self._say(share, ", ".join([f"epoch {epoch} of {self._epochs}, step {step}", *shown]))
            return
        if epoch != self._ended + 1:
            raise UsageError(
                f"report(epoch={epoch}) came behind epoch {self._ended}",
                hint="Call report(epoch=1, loss=...) behind the first epoch, epoch=2 behind the next.",
            )
        self._check_learned(f"epoch {epoch}")
        self._measure(epoch, value)

    def _check_learned(self, when: str) -> None:
        """Refuse weights that were trained in float: they have moved, and the model did not read them on the grid."""
        moved = [
            layer.name
            for layer, begun in zip(self._layers, self._begun, strict=True)
            if layer.own.data_ptr() not in self._grid.learned and not torch.equal(layer.own.detach(), begun)
        ]
        if moved:
            raise UnsupportedError(
                f"{when} of your loop trained {', '.join(moved[:5])} in float: what computed the loss did not read "
                "these weights of the model, and they could not be rounded for it",
                hint="Call the model itself, model(*inputs), and none that is compiled or called with copies of its "
                "weights (torch.compile, torch.func.functional_call); or train without --fit.",
            )
        self._grid.learned.clear()
        self._begun = [layer.own.detach().clone() for layer in self._layers]

    def _measure(self, epoch: int, loss: float | None) -> None:
        modules = [(m, m.training) for m in self._model.native.modules()] if self._model.framework == "torch" else []
        with self._grid.off():
            self._check(whole=True)
            self._after(Ended(epoch, loss))
        for module, training in modules:  # measuring has put all of them into evaluation mode
            module.training = training
        self._ended = epoch
        self._then = [t.detach().clone() for t in tensors_of(self._model)]

    def finish(self) -> None:
        """Measure what the loop left, where that is not what it reported last."""
        if not self._ended:
            self._check_learned("the training")
        now = tensors_of(self._model)
        if not self._then or any(not torch.equal(a, b) for a, b in zip(now, self._then, strict=True)):
            self._measure(self._ended + 1, None)


class _Look:
    """A model as it was before the user's loop."""

    def __init__(self, model: LoadedModel, data: Data) -> None:
        self._model = model
        self._samples = {
            spec.name: x[:_A_FEW].numpy() for spec, x in zip(model.signature.inputs, data.inputs, strict=True)
        }
        self._class = type(model.native)
        self._places = self._tensors()
        self._outputs = self._shapes()

    def _tensors(self) -> list[tuple[str, int, Any]]:
        """Each by its name, under which it is saved: a layer that is put in another's place may have the same ones."""
        if self._model.framework == "keras":
            return [(v.path, v.value.data_ptr(), v.shape) for v in self._model.native.variables]
        named = self._model.native.state_dict().items()
        return [(name, t.data_ptr(), t.shape) for name, t in named if torch.is_tensor(t)]

    def _shapes(self) -> dict[str, Any]:
        if self._model.framework == "torch":
            self._model.native.eval()
        return {name: (y.shape, y.dtype) for name, y in self._model.run(self._samples).items()}

    def check(self, function: user_code.Function, *, whole: bool = False) -> None:
        """Hold the model as it is now against it: what it is made of, and ``whole`` what it computes as well."""
        where = f"{function.path}:{function.name}"
        model = self._model.native
        if type(model) is not self._class:
            raise UsageError(
                f"{where} made {with_article(type(model).__name__)} of the {self._class.__name__}",
                hint="Train the model in place.",
            )
        if self._tensors() != self._places:
            raise UsageError(
                f"{where} put other tensors into the model, or under other names, instead of training its own",
                hint="Train the model in place: load_state_dict and optimizers do.",
            )
        if not whole:
            return
        if not all(bool(torch.isfinite(t).all()) for t in tensors_of(self._model) if t.is_floating_point()):
            raise FailedError(f"{where} left weights that are NaN or infinite", hint="Lower the learning rate.")
        if (found := self._shapes()) != self._outputs:
            raise UsageError(f"{where} changed the model's outputs from {self._outputs} to {found}")


def _check_read(model: LoadedModel, layers: Sequence[Layer], data: Data, grid: OnGrid) -> None:
    """Run the model once, to see that it reads all of the weights that have to be rounded for it."""
    xs = [x[:1] for x in data.inputs]
    with torch.no_grad():
        keras_outputs.forward(model.native, xs) if model.framework == "keras" else model.native(*xs)
    if unread := [layer.name for layer in layers if layer.own.data_ptr() not in grid.read]:
        raise UnsupportedError(
            f"a loop of your own cannot train {', '.join(unread[:5])} on the target's grid: the model reads these "
            "weights in a way in which they cannot be rounded for it",
            hint="Train without --fit.",
        )
