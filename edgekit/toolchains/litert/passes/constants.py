"""What a .tflite file computes of constants alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np

from edgekit.toolchains.litert.schema import add_buffer, packed, unpacked


def computed(content: bytes) -> bytes:
    """A float file with such results in the place of what computes them, where an integer file would have it in float.

    litert-torch leaves sines, powers and running sums of constants, as positions are made of them; ai-edge-quantizer
    has no rule for these operators. It leaves choices between constants, as masks are made of them, for which XNNPACK
    has no kernel. Results that are not finite, or would make the file twice as large, stay.
    """
    model = unpacked(content)
    graph = model.subgraphs[0]
    known = {i for i, tensor in enumerate(graph.tensors) if _holds(model.buffers[tensor.buffer])}
    early = []
    for operator in graph.operators:
        if _repeatable(model, operator) and known.issuperset(i for i in operator.inputs if i >= 0):
            early.append(operator)
            known.update(operator.outputs)
    early = _leading_to(
        _behind([operator for operator in early if _without_rule(model, graph, operator)], early), early
    )
    late = [operator for operator in graph.operators if not any(operator is one for one in early)]
    read = {int(i) for operator in late for i in operator.inputs} | {int(i) for i in graph.outputs}
    wanted = sorted(read & {int(i) for operator in early for i in operator.outputs})
    if not wanted:
        return content
    values = _results(model, early, wanted, len(content))
    if sum(value.nbytes for value in values) > len(content) or not all(np.isfinite(value).all() for value in values):
        return content
    for index, value in zip(wanted, values, strict=True):
        graph.tensors[index].buffer = add_buffer(model, value)
    graph.operators = late
    return packed(model, len(content))


def moved_factors(content: bytes, *, static: bool) -> bytes:
    """Let stored factors of BATCH_MATMUL be moved by a RESHAPE, so that they are quantized as activations are.

    Quantizers take them for weights, with a scale per channel. In static files the kernel does not read those of a
    first factor, nor of a second one of several matrices, and beside floats or int16 it takes no int8 first: queries
    that are learned (DETR) made files that answer something else, or that do not run. A second factor of one matrix,
    and of a file whose activations are quantized at run time any second one, stays a weight.
    """
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.BuiltinOperator
    model = unpacked(content)
    found = [
        (graph, operator, place)
        for graph in model.subgraphs
        for operator in graph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == kinds.BATCH_MATMUL
        for place in (0, 1)
        if _is_stored(model, factor := graph.tensors[operator.inputs[place]])
        if place == 0 or (static and math.prod(factor.shape[:-2]) > 1)
    ]
    if not found:
        return content
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kinds.RESHAPE
    code.version = 1
    model.operatorCodes.append(code)
    for graph, operator, place in found:
        moved = _reshape(model, graph, int(operator.inputs[place]), len(model.operatorCodes) - 1)
        graph.operators.insert(graph.operators.index(operator), moved)
        operator.inputs = [*operator.inputs[:place], moved.outputs[0], *operator.inputs[place + 1 :]]
    return packed(model, len(content))


def _is_stored(model: Any, tensor: Any) -> bool:
    """Whether a tensor holds stored floats."""
    from ai_edge_litert import schema_py_generated as schema

    return tensor.type == schema.TensorType.FLOAT32 and _holds(model.buffers[tensor.buffer])


def _reshape(model: Any, graph: Any, tensor: int, code: int) -> Any:
    """An operator that gives a tensor the shape that it has."""
    from ai_edge_litert import schema_py_generated as schema

    source = graph.tensors[tensor]
    shape, moved = schema.TensorT(), copy(source)
    shape.name, shape.shape, shape.type = f"{source.name.decode()}/shape", [len(source.shape)], schema.TensorType.INT32
    shape.buffer = add_buffer(model, np.array(source.shape, np.int32))
    moved.name, moved.buffer = f"{source.name.decode()}/moved", 0
    graph.tensors += [shape, moved]
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.builtinOptionsType = code, schema.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = schema.ReshapeOptionsT()
    operator.builtinOptions.newShape = source.shape
    operator.inputs, operator.outputs = [tensor, len(graph.tensors) - 2], [len(graph.tensors) - 1]
    return operator


def _behind(starts: Sequence[Any], among: Sequence[Any]) -> list[Any]:
    """These operators, and those that read what they make."""
    made = {int(i) for operator in starts for i in operator.outputs}
    found = []
    for operator in among:
        if made & {int(i) for i in (*operator.inputs, *operator.outputs)}:
            found.append(operator)
            made |= {int(i) for i in operator.outputs}
    return found


def _leading_to(ends: Sequence[Any], among: Sequence[Any]) -> list[Any]:
    """Those operators that these ends need, with them, in the order in which they run."""
    needed = {int(i) for operator in ends for i in operator.outputs}
    found = []
    for operator in reversed(among):
        if needed & {int(i) for i in operator.outputs}:
            found.append(operator)
            needed |= {int(i) for i in operator.inputs}
    return found[::-1]


def _without_rule(model: Any, graph: Any, operator: Any) -> bool:
    """Whether the quantizer leaves an operator in float, or XNNPACK leaves it to a built-in kernel."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_quantizer import qtyping

    names = qtyping.TFLOperationName.__members__.keys() - {"SELECT", "SELECT_V2"}
    ruled = {getattr(schema.BuiltinOperator, name, None) for name in names}
    makes = {graph.tensors[i].type for i in operator.outputs}
    return schema.TensorType.FLOAT32 in makes and model.operatorCodes[operator.opcodeIndex].builtinCode not in ruled


def _holds(buffer: Any) -> bool:
    return buffer.data is not None and len(buffer.data) > 0


def _repeatable(model: Any, operator: Any) -> bool:
    """Whether an operator computes, of inputs, the same each time; weights that are stored in halves stay so."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.BuiltinOperator
    code = model.operatorCodes[operator.opcodeIndex]
    others = (
        kinds.CUSTOM, kinds.DEQUANTIZE, kinds.WHILE, kinds.IF, kinds.CALL_ONCE, kinds.VAR_HANDLE, kinds.READ_VARIABLE,
        kinds.ASSIGN_VARIABLE, kinds.RANDOM_UNIFORM, kinds.RANDOM_STANDARD_NORMAL, kinds.MULTINOMIAL,
    )  # fmt: skip
    return len(operator.inputs) > 0 and code.builtinCode not in others


def _results(model: Any, operators: Sequence[Any], wanted: Sequence[int], size: int) -> list[np.ndarray[Any, Any]]:
    """What these operators give for these tensors, computed by the interpreter itself."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    alone, graph = copy(model), copy(model.subgraphs[0])
    graph.operators, graph.inputs, graph.outputs = list(operators), [], list(wanted)
    alone.subgraphs, alone.signatureDefs = [graph, *model.subgraphs[1:]], []
    interpreter = Interpreter(
        model_content=packed(alone, size),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    interpreter.invoke()
    return [interpreter.get_tensor(index) for index in wanted]
