"""Lookups as the operator that has integer tables: what Keras writes as GATHER."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgekit.toolchains.litert.schema import operator_code, packed, unpacked


def as_embedding_lookups(content: bytes) -> bytes:
    """Write each GATHER of a table's rows as EMBEDDING_LOOKUP, between two RESHAPE.

    GATHER takes int8 tables with one scale alone, and no int4. EMBEDDING_LOOKUP takes both, with a scale per row as the
    matrix product has them that often shares the table, and indices along one axis.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpacked(content)
    changed = False
    for graph in model.subgraphs:
        operators = []
        for op in graph.operators:
            if not _looks_up(model, graph, op):
                operators.append(op)
                continue
            table, indices, result = int(op.inputs[0]), int(op.inputs[1]), int(op.outputs[0])
            count, width = math.prod(graph.tensors[indices].shape), int(graph.tensors[table].shape[1])
            name = graph.tensors[result].name  # stays that of the layer
            flat = _tensor(graph, name + b"/indices", [count], schema.TensorType.INT32)
            rows = _tensor(graph, name, [count, width], schema.TensorType.FLOAT32)
            graph.tensors[result].name = name + b"/rows"
            lookup = schema.OperatorT()
            lookup.opcodeIndex = operator_code(model, schema.BuiltinOperator.EMBEDDING_LOOKUP, version=1)
            lookup.inputs, lookup.outputs = [flat, table], [rows]
            operators += [_reshape(model, graph, indices, flat), lookup, _reshape(model, graph, rows, result)]
            changed = True
        graph.operators = operators
    return packed(model, len(content)) if changed else content


def _looks_up(model: Any, graph: Any, op: Any) -> bool:
    """Whether an operator is a GATHER of rows from a constant float table, by indices of 32 bits."""
    from ai_edge_litert import schema_py_generated as schema

    if model.operatorCodes[op.opcodeIndex].builtinCode != schema.BuiltinOperator.GATHER:
        return False
    table, indices = (graph.tensors[int(index)] for index in op.inputs)
    types = (table.type, indices.type) == (schema.TensorType.FLOAT32, schema.TensorType.INT32)
    plain = op.builtinOptions is None or (op.builtinOptions.axis, op.builtinOptions.batchDims) == (0, 0)
    return types and plain and len(table.shape) == 2 and model.buffers[table.buffer].data is not None


def _tensor(graph: Any, name: bytes, shape: list[int], kind: int) -> int:
    """Index of a new tensor without a constant."""
    from ai_edge_litert import schema_py_generated as schema

    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, shape, kind, 0
    graph.tensors.append(made)
    return len(graph.tensors) - 1


def _reshape(model: Any, graph: Any, source: int, result: int) -> Any:
    """A RESHAPE from one tensor to the shape of another."""
    from ai_edge_litert import schema_py_generated as schema

    wanted = [int(size) for size in graph.tensors[result].shape]
    buffer = schema.BufferT()
    buffer.data = np.array(wanted, "<i4").view(np.uint8)
    model.buffers.append(buffer)
    name = graph.tensors[result].name + b"/shape"
    shape = _tensor(graph, name, [len(wanted)], schema.TensorType.INT32)
    graph.tensors[shape].buffer = len(model.buffers) - 1
    made = schema.OperatorT()
    made.opcodeIndex = operator_code(model, schema.BuiltinOperator.RESHAPE, version=1)
    made.inputs, made.outputs = [source, shape], [result]
    made.builtinOptionsType, made.builtinOptions = schema.BuiltinOptions.ReshapeOptions, schema.ReshapeOptionsT()
    made.builtinOptions.newShape = wanted
    return made
