"""int8 OpenVINO IR: static (NNCF) and weights only."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openvino as ov
from openvino import opset13 as opset

from edgekit.frameworks import LoadedModel
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import int8
from edgekit.toolchains._shared.calibration import calibration_of
from edgekit.toolchains.openvino import nncf
from edgekit.toolchains.openvino.export import finish, from_program, read

#: Recurrent operators -> the positions of their input and recurrent weights.
RECURRENT = {"LSTMSequence": (4, 5), "GRUSequence": (3, 4), "LSTMCell": (3, 4), "GRUCell": (2, 3)}

#: Elementwise operators of a recurrent cell: quantized too, they cost accuracy and speed (REASONS.md#openvino-nncf).
GATES = ("Add", "Multiply", "Sigmoid", "Tanh")

#: Normalisation of a quantized tensor loses most of what follows (REASONS.md#openvino-nncf).
NORMS = ("MVN",)


def static(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize with NNCF; attention gets its transformer settings (SmoothQuant, softmax and its product in float).

    Of recurrent cells in products (Keras's come so, and those of streams) the sums and gates between them stay float.
    """
    attention = "attention" in request.traits
    keep_float = (*(() if attention else NORMS), *(GATES if {"unrolled", "stateful"} & request.traits else ()))
    float_model = read(request.float_file)
    quantized = nncf.quantize(float_model, calibration_of(request), attention=attention, keep_float=keep_float)
    return finish(quantized, request, ())


def static_all(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize with NNCF's default settings, the products of attention included."""
    return finish(nncf.quantize(read(request.float_file), calibration_of(request)), request, ())


def static_unrolled(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize recurrent cells as matrix products per time step, gates in float.

    The CPU's int8 recurrent cell is far off (REASONS.md#openvino-unrolled), and with symmetric activations it runs
    the cell in float whatever the file says. Converting a ``torch.export`` program unrolls cells by itself.
    """
    assert model is not None
    with tempfile.TemporaryDirectory() as folder:
        unrolled = read(from_program(model, replace(request, folder=Path(folder))).file)
        quantized = nncf.quantize(unrolled, calibration_of(request), keep_float=(*GATES, *NORMS))
        note = "recurrent cells are unrolled to one set of matrix products per time step"
        return finish(quantized, request, (), note=note)


def weights_asymmetric(model: LoadedModel | None, request: Request) -> Converted:
    """Store weights as uint8 with zero points, per channel."""
    return _weights(request, "INT8_ASYM")


def weights_symmetric(model: LoadedModel | None, request: Request) -> Converted:
    """Store weights as int8, per channel."""
    return _weights(request, "INT8_SYM")


def _weights(request: Request, mode: str) -> Converted:
    import nncf

    logging.getLogger("nncf").setLevel(logging.WARNING)
    model = nncf.compress_weights(read(request.float_file), mode=getattr(nncf.CompressWeightsMode, mode))
    count = sum(_compress(value) for node in model.get_ops() for value in _recurrent_weights(node))
    note = f"{count} weights of recurrent cells are stored in int8 by edgekit: NNCF leaves them float" if count else ""
    return finish(model, request, (), note=note)


def _recurrent_weights(node: Any) -> Iterator[Any]:
    for position in RECURRENT.get(node.get_type_name(), ()):
        yield node.input(position)


def _compress(target: Any) -> bool:
    """Store one float constant as int8, symmetric, one scale per row; returns whether it was one."""
    source = target.get_source_output().get_node()
    if source.get_type_name() != "Constant" or source.get_element_type() != ov.Type.f32:
        return False
    integers, scale = int8.symmetric(source.get_data(), -1)
    stored = opset.constant(integers)
    restored = opset.multiply(opset.convert(stored, "f32"), opset.constant(scale))
    name = source.get_friendly_name()
    stored.set_friendly_name(name)
    restored.set_friendly_name(f"{name}/restored")
    target.replace_source_output(restored.output(0))
    return True
