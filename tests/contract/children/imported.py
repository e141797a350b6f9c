"""Runs another step and says which modules of the package it imported, those that were there already too."""

from __future__ import annotations

import builtins
import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any

from edgekit.jobs import wire


@contextlib.contextmanager
def watched() -> Iterator[set[str]]:
    """Collects every name that an import statement or ``importlib.import_module`` asks for."""
    asked: set[str] = set()
    statement, function = builtins.__import__, importlib.import_module

    def by_statement(name, *places, **named):  # globals, locals, names, level
        space, _, names, level = [*places, *[None] * 4][:4]
        level = named.get("level", level) or 0
        package = (named.get("globals", space) or {}).get("__package__") or ""
        source = importlib.util.resolve_name("." * level + name, package) if level else name
        asked.update((source, *(f"{source}.{one}" for one in named.get("fromlist", names) or ())))
        return statement(name, *places, **named)

    def by_function(name, package=None):
        asked.add(importlib.util.resolve_name(name, package))
        return function(name, package)

    builtins.__import__, importlib.import_module = by_statement, by_function
    try:
        yield asked
    finally:
        builtins.__import__, importlib.import_module = statement, function


def run(watched_step: str, **arguments: Any) -> dict[str, Any]:
    """Run a step: its value, and the modules of edgekit that it asked for or that came with them."""
    before = set(sys.modules)
    with watched() as asked:
        module, _, function = watched_step.partition(":")
        value = wire.call(getattr(importlib.import_module(module), function), arguments)
    found = (asked & sys.modules.keys()) | (sys.modules.keys() - before)
    files = {name for name in found if getattr(sys.modules[name], "__file__", None)}  # a folder may be no module
    return {"value": value, "imported": sorted(name for name in files if name.split(".")[0] == "edgekit")}


def unseen(folder: str) -> None:
    """A step that imports a module by a name that no reading of its source can tell."""
    importlib.import_module(".".join(("edgekit", "zoo", "lenet5", "spec")))
