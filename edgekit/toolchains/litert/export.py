"""Routes through TensorFlow's own converter: a static batch-1 SavedModel, then ``tf.lite.TFLiteConverter``.

Why a SavedModel with a static signature and nothing else: a batch of None breaks every loop, ``from_keras_model``
on Keras 3 hides that behind Flex operators which LiteRT cannot run, and ``from_concrete_functions`` given a Keras 3
model drops the weights without an error.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from edgekit.errors import FailedError, UnsupportedError
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.loaded import identifiers
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import messages, tensorflow_graph
from edgekit.toolchains._shared.calibration import calibration_of, one_by_one
from edgekit.toolchains.litert import quantize as routes_quantizer
from edgekit.toolchains.litert.passes.integers import unread_pieces
from edgekit.toolchains.litert.passes.names import write_named

FILE = "model.tflite"
#: Steps up to which a float recurrent layer is unrolled: faster without the loop, in a larger file
#: (targets/REASONS.md#short-loops).
SHORT = 64


def convert_fp32(model: LoadedModel | None, request: Request) -> Converted:
    """Float file, nothing quantized; recurrent layers over short sequences are unrolled."""
    assert model is not None
    return _convert(model, request, _float, unroll=_is_short(model.native))


def convert_fp16(model: LoadedModel | None, request: Request) -> Converted:
    """Weights stored as float16; a CPU widens them to float32 on load."""
    return _convert(model, request, _float16)


def convert_dynamic(model: LoadedModel | None, request: Request) -> Converted:
    """Weights int8, activations quantized at run time by the kernels that can."""
    return _convert(model, request, _dynamic)


def convert_int8(model: LoadedModel | None, request: Request) -> Converted:
    """Full integer: per-channel weights, calibrated activations (the audit names what stayed float)."""
    return _noting_chance(_convert(model, request, _int8, unroll=True))


def convert_int16x8(model: LoadedModel | None, request: Request) -> Converted:
    """Activations int16, weights int8, calibrated."""
    assert model is not None
    tokens = [t.name for t in model.signature.inputs if not t.dtype.startswith("float")]
    if tokens:
        # TFLiteConverter 2.21: "Empty min/max for tensor serving_default_<name>" after the whole calibration.
        raise UnsupportedError(f"TFLiteConverter's 16x8 mode takes float inputs only, and {', '.join(tokens)} is not")
    return _noting_chance(_convert(model, request, _int16x8, unroll=True))


def convert_unrolled_int16x8(model: LoadedModel | None, request: Request) -> Converted:
    """16x8 by ai-edge-quantizer, for recurrent models whose fp32 file is a loop that it cannot calibrate."""
    return _unrolled(model, request, routes_quantizer.static_int16x8)


def convert_unrolled_int8(model: LoadedModel | None, request: Request) -> Converted:
    """Full integer by ai-edge-quantizer, for the same models."""
    return _unrolled(model, request, routes_quantizer.static_int8)


def _unrolled(
    model: LoadedModel | None, request: Request, quantize: Callable[[LoadedModel | None, Request], Converted]
) -> Converted:
    assert model is not None
    if not _loops(model.native):
        raise UnsupportedError("the model has no recurrent Keras layer that could be unrolled")
    with TemporaryDirectory(dir=request.folder) as folder:
        floats = _convert(model, replace(request, folder=Path(folder)), _float, unroll=True)
        made = quantize(None, replace(request, float_file=floats.file))
    return replace(made, notes=floats.notes + made.notes)


def _noting_chance(made: Converted) -> Converted:
    """Note of a static file that its bytes are left to chance.

    Whether the converter quantizes a SPLIT of which a piece is not read (the first step of an unrolled LSTM, whose
    state is zero) changes from run to run.
    """
    unread = unread_pieces(made.file.read_bytes())
    if not unread:
        return made
    note = f"TFLiteConverter gives other bytes in each run where a piece of a split is not read: {unread[0]}"
    return Converted(made.file, (*made.notes, note))


def _convert(
    model: LoadedModel | None,
    request: Request,
    settings: Callable[[Any, Request], None],
    *,
    unroll: bool = False,
) -> Converted:
    import tensorflow as tf

    assert model is not None
    notes: tuple[str, ...] = ()
    if unroll:
        model, notes = unrolled(model)
    with TemporaryDirectory(dir=request.folder) as folder:
        saved = Path(folder) / "saved_model"
        _frameworks_module(model.native).export_saved_model(model, saved)
        if unroll and settings is not _float:
            _refuse_loops(saved)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
        settings(converter, request)
        try:
            content = converter.convert()
        except Exception as error:  # the converter raises ConverterError, RuntimeError, ValueError for one and the same
            if names := messages.operators(str(error)):
                raise messages.lacking("TFLiteConverter", names, tensorflow_graph.places(saved, names)) from error
            raise _explained(error) from error
    file = request.folder / FILE
    write_named(content, file, request, identifiers(request.inputs))
    return Converted(file, notes)


def _float(converter: Any, request: Request) -> None:
    """Leave the converter's defaults."""


def _float16(converter: Any, request: Request) -> None:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _dynamic(converter: Any, request: Request) -> None:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _int8(converter: Any, request: Request) -> None:
    import tensorflow as tf

    _static(converter, request, tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.int8)


def _int16x8(converter: Any, request: Request) -> None:
    import tensorflow as tf

    kernels = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    _static(converter, request, kernels, tf.int16)


def _static(converter: Any, request: Request, kernels: Any, io_type: Any) -> None:
    import tensorflow as tf

    names = dict(zip(request.inputs, identifiers(request.inputs), strict=True))
    samples = {names[name]: array for name, array in calibration_of(request).items()}
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: one_by_one(samples)
    converter.target_spec.supported_ops = [kernels]
    if request.integer_io:
        converter.inference_input_type = converter.inference_output_type = io_type


def unrolled(model: LoadedModel) -> tuple[LoadedModel, tuple[str, ...]]:
    """The same model with its recurrent layers unrolled over time; the model itself where it has none.

    Calibrating a while loop kills the process (TF 2.21, segmentation fault), so static precisions never see one.
    """
    native = model.native
    if not _loops(native):
        return model, ()
    keras = sys.modules[_package(native)]
    clone = keras.models.clone_model(native, clone_function=_unrolled_layer)
    clone.set_weights(native.get_weights())
    note = "Recurrent layers are unrolled over time: the file grows with the length of the sequence."
    return replace(cast(Any, model), native=clone), (note,)


def _package(native: Any) -> str:
    """``keras`` or ``tf_keras``, whichever the model is made of."""
    return type(native).__module__.partition(".")[0]


def _frameworks_module(native: Any) -> Any:
    name = "tf_keras" if _package(native) == "tf_keras" else "keras"
    return importlib.import_module(f"edgekit.frameworks.{name}")


def _loops(native: Any) -> list[Any]:
    """Recurrent layers that are not unrolled; none in a SavedModel, which has no layers."""
    if not hasattr(native, "get_config"):
        return []
    layers = native._flatten_layers() if hasattr(native, "_flatten_layers") else native.layers
    return [layer for layer in layers if getattr(layer, "unroll", None) is False]  # not all have a configuration


def _is_short(native: Any) -> bool:
    """Whether no input has more than ``SHORT`` steps, or an unknown number, on its first axis after the batch."""
    shapes = [tensor.shape for tensor in getattr(native, "inputs", None) or ()]
    return bool(shapes) and all(len(shape) < 2 or (shape[1] or math.inf) <= SHORT for shape in shapes)


def _unrolled_layer(layer: Any) -> Any:
    config = layer.get_config()
    for part in (config, *(config[k]["config"] for k in ("layer", "backward_layer") if config.get(k))):
        if "unroll" in part:
            part["unroll"] = True
    return type(layer).from_config(config)


def _refuse_loops(saved: Path) -> None:
    """Raise where the exported graph still holds a while loop, which the calibrator would crash on."""
    from edgekit.frameworks import saved_model

    loops = sorted(
        node.name
        for graph in saved_model.graphs(saved)
        for function in graph.library.function
        for node in function.node_def
        if node.op in ("While", "StatelessWhile")
    )
    if loops:
        raise UnsupportedError(
            f"static quantization of a loop over time crashes TFLiteConverter: {', '.join(loops[:3])}",
            hint="Build the recurrent layers with unroll=True.",
        )


def _explained(error: Exception) -> FailedError | UnsupportedError:
    """The converter's many-line message as one sentence."""
    if line := messages.line(error, "needs.*quantiz|quantiz.*needs|is not supported|failed to legalize"):
        return UnsupportedError(f"TFLiteConverter: {line}")
    return messages.raised("TFLiteConverter", error)
