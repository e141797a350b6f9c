"""Grouped convolutions whose kernel is as wide as a tile of AMX, which OpenVINO's integer kernels compute wrong."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as opset

#: Elements of a row of a tile.
_TILE = 16


def widen(model: ov.Model) -> None:
    """Append a column of zeros to the kernel of a grouped convolution whose width is a multiple of 16, in place.

    In int8 on a processor with AMX (OpenVINO 2026.4) such a convolution answers with noise: -9 dB for a width of 16, 32
    or 64, 34 dB for 15, 17 or 24, and for all of them without AMX. The positions of speech encoders are convolutions of
    this kind (wav2vec 2.0, HuBERT, WavLM). One more column of zeros, and of padding behind, changes no result.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "GroupConvolution":
            continue
        stored = node.input_value(1).get_node()
        constant = stored.input_value(0).get_node() if stored.get_type_name() == "Convert" else stored
        settings = node.get_attributes()
        if constant.get_type_name() != "Constant" or settings["auto_pad"] not in ("explicit", "valid"):
            continue
        groups, _, each, *kernel = constant.get_output_shape(0)
        if groups == 1 or each == 1 or kernel[-1] % _TILE:
            continue
        weights = constant.data.astype(np.float32)
        weights = np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, 1)])
        behind = list(settings["pads_end"])
        behind[-1] += settings["dilations"][-1]
        wide = opset.group_convolution(
            node.input_value(0), opset.constant(weights, name=f"{constant.get_friendly_name()}/widened"),
            settings["strides"], list(settings["pads_begin"]), behind, settings["dilations"],
        )  # fmt: skip
        wide.set_friendly_name(node.get_friendly_name())
        wide.output(0).set_names(node.output(0).get_names())
        node.output(0).replace(wide.output(0))
