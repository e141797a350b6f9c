"""A suite: which cells a benchmark runs, as a TOML file of ``benchmarks/suites``.

Names may be patterns (``tflite-*``); one that nothing answers to is an error, so that no cell is missed in silence.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from edgekit import catalogue, target, zoo
from edgekit.bench.row import Cell
from edgekit.errors import UsageError, did_you_mean

FRAMEWORKS = ("keras", "torch")
#: None exists so far; ``none`` is the model as it is.
RECIPES = ("none",)
#: Where cells are executed and timed: so far in children on this machine.
DEVICES = ("cpu",)
#: Keys of a file that choose, and the field of a cell that each chooses.
_FIELDS = {
    "architectures": "model", "frameworks": "framework", "recipes": "recipe", "targets": "target", "devices": "device",
}  # fmt: skip


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Exclude(_Frozen):
    """Cells that are left out: those that all of its lists name; a list that is left out names all."""

    because: str
    architectures: tuple[str, ...] = ("*",)
    frameworks: tuple[str, ...] = ("*",)
    recipes: tuple[str, ...] = ("*",)
    targets: tuple[str, ...] = ("*",)
    devices: tuple[str, ...] = ("*",)

    @model_validator(mode="after")
    def _names_something(self) -> Exclude:
        if not self.model_fields_set & _FIELDS.keys():
            raise ValueError(f"names nothing: say which {', '.join(_FIELDS)}")
        return self


class Suite(_Frozen):
    """What a benchmark runs.

    Attributes:
        name: the file's name.
        latency: whether files are timed.
        exclude: what is left out of the product, each with its reason.
    """

    name: str
    title: str
    architectures: tuple[str, ...]
    frameworks: tuple[str, ...] = FRAMEWORKS
    recipes: tuple[str, ...] = RECIPES
    targets: tuple[str, ...]
    devices: tuple[str, ...] = DEVICES
    latency: bool = True
    exclude: tuple[Exclude, ...] = ()

    def cells(self) -> list[Cell]:
        """All cells, those of one model and framework one after the other.

        Raises:
            UsageError: a name that does not exist, with the nearest that does; or nothing is left.
        """
        known = _known()
        chosen = {key: _named(f"{self.name}: {key}", getattr(self, key), known[key]) for key in _FIELDS}
        left_out = [
            {key: _named(f"{self.name}: exclude: {key}", getattr(one, key), known[key]) for key in _FIELDS}
            for one in self.exclude
        ]
        product = [dict(zip(_FIELDS, values, strict=True)) for values in itertools.product(*chosen.values())]
        kept = [one for one in product if not any(all(one[k] in out[k] for k in _FIELDS) for out in left_out)]
        if not kept:
            raise UsageError(f"{self.name} has no cells", hint="Exclude fewer of them.")
        return [_cell(one) for one in kept]


def _cell(names: dict[str, str]) -> Cell:
    fields: dict[str, str | None] = {_FIELDS[key]: name for key, name in names.items()}
    if fields["recipe"] == "none":
        fields["recipe"] = None
    return Cell.model_validate(fields)


def _known() -> dict[str, Sequence[str]]:
    return {
        "architectures": zoo.names(),
        "frameworks": FRAMEWORKS,
        "recipes": RECIPES,
        "targets": target.names(),
        "devices": DEVICES,
    }


def _named(where: str, patterns: Iterable[str], known: Sequence[str]) -> list[str]:
    """The names that patterns mean, in the catalogue's order."""
    found: set[str] = set()
    for pattern in patterns:
        meant = [name for name in known if fnmatchcase(name, pattern)]
        if not meant:
            hint = f"{did_you_mean(pattern, known)}Known: {', '.join(known)}."
            raise UsageError(f"{where}: nothing is called {pattern!r}", hint=hint)
        found.update(meant)
    return [name for name in known if name in found]


def names() -> list[str]:
    """All suites, sorted."""
    return catalogue.names("benchmarks/suites")


def load(name: str) -> Suite:
    """Read a suite by name or by path of a TOML file; raises ``UsageError`` naming the wrong key."""
    return parse(catalogue.find("benchmarks/suites", name))


def parse(path: Path) -> Suite:
    """Read one suite's file."""
    content = catalogue.read(path)
    if "name" in content:
        raise UsageError(f"{path.name}: name: a suite is named by its file", hint="Remove the key, or rename the file.")
    try:
        return Suite.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        place = [str(part) for part in first["loc"]]
        near = ""
        if first["type"] == "extra_forbidden":
            allowed = Exclude.model_fields if place[0] == "exclude" else Suite.model_fields
            near = did_you_mean(place[-1], [key for key in allowed if key != "name"])
        where = ": ".join(filter(None, (path.name, ".".join(place))))
        raise UsageError(f"{where}: {first['msg']}", hint=f"{near}Compare with the packaged suites.") from error


def shard(cells: Sequence[Cell], text: str) -> list[Cell]:
    """Part ``i`` of ``n`` of a suite, from ``i/n``: parts are disjoint, equally large, and together the whole.

    Each is a run of neighbours, so that most models' float files are made in one part alone.
    """
    first, slash, last = text.partition("/")
    if not (slash and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise UsageError(f"--shard {text!r} is not i/n with 1 <= i <= n", hint="For example --shard 1/4.")
    i, n = int(first), int(last)
    return list(cells[(i - 1) * len(cells) // n : i * len(cells) // n])
