"""Whether a model gives the same outputs for the same inputs; what it changes where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.frameworks import LoadedModel

#: Keras keeps the state of its random layers in variables of this name.
_SEEDS = "seed_generator"


def check(
    models: Mapping[str, LoadedModel],
    run: Callable[[], Mapping[str, NDArray[Any]]],
    places: Callable[[], Iterable[str]] = tuple,
) -> None:
    """Run a model twice on the same inputs.

    Args:
        models: its parts.
        run: one run, to outputs by name.
        places: what is found where the model is watched.

    Raises:
        UsageError: the outputs differ by more than rounding; what is random, or which state the model changes.
    """
    first, second = run(), run()
    different = [name for name, array in first.items() if not _equal(array, second[name])]
    if not different:
        return
    before = {name: _state(model.native) for name, model in models.items()}
    run()
    changed = [
        key
        for name, model in models.items()
        for key, array in _state(model.native).items()
        if key in before[name] and array.tobytes() != before[name][key].tobytes()
    ]
    where = f"the same inputs give different outputs {', '.join(map(repr, different))} in a second run"
    if own := [name for name in changed if _SEEDS not in name]:
        raise UsageError(
            f"the forward pass changes the model's own state {', '.join(map(repr, own[:5]))}, so that {where}",
            hint="A file cannot do that: make the state an input and an output, or keep it fixed in evaluation mode.",
        )
    drawing = "; ".join(text for text in places() if "at random" in text)
    raise UsageError(
        f"the forward pass is random{f' ({drawing})' if drawing else ''}: {where}",
        hint="Leave dropout and noise out in evaluation mode (PyTorch: F.dropout(x, p, training=self.training); Keras: "
        "no training=True), or hand the noise in as an input.",
    )


def _equal(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether two runs differ by rounding at most: some kernels add up in another order each time."""
    if first.dtype.kind not in "fc":
        return bool(np.array_equal(first, second))
    finite = np.isfinite(first)
    if not np.array_equal(finite, np.isfinite(second)):
        return False
    one, two = first[finite].astype(np.float64), second[finite].astype(np.float64)
    return bool(np.linalg.norm(one - two) <= 1e-4 * np.linalg.norm(one))


def _state(native: Any) -> dict[str, NDArray[Any]]:
    """What a forward pass may change in a framework's own object, by name, as far as it tells."""
    if hasattr(native, "named_buffers"):
        return {name: np.asarray(tensor.detach().cpu().clone()) for name, tensor in native.named_buffers()}
    variables = getattr(native, "non_trainable_variables", None) or getattr(native, "variables", None) or ()
    return {getattr(v, "path", v.name): np.array(v) for v in variables}
