"""Queries, keys and values that come out of one linear layer, as most vision transformers write them."""

from __future__ import annotations

import openvino as ov
from openvino import opset13 as opset


def take_apart_first(model: ov.Model) -> None:
    """Take a stack of tensors apart before it is transposed, where axes of one size change places, in place.

    The CPU makes one kernel of attention, which is wrong where there are as many heads as tokens: FastViT with four of
    both had 27 dB in float32 (OpenVINO 2026.4). Without that kernel, and of parts that are transposed by themselves, it
    is right.
    """
    for node in model.get_ordered_ops():
        moved = node.input_value(0).get_node() if node.get_type_name() == "Split" else None
        if moved is None or moved.get_type_name() != "Transpose" or moved.get_output_partial_shape(0).is_dynamic:
            continue
        order, place = moved.input_value(1).get_node(), node.input_value(1).get_node()
        if "Constant" not in order.get_type_name() or "Constant" not in place.get_type_name():
            continue
        axes, at = order.get_data().tolist(), int(place.get_data()) % len(order.get_data())
        parts, shape = node.get_attributes()["num_splits"], list(moved.get_input_shape(0))
        rest = [axis - (axis > axes[at]) for axis in axes if axis != axes[at]]
        left = [size for axis, size in enumerate(shape) if axis != axes[at]]
        changed = [left[axis] for i, axis in enumerate(rest) if axis != i and left[axis] > 1]
        if shape[axes[at]] != parts or len(set(changed)) == len(changed):
            continue
        apart = opset.split(moved.input_value(0), opset.constant(axes[at]), parts)
        for i in range(parts):
            alone = opset.squeeze(apart.output(i), opset.constant([axes[at]]))
            turned = opset.unsqueeze(opset.transpose(alone, opset.constant(rest)), opset.constant([at]))
            turned.output(0).set_names(node.output(i).get_names())
            node.output(i).replace(turned.output(0))
