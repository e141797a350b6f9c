"""Reading a .tflite file's tables, and naming its signature.

The FlatBuffer layout is TensorFlow's ``tensorflow/lite/schema/schema.fbs``; the classes come from ``ai-edge-litert``.
"""

from __future__ import annotations

import copy
import itertools
import re
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import DamagedFileError, FailedError
from edgekit.toolchains import Request

IDENTIFIER = b"TFL3"
#: Share of a file from which on the tensors' names are worth writing it anew.
NAMES_SHARE = 0.01

#: What the FlatBuffer classes raise on bytes that are not a model: offsets out of the file, text that is no UTF-8.
UNREADABLE = (
    struct.error,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
)


def damaged(file: Path, why: str) -> DamagedFileError:
    """The error for a file that is not a whole .tflite model."""
    return DamagedFileError(
        f"{file} is not a readable .tflite model: {why}", hint="Convert again, or copy the file again from its source."
    )


def packed_model(content: bytes | bytearray, file: Path) -> Any:
    """Return the file's root table; raises ``DamagedFileError`` where the first bytes are not a model's."""
    from ai_edge_litert import schema_py_generated as schema

    if len(content) < 32 or content[4:8] != IDENTIFIER:
        raise damaged(file, f"{len(content)} bytes, identifier {bytes(content[4:8])!r} where {IDENTIFIER!r} is due")
    try:
        return schema.Model.GetRootAs(content, 0)
    except UNREADABLE as error:
        raise damaged(file, str(error)) from error


def rename_signature(content: bytes, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> bytes:
    """Return the model with the names in its first signature replaced (old name -> new name).

    Strings are referred to by forward offsets, so a new name goes to the end of the file and one offset is
    rewritten: no weight moves, alignment stays, and the same call gives the same bytes.
    """
    out = bytearray(content)
    signature = packed_model(out, Path("model.tflite")).SignatureDefs(0)
    maps = [(signature.Inputs(i), inputs) for i in range(signature.InputsLength())]
    maps += [(signature.Outputs(i), outputs) for i in range(signature.OutputsLength())]
    for tensor_map, names in maps:
        old = tensor_map.Name().decode()
        if old not in names:
            raise FailedError(f"the converted file has {old!r}, which the model has not; known: {sorted(names)}")
        new = names[old]
        if new == old:
            continue
        table = tensor_map._tab
        field = table.Pos + table.Offset(4)  # name is the first field of TensorMap: its vtable slot is 4
        out.extend(b"\0" * (-len(out) % 4))
        text = new.encode()
        struct.pack_into("<I", out, field, len(out) - field)
        out.extend(struct.pack("<I", len(text)) + text + b"\0")
    out.extend(b"\0" * (-len(out) % 16))
    return bytes(out)


def signature_names(content: bytes) -> tuple[list[str], list[str]]:
    """Input and output names of the first signature, in the file's own order."""
    model = packed_model(content, Path("model.tflite"))
    if model.SignatureDefsLength() == 0:
        raise FailedError("the converter wrote a file without a signature", hint="Report this with the model.")
    signature = model.SignatureDefs(0)
    return (
        [signature.Inputs(i).Name().decode() for i in range(signature.InputsLength())],
        [signature.Outputs(i).Name().decode() for i in range(signature.OutputsLength())],
    )


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
    model = _unpacked(content)
    splits = (schema.BuiltinOperator.SPLIT, schema.BuiltinOperator.SPLIT_V)
    for graph in model.subgraphs:
        for operator in graph.operators:
            if model.operatorCodes[operator.opcodeIndex].builtinCode not in splits:
                continue
            pieces = [graph.tensors[i] for i in operator.outputs]
            quantized = [piece for piece in pieces if piece.type != schema.TensorType.FLOAT32]
            for piece in pieces if quantized else ():
                piece.type, piece.quantization = quantized[0].type, quantized[0].quantization
    return _packed(model, len(content))


#: Operators of one input with integer kernels in LiteRT for which ai-edge-quantizer 0.10 has no rule.
INTEGER_KERNELS = ("LEAKY_RELU",)


def compute_in_integers(content: bytes) -> bytes:
    """Take out DEQUANTIZE and QUANTIZE around operators that ai-edge-quantizer leaves in float without need.

    The operator reads and gives the quantized tensors themselves, with the scales that were calibrated for both.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = _unpacked(content)
    kinds = [code.builtinCode for code in model.operatorCodes]
    wanted = {getattr(schema.BuiltinOperator, name) for name in INTEGER_KERNELS}
    changed = False
    for graph in model.subgraphs:
        made = {int(index): op for op in graph.operators for index in op.outputs}
        readers = Counter(int(index) for op in graph.operators for index in op.inputs)
        readers.update(map(int, graph.outputs))
        read = {int(index): op for op in graph.operators for index in op.inputs}
        gone: set[int] = set()
        for op in graph.operators:
            if kinds[op.opcodeIndex] not in wanted:
                continue
            before, after = made.get(int(op.inputs[0])), read.get(int(op.outputs[0]))
            if before is None or kinds[before.opcodeIndex] != schema.BuiltinOperator.DEQUANTIZE:
                continue
            if after is None or kinds[after.opcodeIndex] != schema.BuiltinOperator.QUANTIZE:
                continue
            if readers[int(op.outputs[0])] == 1:
                readers[int(op.inputs[0])] -= 1
                gone |= {id(after)} if readers[int(op.inputs[0])] else {id(after), id(before)}
                op.inputs, op.outputs = before.inputs, after.outputs
                changed = True
        graph.operators = [op for op in graph.operators if id(op) not in gone]
    return _packed(model, len(content)) if changed else content


#: Operators whose constants ai-edge-quantizer leaves in float32 when it stores weights as float16, and from how many
#: elements on one is worth an operator more: a table that Keras looks up in, learned positions, a mask.
FLOAT_CONSTANTS, LARGE = ("GATHER", "ADD", "SUB", "MUL"), 512


def halve_constants(content: bytes) -> bytes:
    """Store large float32 constants as float16, widened by a DEQUANTIZE that runs once, as converted weights are.

    A constant beyond float16's range stays as it is.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = _unpacked(content)
    users: dict[int, list[Any]] = {}
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        users.setdefault(tensor.buffer, []).append(tensor)
    wanted = {getattr(schema.BuiltinOperator, name) for name in FLOAT_CONSTANTS}
    widen = _operator_code(model, schema.BuiltinOperator.DEQUANTIZE, version=3)
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
    return _packed(model, len(content))


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


def _operator_code(model: Any, kind: int, version: int) -> int:
    """Index of an operator's code in the model, added where it is not there."""
    from ai_edge_litert import schema_py_generated as schema

    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == kind:
            code.version = max(code.version, version)
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kind
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _unpacked(content: bytes) -> Any:
    """The model as objects, weights that lie behind the FlatBuffer brought into it."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(packed_model(content, Path("model.tflite")))
    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def _packed(model: Any, size: int) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(size)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def match_names(
    found: list[str], wanted: Sequence[str], kind: str, given: Sequence[str] | None = None
) -> dict[str, str]:
    """Map the converter's names to the source's.

    Converters keep the names that they were ``given`` (in the order of ``wanted``; by default those themselves), or
    number them (``args_0``, ``output_1``) in the model's order and then list them in any order.
    """
    given = wanted if given is None else given
    if set(found) == set(given):
        return dict(zip(given, wanted, strict=True))
    if len(found) == 1 and len(wanted) == 1:
        return {found[0]: wanted[0]}
    numbers = {name: name.rpartition("_")[2] for name in found}
    ordered = sorted(found, key=lambda name: int(numbers[name])) if all(n.isdecimal() for n in numbers.values()) else []
    if len(ordered) != len(wanted) or [int(numbers[name]) for name in ordered] != list(range(len(wanted))):
        raise FailedError(
            f"the converted file's {kind} names {found} do not match the model's {list(wanted)}",
            hint=f"A model that drops or renames an {kind} cannot be mapped; give every {kind} a name and use it.",
        )
    return dict(zip(ordered, wanted, strict=True))


def write_named(content: bytes, file: Path, request: Request, given: Sequence[str] | None = None) -> None:
    """Write a converted model whose signature carries the source's names; ``given``: what its inputs were called."""
    found_in, found_out = signature_names(content)
    inputs = match_names(found_in, request.inputs, "input", given)
    named = rename_signature(content, inputs, match_names(found_out, request.outputs, "output"))
    file.write_bytes(shorten_names(named))


def shorten_names(content: bytes) -> bytes:
    """Name each tensor after one operator, where names take more than a hundredth of the file.

    Converters join the names of all operators that they fused, PyTorch's with the module path of every class: 23 % of
    a small MobileNetV2 from PyTorch, 40 % once its weights are int8. Names of a graph's inputs and outputs stay.
    """
    from ai_edge_litert import schema_py_generated as schema

    packed = packed_model(content, Path("model.tflite"))
    graphs = [packed.Subgraphs(i) for i in range(packed.SubgraphsLength())]
    letters = sum(len(graph.Tensors(i).Name() or b"") for graph in graphs for i in range(graph.TensorsLength()))
    outside = any(packed.Buffers(i).Offset() > 1 for i in range(packed.BuffersLength()))
    if letters < NAMES_SHARE * len(content) or outside:  # weights behind the FlatBuffer are found by their offset
        return content
    model = schema.ModelT.InitFromObj(packed)
    for graph in model.subgraphs:
        fixed = {int(i) for side in (graph.inputs, graph.outputs) for i in side}
        taken = {graph.tensors[i].name for i in fixed}
        for index, tensor in enumerate(graph.tensors):
            if index not in fixed and tensor.name:
                tensor.name = _free(short_name(tensor.name.decode()), taken).encode()
                taken.add(tensor.name)
    return _packed(model, len(content))


def short_name(name: str) -> str:
    """One operator's name of those joined by ``;``: TensorFlow's first, which made the output; PyTorch's last.

    ``a.b.Net;;a.b.Net/a.b.Block_3/torch.nn.modules.conv.Conv2d_conv;`` becomes ``Net/Block_3/Conv2d_conv``.
    """
    parts = [part for part in name.split(";") if part and not part.isdecimal()]
    if not parts:
        return name
    if not re.search(r";\d*$", name):  # litert-torch ends all names so
        return parts[0]
    return "/".join(segment.rpartition(".")[2] for segment in parts[-1].split("/"))


def _free(name: str, taken: set[bytes]) -> str:
    """The name, numbered where another tensor has it."""
    numbered = itertools.chain([name], (f"{name};{i}" for i in itertools.count(1)))
    return next(text for text in numbered if text.encode() not in taken)
