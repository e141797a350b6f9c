"""One canonical form of a model's weights, and its way into PyTorch and Keras and back.

The canonical form is a safetensors file with the names and layouts of a PyTorch ``state_dict`` in float32, with
three differences: no ``num_batches_tracked``; a tensor that several modules share appears once, under its first
name; a recurrent layer has one bias per gate, ``bias_ih_l0``, the sum of PyTorch's two (Keras has only one).

A Keras layer is named after the PyTorch module path with ``.`` replaced by ``_``; which of its variables is which
tensor follows from the layer's class, so nothing here knows an architecture. ``from_keras`` cannot tell where the
dots were and returns the path with underscores: both ``load_torch`` and ``load_keras`` take either spelling.

Layouts, Keras -> PyTorch: convolution ``(*space, in, out)`` -> ``(out, in, *space)``, transposed convolution
``(*space, out, in)`` -> ``(in, out, *space)``, depthwise ``(*space, in, mult)`` -> ``(in * mult, 1, *space)``,
dense ``(in, out)`` -> ``(out, in)``. LSTM gates are in the same order in both (input, forget, cell, output).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DamagedFileError, UsageError

if TYPE_CHECKING:
    import torch

#: Distributions whose versions change what is done here.
PACKAGES = ("safetensors", "torch")

Array = NDArray[np.float32]
Tensors = Mapping[str, Array]

_STATISTICS = ("running_mean", "running_var")


def read(path: Path) -> dict[str, Array]:
    """Read a canonical safetensors file; raises ``DamagedFileError`` when it is not one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"cannot read weights from {path}: {error}") from error
    except (TypeError, AttributeError) as error:  # a type that NumPy has not
        raise DamagedFileError(f"cannot read weights from {path}: {error}", hint="Store them as float32.") from error


def of_part(tensors: Tensors, part: str) -> dict[str, Array]:
    """The canonical tensors of one part of a model: those under its name."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}


def write(path: Path, tensors: Tensors) -> None:
    """Write a canonical safetensors file; the same tensors give the same bytes."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}, path)


def count_parameters(tensors: Mapping[str, Any]) -> int:
    """Trainable parameters of canonical tensors (anything with a ``shape``); BatchNorm statistics do not count."""
    return sum(math.prod(t.shape) for name, t in tensors.items() if not name.endswith(_STATISTICS))


def canonical(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Canonical tensors of a PyTorch module, on its own device (``meta`` too, where there are shapes only)."""
    recurrent = _recurrent_paths(module)
    state = _distinct(module)
    found: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        path, _, leaf = name.rpartition(".")
        if path in recurrent and leaf.startswith("bias_hh"):
            continue
        if path in recurrent and leaf.startswith("bias_ih"):
            tensor = tensor + state[f"{path}.{leaf.replace('bias_ih', 'bias_hh')}"]
        found[name] = tensor
    return found


def from_torch(module: torch.nn.Module) -> dict[str, Array]:
    """Canonical tensors of a PyTorch module as float32 arrays that share no memory with it."""
    return {name: t.float().cpu().numpy().copy() for name, t in canonical(module).items()}


def load_torch(module: torch.nn.Module, tensors: Tensors) -> None:
    """Set every weight of a PyTorch module from canonical tensors.

    Raises:
        UsageError: a tensor is missing, left over, of another shape, or no float; it is named.
    """
    import torch

    given = _by_key(tensors)
    wanted = canonical(module)
    _check({_key(name): tuple(t.shape) for name, t in wanted.items()}, given)
    recurrent = _recurrent_paths(module)
    with torch.no_grad():
        for name, tensor in _distinct(module).items():
            path, _, leaf = name.rpartition(".")
            if path in recurrent and leaf.startswith("bias_hh"):
                tensor.zero_()
            else:
                tensor.copy_(torch.from_numpy(np.ascontiguousarray(given[_key(name)])))


def from_keras(model: Any) -> dict[str, Array]:
    """Canonical tensors of a Keras model (module paths with underscores) as float32 arrays."""
    return {s.key: np.array(s.rule.to_torch(_value(s.variable)), dtype=np.float32) for s in _slots(model)}


def load_keras(model: Any, tensors: Tensors) -> None:
    """Set every weight of a Keras model from canonical tensors.

    Raises:
        UsageError: as of ``load_torch``, or a layer has weights and no rule.
    """
    given = _by_key(tensors)
    slots = list(_slots(model))
    _check({s.key: s.shape for s in slots}, given)
    for slot in slots:
        slot.variable.assign(slot.rule.to_keras(given[slot.key], tuple(slot.variable.shape)))


@dataclass(frozen=True)
class _Rule:
    """How one Keras variable becomes one canonical tensor; ``to_keras`` also gets the variable's shape."""

    variable: str
    tensor: str
    to_torch: Callable[[Array], Array]
    to_keras: Callable[[Array, tuple[int, ...]], Array]


@dataclass(frozen=True)
class _Slot:
    key: str
    variable: Any
    rule: _Rule

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the canonical tensor, found without holding one."""
        return self.rule.to_torch(np.broadcast_to(np.float32(0), tuple(self.variable.shape))).shape


def _plain(variable: str, tensor: str) -> _Rule:
    return _Rule(variable, tensor, lambda a: a, lambda a, _: a)


def _transposed(variable: str, tensor: str) -> _Rule:
    return _Rule(variable, tensor, lambda a: a.T, lambda a, _: a.T)


# Keras ends a kernel with the two channel axes, PyTorch starts with them in the opposite order; for a transposed
# convolution both frameworks swap the meaning of the two, so that the rule is the same.
_KERNEL = _Rule(
    "kernel",
    "weight",
    lambda a: np.moveaxis(a, (-1, -2), (0, 1)),
    lambda a, _: np.moveaxis(a, (0, 1), (-1, -2)),
)
_DEPTHWISE = _Rule(
    "kernel",
    "weight",
    lambda a: np.moveaxis(a, (-2, -1), (0, 1)).reshape(a.shape[-2] * a.shape[-1], 1, *a.shape[:-2]),
    lambda a, shape: np.moveaxis(a.reshape(*shape[-2:], *shape[:-2]), (0, 1), (-2, -1)),
)
_BIAS = _plain("bias", "bias")
_GAMMA_BETA = (_plain("gamma", "weight"), _plain("beta", "bias"))
_LSTM = (
    _transposed("kernel", "weight_ih_l0"),
    _transposed("recurrent_kernel", "weight_hh_l0"),
    _plain("bias", "bias_ih_l0"),
)

_RULES: dict[str, tuple[_Rule, ...]] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv1DTranspose", "Conv2DTranspose"), (_KERNEL, _BIAS)),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), (_DEPTHWISE, _BIAS)),
    "Dense": (_transposed("kernel", "weight"), _BIAS),
    "BatchNormalization": (
        *_GAMMA_BETA,
        _plain("moving_mean", "running_mean"),
        _plain("moving_variance", "running_var"),
    ),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization"), _GAMMA_BETA),
    "RMSNormalization": (_plain("scale", "weight"),),
    "Embedding": (_plain("embeddings", "weight"),),
    "ReversibleEmbedding": (_plain("embeddings", "weight"),),
    "LSTM": _LSTM,
}


def _slots(model: Any) -> Iterator[_Slot]:
    for layer in model.layers:
        if not layer.weights:
            continue
        kind = type(layer).__name__
        if kind == "Bidirectional":
            yield from _layer_slots(layer.name, layer.forward_layer, "", len(layer.weights) // 2)
            yield from _layer_slots(layer.name, layer.backward_layer, "_reverse", len(layer.weights) // 2)
        else:
            yield from _layer_slots(layer.name, layer, "", len(layer.weights))


def _layer_slots(path: str, layer: Any, suffix: str, expected: int) -> Iterator[_Slot]:
    rules = _RULES.get(type(layer).__name__, ())
    owner = getattr(layer, "cell", layer)
    slots = [
        _Slot(f"{path}.{rule.tensor}{suffix}", variable, rule)
        for rule in rules
        if (variable := getattr(owner, rule.variable, None)) is not None
    ]
    if len(slots) != expected:
        raise UsageError(
            f"layer {path!r} ({type(layer).__name__}) has {expected} weights, {len(slots)} of which have a rule",
            hint=f"Layers with rules: {', '.join(sorted(_RULES))}.",
        )
    yield from slots


def _value(variable: Any) -> Array:
    return np.asarray(variable.numpy(), dtype=np.float32)


def _distinct(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The module's own tensors by name: persistent only, a shared one under its first name."""
    seen: set[int] = set()
    found = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) in seen or name.rpartition(".")[2] == "num_batches_tracked":
            continue
        seen.add(id(tensor))
        found[name] = tensor.detach()
    return found


def _recurrent_paths(module: torch.nn.Module) -> set[str]:
    """Paths of LSTM modules. A GRU has two biases that do not add up to one, and is not treated here."""
    import torch

    return {path for path, m in module.named_modules() if isinstance(m, torch.nn.LSTM) and m.bias}


def _key(name: str) -> str:
    path, _, leaf = name.rpartition(".")
    return f"{path.replace('.', '_')}.{leaf}"


def _by_key(tensors: Tensors) -> dict[str, Array]:
    keyed = {_key(name): tensor for name, tensor in tensors.items()}
    if len(keyed) != len(tensors):
        raise UsageError("two tensors have the same name when '.' and '_' are taken for one")
    return keyed


def _check(wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, Array]) -> None:
    missing = sorted(wanted.keys() - given.keys())
    extra = sorted(given.keys() - wanted.keys())
    if missing or extra:
        parts = [
            f"{what}: {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
            for what, names in (("missing", missing), ("unknown", extra))
            if names
        ]
        raise UsageError(
            f"weights do not fit the model; {'; '.join(parts)}",
            hint="Take the file of this architecture and configuration.",
        )
    for key, shape in wanted.items():
        if given[key].shape != shape:
            raise UsageError(f"weight {key!r} has shape {given[key].shape}; the model needs {shape}")
        if given[key].dtype.kind != "f":
            raise UsageError(
                f"weight {key!r} is {given[key].dtype}; the model needs floats",
                hint="Store them as float32; numbers of a quantized file are not the weights themselves.",
            )
