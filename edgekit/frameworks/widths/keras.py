"""Keras models as narrow as the weights that they are to be given; and these shapes, in the file of the weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import UnsupportedError

#: Distributions whose versions change what is done here.
PACKAGES = ("h5py", "keras")

#: Where in a file of weights the shapes of all of them lie; what Keras itself writes and reads has other names.
_SHAPES = "edgekit_shapes"

#: Class -> the argument that says how wide a layer is, the variable that shows it, and along which axis.
_ARGUMENTS: dict[str, tuple[str, str, int]] = {
    "Dense": ("units", "kernel", -1),
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), ("filters", "kernel", -1)),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), ("filters", "kernel", -2)),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), ("filters", "pointwise_kernel", -1)),
    **dict.fromkeys(("Embedding", "ReversibleEmbedding"), ("output_dim", "embeddings", -1)),
    "MultiHeadAttention": ("num_heads", "_query_dense.kernel", 1),
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell"), ("units", "recurrent_kernel", 0)),
}


def save(model: Any, file: Path) -> None:
    """Write weights, and their shapes."""
    import h5py

    model.save_weights(file)
    with h5py.File(file, "a") as written:
        written[_SHAPES] = json.dumps([list(variable.shape) for variable in model.weights])


def load(model: Any, file: Path, *, trusted: bool) -> Any:
    """Give a freshly built model the weights of a file; returns it, or a narrower one where the file says so."""
    import h5py

    with h5py.File(file) as written:
        shapes = json.loads(written[_SHAPES][()]) if _SHAPES in written else None
    made = model if shapes is None else narrowed(model, [tuple(shape) for shape in shapes], trusted=trusted)
    made.load_weights(file)
    return made


def narrowed(model: Any, shapes: Sequence[tuple[int, ...]], *, trusted: bool) -> Any:
    """A model like another, with weights of other shapes, whose values are still to come; itself where all are alike.

    Args:
        model: functional or sequential.
        shapes: of its weights, in their order.
        trusted: whether the code in it is the user's own, or one that the user answers for.

    Raises:
        UnsupportedError: it is neither, or a layer cannot be made again with another width.
    """
    import keras

    wanted = dict(zip((id(variable) for variable in model.weights), shapes, strict=True))
    if all(tuple(variable.shape) == wanted[id(variable)] for variable in model.weights):
        return model
    if not isinstance(model, keras.Sequential | keras.src.models.functional.Functional):
        raise UnsupportedError(
            f"{model.name} is a {type(model).__name__}, which cannot be made again with other widths",
            hint="Hand in a functional or a sequential model, or prune single weights: --prune 0.5.",
        )

    def again(layer: Any) -> Any:
        config = layer.get_config()
        if getattr(layer, "weights", ()):
            _widen(layer, config, wanted)
        made = type(layer).from_config(config)
        if isinstance(layer, keras.layers.Lambda):  # read from text it would not know its file's names
            made.function = layer.function
        return made

    name = model.name

    def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal name
        name = layer.name
        return layer(*args, **kwargs)

    follows = None if isinstance(model, keras.Sequential) else called
    try:
        with keras.src.saving.serialization_lib.SafeModeScope(not trusted):
            made = keras.models.clone_model(model, clone_function=again, call_function=follows, recursive=True)
    except Exception as error:  # whatever a layer or an operation raises on a shape that it was not written for
        said = re.sub(r"\x1b\[[0-9;]*m", "", " ".join(str(error).split()))[:300]
        raise UnsupportedError(
            f"{name} cannot be made again with fewer channels: {said}",
            hint="A length that is written into an operation or a model within it cannot follow: name the layer in "
            "`keep` of the recipe's step.",
        ) from error
    for old, new in zip(model.weights, made.weights, strict=True):
        if tuple(new.shape) != wanted[id(old)]:
            raise UnsupportedError(
                f"{old.path} cannot be made as narrow as {wanted[id(old)]}: made again it has {tuple(new.shape)}",
                hint="Name the layer in `keep` of the recipe's step, and its channels stay.",
            )
    return made


def _widen(layer: Any, config: dict[str, Any], wanted: Mapping[int, tuple[int, ...]]) -> None:
    """Write a layer's width into its configuration, and into those of the layers that it wraps."""
    for inner, key in (
        ("forward_layer", "layer"),
        ("backward_layer", "backward_layer"),
        ("layer", "layer"),
        ("cell", "cell"),
    ):
        if isinstance(config.get(key), dict) and (wrapped := getattr(layer, inner, None)) is not None:
            config[key].pop("build_config", None)  # the shape of an input that it had
            _widen(wrapped, config[key]["config"], wanted)
    known = next((_ARGUMENTS[c.__name__] for c in type(layer).__mro__ if c.__name__ in _ARGUMENTS), None)
    if known is None:
        return
    argument, variable, axis = known
    owner = getattr(layer, "cell", layer)
    shape = wanted.get(id(_inner(owner, variable)))
    if shape is not None and argument in config:
        config[argument] = shape[axis]


def _inner(owner: Any, path: str) -> Any:
    for part in path.split("."):
        owner = getattr(owner, part, None)
    return owner
