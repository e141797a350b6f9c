"""Live models and arrays as files: what a conversion takes, since it happens in processes of its own.

The caller's process has its framework; edgekit imports none. A model is written by its own framework's exporter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError

#: What is taken as a model beside text and paths: class, and the package that it comes from.
_TORCH, _KERAS, _TF_KERAS = ("Module", "torch"), ("Model", "keras"), ("Model", "tf_keras")

Arrays = dict[str, NDArray[np.generic]]


def source(model: object, folder: Path, example: Arrays | None) -> str:
    """A model as the text of a source; a live one is written into the folder.

    Args:
        model: text or a path, a ``torch.nn.Module``, or a Keras model.
        folder: where a live one is written.
        example: samples by input name, or under ``x``; PyTorch traces a model on the first of them.

    Raises:
        UsageError: something else, or a PyTorch model without any sample.
    """
    if isinstance(model, str | Path):
        return str(model)
    kinds = {(found.__name__, found.__module__.partition(".")[0]) for found in type(model).__mro__}
    if _TORCH in kinds:
        return _exported(model, folder / "model.pt2", example)
    for kind, name in ((_KERAS, "model.keras"), (_TF_KERAS, "model.h5")):
        if kind in kinds:
            model.save(folder / name)  # type: ignore[attr-defined]
            return str(folder / name)
    raise UsageError(
        f"{type(model).__qualname__} is no model that can be written",
        hint="Give a zoo name, a path, a torch.nn.Module or a Keras model.",
    )


def _exported(model: Any, file: Path, example: Arrays | None) -> str:
    import torch

    if not example:
        raise UsageError(
            "a PyTorch model does not say what it takes", hint="Give samples with calibrate= or evaluate=, as arrays."
        )
    arguments = [torch.from_numpy(np.array(array[:1])) for array in example.values()]
    trained = model.training
    with torch.no_grad():
        program = torch.export.export(model.eval(), tuple(arguments))
    model.train(trained)
    torch.export.save(program, file)
    return str(file)


def arrays(data: Any) -> tuple[Arrays, NDArray[np.generic] | None] | None:
    """Inputs by name and labels of what was handed in; None of text and paths, which a conversion reads itself.

    ``data`` is an array, a mapping of arrays by input name, or a pair of one of them and the labels.
    """
    if data is None or isinstance(data, str | Path):
        return None
    labels: NDArray[np.generic] | None = None
    if isinstance(data, tuple):
        if len(data) != 2:
            raise UsageError(f"{len(data)} values are no pair of inputs and labels", hint="Give (x, y).")
        data, labels = data[0], _array(data[1])
    inputs = (
        {str(name): _array(value) for name, value in data.items()} if isinstance(data, Mapping) else {"x": _array(data)}
    )
    return inputs, labels


def file(data: object, path: Path) -> str | None:
    """Data as the text of ``--calibrate`` or ``--evaluate``; arrays are written into an npz file."""
    found = arrays(data)
    if found is None:
        return None if data is None else str(data)
    inputs, labels = found
    np.savez(path, **inputs, **({} if labels is None else {"y": labels}))  # type: ignore[arg-type]
    return str(path)


def _array(value: object) -> NDArray[np.generic]:
    """An array of NumPy, of PyTorch, of TensorFlow, or a list."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    found = np.asarray(value)
    if found.dtype == object or not found.ndim:
        kind = "a list of unlike things" if isinstance(value, Sequence) else type(value).__qualname__
        raise UsageError(f"{kind} is no array of samples", hint="Give arrays whose first axis is the sample.")
    return found
