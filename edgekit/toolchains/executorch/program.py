"""Reading a .pte program: what it runs, in which order, on what, and where its constants lie, in it or beside it.

The schema is ExecuTorch's ``schema/program.fbs`` (identifier ET12), the header before the segments its
``exir/_serialize/_program.py``. The runtime checks little of this and a damaged file ends its process, so the file is
read here without it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DamagedFileError
from edgekit.toolchains._shared.inputs import unknown_entry
from edgekit.toolchains.executorch import data
from edgekit.toolchains.executorch.flatbuffer import BadBytesError, Table, root

IDENTIFIER = b"ET12"
_HEADER = struct.Struct("<4sIQQQ")
_SWITCH, _TENSOR, _TENSORS, _OPTIONAL_TENSORS = 3, 5, 10, 11
_EXTERNAL = 1
_KERNEL, _DELEGATE, _MOVE, _JUMP, _FREE = 1, 2, 3, 4, 5

#: ScalarType of ``scalar_type.fbs`` -> NumPy's name and bytes per element.
SCALARS = {
    0: ("uint8", 1), 1: ("int8", 1), 2: ("int16", 2), 3: ("int32", 4), 4: ("int64", 8), 5: ("float16", 2),
    6: ("float32", 4), 7: ("float64", 8), 11: ("bool", 1), 15: ("bfloat16", 2),
    27: ("uint16", 2), 28: ("uint32", 4), 29: ("uint64", 8),
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A tensor of the program.

    ``constant`` is the number of its stored data, or the name under which a file beside it stores them; 0 where it is
    computed. ``order`` are its axes from the outermost in memory to the innermost.
    """

    shape: tuple[int, ...]
    type: str
    constant: int | str
    order: tuple[int, ...] = ()


@dataclass(frozen=True)
class Call:
    """One instruction: a kernel by name, or a delegate by its number; other instructions are left out.

    ``arguments`` are places in ``Program.values``, inputs before outputs.
    """

    kernel: str
    delegate: int | None
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class Delegate:
    """A part of the model that a delegate runs: whose it is, and what it was given."""

    id: str
    payload: bytes


@dataclass(frozen=True)
class Program:
    """One method of a .pte file.

    Attributes:
        methods: names of all methods of the file.
        values: what instructions point at; None for anything but a tensor.
        switches: those of them that are true or false, by place.
        inputs: places in ``values``.
        outputs: likewise.
        calls: kernels and delegates in the order of their execution.
        delegates: by number.
        named: constants that delegates share by name, those in files beside the program included.
        numbered: the segment of the program's own constants.
        offsets: where in it each of them begins, by number.
        lists: lists of tensors in ``values`` by their own place: the places of their elements.
    """

    methods: tuple[str, ...]
    values: tuple[Tensor | None, ...]
    switches: dict[int, bool]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    calls: tuple[Call, ...]
    delegates: tuple[Delegate, ...]
    named: dict[str, bytes]
    lists: dict[int, tuple[int, ...]]
    numbered: bytes = b""
    offsets: tuple[int, ...] = ()

    def array(self, tensor: Tensor) -> NDArray[np.generic] | None:
        """A constant; None where the program does not hold it whole in such a segment."""
        start = 0
        if isinstance(tensor.constant, str):
            stored = self.named.get(tensor.constant, b"")
        elif 0 < tensor.constant < len(self.offsets):
            stored, start = self.numbered, self.offsets[tensor.constant]
        else:
            return None
        kind = np.dtype("uint16" if tensor.type == "bfloat16" else tensor.type).newbyteorder("<")
        order = tensor.order or tuple(range(len(tensor.shape)))
        count = math.prod(tensor.shape)
        if start + count * kind.itemsize > len(stored) or sorted(order) != list(range(len(tensor.shape))):
            return None
        outer_first = np.frombuffer(stored, kind, count, start).reshape([tensor.shape[axis] for axis in order])
        return outer_first.transpose(np.argsort(order))


def damaged(file: Path, why: object) -> DamagedFileError:
    """The error for a file that is not a whole .pte program."""
    return DamagedFileError(
        f"{file.name} is not a whole ExecuTorch program: {why}", hint="Convert again, or copy the file again."
    )


def read(file: Path, entry: str | None = None) -> Program:
    """Read a method of a .pte file, and the .ptd files beside it where it stores weights in such.

    Without a name that is the only one, or ``forward``, which ExecuTorch itself takes.

    Raises:
        UsageError: there is no such method.
        DamagedFileError: there is no such file, or one is truncated or not what it says, or weights are missing.
    """
    beside: dict[str, bytes] = {}
    try:
        for found in sorted(file.parent.glob("*.ptd")):
            beside |= data.parse(found.read_bytes())
        content = file.read_bytes()
        names = methods(content)
        wanted = entry or (names[0] if len(names) == 1 else "forward")
        if not names or names.count(wanted) > 1:
            raise BadBytesError(f"{names.count(wanted)} methods are called {wanted!r}; one is due")
        if wanted not in names:
            raise unknown_entry("method", file, entry, names)
        return parse(content, beside, wanted)
    except (BadBytesError, OSError) as error:
        raise damaged(file, error) from error


def methods(content: bytes) -> list[str]:
    """Names of the methods in the bytes of a .pte file; raises ``BadBytesError``."""
    return [plan.text(0) for plan in root(content[: _extent(content)[0]], IDENTIFIER).tables(1)]


def parse(content: bytes, beside: Mapping[str, bytes] = MappingProxyType({}), method: str = "forward") -> Program:
    """Read the bytes of a .pte file; ``beside``: constants in .ptd files by name. Raises ``BadBytesError``."""
    length, base = _extent(content)
    packed = root(content[:length], IDENTIFIER)
    segments = [_segment(content, base, t) for t in packed.tables(4)]
    plans = [p for p in packed.tables(1) if p.text(0) == method]
    if len(plans) != 1:
        raise BadBytesError(f"{len(plans)} methods are called {method!r}; one is due")
    plan = plans[0]
    packed_values = plan.tables(2)
    values = tuple(_value(v, _constants(packed), beside) for v in packed_values)
    switches = {i: bool(t.number(0, "?")) for i, v in enumerate(packed_values) if (t := _switch(v)) is not None}
    lists = dict(_lists(plan))
    operators = [f"{o.text(0)}.{o.text(1)}" if o.text(1) else o.text(0) for o in plan.tables(6)]
    delegates = tuple(_delegate(d, packed, segments) for d in plan.tables(7))
    calls = [c for chain in plan.tables(5) for i in chain.tables(2) if (c := _call(i, operators)) is not None]
    inputs, outputs = plan.numbers(3, "i"), plan.numbers(4, "i")
    listed = [place for places in lists.values() for place in places]
    for place in (*inputs, *outputs, *listed, *(a for c in calls for a in c.arguments)):
        if not 0 <= place < len(values):
            raise BadBytesError(f"value {place} of {len(values)} is referred to")
    for call in calls:
        if call.delegate is not None and not 0 <= call.delegate < len(delegates):
            raise BadBytesError(f"delegate {call.delegate} of {len(delegates)} is called")
    named = {**beside, **_named(packed, segments)}
    own = packed.table(5)
    segment, offsets = (own.number(0, "I"), own.numbers(1, "Q")) if own is not None else (0, ())
    numbered = segments[segment] if segment < len(segments) else b""
    return Program(
        tuple(methods(content)),
        values,
        switches,
        inputs,
        outputs,
        tuple(calls),
        delegates,
        named,
        lists,
        numbered,
        offsets,
    )


def _extent(content: bytes) -> tuple[int, int]:
    """Bytes of the FlatBuffer, and where the segments begin (0: there are none)."""
    if len(content) < 8 + _HEADER.size:
        raise BadBytesError(f"it has {len(content)} bytes")
    magic, _, length, base, size = _HEADER.unpack_from(content, 8)
    if magic != b"eh00":
        return len(content), 0
    whole = base + size if base else length
    if length > len(content) or whole > len(content) or (base and base < length):
        raise BadBytesError(f"it has {len(content)} bytes; its header describes {whole}")
    return length, base


def _segment(content: bytes, base: int, packed: Table) -> bytes:
    start, size = base + packed.number(0, "Q"), packed.number(1, "Q")
    if start + size > len(content):
        raise BadBytesError(f"a segment of {size} bytes at {start} ends behind the file's {len(content)} bytes")
    return content[start : start + size]


def _constants(packed: Table) -> int:
    """Number of stored tensors; number 0 means none."""
    segment = packed.table(5)
    return segment.count(1, "Q") if segment is not None else packed.count(2, "I")


def _value(packed: Table, constants: int, beside: Mapping[str, bytes]) -> Tensor | None:
    kind, tensor = packed.union(0)
    if kind != _TENSOR or tensor is None:
        return None
    scalar, constant = tensor.number(0, "b"), tensor.number(5, "I")
    if scalar not in SCALARS:
        raise BadBytesError(f"scalar type {scalar} is unknown")
    name, size = SCALARS[scalar]
    shape, order = tensor.numbers(2, "i"), tensor.numbers(3, "B")
    if tensor.table(6) is not None:  # memory is planned for it: it is computed
        return Tensor(shape, name, 0)
    more = tensor.table(9)
    if more is not None and more.number(2, "b") == _EXTERNAL:
        key = more.text(1)
        if len(beside.get(key, b"")) < math.prod(shape) * size:
            raise BadBytesError(f"the weight {key!r} lies in a .ptd file, and none beside the program holds all of it")
        return Tensor(shape, name, key, order)
    if constant and constant >= constants:
        raise BadBytesError(f"stored tensor {constant} of {constants} is referred to")
    return Tensor(shape, name, constant, order)


def _switch(packed: Table) -> Table | None:
    kind, table = packed.union(0)
    return table if kind == _SWITCH else None


def _lists(plan: Table) -> Iterator[tuple[int, tuple[int, ...]]]:
    for place, packed in enumerate(plan.tables(2)):
        kind, found = packed.union(0)
        if kind in (_TENSORS, _OPTIONAL_TENSORS) and found is not None:
            yield place, tuple(element for element in found.numbers(0, "i") if element >= 0)  # -1: None


def _delegate(packed: Table, program: Table, segments: list[bytes]) -> Delegate:
    place = packed.need(1)
    index = place.number(1, "I")
    in_segment = place.number(0, "b") == 1
    stored = segments if in_segment else [bytes(t.numbers(0, "B")) for t in program.tables(3)]
    if index >= len(stored):
        raise BadBytesError(f"delegate data {index} of {len(stored)} is referred to")
    return Delegate(packed.text(0), stored[index])


def _call(packed: Table, operators: list[str]) -> Call | None:
    kind, arguments = packed.union(0)
    if kind not in (_KERNEL, _DELEGATE, _MOVE, _JUMP, _FREE) or arguments is None:
        raise BadBytesError(f"instruction {kind} is unknown")
    if kind not in (_KERNEL, _DELEGATE):
        return None
    index, values = arguments.number(0, "i"), arguments.numbers(1, "i")
    if kind == _DELEGATE:
        return Call("", index, values)
    if not 0 <= index < len(operators):
        raise BadBytesError(f"operator {index} of {len(operators)} is called")
    return Call(operators[index], None, values)


def _named(packed: Table, segments: list[bytes]) -> dict[str, bytes]:
    found = {}
    for entry in packed.tables(7):
        index = entry.number(1, "I")
        if index >= len(segments):
            raise BadBytesError(f"segment {index} of {len(segments)} is referred to")
        found[entry.text(0)] = segments[index]
    return found
