"""Running a .pte file in ExecuTorch's own runtime.

The runtime trusts its file: one in nine damaged files ends the process. So the file's structure is read before the
runtime sees it, and sessions are opened in child processes only.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DamagedFileError, FailedError
from edgekit.toolchains import Options
from edgekit.toolchains._shared.inputs import checked
from edgekit.toolchains._shared.machine import only
from edgekit.toolchains._shared.messages import sentence
from edgekit.toolchains.executorch.audit import Contents, inspect, tensors

#: Operators of a kind in a message.
_MOST_NAMED = 4
_SHORT = {"float32": "f32", "float16": "f16"}


def open_session(file: Path, options: Options, entry: str | None = None) -> ExecuTorchSession:
    """Open a program, or one method of it, with a fixed number of threads.

    Raises:
        UsageError: it has no such method.
        DamagedFileError: the file is truncated, altered, or the runtime refuses it.
    """
    only("cpu", options.unit, "ExecuTorch's XNNPACK")
    return ExecuTorchSession(file, options.threads, entry)


def load_runtime() -> None:
    """Import what opening a program needs; PyTorch, which tensors come from, takes most of it."""
    importlib.import_module("torch")
    importlib.import_module("executorch.extension.pybindings.portable_lib")
    importlib.import_module("executorch.runtime")


class ExecuTorchSession:
    """One .pte in ExecuTorch's runtime; see ``edgekit.toolchains.Session``."""

    stand_in = False

    def __init__(self, file: Path, threads: int, entry: str | None = None) -> None:
        contents = inspect(file, entry)
        known = contents.program.methods
        inputs, outputs = tensors(file, contents.program, entry)
        if any(call.kernel.startswith("quantized_decomposed::") for call in contents.kernels):
            importlib.import_module("executorch.kernels.quantized")  # registers them with the runtime
        self._inputs = {t.name: (t.shape, np.dtype(t.dtype)) for t in inputs}
        self._outputs = [t.name for t in outputs]
        method = entry or (known[0] if len(known) == 1 else "forward")
        self._program, self._method = _loaded(file, threads, method, contents)
        self.ops_delegated: int | None = len(contents.delegated)
        self.precision = _arithmetic(contents)
        engine = "XNNPACK" if contents.delegated else "portable kernels"
        self.by = f"executorch {metadata.version('executorch')} {engine}"

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run one sample."""
        results = self._executed(self._tensors(inputs))
        return dict(zip(self._outputs, [t.numpy().copy() for t in results], strict=True))

    def bind(self, inputs: Mapping[str, NDArray[np.generic]]) -> Callable[[], object]:
        """Convert the inputs once and return a function that hands them over and executes.

        Handing over is a part of every run: the runtime plans other tensors over the memory of the inputs.
        """
        method, given = self._method._method, self._tensors(inputs)

        def invoke() -> object:
            method.set_inputs(given)
            return method.execute()

        return invoke

    def reset(self) -> None:
        """Nothing to forget: a program of one method keeps no state between runs."""

    def _executed(self, given: list[Any]) -> list[Any]:
        import torch

        try:
            return [t for t in self._method.execute(given) if isinstance(t, torch.Tensor)]
        except RuntimeError as error:
            raise FailedError(f"the ExecuTorch runtime failed while running: {sentence(error)}") from error

    def _tensors(self, inputs: Mapping[str, NDArray[np.generic]]) -> list[Any]:
        import torch

        return [torch.from_numpy(array.copy()) for array in checked(inputs, self._inputs).values()]


def _loaded(file: Path, threads: int, method: str, contents: Contents) -> tuple[Any, Any]:
    """The program and its method; the first must outlive the second."""
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the thread pool's interface is announced as experimental at every call
        portable_lib._unsafe_reset_threadpool(threads)
    try:
        program = Runtime.get().load_program(file)
        return program, program.load_method(method)
    except (RuntimeError, KeyError) as error:  # a name that the runtime reads as another one
        why, known = sentence(error), set(Runtime.get().operator_registry.operator_names)
        if missing := sorted({call.kernel for call in contents.kernels} - known):
            why += f"; it has no kernel for {', '.join(missing[:_MOST_NAMED])}"
        if named := ", ".join(contents.disagreeing[:_MOST_NAMED]):
            why += f"; XNNPACK takes neither integers and floats in one operator nor a move to other scales: {named}"
        raise DamagedFileError(
            f"ExecuTorch cannot load {file.name}: {why}", hint="Convert again, or copy the file again."
        ) from error


def _arithmetic(contents: Contents) -> str:
    """``f32``, ``f16``, ``int8``, or ``int8 x20, f32 x2`` where products run in several."""
    kinds: dict[str, int] = {}
    for nodes in contents.nodes:
        for node in nodes:
            if node.macs:
                kind = "int8" if node.integer else _SHORT.get(node.inputs[0].type, node.inputs[0].type)
                kinds[kind] = kinds.get(kind, 0) + 1
    for product in contents.in_kernels:
        if product.macs:
            kinds["f32"] = kinds.get("f32", 0) + 1
    if len(kinds) > 1:
        return ", ".join(f"{kind} x{count}" for kind, count in sorted(kinds.items(), reverse=True))
    return next(iter(kinds), "f32")
