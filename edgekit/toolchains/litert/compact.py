"""Short names for a chosen file: each tensor is called after one operator.

Converters join the names of all operators that they fused, PyTorch's with the module path of every class: up
to nearly half of a small file (targets/REASONS.md#names). Until a file is chosen it keeps them, by which layers are
found.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from edgekit.toolchains import WORTH, Names
from edgekit.toolchains.litert.schema import packed, packed_model

_ADDED = re.compile(r"(.*;\d*)(_\w+)")


def compact(file: Path, folder: Path) -> Names | None:
    """Write a file under short names into a folder; nothing, where that saves nothing.

    Names of a graph's inputs and outputs stay.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = file.read_bytes()
    found = packed_model(content, file)
    outside = any(found.Buffers(i).Offset() > 1 for i in range(found.BuffersLength()))
    if outside:  # weights behind the FlatBuffer are found by their offset
        return None
    names: dict[str, str] = {}
    model = schema.ModelT.InitFromObj(found)
    fixed = [{int(i) for side in (graph.inputs, graph.outputs) for i in side} for graph in model.subgraphs]
    taken = {graph.tensors[i].name for graph, border in zip(model.subgraphs, fixed, strict=True) for i in border}
    for graph, border in zip(model.subgraphs, fixed, strict=True):
        for index, tensor in enumerate(graph.tensors):
            if index not in border and tensor.name:
                old = tensor.name.decode()
                new = _free(short_name(old), taken)
                tensor.name = new.encode()
                taken.add(tensor.name)
                names |= {new: old} if new != old else {}
    short = packed(model, len(content))
    if len(short) > (1 - WORTH) * len(content):
        return None
    (folder / file.name).write_bytes(short)
    return Names(names)


def short_name(name: str) -> str:
    """One operator's name of those joined by ``;``: TensorFlow's first, which made the output; PyTorch's last.

    ``a.b.Net;;a.b.Net/a.b.Block_3/torch.nn.modules.conv.Conv2d_conv;`` becomes ``Net/Block_3/Conv2d_conv``. What a
    quantizer adds at the end stays (``..._conv;_fp16``).
    """
    found = _ADDED.fullmatch(name)
    joined, added = found.groups() if found else (name, "")
    parts = [part for part in joined.split(";") if part and not part.isdecimal()]
    if not parts:
        return name
    if not re.search(r";\d*$", joined):  # litert-torch ends all names so
        return parts[0]
    return "/".join(segment.rpartition(".")[2] for segment in parts[-1].split("/")) + added


def _free(name: str, taken: set[bytes]) -> str:
    """The name, numbered where another tensor has it."""
    numbered = itertools.chain([name], (f"{name};{i}" for i in itertools.count(1)))
    return next(text for text in numbered if text.encode() not in taken)
