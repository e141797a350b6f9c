"""Names of a .tflite model's inputs and outputs: the source's."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import FailedError
from edgekit.toolchains import Request
from edgekit.toolchains.litert.schema import packed_model


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


def named_tensors(packed: Any) -> dict[str, str]:
    """The tensors of a root table's first signature, by the names of inputs and outputs there."""
    signature, graph = packed.SignatureDefs(0), packed.Subgraphs(packed.SignatureDefs(0).SubgraphIndex())
    maps = [signature.Inputs(i) for i in range(signature.InputsLength())]
    maps += [signature.Outputs(i) for i in range(signature.OutputsLength())]
    return {m.Name().decode(): graph.Tensors(m.TensorIndex()).Name().decode() for m in maps}


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
    file.write_bytes(named)
