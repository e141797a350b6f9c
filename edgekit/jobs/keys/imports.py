"""What one module imports, read from its source without importing it.

Every ``import`` counts, wherever in the module it stands, but for those that only type checkers see. An import whose
module is named when it runs is written ``importlib.import_module(f"edgekit.toolchains.{name}.audit")``, so that it can
be read as well.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

PACKAGE = "edgekit"
#: Stands for a module's own statements, beside its functions and classes.
BODY = ""
#: Stands for whatever a module defines.
ALL = "*"


@dataclass(frozen=True)
class ByName:
    """An import of the module ``<package>.<name><rest>``, the name being known when it runs."""

    package: str
    rest: str


@dataclass(frozen=True)
class Module:
    """What one file says.

    Attributes:
        imports: dotted names that it imports from this package.
        mentions: for each of its functions and classes (and for its own statements, ``BODY``) the dotted names of this
            package that stand in it. A name that the module imports counts as one that it defines.
        by_name: for each of them the imports by name in it.
        packages: its ``PACKAGES``: distributions whose versions change what it does.
        measures: its ``MEASURES``: whether it takes measurements of the machine.
        data: its ``DATA``: patterns of files, from its own folder on, that it reads as if they were part of it.
    """

    imports: frozenset[str]
    mentions: Mapping[str, frozenset[str]]
    by_name: Mapping[str, tuple[ByName, ...]]
    packages: tuple[str, ...]
    measures: bool
    data: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As a JSON document; ``from_json`` reads it back equal."""
        return {
            "imports": sorted(self.imports),
            "mentions": {name: sorted(found) for name, found in self.mentions.items()},
            "by_name": {name: [asdict(one) for one in found] for name, found in self.by_name.items()},
            "packages": list(self.packages),
            "measures": self.measures,
            "data": list(self.data),
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Module:
        """Inverse of ``to_json``."""
        return Module(
            frozenset(document["imports"]),
            {name: frozenset(found) for name, found in document["mentions"].items()},
            {name: tuple(ByName(**one) for one in found) for name, found in document["by_name"].items()},
            tuple(document["packages"]),
            document["measures"],
            tuple(document["data"]),
        )


def read(name: str, text: bytes, *, is_package: bool) -> Module:
    """Parse a module's text.

    Raises:
        ValueError: it imports by a name that is put together in a way that cannot be followed.
    """
    tree = ast.parse(text)
    found = _Imports(name if is_package else name.rpartition(".")[0])
    found.visit(tree)
    names = {node.name: {f"{name}.{node.name}"} for node in tree.body if isinstance(node, _DEFINITIONS)}
    for alias, dotted in found.aliases.items():
        names[alias] = names.get(alias, set()) | dotted
    reader = _Mentions(names)
    for statement in tree.body:
        reader.definition = statement.name if isinstance(statement, _DEFINITIONS) else BODY
        reader.visit(statement)
    for alias, dotted in found.aliases.items():
        reader.mentions[alias] |= dotted
    return Module(
        frozenset(found.imports | reader.imports),
        {key: frozenset(dotted) for key, dotted in reader.mentions.items()},
        {key: tuple(patterns) for key, patterns in reader.by_name.items()},
        tuple(_constant(tree, "PACKAGES", ())),
        bool(_constant(tree, "MEASURES", False)),
        tuple(_constant(tree, "DATA", ())),
    )


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _constant(tree: ast.Module, name: str, default: Any) -> Any:
    """The literal that a module assigns to a name."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.literal_eval(node.value)
    return default


def _is_ours(dotted: str) -> bool:
    return dotted.partition(".")[0] == PACKAGE


class _AtRunTime(ast.NodeVisitor):
    """Passes over what only type checkers see."""

    def visit_If(self, node: ast.If) -> None:  # the name that ast asks for
        if "TYPE_CHECKING" not in (getattr(node.test, "id", ""), getattr(node.test, "attr", "")):
            self.generic_visit(node)
        else:
            for other in node.orelse:
                self.visit(other)


class _Imports(_AtRunTime):
    """Collects what a module imports from this package, and what its names then stand for."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.imports: set[str] = set()
        self.aliases: dict[str, set[str]] = defaultdict(set)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if _is_ours(alias.name):
                self.imports.add(alias.name)
                self.aliases[alias.asname or PACKAGE].add(alias.name if alias.asname else PACKAGE)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        parents = self.package.split(".")
        start = parents[: len(parents) - node.level + 1] if node.level else []
        source = ".".join([*start, *([node.module] if node.module else [])])
        for alias in node.names if _is_ours(source) else ():
            self.imports.add(f"{source}.{alias.name}")
            self.aliases[alias.asname or alias.name].add(f"{source}.{alias.name}")


class _Mentions(_AtRunTime):
    """Collects the dotted names, and the imports by name, that stand in each definition."""

    def __init__(self, names: Mapping[str, set[str]]) -> None:
        self.names = names
        self.definition = BODY
        self.imports: set[str] = set()
        self.mentions: dict[str, set[str]] = defaultdict(set)
        self.by_name: dict[str, list[ByName]] = defaultdict(list)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts = [node.attr]
        root = node.value
        while isinstance(root, ast.Attribute):
            parts.insert(0, root.attr)
            root = root.value
        if isinstance(root, ast.Name):
            found = self.names.get(root.id, ())
            self.mentions[self.definition] |= {".".join([dotted, *parts]) for dotted in found}
        else:
            self.visit(root)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            return
        # Of a module that is handed on as a value, anything may be called.
        self.mentions[self.definition] |= {f"{dotted}.{ALL}" for dotted in self.names.get(node.id, ())}

    def visit_Call(self, node: ast.Call) -> None:
        if "import_module" in (getattr(node.func, "id", ""), getattr(node.func, "attr", "")):
            self._import(node.args[0])
        self.generic_visit(node)

    def _import(self, name: ast.expr) -> None:
        pieces = name.values if isinstance(name, ast.JoinedStr) else [name]
        texts = [str(piece.value) if isinstance(piece, ast.Constant) else None for piece in pieces]
        start, *rest = texts
        if start is None or not _is_ours(start):
            return  # another package's module; tests look at each of these
        if not rest:
            self.imports.add(start)
        elif start.endswith(".") and rest[0] is None and rest.count(None) == 1:
            self.by_name[self.definition].append(ByName(start[:-1], "".join(text for text in rest if text)))
        else:
            example = "edgekit.zoo.{name}.spec"
            raise ValueError(f"an import of {ast.unparse(name)} cannot be followed; name one part of it: {example}")
