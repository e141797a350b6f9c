"""Values of layers and operators for viewers of model files.

Model Explorer reads *node data*: JSON with one value per node, found by the node's id or by the name of one of its
output tensors (``node_data_builder.py`` of model-explorer, ``GraphNodeData``). Netron reads no values beside a model
(its issue 1241): it gets a table of names, to be looked for with Ctrl+F, with the value of each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from edgekit.errors import UsageError, did_you_mean, printable
from edgekit.report import said
from edgekit.report.gather import Gathered

Viewer = Literal["model-explorer", "netron"]

#: From the cheapest to the dearest node, told apart in black and white by its lightness.
GRADIENT = ({"stop": 0, "bgColor": "#ffffff"}, {"stop": 1, "bgColor": "#e66100"})


def viewer(name: str) -> Viewer:
    """The viewer of that name; raises ``UsageError`` where it is not known."""
    known: tuple[Viewer, ...] = get_args(Viewer)
    for one in known:
        if name == one:
            return one
    raise UsageError(f"unknown viewer {name!r}; known: {', '.join(known)}", hint=did_you_mean(name, known))


def write(found: Gathered, viewer: Viewer, folder: Path) -> list[Path]:
    """Write a file for every set of values: operators' time, layers' cost, layers' multiply-accumulates."""
    form, ending = _FORMS[viewer]
    written: dict[str, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for title, unit, values in _values(found):
            name = said.file_name(title, written)
            written[name] = folder / f"{name}{ending}"
            written[name].write_text(form(unit, values), "utf-8")
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror or error}", hint="Name another folder."
        ) from error
    return list(written.values())


def _values(found: Gathered) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Title, unit and values by the names that stand in the file."""
    for own in found.timed().values():
        for row in own:
            if row.measured and row.measured.operators:
                sums: dict[str, float] = {}
                for one in row.measured.operators:
                    sums[one.name] = sums.get(one.name, 0.0) + one.ms
                yield f"{row.cell.model} {said.name(row)} time", "ms", sums
    for costs in found.costs:
        yield f"{costs.target} {costs.route} noise", "noise", {cost.names[0]: cost.noise for cost in costs.layers}
    for part in found.layers:
        name = f" {part.part}" if part.part else ""
        values = {part.short.get(layer.name, layer.name): float(layer.macs) for layer in part.layers}
        yield f"{part.of.model} {part.of.target}{name} macs", "MACs", values


def _node_data(unit: str, values: dict[str, float]) -> str:
    results: dict[str, Any] = {name: {"value": value} for name, value in values.items()}
    return json.dumps({"results": results, "gradient": GRADIENT}, indent=1) + "\n"


def _names(unit: str, values: dict[str, float]) -> str:
    lines = [f"{printable(name)}\t{value:g}" for name, value in sorted(values.items(), key=lambda item: -item[1])]
    return "\n".join([f"name\t{unit}", *lines]) + "\n"


_FORMS: dict[Viewer, tuple[Callable[[str, dict[str, float]], str], str]] = {
    "model-explorer": (_node_data, ".json"),
    "netron": (_names, ".tsv"),
}
