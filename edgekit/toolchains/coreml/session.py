"""Running an ``.mlpackage``: in Core ML on macOS, in the ML Program evaluator elsewhere."""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit import mil
from edgekit.errors import DamagedFileError, UsageError
from edgekit.mil.package import Package, read
from edgekit.mil.program import read as read_program
from edgekit.toolchains import Options, Session, Unit
from edgekit.toolchains._shared.machine import only
from edgekit.toolchains._shared.messages import sentence
from edgekit.toolchains.coreml.vendor import coremltools

Arrays = Mapping[str, NDArray[np.generic]]


def open_session(file: Path, options: Options, entry: str | None = None) -> Session:
    """Open a package, or one function of it.

    Threads are not used: Core ML chooses its own, and NumPy takes the process's.

    Raises:
        DamagedFileError, UnsafeInputError: see ``edgekit.mil.load``.
        NotRunError: outside macOS, the evaluator lacks an operator.
    """
    opened = read(file)
    if on_macos():
        return RuntimeSession(file, opened, options.unit, entry)
    only("cpu", options.unit, "the ML Program evaluator")
    return EvaluatorSession(opened, entry)


def on_macos() -> bool:
    """Whether Core ML itself is here."""
    return platform.system() == "Darwin"


class EvaluatorSession:
    """A program in the evaluator; see ``edgekit.toolchains.Session``."""

    by = "ML Program evaluator"
    ops_delegated: int | None = None
    stand_in = True

    def __init__(self, opened: Package, entry: str | None = None) -> None:
        self.program = read_program(opened, entry)
        self.program.refuse_unknown()
        self.precision = executed(self.program)
        self._names = opened.names
        self._states = self.program.new_states()

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        """Run one sample."""
        found = self.program.run(_inside(self.program, self._names, inputs), self._states)
        return {self._names.get(name, name): array for name, array in found.items()}

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        """Fix the inputs; the call's time says nothing about a device."""
        return functools.partial(self.program.run, _inside(self.program, self._names, inputs), self._states)

    def reset(self) -> None:
        """Set all states to zero."""
        self._states = self.program.new_states()


_UNITS: Mapping[Unit, str] = {"cpu": "CPU_ONLY", "gpu": "CPU_AND_GPU", "npu": "CPU_AND_NE"}


class RuntimeSession:
    """A program in Core ML (macOS only)."""

    ops_delegated: int | None = None
    stand_in = False

    def __init__(self, file: Path, opened: Package, unit: Unit, entry: str | None = None) -> None:
        ct = coremltools()
        self.by = f"Core ML, macOS {platform.mac_ver()[0]}"
        try:
            # On the CPU alone float32 programs are executed in float32; other units compute in float16.
            units = ct.ComputeUnit[_UNITS[unit]]
            self._model = ct.models.MLModel(str(file), compute_units=units, function_name=entry)
        except Exception as error:  # Core ML's own errors come as RuntimeError, its compiler's as others
            raise DamagedFileError(f"Core ML cannot load {file.name}: {sentence(error)}") from error
        self.program = read_program(opened, entry)
        self.precision = executed(self.program)
        self._names = opened.names
        self._state = self._new_state()

    def _new_state(self) -> Any:
        return self._model.make_state() if self.program.states else None

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        """Run one sample."""
        return self._predict(_inside(self.program, self._names, inputs))

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        """Fix the inputs."""
        return functools.partial(self._predict, _inside(self.program, self._names, inputs))

    def reset(self) -> None:
        """Make new states."""
        self._state = self._new_state()

    def _predict(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.generic]]:
        found = self._model.predict(inputs, state=self._state) if self._state else self._model.predict(inputs)
        return {self._names.get(name, name): np.asarray(found[name]) for name in self.program.outputs}


def executed(program: mil.Program) -> str:
    """What convolutions and products compute in, from the program: ``f32``, ``f16``, ``int8``, or a mixture."""
    from edgekit.toolchains.coreml.audit import product_types

    kinds = product_types(program)
    return ", ".join(f"{kind} x{n}" for kind, n in kinds.items()) if len(kinds) > 1 else next(iter(kinds), "f32")


def _inside(program: mil.Program, names: Mapping[str, str], inputs: Arrays) -> dict[str, NDArray[Any]]:
    """Inputs by the file's names, int64 as the int32 that Core ML has."""
    files = {original: name for name, original in names.items()}
    found = {}
    for name, array in inputs.items():
        key = files.get(name, name)
        wanted = program.inputs[key].element.dtype if key in program.inputs else array.dtype
        narrowed = array.astype(wanted) if array.dtype.kind in "iub" and wanted.kind in "iuf" else array
        if array.dtype.kind in "iu" and not np.array_equal(narrowed, array):
            raise UsageError(f"input {name!r} has values that {wanted.name} cannot hold")
        found[key] = narrowed
    return found
