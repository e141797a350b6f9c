"""Printing for people: colours and progress only on a terminal.

Names come from files that others made: nothing of them is read as markup, and what is no printable character is shown
as its escape, so that it cannot move the cursor or fake a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit.artifact import words
from edgekit.cli import columns
from edgekit.conversion.sensitivity import Cost, Sensitivity
from edgekit.errors import printable
from edgekit.result import Result
from edgekit.signature import WHOLE

_out = Console(highlight=False, markup=False, emoji=False)

#: Fields of an inspected file that are not a line of their own.
_SHOWN_APART = ("inputs", "outputs", "layers", "scales", "delegated", "macs_quantized_share")
#: Tensors whose scales are shown to people.
_FIRST = 6

_COLOUR = {"PASS": "green", "UNDECIDED": "yellow", "UNSUPPORTED": "yellow", "NOT_RUN": "yellow"}


def _pairs(rows: Sequence[tuple[str, Text]]) -> None:
    """Names and values: as a table that fits a terminal, else a line each."""
    if not _out.is_terminal:
        _write(columns.pairs([(name, value.plain) for name, value in rows], padded=False))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    _out.print(table)


def _write(said: str) -> None:
    """Text as it is: rich would make spaces of tabs."""
    _out.file.write(said)


def _text(value: str) -> Text:
    return Text(printable(value, lines=True))


def result(result: Result) -> None:
    """One table, the artifact's folder, and what to know."""
    rows = [(name, _text(value)) for name, value in words.facts(result)]
    said = Text(printable(words.status(result)), style=_COLOUR.get(result.status, "red"))
    rows.append(("status", Text.assemble(said, " " if result.reason else "", _text(result.reason))))
    rows += [("flag", _text(f"{flag}: {meaning}")) for flag, meaning in words.flags(result)]
    rows += [("note", _text(note)) for note in result.notes]
    if result.error and result.error.hint:
        rows.append(("next step", _text(result.error.hint)))
    if folder := result.artifact or result.rejected:
        rows.append(("artifact" if result.artifact else "kept aside", _text(folder)))
    _pairs(rows)


def audit(found: dict[str, Any], *, layers: bool = False) -> None:
    """What is inside a file, or in each of several parts; with ``layers`` one line each."""
    if "parts" in found:
        for name, part in found["parts"].items():
            _out.print(Text(f"part {printable(name)}", style="bold"))
            audit(part, layers=layers)
        return
    rows = [
        (name, _text(_told(name, value, found)))
        for name, value in found.items()
        if name not in (*_SHOWN_APART, *(("ops_delegated",) if found.get("delegated") else ()))
        and (name, value) != ("entries", [])  # most formats have none
    ]
    for side in ("inputs", "outputs"):
        for tensor in found.get(side, ()):
            shape = "x".join(map(str, tensor["shape"]))
            rows.append((side[:-1], _text(f"{tensor['name']} {shape} {tensor['dtype']}")))
    rows += _delegated(found.get("delegated"))
    rows += _scales(found.get("scales", []))
    _pairs(rows)
    if layers:
        # A line each, however long names are: for grep and sort as well.
        _write("\n" + columns.columns([_layer(layer) for layer in found["layers"]]))


def _told(name: str, value: Any, found: dict[str, Any]) -> str:
    """A field of an audit as a person reads it: what is not counted is not none."""
    if value is None or (name == "ops_float_only" and found.get("ops_float") is None):
        return "not told"
    layers = name in ("float_ops", "float_weights")  # layers alone: other operators are counted by ``ops_float``
    return columns.text(value) or ("none of the layers with weights" if layers else "none")


def _delegated(found: dict[str, list[int]] | None) -> list[tuple[str, Text]]:
    """What a fast delegate runs, and what it leaves."""
    if not found:
        return []
    taken, of = (sum(counts[i] for counts in found.values()) for i in (0, 1))
    left = ", ".join(f"{kind} {total - inside}" for kind, (inside, total) in found.items() if inside < total)
    return [("delegated", _text(f"{taken} of {of} operators" + (f"; not: {left}" if left else "")))]


def _scales(found: list[dict[str, Any]] | None) -> list[tuple[str, Text]]:
    """How many tensors have scales, and the first of them."""
    if found is None:
        return [("scales", _text("not read from this format"))]
    if not found:
        return []
    several = sum(len(one["scales"]) > 1 for one in found)
    blocks = sum(one["block"] > 0 for one in found)
    more = f", {len(found) - _FIRST} more with --json" if len(found) > _FIRST else ""
    rows = [("scales", _text(f"{len(found)} tensors, {several} with several scales, {blocks} in blocks{more}"))]
    return rows + [("scale", _text(_scaled(one))) for one in found[:_FIRST]]


def _scaled(one: dict[str, Any]) -> str:
    scales, points = one["scales"], sorted(set(one["zero_points"]))
    said = f"{scales[0]:.6g}" if len(scales) == 1 else f"{min(scales):.6g} to {max(scales):.6g} ({len(scales)})"
    said = said if scales else "not stored beside it"
    point = "none" if not points else str(points[0]) if len(points) == 1 else f"{points[0]} to {points[-1]}"
    block = f", blocks of {one['block']}" if one["block"] else ""
    return f"{one['name']} {one['type']}: {said}{block}, zero point {point}"


def _layer(layer: dict[str, Any]) -> dict[str, Any]:
    """One layer as a person reads it, its name last: names are long."""
    shares = {key: "" if layer[key] is None else f"{layer[key]:.1%}" for key in ("zeros", "zeros_2_4")}
    return {
        "kind": layer["kind"],
        "shape": "x".join(map(str, layer["shape"])),
        "weights": layer["weight_type"],
        "scales": layer["granularity"],
        "zeros": shares["zeros"],
        "2:4": shares["zeros_2_4"],
        "MACs": layer["macs"],
        "computed in": "integers" if layer["in_integers"] else "float",
        "name": f"{layer['operator']}:{layer['name']}",
    }


def sensitivity(found: Sensitivity) -> None:
    """One line per layer, the costliest first, between what stays without any layer and what all of them make."""
    rows = [_cost("all layers", found.whole), *(_cost("", cost) for cost in found.layers)]
    rows.append(_cost("no layer: operators without weights", found.rest))
    if found.metric is None:
        rows = [{key: value for key, value in row.items() if key != "drop"} for row in rows]
    scored = f"; drop of {found.metric}" if found.metric else ""
    samples = "selection samples" if found.inputs == "data" else "generated inputs (an estimate: --evaluate takes data)"
    _write(f"{found.target} by {found.route}, each layer alone on {found.samples} {samples}{scored}\n")
    _write(columns.columns(rows))


def _cost(name: str, cost: Cost) -> dict[str, Any]:
    return {
        "variation": "" if cost.variation_db is None else f"{cost.variation_db:.1f} dB",
        "SQNR": f"{cost.sqnr_db:.1f} dB",
        "drop": "" if cost.drop is None else f"{cost.drop:+.4f}",
        "MACs": cost.macs or None,
        "kind": cost.kind,
        "layer": name or (cost.called if cost.part == WHOLE else f"{cost.part}: {cost.called}"),
    }
