"""Keras models as people bring them: layers that compute in half precision, that keep a state, channels first."""

from __future__ import annotations

import re
from typing import Any

from edgekit.errors import ElsewhereError, UnsupportedError
from edgekit.frameworks import optional
from edgekit.frameworks.brought import faults
from edgekit.signature import State

#: Distributions whose versions change what is done here.
PACKAGES = ("keras",)

with optional.absent(*optional.UNUSED):
    import keras

_STATE = re.compile(r".+_state_\d+")
_OTHER = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")
#: Layers that look their input up in a table of texts or numbers, of which no format has one.
_LOOKUPS = ("StringLookup", "IntegerLookup", "TextVectorization", "Hashing", "HashedCrossing")


def plain(model: Any) -> tuple[Any, tuple[str, ...]]:
    """The model with every layer computing in float32, and what was done, a sentence each.

    A functional model is built anew from its layers' configurations: its tensors would keep their types otherwise.
    """
    policies = sorted({layer.dtype_policy.name for layer in model._flatten_layers()} & set(_OTHER))
    if not policies:
        return model, ()
    note = (
        f"Layers computed in {' and '.join(policies)}: the model is converted, and compared with its file, in float32."
    )
    if isinstance(model, keras.Sequential | keras.src.models.functional.Functional):
        made = keras.models.clone_model(model, clone_function=_in_float32)
        made.set_weights(
            [weight.astype("float32") if weight.dtype.kind in "fV" else weight for weight in model.get_weights()]
        )
        return made, (note,)
    for layer in model._flatten_layers():
        layer.dtype_policy = "float32"
    return model, (note,)


def _in_float32(layer: Any) -> Any:
    if isinstance(layer, keras.Model):
        return plain(layer)[0]
    return type(layer).from_config(_replaced(layer.get_config()))


def _replaced(config: Any) -> Any:
    """A layer's configuration, those of layers in it included, with float32 in the place of other policies."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and config.get("config", {}).get("name") in _OTHER:
            return "float32"
        return {
            key: "float32" if key == "dtype" and value in _OTHER else _replaced(value) for key, value in config.items()
        }
    return [_replaced(value) for value in config] if isinstance(config, list) else config


def with_states(model: Any) -> tuple[Any, tuple[State, ...], tuple[str, ...]]:
    """The model with what its ``stateful`` layers keep as further inputs and outputs, and what was done.

    A file holds no state that a sample leaves to the next: it takes it and gives it. Layers begin with zeros, as after
    ``reset_state()``. Models that are not functional, and layers in layers, stay as they are. What was done stays in
    the names: an output ``NAME_next`` of an input ``NAME`` that ends in ``_state_`` and a number goes into it again.
    """
    kept = [layer for layer in getattr(model, "layers", ()) if _keeps_state(layer)]
    functional = isinstance(model, keras.Sequential | keras.src.models.functional.Functional)
    if not kept or not functional or any(getattr(layer, "return_state", False) for layer in kept):
        return model, _by_name(model), ()
    model = model._functional if isinstance(model, keras.Sequential) else model
    sizes = {layer.name: [tuple(state.shape) for state in layer.states] for layer in kept}
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}

    made: dict[int, Any] = {}

    def remade(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation holds no weights
        if id(layer) in made:
            return made[id(layer)]
        extra = {"stateful": False, "return_state": True} if layer.name in sizes else {}
        made[id(layer)] = type(layer).from_config({**layer.get_config(), **extra})
        return made[id(layer)]

    def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name not in sizes:
            return layer(*args, **kwargs)
        names = [f"{layer.name}_state_{number}" for number in range(len(sizes[layer.name]))]
        states = [keras.Input(batch_shape=s, name=n) for n, s in zip(names, sizes[layer.name], strict=True)]
        result, *following = layer(*args, **{**kwargs, "initial_state": states})
        before.update(zip(names, states, strict=True))
        nexts = [keras.layers.Identity(name=f"{n}_next")(tensor) for n, tensor in zip(names, following, strict=True)]
        after.update(zip(names, nexts, strict=True))
        return result

    inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype, name=_layer_of(t).name) for t in model.inputs]
    outputs = keras.tree.flatten(model._run_through_graph(inputs, operation_fn=remade, call_fn=called))
    whole = keras.Model([*inputs, *before.values()], [*outputs, *after.values()], name=model.name)
    whole.set_weights(model.get_weights())
    which = ", ".join(sizes)
    return (
        whole,
        _by_name(whole),
        (f"The state of {which} is an input and an output of the file: hand each output in again.",),
    )


def _by_name(model: Any) -> tuple[State, ...]:
    outputs = set(getattr(model, "output_names", None) or ())
    inputs = [_layer_of(tensor).name for tensor in getattr(model, "inputs", None) or ()]
    return tuple(
        State(f"{name}_next", name, 0.0) for name in inputs if _STATE.fullmatch(name) and f"{name}_next" in outputs
    )


def _layer_of(tensor: Any) -> Any:
    return tensor._keras_history.operation


def _keeps_state(layer: Any) -> bool:
    return isinstance(layer, keras.layers.RNN) and layer.stateful and layer.states is not None


def check_lookups(given: str, model: Any) -> None:
    """Raise ``UnsupportedError`` for a layer that takes texts, or looks its input up in a table."""
    layers = list(model._flatten_layers())
    looking = [layer for layer in layers if type(layer).__name__ in _LOOKUPS]
    if looking or (looking := [layer for layer in layers if getattr(layer, "dtype", "") == "string"]):
        raise UnsupportedError(
            f"{given}: {faults.called(looking[0].name, looking[0])} takes texts or looks its input up in a table, "
            "which no file of a model does",
            hint="Do that before the model: hand in the model from behind the layer on, which takes its numbers.",
        )


#: What TensorFlow takes for the name of a layer, below the model's; Keras refuses ``/``.
_NAME = re.compile(r"[A-Za-z0-9_.\\>-]*")


def check_backend(given: str, model: Any) -> None:
    """Raise ``ElsewhereError`` where TensorFlow cannot run a layer: channels come first, or a name is none to it."""
    if keras.backend.backend() != "tensorflow":
        return
    for layer in model._flatten_layers():
        if not _NAME.fullmatch(layer.name):
            raise ElsewhereError(
                f"{given}: the name of layer {layer.name!r} is none to TensorFlow, which takes letters, digits and "
                "_.\\>- alone",
                hint="Rename the layer, or install PyTorch: Keras's torch backend runs it.",
            )
        if getattr(layer, "data_format", None) == "channels_first":
            raise ElsewhereError(
                f"{given}: layer {layer.name!r} takes channels first, for which TensorFlow has no kernel on a CPU",
                hint="Keras's torch backend runs it: install PyTorch, or take a target that has a route by it.",
            )
