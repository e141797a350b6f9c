"""The rooms of the package: imports go one way, and every folder stays small enough to be looked over."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "edgekit"

#: From the lowest room to the highest; what stands in one line may not import each other. A room is a folder or a
#: module at the top of the package; each imports its own files and what stands above it in this list.
ROOMS = """
errors
signature scheme
result
schemes limits catalogue user_code mil reference
ranges
target
data
zoo
sources
frameworks
checkpoint
toolchains compress
proof
jobs
steps
devices
conversion
artifact
pipeline
several
handed
api
bench
report
cli
ci
__init__ __main__
"""
RANK = {room: rank for rank, line in enumerate(ROOMS.strip().splitlines()) for room in line.split()}


def imports(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports anywhere in it, those for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("edgekit."))
        elif isinstance(node, ast.ImportFrom) and node.module == "edgekit":
            yield from (f"edgekit.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgekit."):
            yield str(node.module)


def test_imports_go_one_way() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name in imports(path):
            other = name.split(".")[1]
            if other != room and other in RANK and not RANK[other] < RANK[room]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert wrong == []


def test_every_room_has_its_place(capsys) -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    with capsys.disabled():
        print("\nrooms, lowest first: " + " < ".join(", ".join(line.split()) for line in ROOMS.strip().splitlines()))
    assert found <= set(RANK)


#: Folders of which each file is one of many alike, found by its name.
CATALOGUES = {"data/tasks"}


def test_folders_hold_at_most_a_dozen_modules() -> None:
    counts = {
        folder.relative_to(PACKAGE).as_posix(): len([p for p in folder.glob("*.py") if not p.stem.startswith("__")])
        for folder in [PACKAGE, *(p.parent for p in PACKAGE.rglob("__init__.py"))]
    }
    assert {folder: count for folder, count in counts.items() if count > 12 and folder not in CATALOGUES} == {}
