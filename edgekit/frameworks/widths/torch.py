"""PyTorch modules as narrow as the tensors that they are to be given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from edgekit.errors import UnsupportedError

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)


def narrow(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give a freshly built module tensors of other shapes, whose values are still to come, and attributes that fit.

    Args:
        model: in place.
        shapes: of the tensors of its state, by name; those of the same shape stay.

    Raises:
        UnsupportedError: a tensor has another number of axes.
    """
    made: dict[int, torch.Tensor] = {}
    changed: dict[str, nn.Module] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not torch.is_tensor(tensor) or shapes.get(name, tuple(tensor.shape)) == tuple(tensor.shape):
            continue
        shape = shapes[name]
        if len(shape) != tensor.ndim:
            raise UnsupportedError(
                f"{name} has shape {tuple(tensor.shape)}, and {shape} in the checkpoint",
                hint="Build the model as it was when its weights were saved.",
            )
        path, _, leaf = name.rpartition(".")
        module = changed.setdefault(path, model.get_submodule(path))
        if id(tensor) not in made:  # several modules may share one
            empty = tensor.detach().new_zeros(shape)
            made[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
        setattr(module, leaf, made[id(tensor)])
    for module in changed.values():
        _say(module)


def _say(module: Any) -> None:
    """Attributes that a module reads, or prints, besides its tensors' shapes."""
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        module.in_channels, module.out_channels = module.weight.shape[0], module.weight.shape[1] * module.groups
    elif isinstance(module, nn.modules.conv._ConvNd):
        if module.groups > 1:
            module.groups = module.weight.shape[0] // (module.out_channels // module.groups)
        module.out_channels, module.in_channels = module.weight.shape[0], module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        tensor = module.weight if module.weight is not None else module.running_mean
        module.num_features = len(tensor)
    elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    elif isinstance(module, nn.RNNBase):
        cell: Any = module
        cell.input_size, cell.hidden_size = cell.weight_ih_l0.shape[1], cell.weight_hh_l0.shape[1]
