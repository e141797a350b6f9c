"""The keys of steps: all that a step's result depends on, found out and not listed.

A key is the SHA-256 of the step's name and arguments, the kind of child and its environment variables, the text of
every module of this package that the step imports (``closure.py``), the versions of the distributions that those
modules and their folders declare in ``PACKAGES``, Python's version, and the processor, whose instructions decide the
last bits of a sum. Where a module that the step imports declares ``MEASURES``, the rest of the machine as well.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from pathlib import Path

from edgekit import frameworks
from edgekit.jobs import interpreters, wire
from edgekit.jobs.keys import closure
from edgekit.jobs.keys.closure import Code, Names
from edgekit.jobs.processes import variables
from edgekit.jobs.store import home
from edgekit.jobs.wire import Json
from edgekit.result import Host
from edgekit.sources.source import Source

#: What a measurement depends on and the numbers that a model computes do not.
_OF_THE_MACHINE = {"system", "cores", "memory_bytes"}

#: Field of a request -> the package of which it chooses a module; None chooses none.
_CHOOSES = {"toolchain": "edgekit.toolchains", "task": "edgekit.data.tasks"}

#: The child's own code, which every step runs in.
_CHILD = ("edgekit.jobs.child", "main")


@functools.cache
def installed() -> Code:
    """The code of this installation."""
    return closure.read(Path(__file__).parent.parent.parent, home() / "imports.json")


def material(
    step: str, environment: str, request: object, identity: Json, host: Host, code: Code | None = None
) -> dict[str, Json]:
    """Everything that goes into a key, as JSON.

    Args:
        step: ``module:function``.
        environment: kind of child.
        request: as the step gets it.
        identity: the same with files by the step that made them, and what the user handed in by its content.
        host: this machine.
        code: the package's; this installation's by default.
    """
    code = code or installed()
    interpreter = interpreters.for_job(environment, request)
    modules = imported(step, environment, request, code)
    packages = {package for module in modules for package in code.modules[module].packages}
    measures = any(code.modules[module].measures for module in modules)
    return {
        "step": step,
        "request": identity,
        "environment": {"kind": environment, "variables": variables(environment)},
        "code": {module: code.hashes[module] for module in sorted(modules)},
        "tools": {package: interpreter.has(package) for package in sorted(packages)},
        "host": {
            **host.model_dump(mode="json", exclude=set() if measures else _OF_THE_MACHINE),
            **({"python": interpreter.version} if interpreter.toolchain else {}),
        },
    }


def imported(step: str, environment: str, request: object, code: Code) -> frozenset[str]:
    """Modules of this package that a child imports for a step."""
    module, _, function = step.partition(":")
    return code.closure([_CHILD, (module, function)], names(environment, request))


def names(environment: str, request: object) -> Names:
    """What a step may import by name, as its kind of child and its request say.

    A field ``toolchain`` names one, a field ``task`` another; a source may be an architecture of the zoo.
    """
    found: dict[str, set[str]] = defaultdict(set)
    framework = frameworks.KINDS[environment].module if environment in frameworks.KINDS else None
    found["edgekit.frameworks"].update([framework] if framework else [])
    for field, value in wire.within(request):
        if field in _CHOOSES:
            found[_CHOOSES[field]].update([value] if value is not None else [])
        elif field == "source" and value is None:
            found["edgekit.zoo"].update()
        elif isinstance(value, Source):
            found["edgekit.zoo"].update([value.name] if value.kind == "zoo" else [])
    return {package: frozenset(chosen) for package, chosen in found.items()}
