"""What is compared: a file of rows, or an artifact's folder as a row of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from edgekit.artifact import contents, derived
from edgekit.artifact import folder as artifacts
from edgekit.bench import rows, stamp
from edgekit.bench.row import Cell, Code, Made, ParityFigures, Row
from edgekit.errors import DamagedFileError, UnsafeInputError, UsageError
from edgekit.result import Accuracy, Flag, Parity, SamplesFacts


class Manifest(artifacts.Sealed):
    """What a comparison reads of an artifact's manifest, of this release or an earlier one."""

    flags: tuple[Flag, ...] = ()
    format: str
    route: str | None = None
    size_bytes: int | None = None
    float_size_bytes: int | None = None
    parity: Parity | None = None
    accuracy: Accuracy | None = None
    samples: SamplesFacts
    tools: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        given: as it was typed.
        rows: the newest of each cell.
        folder: of an artifact; None of a file of rows.
        manifest: of an artifact.
        notes: what the user must know of it.
    """

    given: str
    rows: dict[Cell, Row]
    folder: Path | None = None
    manifest: Manifest | None = None
    notes: tuple[str, ...] = ()

    @property
    def test_sha256(self) -> str | None:
        """Of the test samples that an artifact was scored on."""
        return self.manifest.samples.splits.get("test", {}).get("sha256") if self.manifest else None

    @property
    def model_files(self) -> dict[str, str]:
        """Of an artifact: hash of each file that a part consists of, which are not golden data and papers."""
        if self.manifest is None:
            return {}
        parts = [part.file for part in self.manifest.parts.values()]
        return {
            file.path: file.sha256
            for file in self.manifest.files
            if any(file.path == part or file.path.startswith(f"{part}/") for part in parts)
        }


def read(path: Path) -> Side:
    """A rows file, or an artifact that is as it was sealed.

    Raises:
        UsageError: neither of both, or a whole line that is no row.
        UnsafeInputError: the artifact was edited after it was converted.
    """
    if not path.is_dir():
        notes: list[str] = []
        return Side(str(path), rows.newest(rows.read(path, notes.append)), notes=tuple(notes))
    if faults := contents.faults(path):
        raise UnsafeInputError(
            f"{path} is not what was sealed: {contents.sentence(faults)}",
            hint="What its manifest says is not of these files: convert the model again.",
        )
    if derived.is_derived(path):
        raise UsageError(f"{path} was built for one device", hint="Compare the artifacts that it was built from.")
    try:
        manifest = Manifest.model_validate_json((path / contents.MANIFEST).read_bytes())
    except ValidationError as error:
        raise DamagedFileError(f"{path}: {error.errors()[0]['msg']}", hint="Convert the model again.") from error
    row = _row(path, manifest)
    return Side(str(path), {row.cell: row}, path, manifest)


def _row(path: Path, manifest: Manifest) -> Row:
    """An artifact as a row that was not timed."""
    parity = manifest.parity
    return Row(
        cell=Cell(model=manifest.source.name, framework=manifest.framework, target=manifest.target),
        status=manifest.status,
        flags=manifest.flags,
        reason=manifest.reason,
        proof=manifest.proof,
        made=Made(
            sha256=contents.seal_of(path).split()[0],
            format=manifest.format,
            toolchain=manifest.toolchain,
            precision=manifest.precision,
            route=manifest.route,
            size_bytes=manifest.size_bytes,
            float_size_bytes=manifest.float_size_bytes,
        ),
        parity=ParityFigures(sqnr_db=parity.sqnr_db, variation_db=parity.variation_db, channel_db=parity.channel_db)
        if parity
        else None,
        accuracy=manifest.accuracy,
        code=Code(edgekit=manifest.tools.get("edgekit", "unknown"), tools=manifest.tools),
        at=stamp.now(),
    )
