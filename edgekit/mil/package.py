"""Opening an ``.mlpackage`` that may be damaged or hostile."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf.message import DecodeError

from edgekit.errors import DamagedFileError, UnsafeInputError, UnsupportedError, UsageError
from edgekit.mil import proto

MODEL = "com.apple.CoreML/model.mlmodel"
WEIGHTS = "com.apple.CoreML/weights"
#: Metadata key: JSON from names in the file to the source's names, where those are no identifiers.
NAMES = "edgekit.names"
#: protobuf itself refuses messages of 2 GiB and more.
_MOST_BYTES = 2**31 - 1
_AGAIN = "Convert again, or copy the folder again."
_UNSAFE = "Do not use this file."


@dataclass(frozen=True)
class Package:
    """A package that was read.

    Attributes:
        name: the folder's name, for messages.
        spec: the ``Model`` message.
        weights: where files of weights lie.
    """

    name: str
    spec: Any
    weights: Path

    @property
    def names(self) -> dict[str, str]:
        """The source's names of inputs and outputs by their names in the file."""
        try:
            stored = json.loads(self.spec.description.metadata.userDefined.get(NAMES, "{}"))
        except json.JSONDecodeError as error:
            raise DamagedFileError(f"{self.name}: the metadata {NAMES} is no JSON: {error}", hint=_AGAIN) from error
        if not isinstance(stored, dict) or not all(isinstance(v, str) for v in stored.values()):
            raise DamagedFileError(f"{self.name}: the metadata {NAMES} is no map of names", hint=_AGAIN)
        return stored


def read(folder: Path) -> Package:
    """Read the manifest and the model; no weights yet.

    Raises:
        UsageError: ``folder`` is no folder.
        DamagedFileError: a part is missing or cannot be parsed.
        UnsafeInputError: the manifest points outside the package.
        UnsupportedError: the model is no ML Program.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", hint="An .mlpackage is a folder; give its path.")
    root = _root(folder)
    weights = root.parent / "weights"
    if not weights.resolve().is_relative_to(folder.resolve()):
        raise UnsafeInputError(f"{folder.name}: its weights are a link out of the package", hint=_UNSAFE)
    if not root.is_file():
        raise DamagedFileError(f"{folder.name}: the model file {root.name} is missing", hint=_AGAIN)
    if root.stat().st_size > _MOST_BYTES:
        raise DamagedFileError(f"{folder.name}: the model file has {root.stat().st_size} bytes; at most {_MOST_BYTES}")
    spec = proto.model()
    try:
        spec.ParseFromString(root.read_bytes())
    except DecodeError as error:
        raise DamagedFileError(f"{folder.name}: the model cannot be parsed: {error}", hint=_AGAIN) from error
    kind = spec.WhichOneof("Type")
    if kind is None:
        raise DamagedFileError(f"{folder.name}: the model is empty", hint=_AGAIN)
    if kind != "mlProgram":
        raise UnsupportedError(
            f"{folder.name} holds a {kind}, not an ML Program", hint="Convert with convert_to='mlprogram'."
        )
    return Package(folder.name, spec, weights)


def _root(folder: Path) -> Path:
    """Path of the model file, as the manifest says."""
    manifest = folder / "Manifest.json"
    if not manifest.is_file():
        raise DamagedFileError(f"{folder.name} has no Manifest.json", hint=_AGAIN)
    try:
        content = json.loads(manifest.read_bytes())
        items = content["itemInfoEntries"]
        paths = {key: str(item["path"]) for key, item in items.items()}
        root = paths[content["rootModelIdentifier"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{folder.name}: Manifest.json is damaged: {error!r}", hint=_AGAIN) from error
    data = folder.resolve() / "Data"
    for path in paths.values():
        pure = PurePosixPath(path.replace("\\", "/"))
        if pure.is_absolute() or "\0" in path or not (data / pure).resolve().is_relative_to(data):
            raise UnsafeInputError(
                f"{folder.name}: Manifest.json names {path!r}, which lies outside of the package", hint=_UNSAFE
            )
    for key, path in paths.items():
        if not (data / path).exists():
            raise DamagedFileError(f"{folder.name}: {path!r} (item {key}) is missing", hint=_AGAIN)
    return data / root
