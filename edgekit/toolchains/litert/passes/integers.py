"""Integer files as the runtime wants them: what ai-edge-quantizer leaves in float without need."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from edgekit.toolchains.litert.schema import packed, packed_model, unpacked


def unread_pieces(content: bytes) -> list[str]:
    """Names of tensors that a SPLIT makes and nothing reads."""
    from ai_edge_litert import schema_py_generated as schema

    model = packed_model(content, Path("model.tflite"))
    splits = (schema.BuiltinOperator.SPLIT, schema.BuiltinOperator.SPLIT_V)
    found = []
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
        read = {int(graph.Outputs(i)) for i in range(graph.OutputsLength())}
        read |= {int(op.Inputs(i)) for op in operators for i in range(op.InputsLength())}
        for op in operators:
            if model.OperatorCodes(op.OpcodeIndex()).BuiltinCode() in splits:
                made = (int(op.Outputs(i)) for i in range(op.OutputsLength()))
                found += [graph.Tensors(index).Name().decode() for index in made if index not in read]
    return found


def quantize_unread_pieces(content: bytes) -> bytes:
    """Give the pieces of a SPLIT that nothing reads the type and scale of the others.

    ai-edge-quantizer leaves them in float, and XNNPACK then refuses the operator (Keras's unrolled LSTM, whose first
    state is zero). What follows never sees them.
    """
    from ai_edge_litert import schema_py_generated as schema

    if not unread_pieces(content):
        return content
    model = unpacked(content)
    splits = (schema.BuiltinOperator.SPLIT, schema.BuiltinOperator.SPLIT_V)
    for graph in model.subgraphs:
        for operator in graph.operators:
            if model.operatorCodes[operator.opcodeIndex].builtinCode not in splits:
                continue
            pieces = [graph.tensors[i] for i in operator.outputs]
            quantized = [piece for piece in pieces if piece.type != schema.TensorType.FLOAT32]
            for piece in pieces if quantized else ():
                piece.type, piece.quantization = quantized[0].type, quantized[0].quantization
    return packed(model, len(content))


def multiply_squares(content: bytes) -> bytes:
    """Write SQUARE as the product of a tensor with itself, which has an integer kernel.

    LiteRT computes SQUARE in float only, and ai-edge-quantizer has no rule for it (Keras's RMSNormalization).
    """
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.BuiltinOperator
    model = unpacked(content)
    squares = [code for code in model.operatorCodes if code.builtinCode == kinds.SQUARE]
    if not squares:
        return content
    for code in squares:
        code.builtinCode = code.deprecatedBuiltinCode = kinds.MUL
    for graph in model.subgraphs:
        for operator in graph.operators:
            if model.operatorCodes[operator.opcodeIndex] in squares:
                operator.inputs = [operator.inputs[0], operator.inputs[0]]
                operator.builtinOptionsType = schema.BuiltinOptions.MulOptions
                operator.builtinOptions = schema.MulOptionsT()
    return packed(model, len(content))


def square_signed(content: bytes) -> bytes:
    """Square numbers as they are where their magnitudes are squared.

    A norm of PyTorch is the root of summed squares of magnitudes (ConvNeXt V2's response norm), and ai-edge-quantizer
    has no rule for ABS.
    """
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.BuiltinOperator
    model = unpacked(content)
    changed = False
    for graph in model.subgraphs:
        kind = {id(op): model.operatorCodes[op.opcodeIndex].builtinCode for op in graph.operators}
        signed = {int(op.outputs[0]): int(op.inputs[0]) for op in graph.operators if kind[id(op)] == kinds.ABS}
        for op in graph.operators:
            if kind[id(op)] == kinds.MUL and op.inputs[0] == op.inputs[1] and int(op.inputs[0]) in signed:
                op.inputs = [signed[int(op.inputs[0])]] * 2
                changed = True
        read = {int(i) for op in graph.operators for i in op.inputs} | {int(i) for i in graph.outputs}
        graph.operators = [op for op in graph.operators if kind[id(op)] != kinds.ABS or int(op.outputs[0]) in read]
    return packed(model, len(content)) if changed else content


def flatten_biases(content: bytes) -> bytes:
    """Give biases of several axes, as 1 x 1 x 1 x n, the one axis that they have.

    litert-torch writes them where it folds a factor per channel into a layer (LayerScale, as in ConvNeXt). To
    ai-edge-quantizer a bias has one scale per element of its first axis, and the runtime does not open the file.
    """
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.BuiltinOperator
    layers = (kinds.FULLY_CONNECTED, kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D)
    model = unpacked(content)
    changed = False
    for graph in model.subgraphs:
        biased = [op for op in graph.operators if model.operatorCodes[op.opcodeIndex].builtinCode in layers]
        biases = {int(op.inputs[2]) for op in biased if len(op.inputs) > 2 and op.inputs[2] >= 0}
        others = {int(i) for op in graph.operators for i in (op.inputs[:2] if op in biased else op.inputs)}
        for tensor in (graph.tensors[i] for i in biases - others):
            if len(tensor.shape) > 1 and model.buffers[tensor.buffer].data is not None:
                tensor.shape, tensor.shapeSignature = [math.prod(map(int, tensor.shape))], None
                changed = True
    return packed(model, len(content)) if changed else content


#: Operators of one input for which ai-edge-quantizer 0.10 has no rule, and whose kernels in LiteRT are within one step
#: of the float function at any scales, by the integers that they take. NEG and REDUCE_MAX ignore a scale that differs,
#: EXP and LOG in 16 bits are 3 and 40 steps off.
INTEGER_KERNELS = {
    "INT8": ("ABS", "ELU", "EXP", "LEAKY_RELU", "LOG", "RELU_N1_TO_1"),
    "INT16": ("ABS", "LEAKY_RELU"),
}


def compute_in_integers(content: bytes) -> bytes:
    """Take out DEQUANTIZE and QUANTIZE around operators that ai-edge-quantizer leaves in float without need.

    The operator reads and gives the quantized tensors themselves, with the scales that were calibrated for both.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpacked(content)
    kinds = [code.builtinCode for code in model.operatorCodes]
    kernels = {
        (getattr(schema.TensorType, width), getattr(schema.BuiltinOperator, name))
        for width, names in INTEGER_KERNELS.items()
        for name in names
    }
    changed = False
    for graph in model.subgraphs:
        made = {int(index): op for op in graph.operators for index in op.outputs}
        readers = Counter(int(index) for op in graph.operators for index in op.inputs)
        readers.update(map(int, graph.outputs))
        read = {int(index): op for op in graph.operators for index in op.inputs}
        gone: set[int] = set()
        for op in graph.operators:
            if not len(op.inputs) or not len(op.outputs):
                continue
            before, after = made.get(int(op.inputs[0])), read.get(int(op.outputs[0]))
            if before is None or kinds[before.opcodeIndex] != schema.BuiltinOperator.DEQUANTIZE:
                continue
            if (graph.tensors[before.inputs[0]].type, kinds[op.opcodeIndex]) not in kernels:
                continue
            if after is None or kinds[after.opcodeIndex] != schema.BuiltinOperator.QUANTIZE:
                continue
            if readers[int(op.outputs[0])] == 1:
                readers[int(op.inputs[0])] -= 1
                gone |= {id(after)} if readers[int(op.inputs[0])] else {id(after), id(before)}
                op.inputs, op.outputs = before.inputs, after.outputs
                changed = True
        graph.operators = [op for op in graph.operators if id(op) not in gone]
    return packed(model, len(content)) if changed else content
