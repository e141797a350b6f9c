"""Watching the layers and operations of a Keras model; see ``watching``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from edgekit.frameworks.brought import faults

#: Distributions whose versions change what is done here.
PACKAGES = ("keras", "tensorflow")


@contextlib.contextmanager
def watch(native: Any, say: Callable[[str], object]) -> Iterator[None]:
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
