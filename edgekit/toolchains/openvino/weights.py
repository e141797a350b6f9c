"""Constant factors of an OpenVINO model's products, as the file stores them: laid out alike for all formats."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from edgekit.scheme import Kind
from edgekit.toolchains._shared import products
from edgekit.toolchains._shared.products import Weights
from edgekit.toolchains.openvino.loops import shape
from edgekit.toolchains.openvino.quantize import RECURRENT

TYPES = {
    "f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64", "i8": "int8", "u8": "uint8",
    "i32": "int32", "i64": "int64", "boolean": "bool", "i4": "int4", "u4": "uint4",
}  # fmt: skip
_MOVES = frozenset(("Reshape", "Squeeze", "Unsqueeze"))

#: The value outside of a loop that a parameter in it stands for in every trip; None for other nodes.
Outside = Callable[[Any], Any]


def element_type(port: Any) -> str:
    """NumPy's name of a value's element type."""
    name: str = port.get_element_type().get_type_name()
    return TYPES.get(name, name)


def kind_of(node: Any, data: list[Any], fixed: list[bool]) -> Kind:
    """What a product does; ``fixed`` says which of its factors are constants."""
    kind = node.get_type_name()
    if kind in RECURRENT:
        return "recurrent"
    if kind.endswith("ConvolutionBackpropData"):
        return "transposed-conv"
    if kind.endswith("Convolution"):
        groups = shape(data[1])
        return "depthwise-conv" if kind == "GroupConvolution" and groups[0] > 1 and groups[2] == 1 else "conv"
    single = kind == "MatMul" and not fixed[0] and math.prod(shape(data[1])[:-2]) == 1
    return "linear" if single else "matmul"


def table(value: Any, outside: Outside) -> Weights:
    """What a ``Gather`` looks up in."""
    return stored(value, outside)._replace(axis=None)


def of_product(node: Any, data: list[Any], fixed: list[bool], kind: Kind, outside: Outside) -> list[Weights]:
    """The constants among a product's factors."""
    found = []
    given = node.get_attributes()
    for place, value in enumerate(data):
        if not fixed[place]:
            continue
        weights = stored(value, outside)
        match node.get_type_name():
            case "GroupConvolution":
                weights = weights.laid_out(lambda a: a.reshape(-1, *a.shape[2:]))
            case "ConvolutionBackpropData":
                weights = weights.laid_out(partial(np.swapaxes, axis1=0, axis2=1))
            case "GroupConvolutionBackpropData":
                weights = weights.laid_out(lambda a: a.swapaxes(1, 2).reshape(-1, a.shape[1], *a.shape[3:]))
            case "MatMul":
                swapped = given["transpose_a"] if place == 0 else not given["transpose_b"]
                if swapped and len(weights.shape) > 1:
                    weights = weights.laid_out(partial(np.swapaxes, axis1=-1, axis2=-2))
                weights = products.matrix(weights) if kind == "linear" else weights._replace(axis=-1)
            case _ if kind == "recurrent":
                weights = weights.laid_out(lambda a: a.reshape(-1, a.shape[-1]))._replace(state=place == 2)
            case "Convolution":
                pass
            case _:
                weights = weights._replace(axis=None)
        found.append(weights)
    return found


def stored(value: Any, outside: Outside) -> Weights:
    """A constant with what was done to it: widened, put on a grid, freed of its zero point, scaled, moved."""
    steps, node = [], value.get_node()
    while node.get_type_name() != "Constant":
        held = outside(node)
        if held is None:
            steps.append(node)
        if held is None and not node.input_values():
            return Weights(shape(value), element_type(value), None, None)
        node = (node.input_value(0) if held is None else held).get_node()
    kind = element_type(node.output(0))
    array = elements(node)
    integer = kind.startswith(("int", "uint"))
    scales = 1 if integer else None
    zero = array == 0
    for step in reversed(steps):
        beside = behind(step.input_value(1)) if len(step.input_values()) > 1 else step
        told = elements(beside) if beside.get_type_name() == "Constant" else None
        match step.get_type_name():
            case "Convert":
                pass
            case "Subtract" if integer and told is not None:
                zero = array == told
            case "Multiply":
                scales = math.prod(shape(step.input_value(1))) if integer else None
            case "FakeQuantize" if not integer:
                pass
            case "Transpose" if told is not None:
                array, zero = array.transpose(told), zero.transpose(told)
            case move if move in _MOVES and math.prod(shape(step.output(0))) == zero.size:
                array, zero = array.reshape(shape(step.output(0))), zero.reshape(shape(step.output(0)))
            case _:
                return Weights(shape(value), kind, scales, None)
    return Weights(zero.shape, kind, scales, zero)


def elements(node: Any) -> Any:
    """The array of a constant; int4 is handed out two in a byte unless a wider type is asked for."""
    return node.get_data(dtype=np.int16) if element_type(node.output(0)) in ("int4", "uint4") else node.get_data()


def behind(value: Any) -> Any:
    """The node that a value is converted or reshaped from."""
    while value.get_node().get_type_name() in ("Convert", "Reshape"):
        value = value.get_node().input_value(0)
    return value.get_node()
