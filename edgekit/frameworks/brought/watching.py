"""Where a model comes near what no file keeps: NaN, masks that leave nothing, values that a small number keeps finite.

One run in the framework with every call watched; who compares a file with the model names what is found here.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import EdgekitError
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.brought import faults

#: Samples that are watched, and places that are named.
SAMPLES = 64
_MOST = 3
#: What masks are made of where they are no minus infinity: nothing that a model computes is as small.
_MASKED = -1e9
#: Below this a value is kept finite by what is added to it, or not at all.
_SMALL = 1e-6
_DIVIDING = ("log", "log2", "log10", "rsqrt", "reciprocal")
_DIVIDENDS = ("div", "true_divide", "__truediv__", "divide")


def found(model: LoadedModel, inputs: Mapping[str, NDArray[np.generic]]) -> tuple[str, ...]:
    """The places, a sentence each, what makes NaN first; empty where there is none or the model cannot be watched.

    Args:
        model: as it was loaded.
        inputs: samples by the signature's names.
    """
    said: dict[str, None] = {}
    getattr(model, "batch", None)  # found on inputs of its own, which are not to be watched
    some = {name: array[:SAMPLES] for name, array in inputs.items()}
    watch = _keras if hasattr(model.native, "_flatten_layers") else _torch if "torch" in sys.modules else None
    if watch is None:
        return ()
    with contextlib.suppress(EdgekitError), watch(model.native, lambda text: said.setdefault(text)):
        model.run(some)
    first = [text for text in said if " makes NaN" in text]
    return tuple([*first[:1], *(text for text in said if text not in first)][:_MOST])


@contextlib.contextmanager
def _torch(native: Any, say: Callable[[str], object]) -> Iterator[None]:
    """Watch what a module calls, by the names that its own lines use."""
    import torch
    from torch.overrides import TorchFunctionMode

    layers = faults.layers(native)

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            with torch._C.DisableTorchFunction():
                for what in _of_call(torch, getattr(func, "__name__", ""), args, kwargs or {}, made):
                    where = ", ".join(filter(None, (_layer(layers), faults.users_line())))
                    say(f"{what} ({where})" if where else what)
            return made

    with Watch():
        yield


def _of_call(torch: Any, name: str, args: Any, kwargs: Mapping[str, Any], made: Any) -> Iterator[str]:
    """What is odd about one call."""
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


@contextlib.contextmanager
def _keras(native: Any, say: Callable[[str], object]) -> Iterator[None]:
    """Watch the layers and operations of a Keras model; what is compiled is run as it is written."""
    import keras
    from keras.src.ops.operation import Operation

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        eager = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
    own = Operation.__call__

    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = own(self, *args, **kwargs)
        if _is_nan(made) and not _is_nan((args, kwargs)):
            inner = getattr(self, "layers", None)
            say(f"{faults.called(self.name, self)} makes NaN") if not inner else None
        return made

    Operation.__call__ = called
    try:
        yield
    finally:
        Operation.__call__ = own
        if keras.backend.backend() == "tensorflow":
            tf.config.run_functions_eagerly(eager)


def _is_nan(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_is_nan, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_is_nan, value))
    if not hasattr(value, "dtype") or "float" not in str(value.dtype):
        return False
    array = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
    return bool(np.isnan(array.astype(np.float32)).any())
