"""What a report is made of: rows of benchmarks, artifacts, and what layers cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edgekit.artifact import contents, derived
from edgekit.artifact.compact import NAMES
from edgekit.artifact.contents import MANIFEST, no_artifact
from edgekit.bench import rows as files
from edgekit.bench.of_result import row_of
from edgekit.bench.row import Cell, Code, Row
from edgekit.conversion.sensitivity import Sensitivity
from edgekit.errors import DamagedFileError, UsageError
from edgekit.result import Layer, Result


@dataclass(frozen=True)
class Layers:
    """Every operator with weights of a part of an artifact.

    Attributes:
        of: cell of the artifact.
        part: of a model of several; an empty string where there is one.
        layers: named as the source names them.
        short: what these names are in the file, where it was given shorter ones.
    """

    of: Cell
    part: str
    layers: tuple[Layer, ...]
    short: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Gathered:
    """What was handed in.

    Attributes:
        names: of the files and folders.
        rows: all of them, in their order; see ``newest`` and ``timed``.
        layers: of the artifacts.
        costs: of sensitivity files.
    """

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    layers: tuple[Layers, ...] = ()
    costs: tuple[Sensitivity, ...] = ()

    def newest(self) -> list[Row]:
        """The last row of each cell."""
        return list(files.newest(self.rows).values())

    def timed(self) -> dict[str, list[Row]]:
        """The last measured row of each cell on each machine; times of two machines are never set side by side."""
        found: dict[str, dict[Cell, Row]] = {}
        for row in self.rows:
            if row.measured is not None:
                found.setdefault(machine(row), {})[row.cell] = row
        return {name: list(own.values()) for name, own in found.items()}


def machine(row: Row) -> str:
    """The machine of a row in words that tell it from others: its processor, cores, and its fingerprint's beginning."""
    processor = row.host.processor if row.host else row.processor or "an unknown processor"
    cores = f", {row.host.cores} cores" if row.host else ""
    return f"{processor}{cores} ({row.fingerprint[:8] if row.fingerprint else 'no fingerprint'})"


def gather(paths: Sequence[Path], say: Callable[[str], None] = lambda line: None) -> Gathered:
    """Read rows (``.jsonl``), artifacts (folders) and sensitivity files (``.json``, of ``edgekit sensitivity --json``).

    Raises:
        UsageError: a path is none of these, or not readable.
    """
    rows: list[Row] = []
    layers: list[tuple[Row, Layers]] = []
    costs: list[Sensitivity] = []
    for path in paths:
        if path.is_dir():
            row, own = artifact(path)
            rows.append(row)
            layers += [(row, one) for one in own]
        elif path.suffix == ".json":
            costs.append(sensitivity(path))
        else:
            rows += files.read(path, say)
    told = _apart(rows)
    names = {id(row): one.cell for row, one in zip(rows, told, strict=True)}
    apart = tuple(replace(one, of=names[id(row)]) for row, one in layers)
    return Gathered(tuple(str(path) for path in paths), tuple(told), apart, tuple(costs))


def _apart(rows: Sequence[Row]) -> list[Row]:
    """Rows in which files that lie side by side, two versions of one cell, are two models: named with their paths.

    Rows of one file are of one model, whoever wrote them; what lies nowhere any more was replaced by what came later.
    """
    files: dict[Cell, dict[str, str]] = {}
    for row in rows:
        if row.made.path and row.made.sha256:
            files.setdefault(row.cell, {}).setdefault(row.made.sha256, row.made.path)
    found = []
    for row in rows:
        places = files.get(row.cell, {})
        place = places.get(row.made.sha256 or "") if len(set(places.values())) > 1 else None
        cell = row.cell.model_copy(update={"model": f"{row.cell.model} ({place})"}) if place else row.cell
        found.append(row.model_copy(update={"cell": cell}))
    return found


def artifact(folder: Path) -> tuple[Row, list[Layers]]:
    """An artifact as the row of its conversion, and its layers.

    Raises:
        UsageError: it is none.
        UnsafeInputError: it was edited after it was converted.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(no_artifact(folder), hint="Name an artifact's folder, or a file of rows (.jsonl).")
    if derived.is_derived(folder):
        raise UsageError(
            f"{folder} was built for a device from an artifact", hint="Name the artifact, or rows measured of both."
        )
    contents.check(folder)
    try:
        result = Result.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedFileError(f"{path}: {where}: {first['msg']}", hint="Convert the model again.") from error
    code = Code(edgekit=result.tools.get("edgekit", "unknown"))
    at = result.latency.measured_at or "" if result.latency else ""
    row = row_of(result, code=code, at=at, host=result.host, path=str(folder))
    return row, [
        Layers(
            row.cell, name if len(result.parts) > 1 else "", part.audit.layers, short_names((folder / part.file).parent)
        )
        for name, part in result.parts.items()
        if part.audit.layers
    ]


def short_names(folder: Path) -> dict[str, str]:
    """What the source's names are called in a file that was given short ones: empty where it was not."""
    try:
        document = json.loads((folder / NAMES).read_bytes())
        values = document["values"] | document["operators"]
        return {str(long): str(short) for short, long in values.items()}
    except OSError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder / NAMES} is not as it was written", hint="Convert the model again.") from error


def sensitivity(path: Path) -> Sensitivity:
    """What ``edgekit sensitivity --json`` printed.

    Raises:
        UsageError: it is something else.
    """
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict):
            raise ValueError("it is no object")
        known = Sensitivity.__dataclass_fields__
        return TypeAdapter(Sensitivity).validate_python({k: v for k, v in document.items() if k in known})
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="Name a file that is there.") from error
    except ValueError as error:  # no JSON, no UTF-8, or of another kind
        raise UsageError(
            f"{path} is not what `edgekit sensitivity --json` prints",
            hint="A report is made of files of rows (.jsonl), folders of artifacts, and such files (.json).",
        ) from error


def in_order(rows: Iterable[Row], key: Callable[[Row], str | None]) -> list[str]:
    """Values of a field, each once, sorted; what has none is left out."""
    return sorted({value for row in rows if (value := key(row)) is not None})
