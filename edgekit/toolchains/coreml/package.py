"""Writing an ``.mlpackage``: the source's tensor names, and the same bytes for the same model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import FailedError, UsageError
from edgekit.frameworks.loaded import identifiers
from edgekit.mil.package import MODEL, NAMES, WEIGHTS, read
from edgekit.mil.program import read as read_program
from edgekit.toolchains import Converted, Request
from edgekit.toolchains.coreml import checks

FILE = "model.mlpackage"
_ITEMS = (
    ("00000000-0000-4000-8000-000000000000", MODEL, "CoreML Model Specification"),
    ("00000000-0000-4000-8000-000000000001", WEIGHTS, "CoreML Model Weights"),
)


def deployment_target(ct: Any, name: str) -> Any:
    """Return coremltools' own value of a name such as ``iOS18`` or ``macOS15``.

    Raises:
        UsageError: there is none of that name, or it is older than ML Programs.
    """
    known = [t for t in ct.target.__members__ if ct.target[t] >= ct.target.iOS15]
    if name not in known:
        raise UsageError(
            f"minimum_deployment_target {name!r} is not known; allowed: {', '.join(known)}",
            hint="Correct the target's TOML.",
        )
    return ct.target[name]


def write(spec: Any, weights_folder: str | Path | None, request: Request) -> Converted:
    """Write the package into the request's folder.

    Args:
        spec: the model's protobuf; changed in place.
        weights_folder: where ``weight.bin`` lies; None where everything is in the protobuf.
        request: names of inputs and outputs, and where to write.

    Raises:
        UnsupportedError: Core ML's runtime would refuse the file, see ``checks``.
        FailedError: the converter made another number of inputs or outputs than the source has.
    """
    name_tensors(spec, request.inputs, request.outputs)
    folder = request.folder / FILE
    save(spec, weights_folder, folder)
    checks.refuse(read_program(read(folder)))
    return Converted(folder)


def save(spec: Any, weights_folder: str | Path | None, folder: Path) -> None:
    """Write a package under a name.

    One that coremltools saves differs from run to run: random identifiers, a date, protobuf maps in hash order.
    """
    metadata = spec.description.metadata.userDefined
    for key in [k for k in metadata if "date" in k]:
        del metadata[key]
    content = folder / "Data" / "com.apple.CoreML"
    content.mkdir(parents=True)
    (folder / "Data" / MODEL).write_bytes(spec.SerializeToString(deterministic=True))
    weights = Path(weights_folder) / "weight.bin" if weights_folder else None
    items: tuple[tuple[str, str, str], ...] = _ITEMS[:1]
    if weights is not None and weights.is_file():
        (content / "weights").mkdir()
        shutil.copyfile(weights, folder / "Data" / WEIGHTS / "weight.bin")
        items = _ITEMS
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": {
            key: {
                "author": "com.apple.CoreML",
                "description": text,
                "name": Path(path).name,
                "path": path,
            }
            for key, path, text in items
        },
        "rootModelIdentifier": _ITEMS[0][0],
    }
    # As coremltools indents it: it writes the file again when it opens the package, and the seal would not hold.
    (folder / "Manifest.json").write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n", "utf-8")


def name_tensors(spec: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Give inputs and outputs the source's names, in order (or by name where all of them match already).

    An ML Program's names are identifiers; where the source's are not, the metadata holds them.
    """
    found, wanted = _names(spec), {"input": inputs, "output": outputs}
    renamed: dict[str, str] = {}
    original: dict[str, str] = {}
    for side, names in wanted.items():
        allowed = identifiers(names)
        original |= {a: n for a, n in zip(allowed, names, strict=True) if a != n}
        if len(found[side]) != len(names):
            raise FailedError(
                f"the file has {len(found[side])} {side}s ({', '.join(found[side])}), the source {len(names)}"
            )
        if set(found[side]) != set(allowed):
            renamed |= dict(zip(found[side], allowed, strict=True))
    if renamed:
        rename(spec, renamed)
    if original:
        spec.description.metadata.userDefined[NAMES] = json.dumps(original, sort_keys=True)


def _names(spec: Any) -> dict[str, list[str]]:
    description = spec.description
    return {"input": [t.name for t in description.input], "output": [t.name for t in description.output]}


def rename(spec: Any, names: Mapping[str, str]) -> None:
    """Rename values wherever they occur; an inner value that already has a new name steps aside."""
    mapping = dict(names)
    program = spec.mlProgram
    taken = {value.name for block in _blocks(program) for value in _values(block)}
    for new in names.values():
        if new in taken and new not in names:
            mapping[new] = f"{new}_inner"
    for tensor in (*spec.description.input, *spec.description.output):
        tensor.name = mapping.get(tensor.name, tensor.name)
    for function in program.functions.values():
        for value in function.inputs:
            value.name = mapping.get(value.name, value.name)
    for block in _blocks(program):
        for value in _values(block):
            value.name = mapping.get(value.name, value.name)
        block.outputs[:] = [mapping.get(name, name) for name in block.outputs]
        for operation in block.operations:
            for argument in operation.inputs.values():
                for binding in argument.arguments:
                    if binding.WhichOneof("binding") == "name":
                        binding.name = mapping.get(binding.name, binding.name)


def _blocks(program: Any) -> Iterator[Any]:
    """Every block of a program, nested ones too."""
    pending = [block for function in program.functions.values() for block in function.block_specializations.values()]
    while pending:
        block = pending.pop()
        yield block
        pending += [inner for operation in block.operations for inner in operation.blocks]


def _values(block: Any) -> Sequence[Any]:
    return [*block.inputs, *(value for operation in block.operations for value in operation.outputs)]
