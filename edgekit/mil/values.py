"""Constants of an ML Program: element types, values in the protobuf, values in the weight file.

The weight file (MIL blob storage, version 2, little endian): a header of 64 bytes, then per value a record of 64
bytes (sentinel, element type, size in bytes, offset of the data, padding in bits) that the protobuf points at.
Every offset and size is checked here: Apple's own reader trusts them.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DamagedFileError, NotRunError, UnsafeInputError

Array = NDArray[Any]

#: No tensor of a mobile model has more elements; a damaged shape easily does.
MOST_ELEMENTS = 2**28
_AGAIN = "Convert again, or copy the folder again."


@dataclass(frozen=True)
class Element:
    """An element type.

    Attributes:
        name: as NumPy calls it; ``int4``, ``uint1`` ... where NumPy has none.
        dtype: what NumPy stores it in.
        bits: bits per element in a file.
        blob: code in the weight file; None where it never lies there.
        field: member of ``TensorValue`` that holds it when it lies in the protobuf.
    """

    name: str
    dtype: np.dtype[Any]
    bits: int
    blob: int | None
    field: str = "bytes"


def _element(name: str, blob: int | None, where: str = "bytes") -> Element:
    bits = {"bool": 8, "str": 0}.get(name) or int("".join(c for c in name if c.isdigit()) or 0)
    stored = name if bits >= 8 else f"{'u' if name.startswith('u') else ''}int8"
    return Element(name, np.dtype(object if name == "str" else stored), bits, blob, where)


#: MIL's name of an element type (``DataType`` in MIL.proto) -> what it is.
ELEMENTS = {
    "BOOL": _element("bool", None, "bools"),
    "STRING": _element("str", None, "strings"),
    "FLOAT16": _element("float16", 1),
    "FLOAT32": _element("float32", 2, "floats"),
    "FLOAT64": _element("float64", None, "doubles"),
    "INT8": _element("int8", 4),
    "UINT8": _element("uint8", 3),
    "INT16": _element("int16", 6, "ints"),
    "UINT16": _element("uint16", 7, "ints"),
    "INT32": _element("int32", 14, "ints"),
    "UINT32": _element("uint32", 15),
    "INT64": _element("int64", None, "longInts"),
    "UINT64": _element("uint64", None),
    "INT4": _element("int4", 8),
    "UINT4": _element("uint4", 11),
    "UINT1": _element("uint1", 9),
    "UINT2": _element("uint2", 10),
    "UINT3": _element("uint3", 12),
    "UINT6": _element("uint6", 13),
}


@dataclass(frozen=True)
class TensorType:
    """Element type and shape; an axis that is open is -1."""

    element: Element
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements; -1 where an axis is open."""
        return -1 if -1 in self.shape else math.prod(self.shape)


def tensor_type(value_type: Any, names: dict[int, str], where: str) -> TensorType | None:
    """Read a ``ValueType``; None for lists, tuples and dictionaries. A state has the type of what it holds.

    Args:
        value_type: the message.
        names: ``DataType`` by number.
        where: what is being read, for messages.
    """
    kind = value_type.WhichOneof("type")
    if kind == "stateType":
        return tensor_type(value_type.stateType.wrappedType, names, where)
    if kind != "tensorType":
        return None
    tensor = value_type.tensorType
    name = names.get(tensor.dataType, str(tensor.dataType))
    if name not in ELEMENTS:
        raise NotRunError(f"{where} has elements of type {name}; known: {', '.join(ELEMENTS)}")
    shape = []
    for dimension in tensor.dimensions:
        fixed = dimension.WhichOneof("dimension") == "constant"
        shape.append(int(dimension.constant.size) if fixed else -1)
    found = TensorType(ELEMENTS[name], tuple(shape))
    if found.elements > MOST_ELEMENTS:
        raise DamagedFileError(f"{where} has shape {found.shape}; at most {MOST_ELEMENTS} elements", hint=_AGAIN)
    return found


def unpack(data: NDArray[np.uint8], bits: int, count: int, *, signed: bool = False) -> Array:
    """Unpack elements of 1 to 8 bits, packed from the least significant bit on, across bytes.

    (``constexpr_lut_to_dense`` in the MIL specification shows the layout.)
    """
    if data.size * 8 < count * bits:
        raise ValueError(f"{count} elements of {bits} bits need {-(-count * bits // 8)} bytes; there are {data.size}")
    flat = np.unpackbits(data.view(np.uint8), count=count * bits, bitorder="little").reshape(count, bits)
    weights = (1 << np.arange(bits)).astype(np.int16)
    if signed:
        weights[-1] = -weights[-1]  # two's complement: the highest bit counts negative
    values: Array = flat.astype(np.int16) @ weights
    return values.astype(np.int8 if signed else np.uint8)


@dataclass
class Constants:
    """Reads values of one package; files are read once.

    Attributes:
        weights: folder of the weight files.
        names: ``DataType`` by number.
    """

    weights: Path
    names: dict[int, str]
    _files: dict[str, bytes] = field(default_factory=dict)

    def read(self, value: Any, where: str) -> Any:
        """Return a ``Value`` message as array, ``str`` (a scalar string), or dict.

        Raises:
            DamagedFileError: its count or size is not what its type says, or it lies outside its file.
            UnsafeInputError: its file lies outside the package.
            NotRunError: its type is not known here.
        """
        if value.type.WhichOneof("type") == "dictionaryType":
            pairs = value.immediateValue.dictionary.values
            return {self.read(pair.key, where): self.read(pair.value, where) for pair in pairs}
        if value.type.WhichOneof("type") == "listType":
            return [self.read(item, where) for item in value.immediateValue.list.values]
        kind = tensor_type(value.type, self.names, where)
        if kind is None or kind.elements < 0:
            raise DamagedFileError(f"{where} is a constant without a fixed type", hint=_AGAIN)
        if value.WhichOneof("value") == "blobFileValue":
            flat = self._blob(value.blobFileValue, kind, where)
        else:
            flat = _immediate(value.immediateValue, kind, where)
        if kind.element.name == "str" and kind.shape == ():
            return str(flat[0])
        return flat.reshape(kind.shape)

    def _blob(self, location: Any, kind: TensorType, where: str) -> Array:
        data = self._file(location.fileName, where)
        start = int(location.offset)
        if start + 64 > len(data):
            raise DamagedFileError(f"{where} lies at byte {start} of a file of {len(data)} bytes", hint=_AGAIN)
        sentinel, code, size, offset, _ = struct.unpack_from("<IIQQQ", data, start)
        if sentinel != 0xDEADBEEF:
            raise DamagedFileError(f"{where}: there is no value at byte {start} of the weight file", hint=_AGAIN)
        element = kind.element
        if code != element.blob:
            raise DamagedFileError(f"{where} is {element.name}; the weight file holds type {code} there", hint=_AGAIN)
        wanted = -(-kind.elements * element.bits // 8)
        if size != wanted or offset + size > len(data):
            raise DamagedFileError(
                f"{where} of shape {kind.shape} takes {wanted} bytes; the weight file of {len(data)} bytes says {size} "
                f"at {offset}",
                hint=_AGAIN,
            )
        return _decode(data[offset : offset + size], kind)

    def _file(self, name: str, where: str) -> bytes:
        prefix, _, last = name.rpartition("/")
        if name not in self._files:
            if prefix != "@model_path/weights" or last in ("", ".", "..") or "\\" in last or "\0" in last:
                raise UnsafeInputError(
                    f"{where} is to be read from {name!r}; weights lie in @model_path/weights",
                    hint="Do not use this file.",
                )
            path = self.weights / last
            if path.is_symlink():
                raise UnsafeInputError(f"{where}: the weight file {last!r} is a link", hint="Do not use this file.")
            if not path.is_file():
                raise DamagedFileError(f"{where}: the weight file {last!r} is missing", hint=_AGAIN)
            data = path.read_bytes()
            if len(data) < 64 or struct.unpack_from("<II", data)[1] != 2:
                raise DamagedFileError(f"{last} is not a weight file of version 2", hint=_AGAIN)
            self._files[name] = data
        return self._files[name]


def _immediate(value: Any, kind: TensorType, where: str) -> Array:
    tensor, element = value.tensor, kind.element
    if value.WhichOneof("value") != "tensor" or tensor.WhichOneof("value") not in (element.field, None):
        found = tensor.WhichOneof("value") or value.WhichOneof("value")
        raise DamagedFileError(f"{where} is {element.name}, but is stored as {found}", hint=_AGAIN)
    values = getattr(tensor, element.field).values
    if element.field == "bytes":
        wanted = -(-kind.elements * element.bits // 8)
        if len(values) != wanted:
            raise DamagedFileError(f"{where} needs {wanted} bytes; there are {len(values)}", hint=_AGAIN)
        return _decode(values, kind)
    if len(values) != kind.elements:
        raise DamagedFileError(f"{where} of shape {kind.shape} has {len(values)} values", hint=_AGAIN)
    with np.errstate(over="ignore"):
        return np.array(list(values), np.int64 if element.field == "ints" else None).astype(element.dtype)


def _decode(data: bytes, kind: TensorType) -> Array:
    element = kind.element
    raw = np.frombuffer(data, np.uint8)
    if element.bits < 8:
        return unpack(raw, element.bits, kind.elements, signed=element.name.startswith("int"))
    return raw.view(element.dtype.newbyteorder("<")).astype(element.dtype)
