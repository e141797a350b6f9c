"""The configuration of a Keras model: which classes and functions it names.

Keras builds whatever a configuration names: a class by its module and name, a function by its name alone, a lambda
from its bytecode. So each name must be on the list of those that compute (``lists/keras.toml``). Looked at is what
``keras.saving.load_model(..., compile=False)`` of Keras 3.15 and ``tf_keras.models.load_model`` of 2.21 build.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator, Mapping
from typing import Any

from edgekit.errors import DamagedFileError, EdgekitError, with_article
from edgekit.sources import allowed

#: Layers of a Keras 2 file that Keras 3 loads with equal outputs, measured class by class (3.15.1 against tf_keras
#: 2.21): a file with any other layer is loaded by tf-keras, whose own format it is.
_KERAS_3_LAYERS = (
    "Functional Model Sequential InputLayer Conv1D Conv2D MaxPooling1D MaxPooling2D AveragePooling1D AveragePooling2D "
    "GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D ZeroPadding1D ZeroPadding2D "
    "Cropping1D Cropping2D UpSampling1D UpSampling2D BatchNormalization LayerNormalization GroupNormalization "
    "Activation ReLU LeakyReLU PReLU ELU Softmax Dropout Flatten Reshape Permute Rescaling Dense Embedding "
    "TimeDistributed RepeatVector Add Concatenate Multiply Subtract Average Maximum Minimum"
)
_MODELS = frozenset({"Functional", "Model", "Sequential"})
#: Setting -> the list that a name given for it must be on: tf-keras looks names up among all that its module defines.
_NAMES = {"activation": "functions", "initializer": "parts", "regularizer": "parts", "constraint": "parts"}
#: Parts of TensorFlow's public names, and of their words, that do more than compute.
_OUT_OF_REACH = frozenset({
    "io", "raw_ops", "data", "summary", "distribute", "train", "saved_model", "config", "profiler", "keras",
    "py_function", "numpy_function", "print", "function",
})  # fmt: skip
_SUSPECT = ("file", "save", "load", "py_func", "checkpoint")
#: Names that older versions wrote for initializers.
_OLD_NAMES = frozenset({"one", "zero", "uniform", "normal"})


def nodes(config: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping with a ``class_name`` inside a configuration, at any depth."""
    todo = [config]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            todo += value.values()
        elif isinstance(value, list):
            todo += value


def check(config: Any, given: str) -> None:
    """Hold every name in a configuration against the lists.

    Raises:
        UnsafeInputError: something that carries code, reads a file or loads another model.
        UnsupportedError: a name that is on none of the lists.
        DamagedFileError: a configuration that is none.
    """
    if not isinstance(config, dict):
        raise DamagedFileError(f"{given} has {with_article(type(config).__name__)} for its configuration")
    # What the outermost model was compiled with is not read, and holds the user's own losses and metrics.
    read = {key: value for key, value in config.items() if key != "compile_config"}
    for node in nodes(read):
        _check_node(node, given)
    _check_settings(read, given)


def loads_in_keras_3(config: Mapping[str, Any]) -> bool:
    """Whether Keras 3 loads this HDF5 file of Keras 2: known layers only, no model inside the model."""
    settings = config.get("config")
    layers = settings.get("layers", []) if isinstance(settings, dict) else settings
    inner = [str(node["class_name"]) for node in nodes(layers) if "name" in _settings(node)]
    return set(_KERAS_3_LAYERS.split()).issuperset(inner) and not _MODELS.intersection(inner)


def check_order(config: Mapping[str, Any], given: str) -> None:
    """Find the calls in a graph of Keras 2 whose inputs never come: tf-keras tries them again without end.

    Raises:
        DamagedFileError: a layer whose inputs come from itself, or from one that is not called so often.
    """
    for node in nodes(config):
        layers = _settings(node).get("layers")
        if node["class_name"] in _MODELS and isinstance(layers, list):
            waiting = _waiting({str(layer.get("name")): layer for layer in layers if isinstance(layer, dict)})
            if waiting:
                raise DamagedFileError(
                    f"{given}: the inputs of layer {waiting[0]!r} never come", hint="Fetch or save it again."
                )


def _waiting(layers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Layers that are left with calls when all were made whose inputs are there.

    A layer may be called several times, and each call may take what an earlier one of another layer gave. Calls of a
    model within the model are counted from one, all others from zero: of the first it is told too late, never wrongly.
    """
    made = {name: int(layer.get("class_name") == "InputLayer") for name, layer in layers.items()}
    left = {}
    for name, layer in layers.items():
        calls = layer.get("inbound_nodes")
        if isinstance(calls, list) and calls:
            left[name] = [list(_taken(call, made)) for call in calls]
    while True:
        before = sum(map(len, left.values()))
        for name, calls in left.items():
            while calls and all(number >= 0 and made[other] >= max(1, number) for other, number in calls[0]):
                made[name] += 1
                del calls[0]
        left = {name: calls for name, calls in left.items() if calls}
        if sum(map(len, left.values())) == before or not left:
            return list(left)


def _taken(call: Any, layers: Container[str]) -> Iterator[tuple[str, int]]:
    """Layers, and which of their calls, that a call takes its inputs from: ``["conv", 0, 0, {...}]``, at any depth.

    A place that is no number is -1. What stands among the arguments, in the fourth place, may be a list of anything.
    """
    todo = [(call, True)]
    while todo:
        value, is_input = todo.pop()
        if isinstance(value, dict):
            todo += ((inner, is_input) for inner in value.values())
        elif isinstance(value, list):
            if len(value) in (3, 4) and isinstance(value[0], str):
                place = value[1] if type(value[1]) is int else -1
                if value[0] in layers and (is_input or place >= 0):
                    yield value[0], place
                is_input = False
            todo += ((inner, is_input) for inner in value)


def is_plain(config: Any) -> bool:
    """Whether a model of this configuration loads again without the user's code."""
    try:
        check(config, "the model")
    except EdgekitError:
        return False
    return True


def _settings(node: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = node.get("config")
    return settings if isinstance(settings, dict) else {}


def _check_node(node: Mapping[str, Any], given: str) -> None:
    kind, settings, lists = node["class_name"], _settings(node), allowed.lists("keras")
    if not isinstance(kind, str):
        raise DamagedFileError(f"{given} names a class by {with_article(type(kind).__name__)}")
    name = settings.get("name")
    shown = f"a {kind} {name!r}" if name else f"a {kind}"
    if kind in lists["refused"]:
        raise allowed.unsafe(given, shown)
    _check_module(node, given)
    if kind == "function":
        _check_function(node, given)
    elif kind in lists["tensorflow_layers"]:
        _check_tensorflow(settings, given)
    elif kind in lists["lookups"]:
        if isinstance(settings.get("vocabulary"), str):
            raise allowed.unsafe(given, f"{shown} reads the file {settings['vocabulary']!r}")
    elif not any(kind in lists[key] for key in ("models", "layers", "operations", "parts", "training", "values")):
        raise allowed.unknown(given, f"it needs the class {_shown(node)}")
    if node.get("registered_name") not in (None, "", kind, node.get("config") if kind == "function" else None):
        raise allowed.unknown(given, f"it needs the class {_shown(node)}")


def _check_module(node: Mapping[str, Any], given: str) -> None:
    """A class or function is taken from the module that the file says, by importing it."""
    package = str(node.get("module") or "keras").partition(".")[0]
    if package in ("keras", "tf_keras", "builtins"):
        return
    if package in sys.stdlib_module_names or package in ("tensorflow", "torch", "numpy"):
        raise allowed.unsafe(given, f"it takes {_shown(node)}")
    raise allowed.unknown(given, f"it needs the class {_shown(node)}")


def _check_function(node: Mapping[str, Any], given: str) -> None:
    name = node.get("config")
    if not isinstance(name, str):
        raise allowed.unsafe(given, "Python code of a function in its configuration")
    if name not in allowed.lists("keras")["functions"]:
        raise allowed.unknown(given, f"it needs the function {node.get('module')}.{name}")


def _check_tensorflow(settings: Mapping[str, Any], given: str) -> None:
    """A layer that calls a function of TensorFlow by its public name."""
    function, lists = settings.get("function"), allowed.lists("keras")
    namespace, _, name = str(function).rpartition(".")
    if name in lists["tensorflow_functions"] and namespace in lists["tensorflow_namespaces"] | {""}:
        return
    found = f"layer {settings.get('name')!r} calls tf.{function}"
    raise allowed.unsafe(given, found) if _reaches_out(str(function)) else allowed.unknown(given, found)


def _reaches_out(function: str) -> bool:
    """Whether a function of TensorFlow does more than compute: its namespace, or what its name says."""
    return not _OUT_OF_REACH.isdisjoint(function.split(".")) or any(word in function for word in _SUSPECT)


def _check_settings(config: Any, given: str) -> None:
    """Names that stand for functions and for parts of a layer."""
    lists, todo = allowed.lists("keras"), [config]
    while todo:
        value = todo.pop()
        if isinstance(value, list):
            todo += value
        elif isinstance(value, dict):
            todo += value.values()
            for key, inner in value.items():
                wanted = _NAMES.get(key.rpartition("_")[2])
                plain = isinstance(inner, str) or (isinstance(inner, dict) and "class_name" not in inner)
                if wanted and plain and str(inner) not in lists[wanted] | _OLD_NAMES:
                    raise allowed.unknown(given, f"it has the {key} {str(inner)[:80]!r}")


def _shown(node: Mapping[str, Any]) -> str:
    if node.get("registered_name"):
        return str(node["registered_name"])
    name = node["config"] if node["class_name"] == "function" else node["class_name"]
    return f"{node['module']}.{name}" if node.get("module") else str(name)
