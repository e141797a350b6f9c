"""What of a model is trained, and in which mode: as the model itself says, in PyTorch and in Keras.

What a model freezes (``requires_grad`` of a parameter, ``trainable`` of a layer) stays as it is, and so do the
statistics of a norm whose scales are frozen: Keras does so by itself, and in PyTorch nobody freezes the ones and means
the others to move.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekit.frameworks import LoadedModel

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)


def tensors_of(model: LoadedModel) -> list[Tensor]:
    """All tensors that a model's answers and its training depend on: of Keras also what dropout draws from."""
    if model.framework == "keras":
        return [variable.value for variable in model.native.variables]
    return [t for t in model.native.state_dict(keep_vars=True).values() if torch.is_tensor(t)]


def saved(model: LoadedModel) -> list[Tensor]:
    """What is saved of a model, in the order in which ``frameworks`` does."""
    if model.framework == "keras":
        return [variable.value for variable in model.native.weights]
    return tensors_of(model)


def hold(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Put values into a model's tensors."""
    for tensor, value in zip(tensors, values, strict=True):
        tensor.detach().copy_(value)


def by_name(model: LoadedModel) -> dict[str, Tensor]:
    """What is saved of a model, as the model calls it."""
    if model.framework == "keras":
        return {variable.path: variable.value for variable in model.native.weights}
    return {name: t for name, t in model.native.state_dict(keep_vars=True).items() if torch.is_tensor(t)}


@contextmanager
def untouched(model: LoadedModel) -> Iterator[None]:
    """Whatever runs within, behind it the model's tensors are what they were: statistics of norms, too."""
    modules = list(model.native.modules()) if model.framework == "torch" else []
    buffers = [(module, name, buffer) for module in modules for name, buffer in module._buffers.items()]
    tensors = [*tensors_of(model), *(buffer for _, _, buffer in buffers if buffer is not None)]
    before = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        for module, name, buffer in buffers:  # it may have put another in its place
            module._buffers[name] = buffer
        hold(tensors, before)


def seed(model: LoadedModel, seed: int) -> None:
    """Have Keras's dropouts draw the same numbers in every process, each its own."""
    if model.framework == "keras":
        weights = {id(variable) for variable in model.native.weights}
        drawn = [v for v in model.native.variables if id(v) not in weights and v.path.endswith("seed_generator_state")]
        for variable, number in zip(drawn, np.random.SeedSequence(seed).generate_state(len(drawn)), strict=True):
            variable.assign(np.array([number, 0]))


def parameters(model: LoadedModel, fixed: Sequence[Tensor] = ()) -> list[Tensor]:
    """What is trained: what the model itself says is trainable, but for what is fixed."""
    native = model.native
    found = (
        [variable.value for variable in native.trainable_variables]
        if model.framework == "keras"
        else [p for p in native.parameters() if p.requires_grad]
    )
    left_out = {tensor.data_ptr() for tensor in fixed}
    return [tensor for tensor in found if tensor.data_ptr() not in left_out]


def frozen(model: LoadedModel) -> dict[str, Tensor]:
    """The weights that the model keeps from being trained, by name."""
    if model.framework == "keras":
        trained = {id(variable) for variable in model.native.trainable_variables}
        own = [v for layer in _layers(model) for v in layer._trainable_variables]
        return {v.path: v.value for v in own if id(v) not in trained}
    named = model.native.named_parameters()
    return {name: p for name, p in named if not p.requires_grad and p.is_floating_point()}


def constrain(model: LoadedModel) -> None:
    """Put weights back to where Keras constrains them to lie, as its own training does behind each step."""
    with torch.no_grad():
        for variable in model.native.trainable_variables if model.framework == "keras" else ():
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable))


def added_losses(model: LoadedModel, *, of_weights: bool) -> list[Tensor]:
    """What a Keras model adds to its loss: regularizers of weights, and, else than ``of_weights``, of its last call."""
    if model.framework != "keras":
        return []
    return list(model.native._get_regularization_losses() if of_weights else model.native.losses)


class Modes:
    """The modes of a model: of training and of evaluation."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        if model.framework == "keras":
            every = (layer for layer in _layers(model) if type(layer).__name__ == "BatchNormalization")
            self._norms = [layer for layer in every if layer.trainable]
            self._still: list[Any] = []  # Keras knows by itself
        else:
            kind = torch.nn.modules.batchnorm._BatchNorm
            self._norms = [m for m in model.native.modules() if isinstance(m, kind)]
            self._still = [m for m in self._norms if m.affine and not any(p.requires_grad for p in m.parameters())]

    def train(self, *, statistics: bool) -> None:
        """Begin an epoch of training; without statistics norms use their running ones, and keep them."""
        if self._model.framework == "torch":
            self._model.native.train()
            for norm in self._still if statistics else self._norms:
                norm.eval()
            return
        for norm in () if statistics else self._norms:
            norm.trainable = False
            for variable in (norm.gamma, norm.beta):
                if variable is not None:
                    variable.value.requires_grad_(True)  # Keras stops their training as well

    def evaluate(self) -> None:
        """Compute as files do."""
        if self._model.framework == "torch":
            self._model.native.eval()


def _layers(model: LoadedModel) -> Any:
    return model.native._flatten_layers(include_self=True, recursive=True)
