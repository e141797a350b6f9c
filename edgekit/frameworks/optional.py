"""Importing a framework without the optional packages that it would pull in."""

from __future__ import annotations

import contextlib
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, cast

#: Keras imports scikit-learn and pandas for training, JAX for a callback and Matplotlib for galleries of pictures,
#: TensorFlow JAX for a converter, each only where it is installed; together more than two CPU seconds of every child.
UNUSED = ("jax", "matplotlib", "pandas", "sklearn")


@contextlib.contextmanager
def absent(*packages: str) -> Iterator[None]:
    """Let packages that are not imported yet look as if they were not installed; a later import finds them again."""
    modules = cast(dict[str, Any], sys.modules)
    hidden = [name for name in packages if name not in modules]
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]


def fresh_names(keras: Any) -> None:
    """Let Keras number layers that nobody named from the start: what is built twice then has the same names."""
    keras.src.backend.common.global_state.set_global_attribute("object_name_uids", defaultdict(int))


def seed_keras(keras: Any, seed: int) -> None:
    """Call ``set_random_seed``, which imports TensorFlow on any backend: two CPU seconds and 400 MB."""
    with absent(*(() if keras.backend.backend() == "tensorflow" else ("tensorflow",))):
        keras.utils.set_random_seed(seed)
