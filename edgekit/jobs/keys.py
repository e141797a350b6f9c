"""The keys of steps: all that a step's result depends on, found out and not listed.

A key is the SHA-256 of the step's name and arguments, the kind of child and its environment variables, the text of
every module of this package that the step imports (``closure.py``), the versions of the distributions that those
modules and their folders declare in ``PACKAGES``, Python's version, and the processor, whose instructions decide the
last bits of a sum. Where a module that the step imports declares ``MEASURES``, the rest of the machine as well.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit import frameworks
from edgekit.jobs import closure
from edgekit.jobs.closure import Code, Names
from edgekit.jobs.store import home
from edgekit.jobs.workers import variables
from edgekit.result import Host

#: What a measurement depends on and the numbers that a model computes do not.
_OF_THE_MACHINE = {"system", "cores", "memory_bytes"}

#: The child's own code, which every step runs in.
_CHILD = ("edgekit.jobs.child", "main")


@functools.cache
def installed() -> Code:
    """The code of this installation."""
    return closure.read(Path(__file__).parent.parent, home() / "imports.json")


@functools.cache
def version(distribution: str) -> str | None:
    """The installed version; None where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def material(
    step: str, environment: str, arguments: Mapping[str, Any], identities: Any, host: Host, code: Code
) -> dict[str, Any]:
    """Everything that goes into a key, as JSON.

    Args:
        step: ``module`` or ``module:function`` below ``edgekit.steps``.
        environment: kind of child.
        arguments: as the step gets them.
        identities: the same with files by the step that made them, and what the user handed in by its content.
        host: this machine.
        code: the package's.
    """
    modules = imported(step, environment, arguments, code)
    packages = {package for module in modules for package in code.modules[module].packages}
    measures = any(code.modules[module].measures for module in modules)
    return {
        "step": step,
        "arguments": identities,
        "environment": {"kind": environment, "variables": variables(environment)},
        "code": {module: code.hashes[module] for module in sorted(modules)},
        "tools": {package: version(package) for package in sorted(packages)},
        "host": host.model_dump(mode="json", exclude=set() if measures else _OF_THE_MACHINE),
    }


def imported(step: str, environment: str, arguments: Mapping[str, Any], code: Code) -> frozenset[str]:
    """Modules of this package that a child imports for a step."""
    module, _, function = step.partition(":")
    roots = [_CHILD, (f"edgekit.steps.{module}", function or "run")]
    return code.closure(roots, names(environment, arguments))


def names(environment: str, arguments: Mapping[str, Any]) -> Names:
    """What a step may import by name, as its kind of child and its arguments say."""
    found: dict[str, set[str]] = defaultdict(set)
    framework = frameworks.KINDS[environment].module if environment in frameworks.KINDS else None
    for package, name in [("edgekit.frameworks", framework), *_said(arguments)]:
        found[package].update([name] if name is not None else ())
    return {package: frozenset(chosen) for package, chosen in found.items()}


def _said(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Packages and the names that arguments choose in them; None where they choose none."""
    for key, value in arguments.items():
        if key == "toolchain_name":
            yield "edgekit.toolchains", value
        elif key == "task":
            yield "edgekit.data.tasks", value
        elif key == "source":
            yield "edgekit.zoo", value["name"] if value and value["kind"] == "zoo" else None
        elif key == "sources":
            yield from (said for source in value.values() for said in _said({"source": source}))
        elif key == "plan":
            yield from _said(value)
