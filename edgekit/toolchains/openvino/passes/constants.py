"""What is computed of stored numbers alone, as learned queries make it (DETR)."""

from __future__ import annotations

import math

import numpy as np
import openvino as ov
from openvino import opset13 as opset


def compute_constants(model: ov.Model) -> None:
    """Store the results of what depends on no input, up to the first operator that does, in place.

    The runtime computes them once where their weights are widened first (float16 with the marks of compression, int8),
    and then scales or adds to the stored result where it lies: the first run is right, each further one is not
    (OpenVINO 2026.4; a DETR in float16 had 5.8 dB). Of float32 weights it computes them when it opens the file. Results
    that would take more room than what they are made of, as masks do, stay as they are.
    """
    fixed: dict[str, int] = {}  # node -> how many stored numbers it is made of
    for node in model.get_ordered_ops():
        sources = [port.get_source_output().get_node().get_name() for port in node.inputs()]
        if node.get_type_name() == "Constant":
            fixed[node.get_name()] = math.prod(node.get_output_shape(0))
        elif _known_shape(node):
            fixed[node.get_name()] = 0
        elif sources and all(name in fixed for name in sources) and node.get_type_name() != "Result":
            fixed[node.get_name()] = sum(fixed[name] for name in sources)
    for node in model.get_ordered_ops():
        if node.get_name() not in fixed or node.get_type_name() in ("Constant", "ShapeOf"):
            continue
        for output in node.outputs():
            read = any(port.get_node().get_name() not in fixed for port in output.get_target_inputs())
            floats = output.get_element_type() == ov.Type.f32 and output.get_partial_shape().is_static
            if read and floats and math.prod(output.get_shape()) <= fixed[node.get_name()]:
                _store(output, model.get_parameters())


def _known_shape(node: ov.Node) -> bool:
    return node.get_type_name() == "ShapeOf" and node.get_input_partial_shape(0).is_static


def _store(output: ov.Output, parameters: list[ov.Node]) -> None:
    """Put a constant in the place of an output that depends on shapes and stored numbers alone: it is run once."""
    alone = ov.Model([opset.result(output)], parameters, "constant").clone()
    compiled = ov.Core().compile_model(alone, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    zeros = [np.zeros(port.get_shape(), port.get_element_type().to_dtype()) for port in compiled.inputs]
    (values,) = compiled(zeros).values()
    output.replace(opset.constant(values.copy(), name=output.get_node().get_friendly_name()).output(0))
