"""What is compared: a file of rows, or an artifact or a plain model file as a row of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit.artifact import contents
from edgekit.bench import measuring, rows
from edgekit.bench.measuring import Asked, Subject
from edgekit.bench.row import Cell, Row
from edgekit.errors import DamagedFileError
from edgekit.jobs.workers import Workers
from edgekit.result import File
from edgekit.signature import Framework


class _Sealed(BaseModel):
    """What a manifest of any release says of its files and samples beside what a row holds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    class Part(BaseModel):
        model_config = ConfigDict(extra="ignore")
        file: str

    class Samples(BaseModel):
        model_config = ConfigDict(extra="ignore")
        splits: dict[str, dict[str, Any]] = Field(default_factory=dict)

    class Source(BaseModel):
        model_config = ConfigDict(extra="ignore")
        kind: str = ""
        name: str
        config: str | None = None

    framework: Framework
    source: Source
    files: tuple[File, ...]
    parts: dict[str, Part] = Field(default_factory=dict)
    samples: Samples = Samples()


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        given: as it was typed.
        rows: the newest of each cell.
        subject: of an artifact or a model file, what can be measured; None of a file of rows.
        source: of an artifact of the zoo: name, configuration, framework.
        parts: of an artifact: their names.
        model_files: of it: the hash of each file that is executed.
        test_sha256: of the samples that an artifact was scored on.
        notes: what the user must know of it.
    """

    given: str
    rows: dict[Cell, Row]
    subject: Subject | None = None
    source: tuple[str, str, Framework] | None = None
    parts: tuple[str, ...] = ()
    model_files: dict[str, str] = field(default_factory=dict)
    test_sha256: str | None = None
    notes: tuple[str, ...] = ()


def read(path: Path, workers: Workers, asked: Asked) -> Side:
    """A rows file, an artifact that is as it was sealed, or a model file.

    Args:
        path: a file whose name ends in ``.jsonl`` holds rows.
        workers: look into a model file.
        asked: how it would be measured.

    Raises:
        UsageError: none of these, or a whole line that is no row.
        UnsafeInputError: the artifact was edited after it was converted.
    """
    if path.suffix == ".jsonl" and not path.is_dir():
        notes: list[str] = []
        return Side(str(path), rows.newest(rows.read(path, notes.append)), notes=tuple(notes))
    sealed = path / contents.MANIFEST
    if sealed.is_file():
        contents.check(path)
    subject = measuring.find(path, asked, workers)
    found = {subject.row.cell: subject.row}
    if not sealed.is_file():
        return Side(str(path), found, subject, model_files={"": subject.row.made.sha256 or ""})
    try:
        manifest = _Sealed.model_validate_json(sealed.read_bytes())
    except ValidationError as error:
        raise DamagedFileError(f"{path}: {error.errors()[0]['msg']}", hint="Convert the model again.") from error
    parts = [part.file for part in manifest.parts.values()]
    executed = {
        file.path: file.sha256
        for file in manifest.files
        if any(file.path == part or file.path.startswith(f"{part}/") for part in parts)
    }
    test = manifest.samples.splits.get("test", {}).get("sha256")
    source = manifest.source
    known = (source.name, source.config, manifest.framework) if source.kind == "zoo" and source.config else None
    return Side(str(path), found, subject, known, tuple(manifest.parts), executed, test)
