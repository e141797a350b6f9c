"""int8 OpenVINO IR: static (NNCF) and weights only."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as opset

from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks import LoadedModel
from edgekit.toolchains import Converted, Request, _nncf
from edgekit.toolchains.openvino.export import finish, read

#: Recurrent operators -> the positions of their input and recurrent weights.
RECURRENT = {"LSTMSequence": (4, 5), "GRUSequence": (3, 4), "LSTMCell": (3, 4), "GRUCell": (2, 3)}


def static(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize everything that NNCF's default settings take, attention products included."""
    return _static(request)


def static_attention(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize with NNCF's transformer settings: SmoothQuant, and softmax and its product left in float."""
    float_model = read(request.float_file)
    if not has_attention(float_model):
        raise UnsupportedError("the model has no softmax attention", hint="Use the route nncf.")
    return _static(request, attention=True)


def static_asymmetric(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize with asymmetric activations: the CPU runs recurrent cells in int8 with u8 inputs only."""
    return _static(request, asymmetric=True)


def weights_asymmetric(model: LoadedModel | None, request: Request) -> Converted:
    """Store weights as uint8 with zero points, per channel."""
    return _weights(request, "INT8_ASYM")


def weights_symmetric(model: LoadedModel | None, request: Request) -> Converted:
    """Store weights as int8, per channel."""
    return _weights(request, "INT8_SYM")


def has_attention(model: ov.Model) -> bool:
    """Whether a softmax feeds a matrix product, or attention is one operator."""
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind == "ScaledDotProductAttention":
            return True
        if kind == "MatMul" and any(v.get_node().get_type_name() == "Softmax" for v in node.input_values()):
            return True
    return False


def _static(request: Request, *, attention: bool = False, asymmetric: bool = False) -> Converted:
    if not request.calibration or not all(len(a) for a in request.calibration.values()):
        raise UsageError("static int8 needs calibration samples; got none", hint="Give --calibrate DATA.")
    quantized = _nncf.quantize(
        read(request.float_file), request.calibration, attention=attention, asymmetric=asymmetric
    )
    return finish(quantized, request, ())


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
    values = source.get_data()
    scale = np.maximum(np.abs(values).max(axis=-1, keepdims=True), np.finfo(np.float32).tiny) / 127
    stored = opset.constant(np.clip(np.rint(values / scale), -127, 127).astype(np.int8))
    restored = opset.multiply(opset.convert(stored, "f32"), opset.constant(scale.astype(np.float32)))
    name = source.get_friendly_name()
    stored.set_friendly_name(name)
    restored.set_friendly_name(f"{name}/restored")
    target.replace_source_output(restored.output(0))
    return True
