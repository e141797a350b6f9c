"""A float model as ONNX Runtime's quantizer takes it."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgekit.toolchains.onnx.passes.names import graphs


def prepared_file(model: onnx.ModelProto, folder: str) -> str:
    """Infer shapes and fuse (batch norm into convolutions, product + add into Gemm); independent of this CPU.

    Functions that ONNX Runtime has no kernel for are taken apart: ``HardSwish`` becomes a product with ``HardSigmoid``.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, prepared = str(Path(folder) / "float.onnx"), str(Path(folder) / "prepared.onnx")
    onnx.save(model, plain)  # handed a ModelProto, the tool moves its weights into a file that it then cannot read
    # Shapes are static, so that ONNX's own inference finds them all; the symbolic one costs an import of sympy.
    quant_pre_process(plain, prepared, skip_symbolic_shape=True)
    made = onnx.load(prepared)
    if turn_shared(made):
        onnx.save(made, prepared)
    return prepared


def turn_shared(model: onnx.ModelProto) -> bool:
    """Store turned around, in place, what several operators read and a Gemm reads turned; whether there was any.

    ONNX Runtime's quantizer turns the weight of each Gemm where it lies and assumes that nothing else reads it
    (``replace_gemm_with_matmul``, 1.31): a layer that is called twice has its weight turned twice, and answers
    something else or ends with "Unable to find data type".
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [node for graph in graphs(model.graph) for node in graph.node]
    readers = collections.Counter(name for node in nodes for name in node.input)
    readers.update(value.name for value in model.graph.output)
    turned: dict[str, onnx.TensorProto] = {}
    for node in nodes:
        flag = next((one for one in node.attribute if one.name == "transB" and one.i), None)
        if node.op_type != "Gemm" or flag is None or node.input[1] not in stored or readers[node.input[1]] < 2:
            continue
        name = node.input[1]
        if name not in turned:
            values = np.ascontiguousarray(numpy_helper.to_array(stored[name]).T)
            turned[name] = numpy_helper.from_array(values, f"{name}/turned")
        flag.CopyFrom(helper.make_attribute("transB", 0))
        node.input[1] = turned[name].name
    left = {name for node in nodes for name in node.input} | {value.name for value in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in turned or tensor.name in left]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *turned.values()])
    return bool(turned)
