"""Running an ONNX graph as it is: by ONNX Runtime without its optimizer, and once by ``onnx.reference``."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

from edgekit.errors import EndlessError, UnsupportedError
from edgekit.frameworks.loaded import Arrays, Loaded
from edgekit.result.parity import SAME, Second
from edgekit.sources.onnx_file.parts import nodes

#: Distributions whose versions change what is done here.
PACKAGES = ("onnx", "onnxruntime")

#: Who runs the source.
BY = f"ONNX Runtime {onnxruntime.__version__}, no optimizations"
#: Seconds that ``onnx.reference`` gets: it loops in Python where NumPy has no function for an operator.
_SECONDS = 30
#: Seconds that a first run of one sample gets. A graph of 2 GiB takes a fraction of it; one that takes longer is proven
#: by no number of samples within any patience, and is a loop that does not end.
FIRST_RUN_SECONDS = 300.0


class Unoptimized:
    """One forward pass: inputs in the graph's order to outputs in its order."""

    def __init__(self, model: onnx.ModelProto, given: str) -> None:
        """Open the graph.

        Raises:
            UnsupportedError: ONNX Runtime cannot run it.
        """
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # they share no parent; each one means that it refused the graph
            what = "lacks an operator of" if isinstance(error, NoKernel) else "cannot load"
            raise UnsupportedError(
                f"ONNX Runtime {onnxruntime.__version__} {what} {given}: {' '.join(str(error).split())[:400]}",
                hint="The source is compared with its files by what ONNX Runtime computes of it: export it with "
                "operators that it has.",
            ) from error
        self.given = given
        self.inputs = [value.name for value in model.graph.input]
        self.outputs = [value.name for value in model.graph.output]
        loops = [node for node in nodes(model.graph) if node.op_type in ("Loop", "Scan")]
        self._loop = f", and has the {loops[0].op_type} {loops[0].name or loops[0].output[0]!r}" if loops else ""

    def __call__(self, arrays: Arrays) -> Arrays:
        """Run once."""
        return self._run(arrays, onnxruntime.RunOptions())

    def within(self, arrays: Arrays, seconds: float) -> Arrays:
        """Run once, for so many seconds at most.

        Raises:
            EndlessError: it did not end by then.
        """
        options = onnxruntime.RunOptions()
        timer = threading.Timer(seconds, setattr, (options, "terminate", True))
        timer.start()
        try:
            return self._run(arrays, options)
        except Exception as error:  # ONNX Runtime's errors share no parent
            if not options.terminate:
                raise
            raise EndlessError(
                f"{self.given} did not run one sample within {seconds:.0f} s{self._loop}",
                hint="Check what ends its loops: a trip count, or a condition that becomes false. A file of it would "
                "take as long.",
            ) from error
        finally:
            timer.cancel()

    def _run(self, arrays: Arrays, options: onnxruntime.RunOptions) -> Arrays:
        found = self._session.run(self.outputs, dict(zip(self.inputs, arrays, strict=True)), options)
        return [np.asarray(array) for array in found]


def second(loaded: Loaded, sample: Arrays) -> Second:
    """What ``onnx.reference`` computes of one sample, against ONNX Runtime: it shares no code with it."""
    model: onnx.ModelProto = loaded.native
    by = f"onnx.reference {onnx.__version__}"
    lacking = sorted({f"{n.domain}.{n.op_type}" for n in nodes(model.graph) if n.domain not in ("", "ai.onnx")})
    if lacking:
        return Second(by=by, reason=f"it has no {', '.join(lacking)}")
    try:
        with _at_most(_SECONDS):
            names = [value.name for value in model.graph.input]
            found = ReferenceEvaluator(model).run(None, dict(zip(names, sample, strict=True)))
    except TimeoutError:
        return Second(by=by, reason=f"it did not end within {_SECONDS} seconds")
    except Exception as error:  # an operator without an implementation, or an error in one, is an error of any type
        said = " ".join(str(error).split())[:200] or type(error).__name__
        return Second(by=by, reason=f"it cannot run the model: {said}")
    return Second(by=by, sqnr_db=_sqnr_db(loaded.call(sample), [np.asarray(array) for array in found]))


def _sqnr_db(reference: Arrays, found: Arrays) -> float:
    """The lowest of all outputs; ``SAME`` where both are the same to the last bit, -``SAME`` where nothing is alike."""
    return min(_one(r, f) for r, f in zip(reference, found, strict=True))


def _one(reference: NDArray[Any], found: NDArray[Any]) -> float:
    if reference.shape != found.shape:
        return -SAME
    r, f = reference.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(r)
    if not np.array_equal(finite, np.isfinite(f)):
        return -SAME
    noise, power = float(((r - f)[finite] ** 2).sum()), float((r[finite] ** 2).sum())
    if noise == 0:
        return SAME
    return float(np.clip(10 * np.log10(power / noise), -SAME, SAME)) if power else -SAME


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    """Raise ``TimeoutError`` in a block of Python that takes longer; in the main thread alone, which steps run in."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def raised(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, raised)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
