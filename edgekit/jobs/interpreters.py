"""Which Python runs a job: this one, or that of a toolchain whose pins part ways with the others'.

``edgekit doctor --install TOOLCHAIN`` makes an environment of its own in ``<home>/environments/TOOLCHAIN``; the
variable ``EDGEKIT_PYTHON_<TOOLCHAIN>`` names any other interpreter. It runs the jobs of that toolchain, those that load
a model only where the model's framework is installed there as well. This package is not installed there: a child finds
it where it lies.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from edgekit import frameworks, toolchains
from edgekit.errors import FailedError, MissingDependencyError, UsageError, unknown_name
from edgekit.jobs import wire
from edgekit.jobs.store import home

#: What a child cannot even start without.
_EVERY_CHILD = ("numpy", "pydantic")

_FACTS = """
import json, platform
from importlib import metadata
found = {}
for one in metadata.distributions():  # what comes first on the path is what is imported
    found.setdefault(one.metadata["Name"].lower().replace("_", "-"), one.version)
print(json.dumps({"version": platform.python_version(), "distributions": found}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python, and what is installed for it.

    Attributes:
        toolchain: whose jobs it runs; None for this process's own.
        python: the executable.
        version: of Python.
        distributions: by name; None where they are those of this process.
    """

    toolchain: str | None
    python: str
    version: str
    distributions: Mapping[str, str] | None = None

    def has(self, distribution: str) -> str | None:
        """The version of a distribution; None where it is not installed."""
        if self.distributions is not None:
            return self.distributions.get(distribution.lower().replace("_", "-"))
        return _version(distribution)


HERE = Interpreter(None, sys.executable, platform.python_version())


@functools.cache
def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def for_job(environment: str, request: object) -> Interpreter:
    """What runs a request in a kind of child.

    Raises:
        UsageError: the toolchain's interpreter cannot be started.
        MissingDependencyError: the kind of child has an environment of its own, which is not there.
    """
    kind = frameworks.KINDS.get(environment)
    if kind is not None and kind.own:
        return _importer(environment, kind.needs)
    named = (value for field, value in wire.within(request) if field == "toolchain" and isinstance(value, str))
    toolchain = next(named, None)
    own = of(toolchain) if toolchain else None
    if own is None or (kind is not None and own.has(kind.needs) is None):
        return HERE
    return own


def _importer(name: str, needs: str) -> Interpreter:
    """The interpreter of an importer, whose pins part ways with all toolchains'; this one where it is in here."""
    found = HERE if HERE.has(needs) else of(name)
    if found is None or not found.has(needs):
        raise MissingDependencyError(
            f"{needs} is not installed, which reads ONNX for this target",
            hint=f"Run `edgekit doctor --install {name}`, or set EDGEKIT_PYTHON_{name.upper()}; or hand in the model "
            "that the file was exported from: .pt2, .keras, or `file.py:function` that builds it.",
        )
    return found


def importers() -> list[str]:
    """Kinds of child with an environment of their own."""
    return [name for name, kind in frameworks.KINDS.items() if kind.own]


def of(toolchain: str) -> Interpreter | None:
    """The interpreter of a toolchain's own; None where it has none."""
    said = os.environ.get(f"EDGEKIT_PYTHON_{toolchain.upper()}")
    if said:
        found = shutil.which(Path(said).expanduser()) or said
        return _asked(toolchain, str(Path(found).absolute()))
    python = _python(folder_of(toolchain))
    return _asked(toolchain, str(python)) if python.is_file() else None


def folder_of(toolchain: str) -> Path:
    """Where an environment of a toolchain's own lies."""
    return home() / "environments" / toolchain


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@functools.cache
def _asked(toolchain: str, python: str) -> Interpreter:
    whose = f"the interpreter of {toolchain}, {python},"
    hint = f"Correct EDGEKIT_PYTHON_{toolchain.upper()}, or run `edgekit doctor --install {toolchain}`."
    try:
        done = subprocess.run([python, "-I", "-c", _FACTS], capture_output=True, text=True, timeout=60, check=True)
        facts = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        why = str(error).replace(_FACTS, "...")
        raise UsageError(f"{whose} cannot be asked what it has: {why}", hint=hint) from error
    if missing := [name for name in _EVERY_CHILD if name not in facts["distributions"]]:
        raise UsageError(f"{whose} lacks {' and '.join(missing)}, which every job needs", hint=hint)
    return Interpreter(toolchain, python, facts["version"], facts["distributions"])


def requirements(toolchain: str, lines: Sequence[str] | None = None) -> list[str]:
    """What an environment of a toolchain needs: what edgekit itself does, and what the toolchain's extra installs."""
    lines = metadata.requires("edgekit") or [] if lines is None else lines
    extra = re.compile(rf";.*extra == ['\"]{toolchain}['\"]")
    wanted = [line.partition(";")[0].strip() for line in lines if extra.search(line)]
    own = [line.partition(";")[0].strip() for line in lines if "extra ==" not in line]
    if toolchain in importers():  # which pin what edgekit needs later versions of: a child does with them
        own = [re.split(r"[^\w.-]", line)[0] for line in own]
    return [*own, *wanted]


def install(toolchain: str, progress: Callable[[str], None] = lambda line: None) -> Interpreter:
    """Make an environment of a toolchain's own; one that is there is made anew.

    It takes its name when it is whole.

    Raises:
        UsageError: no such toolchain.
        FailedError: the packages cannot be installed.
    """
    if toolchain not in (known := [*toolchains.names(), *importers()]):
        raise unknown_name("toolchain", toolchain, known)
    try:
        wanted = requirements(toolchain)
    except metadata.PackageNotFoundError as error:
        raise MissingDependencyError("edgekit itself is not installed", hint="Run: pip install -e .") from error
    place = folder_of(toolchain)
    scratch = place.with_name(f".{toolchain}-{os.getpid()}")
    try:
        scratch.parent.mkdir(parents=True, exist_ok=True)
        venv.create(scratch, with_pip=True)
        _pip(scratch, wanted, progress)
        shutil.rmtree(place, ignore_errors=True)
        scratch.replace(place)
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror or error}", hint="Set EDGEKIT_HOME.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _asked.cache_clear()
    made = of(toolchain)
    assert made is not None
    return made


def _pip(folder: Path, wanted: Sequence[str], progress: Callable[[str], None]) -> None:
    command = [str(_python(folder)), "-m", "pip", "install", "--progress-bar", "off", *wanted]
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            progress(lines[-1])
    if process.returncode:
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        raise FailedError(f"pip could not install {', '.join(wanted)}: {' '.join(errors[-2:])}")
