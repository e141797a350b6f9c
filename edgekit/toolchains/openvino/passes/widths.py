"""Convolutions of few channels that OpenVINO's integer kernels for AMX compute wrong, made one column wider."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as opset

#: Bytes of a row of a tile: of so many int8 values.
_ROW = 64


def _doubted(channels: int, width: int) -> bool:
    """Whether a convolution over so many channels (of a group), with a kernel of this width, comes out wrong.

    Measured in int8 on a processor with AMX, OpenVINO 2026.4, one axis (dB; without AMX all are 30 and more):
    16 channels x 8: -6.0, 12 x 16: -2.9, 20 x 16: -5.0, 24 x 8: -6.4, 28 x 16: -4.9; but 16 x 4: 30.1, 16 x 5: 32.4,
    12 x 15: 30.7, 12 x 17: 30.6, 31 x 64: 33.9, 32 x 4: 32.7, 36 x 16: 33.2; with two axes 12 x 16: -4.1, 24 x 8:
    -7.3. They have in common that a row of the kernel, over channels that come in fours, fills several rows of a tile.
    """
    return channels < 32 and channels % 4 == 0 and channels * width > _ROW and channels * width % _ROW == 0


def widen(model: ov.Model) -> None:
    """Append a column of zeros to the kernels of such convolutions, and of padding behind, in place.

    No result changes, and 16 x 9 has 31.2 dB where 16 x 8 has -6.0. Encoders of speech begin with convolutions of this
    kind and make their positions by them (wav2vec 2.0, HuBERT, WavLM).
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        stored = node.input_value(1).get_node()
        constant = stored.input_value(0).get_node() if stored.get_type_name() == "Convert" else stored
        if constant.get_type_name() != "Constant":
            continue
        settings = node.get_attributes()  # its paddings are numbers, whatever rule they come from
        axes = len(settings["strides"])
        shape = list(constant.get_output_shape(0))
        if not _doubted(shape[-axes - 1], shape[-1]):
            continue
        weights = np.pad(constant.data.astype(np.float32), [(0, 0)] * (len(shape) - 1) + [(0, 1)])
        behind = list(settings["pads_end"])
        behind[-1] += settings["dilations"][-1]
        make = opset.group_convolution if node.get_type_name() == "GroupConvolution" else opset.convolution
        wide = make(
            node.input_value(0), opset.constant(weights, name=f"{constant.get_friendly_name()}/widened"),
            settings["strides"], list(settings["pads_begin"]), behind, settings["dilations"],
        )  # fmt: skip
        wide.set_friendly_name(node.get_friendly_name())
        wide.output(0).set_names(node.output(0).get_names())
        node.output(0).replace(wide.output(0))
