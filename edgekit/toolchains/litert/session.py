"""Running a .tflite file: LiteRT's interpreter with XNNPACK, or an older interpreter where only that is installed.

Imports of other distributions NumPy and the interpreter alone (Python 3.9 and later), so that it runs on old boards.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import (
    DamagedFileError,
    EdgekitError,
    FailedError,
    MissingDependencyError,
    UnsupportedError,
    UsageError,
)
from edgekit.toolchains import Options
from edgekit.toolchains._shared.inputs import check_shapes, narrowed, unknown_entry
from edgekit.toolchains._shared.machine import only
from edgekit.toolchains._shared.messages import line, sentence

#: Modules with an ``Interpreter``, and the distribution whose version to report; the first that imports is used.
INTERPRETERS = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
    ("tensorflow.lite.python.interpreter", "tensorflow"),
)

#: Operators whose operand types tell in what arithmetic the file runs.
ARITHMETIC = frozenset({
    "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL",
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM",
})  # fmt: skip


#: Up to this release (measured on tflite-runtime 2.14.0) an embedding with a scale per channel, and a matrix product
#: of float activations with such weights, run without an error and give zeros or noise: ai-edge-quantizer does not
#: raise the operator's version, by which the interpreter would know.
LAST_WITHOUT_CHANNELS = (2, 14)


class LiteRTSession:
    """An opened .tflite file; see ``edgekit.toolchains.Session``.

    Float arrays in and out: integers inside are reached by the tensor's own scale and zero point,
    ``stored = clamp(round_half_even(real / scale) + zero_point)`` (TensorFlow Lite 8-bit quantization specification).
    """

    stand_in = False

    def __init__(self, file: Path, threads: int = 1, entry: str | None = None) -> None:
        """Load and allocate; raises ``DamagedFileError``, ``UnsupportedError``, ``MissingDependencyError``.

        An entry is one of several signatures, which the interpreter runs by their names alone; it tells the operators
        of the first graph only, so that nothing is known of what its delegate runs of another.
        """
        module, name = _interpreter_module()
        self._interpreter = _allocated(module, file, threads)
        signatures = list(self._interpreter.get_signature_list())
        if (len(signatures) > 1) if entry is None else (entry not in signatures):
            raise unknown_entry("signature", file, entry, signatures)
        self._signature = self._interpreter.get_signature_runner(entry) if len(signatures) > 1 else None
        self._inputs, self._outputs = _tensors(self._interpreter, self._signature)
        self.by, self.precision = f"{name} {metadata.version(name)}", "not told"
        self.ops_delegated: int | None = None
        if self._signature is not None:
            return
        nodes = operators(self._interpreter)
        self.ops_delegated = delegated(nodes)
        self.precision = arithmetic(nodes)
        if any(t["dtype"] is np.float16 for t in self._interpreter.get_tensor_details()):
            self.precision += " (float16 weights, widened on load)"
        engine = "XNNPACK" if self.ops_delegated else "built-in kernels"
        self.by += f" {engine}"
        if name != "ai-edge-litert" and _release(name) <= LAST_WITHOUT_CHANNELS:
            _refuse_channel_scales(file, self.by, nodes, self._interpreter.get_tensor_details())

    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Run one sample and return fresh arrays by output name; raises ``UsageError`` on a wrong name or shape."""
        invoke = self.bind(inputs)
        try:
            found = invoke()
        except RuntimeError as error:
            raise FailedError(f"the LiteRT interpreter failed while running: {sentence(error)}") from error
        if self._signature is None:
            found = {name: self._interpreter.get_tensor(t["index"]) for name, t in self._outputs.items()}
        return {name: _real(found[name], t) for name, t in self._outputs.items()}

    def bind(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> Callable[[], Any]:
        """Set the inputs once and return a function that only invokes; one of several signatures is given them anew."""
        check_shapes(inputs, {name: tuple(tensor["shape"].tolist()) for name, tensor in self._inputs.items()})
        stored = {name: _stored(name, inputs[name], tensor) for name, tensor in self._inputs.items()}
        if self._signature is not None:
            return functools.partial(self._signature, **stored)
        for name, tensor in self._inputs.items():
            self._interpreter.set_tensor(tensor["index"], stored[name])
        invoke: Callable[[], Any] = self._interpreter.invoke
        return invoke

    def reset(self) -> None:
        """Forget the state of variables (a fused LSTM keeps its own between runs)."""
        self._interpreter.reset_all_variables()


def open_session(file: Path, options: Options, entry: str | None = None) -> LiteRTSession:
    """Open a .tflite file with a pinned number of threads; the file alone decides in what precision it runs."""
    only("cpu", options.unit, "LiteRT's XNNPACK")
    return LiteRTSession(file, options.threads, entry)


def load_runtime() -> None:
    """Import the interpreter."""
    _interpreter_module()


def operators(interpreter: Any) -> list[dict[str, Any]]:
    """The interpreter's nodes after allocation, with operand types; a DEQUANTIZE of a constant (storage) left out."""
    nodes: list[dict[str, Any]] = interpreter._get_ops_details()
    types = {t["index"]: np.dtype(t["dtype"]).name for t in interpreter.get_tensor_details()}
    for node in nodes:  # tflite-runtime 2.14 does not say them itself
        node["operand_types"] = [types.get(int(t), "") for t in node["inputs"]]
    computed = {int(t) for n in nodes if n["op_name"] != "DELEGATE" for t in n["outputs"]}
    computed |= {t["index"] for t in interpreter.get_input_details()}
    return [n for n in nodes if n["op_name"] != "DEQUANTIZE" or int(n["inputs"][0]) in computed]


def delegated(nodes: list[dict[str, Any]]) -> int:
    """Number of operators that delegates replaced, from the interpreter's node list after allocation."""
    return len(replaced(nodes))


def delegated_operators(file: Path, entry: str | None = None) -> dict[str, tuple[int, int]] | None:
    """Operators by type, how many XNNPACK takes and of how many; None of one of several signatures.

    The interpreter tells the operators of the first graph alone.
    """
    module, _ = _interpreter_module()
    interpreter = _allocated(module, file, 1)
    if entry is not None and len(interpreter.get_signature_list()) > 1:
        return None
    nodes = operators(interpreter)
    taken = replaced(nodes)
    found: dict[str, tuple[int, int]] = {}
    for node in nodes:
        if node["op_name"] != "DELEGATE":
            inside, of = found.get(node["op_name"], (0, 0))
            found[node["op_name"]] = (inside + (node["index"] in taken), of + 1)
    return dict(sorted(found.items()))


def replaced(nodes: list[dict[str, Any]]) -> set[int]:
    """Numbers of the operators that delegates replaced.

    A delegate's node is appended to the list and the replaced ones stay in it: they are those that lead from the
    delegate's inputs to its outputs.
    """
    originals = [n for n in nodes if n["op_name"] != "DELEGATE"]
    producer = {int(t): n for n in originals for t in n["outputs"]}
    found: set[int] = set()
    for node in nodes:
        if node["op_name"] != "DELEGATE":
            continue
        known = {int(t) for t in node["inputs"]}
        front = [int(t) for t in node["outputs"]]
        while front:
            tensor = front.pop()
            if tensor in known or tensor not in producer:
                continue
            known.add(tensor)
            made = producer[tensor]
            found.add(made["index"])
            front.extend(int(t) for t in made["inputs"] if t >= 0)
    return found


def arithmetic(nodes: list[dict[str, Any]]) -> str:
    """In what arithmetic the convolutions and matrix products run: ``f32``, ``int8``, ``f32+int8`` where mixed."""
    kinds = set()
    for node in nodes:
        if node["op_name"] not in ARITHMETIC:
            continue
        types = node["operand_types"][:3]
        if node["op_name"] == "TRANSPOSE_CONV":  # operands: output shape, weights, activations
            types = types[:0:-1]
        if types[0] == "float32":
            kinds.add("f32" if types[1] != "int8" else "integer weights, activations quantized at run time")
        else:
            kinds.add("int16x8" if types[0] == "int16" else types[0])
    return "+".join(sorted(kinds)) or "f32"


def _release(distribution: str) -> tuple[int, ...]:
    """Major and minor number of an installed distribution."""
    return tuple(int(part) for part in metadata.version(distribution).split(".")[:2])


def _refuse_channel_scales(file: Path, by: str, nodes: list[dict[str, Any]], tensors: list[dict[str, Any]]) -> None:
    channels = {t["index"] for t in tensors if len(t["quantization_parameters"]["scales"]) > 1}
    for node in nodes:
        hybrid = node["op_name"] == "FULLY_CONNECTED" and node["operand_types"][0] == "float32"
        if (hybrid or node["op_name"] == "EMBEDDING_LOOKUP") and int(node["inputs"][1]) in channels:
            raise UnsupportedError(
                f"{file}: {by} computes {node['op_name']} with a scale per channel wrongly, without an error",
                hint="Install ai-edge-litert on the device, or use the fp32 target or static int8 from Keras.",
            )


def _interpreter_module() -> tuple[Any, str]:
    for module, distribution in INTERPRETERS:
        try:
            return importlib.import_module(module), distribution
        except ModuleNotFoundError:
            continue
    raise MissingDependencyError(
        f"no LiteRT interpreter is installed; tried {', '.join(m for m, _ in INTERPRETERS)}",
        hint='pip install "edgekit[litert]"',
    )


def _allocated(module: Any, file: Path, threads: int) -> Any:
    """An interpreter with its memory planned and the default delegate applied."""
    if not file.is_file():
        raise UsageError(f"{file} is not a file")
    try:
        interpreter = module.Interpreter(model_path=str(file), num_threads=threads)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise _refusal(file, module, error, DamagedFileError) from error
    for tensor in interpreter.get_tensor_details():  # XNNPACK aborts the process on some of these
        if not np.isfinite(tensor["quantization_parameters"]["scales"]).all():
            raise FailedError(f"{file}: tensor {tensor['name']} has a scale that is not finite")
    try:
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, MemoryError) as error:
        raise _refusal(file, module, error, FailedError) from error
    return interpreter


def _refusal(file: Path, module: Any, error: Exception, otherwise: type[EdgekitError]) -> EdgekitError:
    """The interpreter's message as an error of ours."""
    if text := line(error, "Select TensorFlow op|custom op"):
        return UnsupportedError(
            f"{file.name} needs operators outside LiteRT: {text}", hint="Convert it again without SELECT_TF_OPS."
        )
    if text := line(error, "Didn't find op for builtin opcode"):
        return UnsupportedError(
            f"{file.name} needs a newer interpreter than {module.__name__}: {text}",
            hint="Install ai-edge-litert on the device.",
        )
    if found := re.search(r"(.*?)Node number \d+ \((\w+)\) failed to (?:prepare|invoke)", str(error), re.DOTALL):
        said = found[1].strip().splitlines()[-1:] or ["nothing more is said"]
        return UnsupportedError(f"{module.__name__} does not run the operator {found[2]} of {file.name}: {said[0]}")
    return otherwise(f"{file.name} cannot be opened by {module.__name__}: {sentence(error)}")


def _tensors(interpreter: Any, chosen: Any) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Input and output tensors by the signature's names; by the tensors' own where the file has no signature."""
    if interpreter.get_signature_list():
        runner = chosen or interpreter.get_signature_runner()
        return runner.get_input_details(), runner.get_output_details()
    return (
        {t["name"]: t for t in interpreter.get_input_details()},
        {t["name"]: t for t in interpreter.get_output_details()},
    )


def _stored(name: str, array: np.ndarray[Any, Any], tensor: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """The array as the tensor stores it."""
    dtype, (scale, zero_point) = np.dtype(tensor["dtype"]), tensor["quantization"]
    if array.dtype.kind != ("f" if scale else dtype.kind):
        raise UsageError(f"input holds {array.dtype}; the file takes {'float32' if scale else dtype}")
    if scale:
        limits = np.iinfo(dtype)
        stored: np.ndarray[Any, Any] = np.clip(np.rint(array / scale) + zero_point, limits.min, limits.max)
        return stored.astype(dtype)
    return narrowed(name, array, dtype)


def _real(array: np.ndarray[Any, Any], tensor: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """A stored output as real numbers; integers without a scale (indices) stay as they are."""
    scale, zero_point = tensor["quantization"]
    if not scale:
        return array
    real: np.ndarray[Any, Any] = (array.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    return real
