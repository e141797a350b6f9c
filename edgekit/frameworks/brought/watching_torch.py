"""Watching what a PyTorch module calls; see ``watching``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from edgekit.frameworks.brought import faults

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

#: What masks are made of where they are no minus infinity: nothing that a model computes is as small.
_MASKED = -1e9
#: Below this a value is kept finite by what is added to it, or not at all.
_SMALL = 1e-6
_DIVIDING = ("log", "log2", "log10", "rsqrt", "reciprocal")
#: Functions that draw at random, and how that is said.
_DRAWING = ("rand", "randn", "rand_like", "randn_like", "randint", "bernoulli", "normal", "normal_", "multinomial")
_RANDOM = "draws at random"
_DIVIDENDS = ("div", "true_divide", "__truediv__", "divide")


@contextlib.contextmanager
def watch(native: Any, say: Callable[[str], object]) -> Iterator[None]:
    """Watch what a module calls, by the names that its own lines use."""
    layers = faults.layers(native)

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            with torch._C.DisableTorchFunction():
                for what in _of_call(getattr(func, "__name__", ""), args, kwargs or {}, made):
                    where = ", ".join(filter(None, (_layer(layers), faults.users_line())))
                    say(f"{what} ({where})" if where else what)
            return made

    with Watch():
        yield


def _of_call(name: str, args: Any, kwargs: Mapping[str, Any], made: Any) -> Iterator[str]:
    """What is odd about one call."""
    if name == "dropout":
        if kwargs.get("training", args[2] if len(args) > 2 else True):
            yield f"{name} {_RANDOM}"
    elif name in _DRAWING:
        yield f"{name} {_RANDOM}"
    given = [a for a in (*args, *kwargs.values()) if torch.is_tensor(a)]
    floats = [t for t in given if t.is_floating_point()]
    if torch.is_tensor(made) and made.is_floating_point() and bool(torch.isnan(made).any()):
        if not any(bool(torch.isnan(t).any()) for t in floats):
            yield f"{name} makes NaN"
        return
    masks = [kwargs.get("attn_mask", args[3] if len(args) > 3 else None)] if "attention" in name else []
    masks += [args[0]] if name in ("softmax", "log_softmax") and args else []
    for mask in masks:
        if torch.is_tensor(mask) and mask.ndim and (empty := int(_nothing(mask).sum())):
            rows = _nothing(mask).numel()
            yield f"the mask of {name} leaves nothing in {empty} of {rows} rows"
    near = floats[:1] if name in _DIVIDING else floats[1:2] if name in _DIVIDENDS and len(given) > 1 else []
    for value in near:
        if value.numel() and (least := float(value.abs().min())) < _SMALL:
            yield f"{name} of a value as small as {least:.2g}"


def _nothing(mask: Any) -> Any:
    """Of each row of a mask, or of masked scores, whether it leaves nothing."""
    kept = mask if not mask.is_floating_point() else mask > _MASKED
    return ~kept.bool().any(-1)


def _layer(layers: Mapping[int, str]) -> str:
    """The innermost layer that is being run."""
    frame = sys._getframe(1)
    while frame is not None:
        if id(own := frame.f_locals.get("self")) in layers:
            return layers[id(own)]
        frame = frame.f_back  # type: ignore[assignment]  # None ends it
    return ""
