"""TensorFlow SavedModels: loading one by its serving signature, and writing the one that converters start from.

Works in any child that has TensorFlow (``keras-tensorflow``, ``tf-keras``) and imports no Keras.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from edgekit.errors import DamagedFileError, UnsupportedError, UsageError
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.loaded import (
    BATCH,
    Arrays,
    Found,
    Loaded,
    check_finite,
    identifiers,
    merge_inputs,
    output_specs,
    zeros,
)
from edgekit.signature import Signature
from edgekit.sources.source import Source

#: Distributions whose versions change what is done here.
PACKAGES = ("tensorflow",)

SIGNATURE = "serving_default"


def load(source: Source) -> Loaded:
    """Load a SavedModel folder by its one serving signature.

    Raises:
        UsageError: no signature, or several and none is ``serving_default``; an axis besides the batch is dynamic
            and not declared with ``--input``; a weight is NaN.
        DamagedFileError: TensorFlow cannot load it (its checkpoint of variables carries checksums).
    """
    try:
        native = tf.saved_model.load(str(source.path))
    except Exception as error:  # its parsers raise whatever they happen to
        raise DamagedFileError(f"TensorFlow cannot load {source.given}: {source.named(error)}") from error
    function = _signature(native, source)
    check_finite((v.name, v.numpy(), v.trainable) for v in function.variables if v.dtype.is_floating)
    # Signature functions take their tensors by name; the order is that of the placeholders in the graph.
    described = function.structured_input_signature[1]
    order = [t.name.split(":")[0].removeprefix(f"{SIGNATURE}_") for t in function.inputs]
    names = sorted(described, key=lambda name: order.index(name) if name in order else len(order))
    dynamic = [name for name in names if described[name].shape.rank and described[name].shape[0] is None]
    inputs, notes = merge_inputs([_found(name, described[name]) for name in names], names, source.inputs, source.shown)
    # The file keeps outputs in no order; output_2 comes before output_10.
    outputs = sorted(function.structured_outputs, key=lambda name: (len(name), name))

    def call(arrays: Arrays) -> Arrays:
        results = function(**{name: tf.constant(a) for name, a in zip(names, arrays, strict=True)})
        return [results[name].numpy() for name in outputs]

    specs = output_specs(outputs, call(zeros(inputs)))
    most = BATCH if len(dynamic) == len(names) else 1
    return Loaded(native, "keras", source, Signature(inputs, specs), notes, call, most)


def export(
    folder: Path,
    function: Callable[..., Sequence[Any]],
    signature: Signature,
    variables: Sequence[Any],
    keep: Any = None,
) -> Path:
    """Write a SavedModel of static batch 1 with the one signature ``serving_default``; returns the folder.

    Args:
        folder: written to; created where it does not exist.
        function: takes the inputs' tensors in order, returns the outputs' in order.
        signature: names, shapes and dtypes of both.
        variables: every ``tf.Variable`` that the function reads: one that is not listed would be dropped.
        keep: the object that owns the function's resources, kept with it.
    """
    module = tf.Module()
    module.parameters = list(variables)
    module.owner = keep
    arguments = identifiers([t.name for t in signature.inputs])
    names = [t.name for t in signature.outputs]
    specs = [tf.TensorSpec(t.shape, t.dtype, name=n) for t, n in zip(signature.inputs, arguments, strict=True)]

    @tf.function(input_signature=specs, autograph=False)  # type: ignore[untyped-decorator]
    def serve(*xs: Any) -> dict[str, Any]:
        results = dict(zip(names, function(*xs), strict=True))
        # An output that is an input, or the same tensor as another output, would lose its name.
        return {name: tf.identity(value) for name, value in results.items()}

    concrete = serve.get_concrete_function()
    with _quiet():
        tf.saved_model.save(module, str(folder), signatures={SIGNATURE: concrete})
    return folder


def export_saved_model(loaded: LoadedModel, folder: Path) -> Path:
    """Write any TensorFlow-side model as a SavedModel of static batch 1; returns the folder.

    Converters start from it: with a batch of None, loops (recurrent layers) do not convert. The signature is
    ``serving_default``; its inputs are called as in ``loaded.signature`` with characters that are not allowed in a
    Python name replaced by ``_``, its outputs exactly as there.
    """
    function, variables = forward_function(loaded)
    # A Keras model owns no more than its variables; kept whole, each of its functions would be traced again.
    keep = loaded.native if loaded.kind == "savedmodel" else None
    try:
        return export(folder, function, loaded.signature, variables, keep=keep)
    except AssertionError as error:
        if "'untracked' resource" not in str(error):
            raise
        raise UnsupportedError(
            "the model computes with a TensorFlow variable or table that is no attribute of any of its layers",
            hint="Keep it as an attribute of the layer that reads it, or make it a weight (layer.add_weight).",
        ) from error


def forward_function(loaded: LoadedModel) -> tuple[Callable[..., Sequence[Any]], Sequence[Any]]:
    """A TensorFlow-side model as a function of its inputs' tensors in order, and the variables that it reads."""
    native = loaded.native
    if loaded.kind == "savedmodel":
        function = _signature(native, None)

        def serve(*xs: Any) -> Sequence[Any]:
            results = function(**{t.name: x for t, x in zip(loaded.signature.inputs, xs, strict=True)})
            return [results[t.name] for t in loaded.signature.outputs]

        return serve, function.variables
    from edgekit.frameworks.of_keras.outputs import forward

    # Keras 3 wraps its variables; tf-keras has TensorFlow's own.
    variables = [getattr(v, "value", v) if hasattr(v, "path") else v for v in native.variables]
    variables += _unlisted(native, variables)
    return lambda *xs: forward(native, xs), variables


def _unlisted(native: Any, known: Sequence[Any]) -> list[Any]:
    """TensorFlow's own variables among the attributes of layers, which Keras 3 does not list."""
    import tensorflow as tf

    seen = {id(variable) for variable in known}
    values = [v for layer in getattr(native, "_flatten_layers", tuple)() for v in vars(layer).values()]
    return [v for v in values if isinstance(v, tf.Variable) and id(v) not in seen]


def graphs(folder: Path) -> list[Any]:
    """Every ``GraphDef`` of a SavedModel folder."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    return [meta.graph_def for meta in saved.meta_graphs]


def _signature(native: Any, source: Source | None) -> Any:
    signatures = native.signatures
    if SIGNATURE in signatures:
        return signatures[SIGNATURE]
    if len(signatures) == 1:
        return next(iter(signatures.values()))
    raise UsageError(
        f"{source.given if source else 'the SavedModel'} has the signatures {', '.join(signatures) or 'none'}; one "
        f"called {SIGNATURE!r}, or one alone, is needed",
        hint="Save it with tf.saved_model.save(model, folder, signatures={'serving_default': function}).",
    )


def _found(name: str, spec: Any) -> Found | None:
    return None if spec.shape.rank is None else Found(name, tuple(spec.shape.as_list()), spec.dtype.name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TensorFlow announces every asset written; that is no news."""
    level = tf.get_logger().level
    tf.get_logger().setLevel("ERROR")
    try:
        yield
    finally:
        tf.get_logger().setLevel(level)
