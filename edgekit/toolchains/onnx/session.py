"""Running an ONNX file in ONNX Runtime on the CPU."""

from __future__ import annotations

import functools
import json
import re
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

from edgekit.errors import DamagedFileError, NotRunError, UnsupportedError
from edgekit.toolchains import Options, Unit
from edgekit.toolchains._shared.inputs import checked
from edgekit.toolchains._shared.messages import sentence

#: Providers of units, the preferred first.
PROVIDERS: Mapping[Unit, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "gpu": ("CUDAExecutionProvider", "ROCMExecutionProvider", "DmlExecutionProvider"),
    "npu": ("QNNExecutionProvider", "VitisAIExecutionProvider"),
}
#: Runs that a profile is the median of.
PROFILED = 21

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(int16)": np.int16,
    "tensor(uint16)": np.uint16,
    "tensor(int32)": np.int32,
    "tensor(uint32)": np.uint32,
    "tensor(int64)": np.int64,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}
#: Kernels of convolutions, matrix products and recurrent cells, as ONNX Runtime names them after fusing Q/DQ pairs.
_INTEGER = frozenset(
    (
        "QLinearConv",
        "QLinearMatMul",
        "QGemm",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "ConvInteger",
        "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM",
    )
)
_FLOAT = frozenset(
    (
        "Conv", "FusedConv", "ConvTranspose", "MatMul", "FusedMatMul", "MatMulNBits", "Gemm", "FusedGemm", "LSTM",
        "GRU", "RNN", "Einsum",
    )
)  # fmt: skip


def open_session(file: Path, options: Options) -> OnnxSession:
    """Open a file with a fixed number of threads and no spinning ones.

    Raises:
        DamagedFileError: ONNX Runtime cannot load the file.
        UnsupportedError: it has no kernel for one of the operators.
    """
    return OnnxSession(file, options.threads, look=not options.scheme.is_float, unit=options.unit)


def units() -> list[Unit]:
    """What the installed ONNX Runtime has providers for."""
    return [unit for unit, known in PROVIDERS.items() if set(known) & set(onnxruntime.get_available_providers())]


def profile(file: Path, options: Options, inputs: Mapping[str, NDArray[np.generic]]) -> list[tuple[str, str, float]]:
    """Milliseconds of each kernel, the median of some runs, from ONNX Runtime's own trace."""
    with tempfile.TemporaryDirectory() as folder:
        session = OnnxSession(file, options.threads, unit=options.unit, trace=Path(folder) / "trace")
        for _ in range(PROFILED):
            session.run(inputs)
        events = json.loads(Path(session.end_trace()).read_bytes())
    times: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = event["name"].removesuffix("_kernel_time"), event["args"]["op_name"]
            times.setdefault(key, []).append(event["dur"] / 1e3)
    return [(name, kind, statistics.median(found)) for (name, kind), found in times.items()]


class OnnxSession:
    """One file in ONNX Runtime; see ``edgekit.toolchains.Session``.

    It looks at what really runs only where it was asked to ``look``, and when that is read: a session of its own writes
    the optimized graph down, so that neither the time nor the memory of opening this one has it in.

    ``entries`` are further settings of the session, by ONNX Runtime's names.
    """

    ops_delegated: int | None = None
    stand_in = False

    def __init__(
        self,
        file: Path,
        threads: int,
        entries: Mapping[str, str] = MappingProxyType({}),
        *,
        look: bool = False,
        unit: Unit = "cpu",
        trace: Path | None = None,
        optimized: Path | None = None,
    ) -> None:
        provider = _provider(unit)
        self._look = functools.partial(OnnxSession, file, threads, entries, unit=unit) if look else None
        self.by = f"onnxruntime {onnxruntime.__version__} {provider.removesuffix('ExecutionProvider')}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        # Spinning threads burn CPU time that a latency measurement would count.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if trace is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(trace)
        for key, value in entries.items():
            options.add_session_config_entry(key, value)
        if optimized is not None:
            options.optimized_model_filepath = str(optimized)
        self._session = _load(file, options, provider)
        self._inputs = {i.name: (_sizes(i.shape), _type(file, i)) for i in self._session.get_inputs()}
        self._outputs = [o.name for o in self._session.get_outputs()]

    @functools.cached_property
    def _optimized(self) -> onnx.GraphProto:
        """The graph that really runs; an empty one where nobody asked to look."""
        if self._look is None:
            return onnx.GraphProto()
        with tempfile.TemporaryDirectory() as folder:
            optimized = Path(folder) / "optimized.onnx"
            self._look(optimized=optimized)
            return onnx.load(optimized, load_external_data=False).graph

    @functools.cached_property
    def executed(self) -> Counter[str]:
        """Kernels of the optimized graph by operator type, Q/DQ included; empty where nobody asked to look."""
        return Counter(node.op_type for node in self._optimized.node)

    @property
    def precision(self) -> str:
        """What its products run in."""
        return _executed_precision(self.executed, _float_of(self._optimized))

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run one sample."""
        found = self._session.run(self._outputs, checked(inputs, self._inputs))
        return dict(zip(self._outputs, found, strict=True))

    def bind(self, inputs: Mapping[str, NDArray[np.generic]]) -> Callable[[], object]:
        """Bind inputs and outputs to memory once and return the bare call."""
        binding = self._session.io_binding()
        for name, array in checked(inputs, self._inputs).items():
            binding.bind_cpu_input(name, array)
        for name in self._outputs:
            binding.bind_output(name)
        session = self._session

        def invoke() -> object:
            session.run_with_iobinding(binding)
            return binding

        return invoke

    def reset(self) -> None:
        """Nothing is carried between runs."""

    def end_trace(self) -> str:
        """End profiling; returns the trace's file."""
        return str(self._session.end_profiling())


def _provider(unit: Unit) -> str:
    available = onnxruntime.get_available_providers()
    found = next((name for name in PROVIDERS[unit] if name in available), None)
    if found is None:
        raise NotRunError(f"this ONNX Runtime has no provider for the {unit}; it has {', '.join(available)}")
    return found


def _load(file: Path, options: onnxruntime.SessionOptions, provider: str) -> onnxruntime.InferenceSession:
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=[provider])
    except NoKernel as error:
        raise UnsupportedError(f"ONNX Runtime lacks an operator of {file.name}: {sentence(error)}") from error
    except Exception as error:  # they share no parent; each one here means that it refused the file
        if re.search(r"[Oo]pset \d+ is under development|Unsupported model IR version", str(error)):
            raise UnsupportedError(
                f"ONNX Runtime {onnxruntime.__version__} is older than {file.name}: {sentence(error)}",
                hint="Export it with a lower opset_version, or install a newer onnxruntime.",
            ) from error
        raise DamagedFileError(
            f"ONNX Runtime cannot load {file.name}: {sentence(error)}", hint="Convert again, or copy the file again."
        ) from error
    if provider not in session.get_providers():  # it goes on with the CPU where a provider cannot start
        raise NotRunError(f"{provider} of ONNX Runtime does not start here")
    return session


def _sizes(shape: Sequence[int | str | None]) -> tuple[int, ...]:
    """Of an input; -1 where the file leaves one open, which ONNX Runtime says by a name or by None."""
    return tuple(size if isinstance(size, int) else -1 for size in shape)


def _type(file: Path, tensor: onnxruntime.NodeArg) -> np.dtype[np.generic]:
    if tensor.type not in _TYPES:
        raise UnsupportedError(f"input {tensor.name!r} of {file.name} is a {tensor.type}, which NumPy arrays are not")
    return np.dtype(_TYPES[tensor.type])


def _float_of(graph: onnx.GraphProto) -> str:
    """The widest kind of float that weights of the graph's products have."""
    types = {weight.name: weight.data_type for weight in graph.initializer}
    read = {types.get(name) for node in graph.node if node.op_type in _FLOAT for name in node.input}
    wide = {onnx.TensorProto.DOUBLE: "f64", onnx.TensorProto.FLOAT: "f32", onnx.TensorProto.FLOAT16: "f16"}
    return next((word for kind, word in wide.items() if kind in read), "f32")


def _executed_precision(kernels: Counter[str], floats: str = "f32") -> str:
    """What convolutions and products run in: ``int8``, ``f32``, or ``int8 x20, f32 x2``."""
    integer = sum(n for kernel, n in kernels.items() if kernel in _INTEGER)
    floating = sum(n for kernel, n in kernels.items() if kernel in _FLOAT)
    if integer and floating:
        return f"int8 x{integer}, {floats} x{floating}"
    return "int8" if integer else floats
