"""Building and running TensorRT engines: imported in a child on a machine with TensorRT and a GPU only.

Written for the Python API of TensorRT 10 and 11 (NVIDIA, "Python API documentation" 11.4; networks are strongly typed
in both), which TensorRT-RTX 1.7 shares: that one parses and builds without a GPU, for named compute capabilities.
Nothing here has executed an engine on an NVIDIA chip yet: the project has none.
"""

from __future__ import annotations

import importlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from edgekit.errors import FailedError, MissingDependencyError, NotRunError, UnsupportedError, WrongDeviceError
from edgekit.toolchains._shared.machine import Machine, check_machine
from edgekit.toolchains.tensorrt.cuda import Driver

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Distributions whose versions change what is done here.
PACKAGES = ("tensorrt", "tensorrt-rtx")

#: Builder -> its module, and how it is installed.
BUILDERS: Mapping[str, tuple[str, str]] = {
    "tensorrt": (
        "tensorrt",
        "Install TensorRT: pip install 'edgekit[tensorrt]' (Linux, Windows); on Jetson it comes with JetPack.",
    ),
    "tensorrt_rtx": ("tensorrt_rtx_bindings", "Install TensorRT-RTX: pip install 'edgekit[tensorrt-rtx]'."),
}


def probe(builder: str = "tensorrt") -> dict[str, Any]:
    """Say what there is: ``builder_version``, ``gpu``, ``compute_capability``, ``driver``; None for what is missing.

    ``reasons`` says why, one sentence per missing thing.
    """
    found: dict[str, Any] = dict.fromkeys(("builder_version", "gpu", "compute_capability", "driver"))
    found |= {"machine": platform.machine(), "reasons": []}
    try:
        gpu = Driver().gpu()
        found |= {"gpu": gpu.name, "compute_capability": gpu.compute_capability, "driver": gpu.driver}
    except NotRunError as error:
        found["reasons"].append(str(error))
    try:
        found["builder_version"] = library(builder).__version__
    except MissingDependencyError as error:
        found["reasons"].append(str(error))
    return found


def library(builder: str) -> Any:
    """Import a builder's Python module; raises ``MissingDependencyError`` where it is not installed."""
    module, install = BUILDERS[builder]
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # a library of it may be missing as well
        raise MissingDependencyError(f"{module} cannot be imported: {error}", hint=install) from error


def refusals(onnx_file: Path, builder: str = "tensorrt_rtx") -> list[str] | None:
    """What the real parser says against a file, one sentence each; None where it is not installed.

    TensorRT-RTX has fewer plugins than TensorRT (no NonZero, RoiAlign), so that a missing plugin says nothing of it.
    """
    try:
        trt = library(builder)
    except MissingDependencyError:
        return None
    network, parser, *_ = _parsed(trt, onnx_file)
    del network
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return [_said(error) for error in errors if "plugin registry" not in error.desc()]


def _parsed(trt: Any, onnx_file: Path) -> tuple[Any, Any, Any, Any]:
    """Network, parser, builder and log of a file; the parser's errors say whether it was taken."""
    log = _logger(trt)
    builder = trt.Builder(log)
    # TensorRT 11 knows no other typing and ignores the flag.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    parser.parse(onnx_file.read_bytes(), str(onnx_file))
    return network, parser, builder, log


def _said(error: Any) -> str:
    return f"{error.node_operator()}:{error.node_name()}: {error.desc()}"


def _logger(trt: Any) -> Any:
    """TensorRT's own words go to the child's log; its errors are kept for the message."""

    class Log(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message.strip())

    return Log()


def build(
    onnx_file: str,
    engine_file: str,
    cache_file: str,
    old_cache_file: str | None,
    builder_name: str = "tensorrt",
    compute_capabilities: Sequence[str] = (),
    *,
    sparse: bool = False,
) -> dict[str, Any]:
    """Build an engine from a checked ONNX file; writes the engine and the timing cache.

    With ``compute_capabilities`` (``8.9``), which TensorRT-RTX alone takes, it is built for these, without a GPU.
    ``sparse``: kernels may skip the weights that are zero in groups of 2:4, where they are faster so.

    Raises:
        UnsupportedError: the parser refuses a node.
        FailedError: the builder finds no implementation.
    """
    trt = library(builder_name)
    if not compute_capabilities:
        Driver().use()
    network, parser, builder, log = _parsed(trt, Path(onnx_file))
    if parser.num_errors:
        reasons = "; ".join(_said(parser.get_error(index)) for index in range(min(parser.num_errors, 3)))
        raise UnsupportedError(f"{builder_name} {trt.__version__} does not take this model: {reasons}")
    config = builder.create_builder_config()
    if compute_capabilities:
        config.num_compute_capabilities = len(compute_capabilities)
        for index, capability in enumerate(compute_capabilities):
            config.set_compute_capability(trt.ComputeCapability.__members__[f"SM{capability.replace('.', '')}"], index)
    if sparse:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    old = Path(old_cache_file).read_bytes() if old_cache_file else b""
    cache = config.create_timing_cache(old)
    config.set_timing_cache(cache, False)
    start = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - start
    if plan is None:
        said = "; ".join(log.errors[-3:]) or "no message"
        raise FailedError(f"{builder_name} {trt.__version__} built no engine: {said}")
    Path(engine_file).write_bytes(memoryview(plan))
    Path(cache_file).write_bytes(memoryview(config.get_timing_cache().serialize()))
    return {"seconds": round(seconds, 3), "layers": network.num_layers}


class EngineSession:
    """An engine on the GPU; see ``edgekit.toolchains.Session``.

    Raises:
        WrongDeviceError: the engine was built by another TensorRT or for another GPU.
    """

    stand_in = False
    ops_delegated: int | None = None
    precision = "as built"

    def __init__(self, file: Path, builder: str = "tensorrt") -> None:
        trt = library(builder)
        self._driver = Driver()
        gpu = self._driver.gpu()
        manifest = file.parent / "manifest.json"
        if manifest.is_file():
            check_machine(SimpleNamespace(**json.loads(manifest.read_bytes())), Machine(**probe(builder)))
        self.by = f"{builder} {trt.__version__} on {gpu.name}"
        self._driver.use()
        log = _logger(trt)
        self._runtime = trt.Runtime(log)
        self._engine = self._runtime.deserialize_cuda_engine(file.read_bytes())
        if self._engine is None:
            raise WrongDeviceError(
                f"{self.by} refuses {file.name}: {'; '.join(log.errors[-2:]) or 'no message'}",
                hint="Build it on this machine: edgekit build ARTIFACT --device DEVICE.",
            )
        self._context = self._engine.create_execution_context()
        self._stream = self._driver.stream()
        self._arrays: dict[str, NDArray[np.generic]] = {}
        self._addresses: dict[str, int] = {}
        self._inputs: list[str] = []
        self._bind(trt)

    def _bind(self, trt: Any) -> None:
        """Give every input and output memory on both sides, once."""
        import numpy as np

        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            kind = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
            array = np.zeros(tuple(self._engine.get_tensor_shape(name)), kind)
            self._arrays[name], self._addresses[name] = array, self._driver.allocate(array.nbytes)
            self._context.set_tensor_address(name, self._addresses[name])
            if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                self._inputs.append(name)

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs, by name."""
        return {name: self._arrays[name].shape for name in self._inputs}

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run one sample and return fresh arrays."""
        from edgekit.toolchains._shared.inputs import checked

        takes = {name: (self._arrays[name].shape, self._arrays[name].dtype) for name in self._inputs}
        for name, array in checked(inputs, takes).items():
            self._driver.upload(array, self._addresses[name])
        self._enqueue()
        outputs = {name: array for name, array in self._arrays.items() if name not in self._inputs}
        for name, array in outputs.items():
            self._driver.download(self._addresses[name], array)
        return {name: array.copy() for name, array in outputs.items()}

    def bind(self, inputs: Mapping[str, NDArray[np.generic]]) -> Callable[[], object]:
        """Leave the inputs on the GPU and return a function that only invokes and waits."""
        self.run(inputs)
        return self._enqueue

    def reset(self) -> None:
        """Nothing is carried between runs."""

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise FailedError(f"{self.by}: the engine did not run")
        self._driver.wait(self._stream)
