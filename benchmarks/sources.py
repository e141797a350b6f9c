"""The table of sources and targets, from the records that ``tests/matrix/test_sources.py`` holds.

python benchmarks/sources.py prints it; ``pages.py`` writes it into ``docs/own-models.md``.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from edgekit import target

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "tests" / "matrix" / "sources.toml"
PAGE = ROOT / "docs" / "own-models.md"
START, END = "<!-- sources -->", "<!-- /sources -->"
FORMATS = {"tflite": "LiteRT", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}


def targets() -> list[str]:
    """The targets that the records cover, by format: those that are for convolutions, which the model in them has."""
    known = [target.load(name) for name in target.names()]
    return [t.name for kind in FORMATS for t in known if t.format == kind and (not t.layers or "conv" in t.layers)]


def table() -> str:
    """One line per kind of source, one column per format; whatever does not work is named, with what to hand in."""
    kinds = tomllib.loads(RECORDS.read_text())["kind"]
    names = {kind: [n for n in targets() if target.load(n).format == kind] for kind in FORMATS}
    head = [f"{title} ({len(names[kind])} targets)" for kind, title in FORMATS.items()]
    lines = [f"| source | made by | {' | '.join(head)} |", "|---|---|" + "---|" * len(head)]
    for kind in kinds:
        missing = {name: r["instead"] for r in kind.get("unsupported", []) for name in r["targets"]}
        cells = [_cell(names[format_], missing, kind.get("after", {}).get(format_)) for format_ in FORMATS]
        lines.append(f"| {kind['name']} | {kind['how']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(names: list[str], missing: dict[str, str], after: str | None) -> str:
    refused = [name for name in names if name in missing]
    if not refused:
        return "all" if after is None else f"all, after {after}"
    instead = " or ".join(sorted({missing[name] for name in refused}))
    listed = "none" if len(refused) == len(names) else "all but " + ", ".join(f"`{name}`" for name in refused)
    return f"{listed}: hand in {instead}"


def _parts() -> tuple[str, Any, str]:
    before, _, rest = PAGE.read_text("utf-8").partition(START)
    inside, _, after = rest.partition(END)
    return before, inside, after


def write() -> None:
    """Write the table into the page."""
    before, _, after = _parts()
    PAGE.write_text(f"{before}{START}\n{table()}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    print(table())
