"""float16 files: the constants that ai-edge-quantizer leaves in float32."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from edgekit.toolchains.litert.schema import operator_code, packed, unpacked

#: Operators whose constants ai-edge-quantizer leaves in float32 when it stores weights as float16, and from how many
#: elements on one is worth an operator more: a table that Keras looks up in, learned positions, a mask.
FLOAT_CONSTANTS, LARGE = ("GATHER", "ADD", "SUB", "MUL"), 512


def halve_constants(content: bytes) -> bytes:
    """Store large float32 constants as float16, widened by a DEQUANTIZE that runs once, as converted weights are.

    A constant beyond float16's range stays as it is.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpacked(content)
    users: dict[int, list[Any]] = {}
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        users.setdefault(tensor.buffer, []).append(tensor)
    wanted = {getattr(schema.BuiltinOperator, name) for name in FLOAT_CONSTANTS}
    widen = operator_code(model, schema.BuiltinOperator.DEQUANTIZE, version=3)
    changed = False
    for graph in model.subgraphs:
        kinds = [model.operatorCodes[op.opcodeIndex].builtinCode for op in graph.operators]
        read = dict.fromkeys(
            int(i) for op, kind in zip(graph.operators, kinds, strict=True) if kind in wanted for i in op.inputs
        )
        for index in read:
            tensor = graph.tensors[index]
            buffer = model.buffers[tensor.buffer]
            if buffer.data is None or any(user.type != schema.TensorType.FLOAT32 for user in users[tensor.buffer]):
                continue
            values = np.asarray(buffer.data, np.uint8).view("<f4")
            if len(users[tensor.buffer]) > 1 or values.size < LARGE or np.abs(values).max() > np.finfo(np.float16).max:
                continue
            stored = copy.copy(tensor)
            stored.type, stored.name = schema.TensorType.FLOAT16, tensor.name + b"_fp16"
            buffer.data, tensor.buffer = values.astype("<f2").view(np.uint8), 0
            graph.tensors.append(stored)
            operator = schema.OperatorT()
            operator.opcodeIndex, operator.inputs, operator.outputs = widen, [len(graph.tensors) - 1], [index]
            graph.operators.insert(0, operator)
            changed = True
    if not changed:
        return content
    _share_equal_buffers(model)
    return packed(model, len(content))


def _share_equal_buffers(model: Any) -> None:
    """Store equal constants once: ai-edge-quantizer had doubled a table that is also the last layer's weights."""
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    first: dict[bytes, int] = {}
    for index in dict.fromkeys(tensor.buffer for tensor in tensors):
        data = model.buffers[index].data
        if data is None or not len(data):
            continue
        shared = first.setdefault(np.asarray(data, np.uint8).tobytes(), index)
        if shared != index:
            model.buffers[index].data = None
            for tensor in tensors:
                tensor.buffer = shared if tensor.buffer == index else tensor.buffer
