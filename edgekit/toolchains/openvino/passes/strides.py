"""Convolutions of one position with a stride, as residual blocks have them in their shortcuts."""

from __future__ import annotations

import openvino as ov
from openvino import opset13 as opset


def take_before(model: ov.Model) -> None:
    """Take the positions of the stride before such a convolution where its input is transposed, in place.

    OpenVINO moves the stride of these to what comes before. Behind a transpose (Keras by way of PyTorch), with weights
    that are widened at run time, it takes the stride away and puts it nowhere: the file does not open ("shapes cannot
    be broadcast", 2026.4). Positions that are taken first are the same.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Convolution" or node.input_value(0).get_node().get_type_name() != "Transpose":
            continue
        settings, kernel = node.get_attributes(), list(node.get_input_shape(1))[2:]
        strides = list(settings["strides"])
        if max(kernel) > 1 or max(strides) == 1 or any((*settings["pads_begin"], *settings["pads_end"])):
            continue
        rank, image = 2 + len(strides), node.input_value(0)
        ends = opset.constant(list(node.get_input_shape(0)))
        steps = opset.constant([1, 1, *strides])
        whole = [0] * rank  # of begins and ends none is left out
        taken = opset.strided_slice(image, opset.constant([0] * rank), ends, steps, begin_mask=whole, end_mask=whole)
        ones, none = [1] * len(strides), [0] * len(strides)
        made = opset.convolution(taken, node.input_value(1), ones, none, none, settings["dilations"])
        made.set_friendly_name(node.get_friendly_name())
        made.output(0).set_names(node.output(0).get_names())
        node.output(0).replace(made.output(0))
