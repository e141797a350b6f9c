"""Every place in the order of routes has its reason, on a page that exists, with rows that exist."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "targets" / "REASONS.md").read_text()
TARGETS = {path.stem: tomllib.loads(path.read_text()) for path in sorted((ROOT / "targets").glob("*.toml"))}
ANCHORS = re.findall(r"^### ([a-z0-9-]+)$", PAGE, re.MULTILINE)
CODE = sorted((ROOT / "edgekit").rglob("*.py"))
#: Name in older rows -> name of today, by toolchain.
RENAMED = {(t, old): new for t, old, new in re.findall(r"^\| (\w+) \| `([^`]+)` \| `([^`]+)` \|$", PAGE, re.MULTILINE)}

_spec = importlib.util.spec_from_file_location("rows", ROOT / "benchmarks" / "rows.py")
assert _spec is not None and _spec.loader is not None
rows = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rows)
ROWS = list(rows.identified())


def reasons() -> Iterator[tuple[str, str]]:
    """Every sentence that gives a reason, with where it stands."""
    for name, target in TARGETS.items():
        for route in target["route"]:
            for key in ("because", *(f"{key}_because" for key in ("unless", "only", "needs") if key in route)):
                yield f"{name}: {route['name']}: {key}", route.get(key, "")


def test_every_route_cites_a_reason_that_stands_on_the_page() -> None:
    cited = [(where, re.fullmatch(r".{10,100} \(REASONS\.md#([a-z0-9-]+)\)", text)) for where, text in reasons()]
    assert [where for where, found in cited if found is None] == []
    anchors = {found[1] for _, found in cited if found is not None}
    in_code = {name for path in CODE for name in re.findall(r"REASONS\.md#([a-z0-9-]+)", path.read_text())}
    assert anchors | in_code == set(ANCHORS) and len(ANCHORS) == len(set(ANCHORS))


def test_numbers_stand_on_the_page_and_not_in_the_sentences() -> None:
    assert [(where, text) for where, text in reasons() if re.search(r"\d (dB|kB|ms|times|per cent)|\d ?%", text)] == []


def test_every_cited_row_exists() -> None:
    known = [identity for identity, _ in ROWS]
    cited = set(re.findall(r"\w+\.jsonl#[0-9a-f]+", PAGE))
    assert len(cited) > 50
    assert cited - set(known) == set()
    assert [identity for identity in cited if known.count(identity) != 1] == []


def test_names_in_older_rows_lead_to_routes_of_today() -> None:
    today = {(target["toolchain"], route["name"]) for target in TARGETS.values() for route in target["route"]}
    assert {(toolchain, new) for (toolchain, _), new in RENAMED.items()} <= today
    named = {
        (TARGETS[row["target"]]["toolchain"], row["route"])
        for _, row in ROWS
        if row.get("route") and row.get("target") in TARGETS
    }
    assert named - today - RENAMED.keys() == set()
