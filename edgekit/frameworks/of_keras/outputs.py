"""What Keras 3 and tf-keras models have in common: named inputs, outputs in one order. Imports neither."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from edgekit.errors import EdgekitError, UsageError
from edgekit.frameworks.brought import faults
from edgekit.frameworks.loaded import (
    BATCH,
    Arrays,
    Found,
    Loaded,
    check_finite,
    identifiers,
    merge_inputs,
    named,
    output_specs,
    zeros,
)
from edgekit.signature import Signature, TensorSpec
from edgekit.sources.source import Source

#: What Keras calls inputs that nobody named.
_NOBODYS = re.compile(r"(input_layer|keras_tensor)(_\d+)?")


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of TensorFlow or PyTorch (or an array)."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def forward(model: Any, xs: Sequence[Any], *, training: bool = False) -> list[Any]:
    """Call a Keras model on tensors in the order of its inputs; outputs flat.

    Dicts come in the order of their keys, as in ``model.outputs``: what a call returns is in another order on each
    backend.
    """
    return [tensor for _, tensor in named(called(model, xs, training=training), is_tensor, by_key=True)]


def called(model: Any, xs: Sequence[Any], *, training: bool = False) -> Any:
    """What a Keras model returns of tensors in the order of its inputs."""
    struct = getattr(model, "_inputs_struct", None)
    if isinstance(struct, dict):  # built from a dict of inputs: Keras flattens it in the order of sorted keys
        return model(dict(zip(sorted(struct), xs, strict=True)), training=training)
    return model(xs[0] if len(xs) == 1 else list(xs), training=training)


def describe(
    source: Source,
    model: Any,
    run: Callable[[Arrays], list[Any]],
    *,
    notes: tuple[str, ...] = (),
    signature: Signature | None = None,
) -> Loaded:
    """Signature and way of running of a Keras model.

    Args:
        source: where it came from.
        model: the model.
        run: one forward pass on arrays; what the model returned, flat.
        notes: what is known already.
        signature: of a zoo model; found in the model where None.

    Raises:
        UsageError: a shape is open and not declared with ``--input``; a weight is NaN.
    """
    tensors = _inputs(model)
    build(source, model)
    check_finite((v.path if hasattr(v, "path") else v.name, _value(v), v.trainable) for v in model.weights)

    def call(arrays: Arrays) -> Arrays:
        return [_array(t) for t in run(arrays)]

    if signature is not None:
        return Loaded(model, "keras", source, signature, notes, call)
    inputs = source.inputs
    if tensors is not None:
        inputs, found = _declared(source, tensors)
        notes += found
    names = _output_names(model)
    specs = _symbolic(model, names, inputs)
    if specs is None:
        with _running(source, model, inputs):
            specs = _measured(call(zeros(inputs)), names)
    dynamic = tensors is not None and all(t.shape[0] is None for t in tensors)
    return Loaded(model, "keras", source, Signature(inputs, specs), notes, call, BATCH if dynamic else 1)


def _symbolic(model: Any, names: list[str] | None, inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...] | None:
    """Outputs as a functional model declares them; None where it does not, or leaves more than a batch of 1 open.

    Layers keep the batch. Other operations may fold it with another axis, which is open all the same.
    """
    tensors = list(getattr(model, "outputs", None) or [])
    if names is None or len(names) != len(tensors) or not all(map(_is_layer, getattr(model, "operations", ()))):
        return None
    batches = (0,) if all(t.shape[:1] == (1,) for t in inputs) else ()
    specs = [
        Found(name, tuple(t.shape), _dtype(t), batches=batches).fixed() for name, t in zip(names, tensors, strict=True)
    ]
    return None if None in specs else tuple(spec for spec in specs if spec is not None)


def _is_layer(operation: Any) -> bool:
    return hasattr(operation, "weights") and type(operation).__name__ != "Lambda"


def _measured(outputs: Arrays, names: list[str] | None) -> tuple[TensorSpec, ...]:
    if names is None or len(names) != len(outputs):
        names = ["output"] if len(outputs) == 1 else [f"output_{i}" for i in range(len(outputs))]
    return output_specs(names, outputs)


def _dtype(tensor: Any) -> str:
    name = tensor.dtype if isinstance(tensor.dtype, str) else str(tensor.dtype.name)
    return "float32" if name == "bfloat16" else name


def build(source: Source, model: Any) -> None:
    """Call a model once that does not know its inputs yet, so that its weights exist.

    Raises:
        UsageError: the inputs are not declared with ``--input`` either.
    """
    if _inputs(model) is not None:
        return
    if not source.inputs:
        why = "is of a class that does not keep" if model.built else "has not been built, so that nobody knows"
        raise UsageError(f"{source.given}: the model {why} what its inputs are", hint=f"--input x={_built_for(model)}")
    with _running(source, model, source.inputs):
        forward(model, zeros(source.inputs))


def _built_for(model: Any) -> str:
    """The shape of the only input that a model was built for, as ``--input`` takes it; else one as an example."""
    shapes = list((getattr(model, "_build_shapes_dict", None) or {}).values())
    shape = shapes[0] if len(shapes) == 1 else None
    if isinstance(shape, tuple) and shape and all(isinstance(n, int) for n in shape[1:]):
        return f"{'x'.join(map(str, (1, *shape[1:])))}:float32"
    return "1x224x224x3:float32 (with your own shape)"


@contextlib.contextmanager
def _running(source: Source, model: Any, inputs: Sequence[TensorSpec]) -> Iterator[None]:
    """Say of a model that raises which inputs it was given, and where it raised."""
    try:
        yield
    except EdgekitError:
        raise
    except Exception as error:  # the user's model may raise anything
        shapes = ", ".join(f"{t.name}={'x'.join(map(str, t.shape))}:{t.dtype}" for t in inputs)
        raise UsageError(
            f"{source.given} does not run on {shapes}: {faults.told(error, model)}",
            hint=f"Check {'--input' if source.inputs else 'its inputs'}.",
        ) from error


def _declared(source: Source, tensors: Sequence[Any]) -> tuple[tuple[TensorSpec, ...], tuple[str, ...]]:
    """Inputs of a built model, and what was changed to make them static."""
    own = _own_names(tensors)
    names = identifiers(own)
    found = [Found(name, tuple(t.shape), _dtype(t)) for name, t in zip(names, tensors, strict=True)]
    inputs, notes = merge_inputs(found, names, source.inputs, source.shown)
    renamed = [f"Input {was!r} is called {name!r}." for was, name in zip(own, names, strict=True) if was != name]
    return inputs, (*renamed, *notes)


def _own_names(tensors: Sequence[Any]) -> list[str]:
    """What inputs are called: as their layers are, which is what a saved model keeps.

    Keras numbers those that nobody named through all models of the process; here they have the numbers of a fresh one.
    """
    found = []
    for tensor in tensors:
        history = getattr(tensor, "_keras_history", None)
        layer = getattr(history, "operation", None) or getattr(history, "layer", None)
        found.append(str(getattr(layer, "name", None) or tensor.name).split(":")[0])
    fresh = itertools.chain(["input_layer"], (f"input_layer_{number}" for number in itertools.count(1)))
    return [next(fresh) if _NOBODYS.fullmatch(name) else name for name in found]


def _inputs(model: Any) -> list[Any] | None:
    try:
        tensors = model.inputs
    except (AttributeError, ValueError):  # a subclassed or unbuilt model
        return None
    return list(tensors) if tensors else None


def _output_names(model: Any) -> list[str] | None:
    """Keys of a dict that the model returns, else the names of its output layers; None where they are no names."""
    struct = getattr(model, "_outputs_struct", getattr(model, "_nested_outputs", None))
    if isinstance(struct, dict):
        return [name for name, _ in named(struct, is_tensor, by_key=True)]
    names = [str(name) for name in getattr(model, "output_names", None) or []]
    return names if names and len(set(names)) == len(names) else None


def _value(variable: Any) -> np.ndarray[Any, Any]:
    value = variable.numpy() if hasattr(variable, "numpy") else variable
    return np.asarray(value)


def _array(tensor: Any) -> np.ndarray[Any, Any]:
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        tensor = tensor.float() if "bfloat16" in str(tensor.dtype) else tensor
        return np.asarray(tensor.numpy())
    array = np.asarray(tensor)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
