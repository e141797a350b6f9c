"""PyTorch modules as people bring them: half-precision or quantized weights, inputs that all have a default."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from edgekit.errors import UnsupportedError, UsageError, did_you_mean
from edgekit.frameworks.loaded import UNNAMED, fields_of, is_record, named

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

_OTHER = (torch.float16, torch.bfloat16, torch.float64)


def plain(given: str, model: nn.Module) -> tuple[str, ...]:
    """Make all weights of a module float32, in place; returns what was done, a sentence each.

    Raises:
        UnsupportedError: a layer computes in integers already, and nothing tells what it was in float.
    """
    notes = []
    if count := _dequantize(model):
        notes.append(
            f"{count} weights were quantized already (torchao): they are dequantized, and taken for the float."
        )
    for name, module in model.named_modules():
        if type(module).__module__.startswith(("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")):
            raise UnsupportedError(
                f"{given} is quantized already: {name or 'it'} is a {type(module).__module__}.{type(module).__name__}",
                hint="Hand in the float model: the target's own quantization is proven against it.",
            )
    if other := types(model):
        model.float()
        kinds = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in other))
        notes.append(f"Weights were {kinds}: the model is converted, and compared with its file, in float32.")
    return tuple(notes)


@contextlib.contextmanager
def whole_windows(model: nn.Module) -> Iterator[list[str]]:
    """While it is open, windows of pools that are larger than what they pool are cut to it, in place.

    With ``ceil_mode`` PyTorch takes what is there: Hugging Face's EfficientNet pools a map of any size with a window as
    wide as its channels. Elsewhere such a window is refused, or counts what is not there. Yields the names of the
    layers, complete when it closes.
    """
    cut: list[str] = []
    seen: dict[str, set[tuple[int, ...]]] = {}

    def hook(name: str) -> Callable[..., None]:
        def note(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen.setdefault(name, set()).add(tuple(inputs[0].shape))

        return note

    pools = {name: m for name, m in model.named_modules() if isinstance(m, nn.AvgPool2d) and m.ceil_mode}
    hooks = [module.register_forward_pre_hook(hook(name)) for name, module in pools.items()]
    try:
        yield cut
    finally:
        for handle in hooks:
            handle.remove()
    for name, module in pools.items():
        kernel, padding = _pair(module.kernel_size), _pair(module.padding)
        sizes = {shape[-2:] for shape in seen.get(name, ())}
        if len(sizes) != 1 or any(padding):
            continue
        size = sizes.pop()
        if any(k > s for k, s in zip(kernel, size, strict=True)):
            stride = _pair(module.stride)
            module.stride = tuple(s if k > s else t for k, s, t in zip(kernel, size, stride, strict=True))  # type: ignore[assignment]
            module.kernel_size = tuple(map(min, kernel, size))  # type: ignore[assignment]
            cut.append(name)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def types(model: nn.Module) -> frozenset[torch.dtype]:
    """Types of a module's weights that are converted in float32."""
    return frozenset(t.dtype for t in (*model.parameters(), *model.buffers()) if t.dtype in _OTHER)


def _dequantize(model: nn.Module) -> int:
    """Replace weights that are subclasses of a tensor with the numbers that they stand for; returns how many."""
    count = 0
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            tensor = parameter.data
            if type(tensor) is torch.Tensor or not hasattr(tensor, "dequantize"):
                continue
            module.register_parameter(name, nn.Parameter(tensor.dequantize(), requires_grad=False))
            count += 1
    return count


def parameters(model: nn.Module) -> tuple[list[str], list[str]]:
    """Names of what ``forward`` needs, and of what it can do without, each in its order.

    Raises:
        UsageError: it takes any number of tensors, and others by name alone: nothing tells which is which.
    """
    needed: list[str] = []
    optional: list[str] = []
    taken = inspect.signature(model.forward).parameters
    for parameter in taken.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            if alone := [name for name in by_name(model) if taken[name].default is inspect.Parameter.empty]:
                raise UsageError(
                    f"forward of {type(model).__name__} takes *{parameter.name}, and {', '.join(alone)} by name alone: "
                    "which inputs it has cannot be told",
                    hint="Give forward a parameter for each tensor, or hand in a module around it that does.",
                )
            return needed or [UNNAMED], []
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            (needed if parameter.default is inspect.Parameter.empty else optional).append(parameter.name)
    return needed, optional


def by_name(model: nn.Module) -> list[str]:
    """Parameters of ``forward`` that are given by name alone."""
    parameters = inspect.signature(model.forward).parameters
    return [name for name, one in parameters.items() if one.kind is inspect.Parameter.KEYWORD_ONLY]


#: What training code calls labels; a parameter of ``forward`` that answers with a loss.
LABELS = ("labels", "label", "targets", "target")


def check_arrays(arrays: Iterable[str], known: Sequence[str], optional: Sequence[str] = ()) -> None:
    """Refuse samples with an array that ``forward`` has no parameter for, which nothing else would miss.

    Labels (``y``), arrays by place (``arr_0``) and ``x`` for an only input have no parameter of their name. An
    ``optional`` parameter for labels is no input that nobody else named: the file would answer with a loss.
    """
    for name in arrays:
        if name in LABELS and name in optional:
            raise UsageError(
                f"the samples have an array {name!r}, which forward takes to answer with a loss",
                hint=f"Labels are called y: rename it, or leave it out. An input it is if example_inputs has {name!r}.",
            )
        if name not in (*known, "x", "y") and not name.startswith("arr_"):
            raise UsageError(
                f"the samples have an array {name!r}; the parameters of forward are {', '.join(known)}",
                hint=f"{did_you_mean(name, known)}Rename the array, or leave it out; labels are called y.",
            )


def apart(outputs: Sequence[str], inputs: Iterable[str]) -> dict[str, str]:
    """What outputs are called in a file, in which no two values have one name: an input goes before."""
    taken, called = {*inputs}, dict[str, str]()
    for name in outputs:
        other = name
        while other in taken or (other != name and other in outputs):
            other += "_out"
        called[name] = other
    return called


def others(value: Any, name: str = "") -> list[str]:
    """What a module returned beside tensors, each with what it is."""
    if torch.is_tensor(value):
        return []
    entries: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        entries = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list | tuple):
        fields = getattr(value, "_fields", None) or [f"output_{i}" if not name else str(i) for i in range(len(value))]
        entries = zip(fields, value, strict=True)
    elif is_record(value):
        entries = fields_of(value)
    else:
        return [f"{name or 'output'} is {value!r:.40}"]
    return [found for key, inner in entries for found in others(inner, f"{name}_{key}" if name else key)]


def holds_records(value: Any) -> bool:
    """Whether a module returned objects of a class of its own, which exporters do not take apart."""
    if isinstance(value, Mapping):
        return any(map(holds_records, value.values()))
    return any(map(holds_records, value)) if isinstance(value, list | tuple) else is_record(value)


def on_meta(given: str, model: nn.Module) -> None:
    """Raise ``UsageError`` for weights on the device ``meta``, which has their shapes and no numbers."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    if empty := [name for name, tensor in tensors if tensor.is_meta]:
        raise UsageError(
            f"{given}: {len(empty)} of its weights hold no numbers, {empty[0]!r} for one: they are on the device meta",
            hint="Build the model outside of torch.device('meta') and init_empty_weights(), or load its weights with "
            "load_state_dict(..., assign=True).",
        )


def taking(model: nn.Module, names: Sequence[str], fixed: Mapping[str, Any] | None = None) -> nn.Module:
    """The module with ``forward`` taking these of its parameters, in this order, and returning tensors alone.

    It stays itself, with its weights and their names: its class becomes one below its own. What is among its outputs
    and no tensor (a cache of keys and values, a flag) is left out. ``fixed`` are parameters that keep one value.
    """
    own = type(model)
    always = dict(fixed or {})
    kinds = {name: one.kind for name, one in inspect.signature(model.forward).parameters.items()}
    first = [name for name in kinds if kinds[name] is inspect.Parameter.POSITIONAL_ONLY and name in {*names, *always}]

    def forward(self: Any, *values: torch.Tensor) -> Mapping[str, torch.Tensor]:
        given = {**dict(zip(names, values, strict=True)), **always}
        returned = own.forward(self, *(given.pop(name) for name in first), **given)
        return dict(named(returned, torch.is_tensor, lenient=True))

    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # exporters name inputs by it
        [inspect.Parameter(name, positional) for name in ("self", *names)]
    )
    model.__class__ = type(own.__name__, (own,), {"forward": forward, "__module__": own.__module__})
    return model
