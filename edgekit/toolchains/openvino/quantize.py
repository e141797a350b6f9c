"""Quantized OpenVINO IR: static int8 (NNCF), and weights alone in 8 bits or in 4."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as opset

from edgekit.frameworks import LoadedModel
from edgekit.scheme import Range, Scheme
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import int8, rules
from edgekit.toolchains._shared.calibration import calibration_of
from edgekit.toolchains._shared.rules import Found
from edgekit.toolchains.openvino import nncf
from edgekit.toolchains.openvino.export import finish, from_program, names_of, read
from edgekit.toolchains.openvino.passes.constants import compute_constants
from edgekit.toolchains.openvino.passes.ranges import estimate, give, grids
from edgekit.toolchains.openvino.passes.reductions import keep_axes, written_norms
from edgekit.toolchains.openvino.passes.strides import take_before
from edgekit.toolchains.openvino.passes.widths import widen

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
    gates = GATES if {"unrolled", "stateful"} & request.traits else ()
    return _static(read(request.float_file), request, float_norms=not attention, attention=attention, keep_float=gates)


def static_unsmoothed(model: LoadedModel | None, request: Request) -> Converted:
    """As ``static`` of attention, with true extremes, weights as they are, and biases that nothing corrects."""
    return _static(read(request.float_file), request, attention=True, smooth=False)


def static_all(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize with NNCF's default settings, the products of attention included."""
    return _static(read(request.float_file), request)


def static_unrolled(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize recurrent cells as matrix products per time step, gates in float.

    The CPU's int8 recurrent cell is far off (REASONS.md#openvino-unrolled), and with symmetric activations it runs
    the cell in float whatever the file says. Converting a ``torch.export`` program unrolls cells by itself.
    """
    assert model is not None
    with tempfile.TemporaryDirectory() as folder:
        unrolled = read(from_program(model, replace(request, folder=Path(folder))).file)
        note = "recurrent cells are unrolled to one set of matrix products per time step"
        return _static(unrolled, request, float_norms=True, keep_float=GATES, note=note)


def _static(
    model: ov.Model,
    request: Request,
    *,
    note: str = "",
    float_norms: bool = False,
    keep_float: Sequence[str] = (),
    **settings: Any,
) -> Converted:
    """Quantize a float model with the settings of ``nncf.quantize``, with what rules and ranges say of parts of it.

    ``float_norms`` keeps norms float, whether they are one operator or written out.
    """
    widen(model)
    keep_axes(model)
    found = rules.outcomes(request, _layers(model) if request.layers else ())
    wanted = rules.ranges(request, _values(model) if request.ranges else {})
    own, named = request.estimator.by_tool, names_of(model)
    quantized = nncf.quantize(
        model,
        calibration_of(request),
        keep_float=(*keep_float, *(NORMS if float_norms else ())),
        ignored=(*found.floats, *(written_norms(model) if float_norms else ())),
        own_ranges=own,
        on_grid=request.on_grid,
        **settings,
    )
    if not own:
        estimate(quantized, model, request)
    _give(quantized, wanted)
    return replace(finish(quantized, request, (), note=note, named=named), kept=found.kept)


def _layers(model: ov.Model) -> list[Found[str]]:
    from edgekit.toolchains.openvino import audit  # which reads facts of this module

    return audit.layers(model)


def _values(model: ov.Model) -> dict[str, str]:
    """What may have a range: inputs and results of operators, by the operators' names and those of layers."""
    found = {name: one.at for one in _layers(model) for name in one.names}
    found |= {
        n.get_friendly_name(): n.get_friendly_name() for n in model.get_ordered_ops() if n.get_type_name() != "Constant"
    }
    return found | {name: port.get_node().get_friendly_name() for port in model.inputs for name in port.get_names()}


def _give(model: ov.Model, wanted: Mapping[str, Range]) -> None:
    """Give the ``FakeQuantize`` of activations these ranges, in place."""
    found = grids(model) if wanted else {}
    for name, one in wanted.items():
        if name not in found:
            rules.without_own(one.tensor, found)
        for node in found[name]:
            give(node, one.bounds)


def weights_asymmetric(model: LoadedModel | None, request: Request) -> Converted:
    """Store weights as uint8 with zero points, per channel."""
    return _weights(request, "INT8_ASYM")


def weights_symmetric(model: LoadedModel | None, request: Request) -> Converted:
    """Store weights as int8, per channel."""
    return _weights(request, "INT8_SYM")


def weights_int4(model: LoadedModel | None, request: Request) -> Converted:
    """Store matrices and tables in int4, in blocks, all other weights as int8 per channel.

    NNCF's own int4 makes the largest value -8, which moves weights that lie on a grid of -7 to 7, and raises on the
    first layer whose input channels blocks do not divide.
    """
    return _weights(request, "INT8_SYM", blocks=("MatMul", "Gather"))


def weights_int4_products(model: LoadedModel | None, request: Request) -> Converted:
    """As ``weights_int4``, with tables in int8, a scale per row."""
    return _weights(request, "INT8_SYM", blocks=("MatMul",))


def _weights(request: Request, mode: str, blocks: Collection[str] = ()) -> Converted:
    """Store weights in 8 bits, those of the operators ``blocks`` in 4 where blocks divide them."""
    import nncf

    logging.getLogger("nncf").setLevel(logging.WARNING)
    floats = read(request.float_file)
    named = names_of(floats)
    compute_constants(floats)
    take_before(floats)
    found = rules.outcomes(request, _layers(floats) if request.layers else (), able=_by_layer)
    for node in floats.get_ordered_ops():
        if node.get_type_name() in blocks and node.get_friendly_name() not in {*found.floats, *found.schemes}:
            _store_blocks(node, request.scheme.group or 0)
    ignored = nncf.IgnoredScope(names=list(found.floats), validate=False)
    model = nncf.compress_weights(floats, mode=getattr(nncf.CompressWeightsMode, mode), ignored_scope=ignored)
    cells = [node for node in model.get_ops() if node.get_friendly_name() not in found.floats]
    count = sum(_compress(value) for node in cells for value in _recurrent_weights(node))
    note = f"{count} weights of recurrent cells are stored in int8 by edgekit: NNCF leaves them float" if count else ""
    return replace(finish(model, request, (), note=note, named=named), kept=found.kept)


def _by_layer(scheme: Scheme) -> bool:
    """Whether a single layer can have a scheme: int8 weights, used in float."""
    return scheme.weights == "int8" and scheme.weights_only


def _store_blocks(node: Any, group: int) -> None:
    """Store the matrix that an operator multiplies with or looks up in: blocks lie along a sum, or along a row."""
    product = node.get_type_name() == "MatMul"
    place = 1 if product else 0
    source = node.input_value(place).get_node()
    if source.get_type_name() != "Constant" or source.get_element_type() != ov.Type.f32:
        return
    values = source.get_data()
    turned = product and not node.get_attributes()["transpose_b"]
    matrix = np.swapaxes(values, -1, -2) if turned and values.ndim > 1 else values
    if values.ndim < 2 or math.prod(values.shape[:-2]) > 1 or matrix.shape[-1] % group:
        return
    rows = matrix.reshape(matrix.shape[-2:])
    integers, scales = int8.blocks(rows, 0, 1, group)
    stored = ov.Tensor(ov.Type.i4, ov.Shape([*scales.shape, group]))
    stored.data.view(np.uint8).reshape(-1)[:] = int8.packed(integers).reshape(-1)
    constant, shape = opset.constant(stored), opset.constant(np.array(matrix.shape))
    restored = opset.multiply(opset.convert(constant, "f32"), opset.constant(scales[..., None]))
    whole = opset.reshape(restored, shape, special_zero=False)
    name = source.get_friendly_name()
    constant.set_friendly_name(name)
    restored.set_friendly_name(f"{name}/restored")
    whole.set_friendly_name(f"{name}/whole")
    if not turned:
        node.input(place).replace_source_output(whole.output(0))
        return
    made = opset.matmul(node.input_value(0), whole, node.get_attributes()["transpose_a"], True)
    made.set_friendly_name(node.get_friendly_name())
    for reader in node.output(0).get_target_inputs():
        reader.replace_source_output(made.output(0))


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
