"""Running OpenVINO IR on the CPU plugin, in the precision that the target says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from edgekit.errors import DamagedFileError, NotRunError
from edgekit.toolchains import Options, Unit
from edgekit.toolchains._shared.inputs import checked
from edgekit.toolchains._shared.messages import sentence
from edgekit.toolchains.openvino.ir import read_checked

#: Runs that a profile is the mean of.
PROFILED = 21
#: Runs before these.
UNCOUNTED = 3

#: Kernels of convolutions, matrix products and recurrent cells, as the CPU plugin names them.
_PRODUCTS = frozenset(("Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNSeq", "RNNCell"))

_PRODUCT_NAME = re.compile(r"\bMatMul(_\d+)?$")


def open_session(file: Path, options: Options) -> OpenVinoSession:
    """Open an IR with float arithmetic pinned to float32.

    By default the plugin computes in bfloat16 or float16 where the CPU has them, and an "fp32" file is none
    (targets/REASONS.md#openvino-precision). int8 operators run in int8 all the same, and fp16 files are widened
    when they are loaded.

    Raises:
        DamagedFileError: OpenVINO cannot read or compile the file.
        NotRunError: the plugin of the unit sees no device here.
    """
    return OpenVinoSession(file, options)


def units() -> list[Unit]:
    """What OpenVINO's plug-ins find."""
    found = {name.split(".")[0] for name in ov.Core().available_devices}
    return [unit for unit in get_args(Unit) if unit.upper() in found]


def profile(file: Path, options: Options, inputs: Mapping[str, NDArray[np.generic]]) -> list[tuple[str, str, float]]:
    """Milliseconds of each node that is executed, the mean of some runs, from the plug-in's counters.

    A counter is the mean of all runs so far, in whole microseconds. The first run makes the kernels and takes a hundred
    times as long, so that the sum of the first runs is taken away from that of all. Nodes are those of the first runs:
    one whose mean falls below a microsecond is said not to have run, and has 0 here.
    """
    session = OpenVinoSession(file, options, {"PERF_COUNT": True})

    def sums(runs: int) -> dict[tuple[str, str], float]:
        return {
            (node.node_name, f"{node.node_type} {node.exec_type}"): runs * node.real_time.total_seconds() * 1e3
            for node in session.counters()
            if node.status == ov.ProfilingInfo.Status.EXECUTED
        }

    for _ in range(UNCOUNTED):
        session.run(inputs)
    before = sums(UNCOUNTED)
    for _ in range(PROFILED):
        session.run(inputs)
    after = sums(UNCOUNTED + PROFILED)
    return [(*node, max(0.0, after.get(node, 0.0) - before[node]) / PROFILED) for node in before]


class OpenVinoSession:
    """One IR in OpenVINO's CPU plugin; see ``edgekit.toolchains.Session``.

    Attributes:
        executed: convolutions, products and recurrent cells of the compiled model, by kernel and the precision in
            which it runs (``"Convolution:u8"``). Kernels with weights stored in int8 are called by those.
    """

    ops_delegated: int | None = None
    stand_in = False

    def __init__(self, file: Path, options: Options, more: Mapping[str, bool] = MappingProxyType({})) -> None:
        device = options.unit.upper()
        self.by = f"openvino {ov.__version__.split('-')[0]} {device}"
        core = ov.Core()
        if not any(name.split(".")[0] == device for name in core.available_devices):
            raise NotRunError(f"OpenVINO sees no {device} here; it sees {', '.join(core.available_devices)}")
        model = read_checked(file)
        settings: dict[str, str | int | bool] = {
            **more,
            "INFERENCE_PRECISION_HINT": "f32",
            # Without this, products with compressed weights quantize their activations at run time.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        }
        if device == "CPU":
            settings |= {"INFERENCE_NUM_THREADS": options.threads, "NUM_STREAMS": 1}
        try:
            self._compiled = core.compile_model(model, device, settings)
        except RuntimeError as error:
            raise DamagedFileError(f"OpenVINO cannot compile {file.name}: {sentence(error)}") from error
        self._hint = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.executed = _executed(self._compiled)
        self.precision = _int8_share(self.executed, self._hint) if options.scheme.promises_arithmetic else self._hint
        self._request = self._compiled.create_infer_request()
        # Names as the file has them: where the compiler drops an operator, a port takes over its names, too.
        self._inputs = {
            port.any_name: (
                tuple(-1 if size.is_dynamic else size.get_length() for size in port.partial_shape),
                np.dtype(port.element_type.to_dtype()),
            )
            for port in model.inputs
        }
        self._outputs = [port.any_name for port in model.outputs]

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run one sample.

        Inputs are written into the request's own tensors: handed to ``infer`` as new ones, each call prepares the graph
        again, which takes several times as long (targets/REASONS.md#openvino-inputs).
        """
        for name, array in checked(inputs, self._inputs).items():
            tensor = self._request.get_tensor(name)
            if -1 in self._inputs[name][0]:
                tensor.shape = array.shape
            tensor.data[...] = array
        _bare(self._request).infer(share_outputs=True)
        return {name: np.array(self._request.get_tensor(name).data) for name in self._outputs}

    def bind(self, inputs: Mapping[str, NDArray[np.generic]]) -> Callable[[], object]:
        """Set the input tensors of a request of its own and return the bare call."""
        request = self._compiled.create_infer_request()
        for name, array in checked(inputs, self._inputs).items():
            request.set_tensor(name, ov.Tensor(array.copy()))
        raw = _bare(request)

        def invoke() -> object:
            raw.infer(share_outputs=True)
            return raw

        return invoke

    def counters(self) -> Any:
        """What the plug-in counted in the last run, where the file was opened so."""
        return self._request.get_profiling_info()

    def reset(self) -> None:
        """Forget the state of stateful models."""
        self._request.reset_state()


def _bare(request: Any) -> Any:
    """The request without the Python class around it, where there is one."""
    return getattr(request, "_InferRequest__request", request)


def _executed(compiled: ov.CompiledModel) -> Counter[str]:
    """Kernels of the compiled model that are products, with their run-time precision."""
    found: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        kind = info["layerType"].astype(str)
        precision = info["runtimePrecision"].astype(str)
        if kind in _PRODUCTS:
            found[f"{kind}:{precision}"] += 1
        elif kind == "Subgraph":  # chains of products, and attention, are compiled into one kernel
            layers = info["originalLayersNames"].astype(str).split(",")
            found[f"{kind}:{precision}"] += sum(_PRODUCT_NAME.search(name) is not None for name in layers)
    return +found


def _int8_share(executed: Counter[str], otherwise: str) -> str:
    """``int8``, or ``int8 x20, f32 x2`` where products of an int8 file run in float."""
    integer = sum(n for kernel, n in executed.items() if kernel.endswith((":i8", ":u8")))
    floating = sum(executed.values()) - integer
    if integer and floating:
        return f"int8 x{integer}, {otherwise} x{floating}"
    return "int8" if integer else otherwise
