"""A .tflite file's tables: read, and written again.

The FlatBuffer layout is TensorFlow's ``tensorflow/lite/schema/schema.fbs``; the classes come from ``ai-edge-litert``.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import DamagedFileError

IDENTIFIER = b"TFL3"

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
        f"{file.name} is not a readable .tflite model: {why}",
        hint="Convert again, or copy the file again from its source.",
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


def stored(packed: Any, index: int) -> np.ndarray[Any, Any] | None:
    """Bytes of a buffer as a view into the file; None where it holds nothing.

    A large model's buffers lie behind the FlatBuffer, which then holds their place alone (``Buffer.offset`` and
    ``Buffer.size``; 0 and 1 mean none): ai-edge-quantizer writes so from 256 KiB on, TFLiteConverter from 2 GiB on.
    """
    buffer = packed.Buffers(index)
    if buffer.Offset() > 1 and buffer.Size():
        return np.frombuffer(packed._tab.Bytes, np.uint8, buffer.Size(), buffer.Offset())
    found: np.ndarray[Any, Any] | None = buffer.DataAsNumpy() if buffer.DataLength() else None
    return found


def unpacked(content: bytes) -> Any:
    """The model as objects, weights that lie behind the FlatBuffer brought into it."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(packed_model(content, Path("model.tflite")))
    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def packed(model: Any, size: int) -> bytes:
    """The bytes of a model given as objects; ``size``: about how many they are."""
    import flatbuffers

    builder = flatbuffers.Builder(size)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def add_buffer(model: Any, values: np.ndarray[Any, Any]) -> int:
    """Store values in a model given as objects; returns the buffer's number."""
    from ai_edge_litert import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def operator_code(model: Any, kind: int, version: int) -> int:
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
