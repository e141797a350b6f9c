"""Products that depend on no input, as learned queries make them (DETR)."""

from __future__ import annotations

import openvino as ov
from openvino import opset13 as opset
from openvino.passes import ConstantFolding, Manager

_PRODUCTS = frozenset(("MatMul", "Convolution", "GroupConvolution"))


def compute_products(model: ov.Model) -> None:
    """Store the results of such products, and of what follows them up to the first input, in place.

    The runtime computes them once where their weights are widened first (float16 with the marks of compression, int8),
    and then adds to the stored result where it lies: the first run is right, each further one is not (OpenVINO 2026.4;
    a DETR in float16 had 5.8 dB). Of float32 weights it computes them when it opens the file.
    """
    fixed: dict[str, bool] = {}  # node -> whether a product is among what it is made of
    for node in model.get_ordered_ops():
        sources = [port.get_source_output().get_node().get_name() for port in node.inputs()]
        if node.get_type_name() == "Constant" or _known_shape(node):
            fixed[node.get_name()] = False
        elif sources and all(name in fixed for name in sources) and node.get_type_name() != "Result":
            product = node.get_type_name() in _PRODUCTS
            fixed[node.get_name()] = product or any(fixed[name] for name in sources)
    for node in model.get_ordered_ops():
        if not fixed.get(node.get_name()):
            continue
        for output in node.outputs():
            if any(port.get_node().get_name() not in fixed for port in output.get_target_inputs()):
                _store(output, model.get_parameters())


def _known_shape(node: ov.Node) -> bool:
    return node.get_type_name() == "ShapeOf" and node.get_input_partial_shape(0).is_static


def _store(output: ov.Output, parameters: list[ov.Node]) -> None:
    """Put a constant in the place of an output that depends on shapes and constants alone."""
    alone = ov.Model([opset.result(output)], parameters, "constant").clone()
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(alone)
    constant = alone.get_results()[0].input_value(0).get_node()
    if constant.get_type_name() == "Constant":
        output.replace(opset.constant(constant.get_data(), name=output.get_node().get_friendly_name()).output(0))
