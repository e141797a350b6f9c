"""Running a float model to see the values inside it."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnxruntime
from onnx import helper

from edgekit.ranges.observers import Observer
from edgekit.toolchains import Rows
from edgekit.toolchains._shared.calibration import BOUNDED, one_by_one


def bounded(model: onnx.ModelProto) -> set[str]:
    """Tensors whose values lie within bounds, whatever goes in."""
    return {name for node in model.graph.node if node.op_type.lower() in BOUNDED for name in node.output}


def observe(model: onnx.ModelProto, observers: Mapping[str, Observer], samples: Mapping[str, Rows]) -> None:
    """Show tensors of a model to their observers, sample after sample, as ONNX Runtime computes them in float."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    given = {value.name for value in model.graph.input}
    written = {value.name for value in model.graph.output}
    asked = [name for name in observers if name not in given]
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in asked if name not in written
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for sample in one_by_one(samples):
        values = sample | (dict(zip(asked, session.run(asked, sample), strict=True)) if asked else {})
        for name, observer in observers.items():
            observer.update(values[name])
