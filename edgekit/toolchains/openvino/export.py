"""From a framework to OpenVINO IR with the source's tensor names, and nothing else of the source in it."""

from __future__ import annotations

import hashlib
import itertools
import re
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import openvino as ov

from edgekit.errors import FailedError, OtherRouteError
from edgekit.frameworks import LoadedModel
from edgekit.signature import TensorSpec
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import messages, tensorflow_graph, torch_graph
from edgekit.toolchains.openvino.passes.constants import compute_constants
from edgekit.toolchains.openvino.passes.heads import take_apart_first

FILE = "model.xml"
LOOPS = ("TensorIterator", "Loop")

_NUMBERED = re.compile(r"^([A-Z][A-Za-z0-9]*)_\d+$")
#: The mark that keeps the conversion to float32 in the compiled model.
DECOMPRESSION = re.compile(r'\s*<attribute name="decompression"[^>]*/>')


def from_trace(model: LoadedModel | None, request: Request) -> Converted:
    """Convert through TorchScript tracing, which keeps recurrent cells and attention whole."""
    import torch

    from edgekit.frameworks.torch import tracing

    assert model is not None
    if model.kind == "pt2":
        raise OtherRouteError("an exported program is not traced again")
    example = tuple(torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in model.signature.inputs)
    with torch.no_grad(), tracing(model):
        converted = _convert(model.native, example_input=example[0] if len(example) == 1 else example)
    return finish(converted, request, model.signature.inputs)


def from_program(model: LoadedModel | None, request: Request) -> Converted:
    """Convert a ``torch.export`` program (torch modules, and Keras on the torch backend)."""
    from edgekit.frameworks.torch import torch_export

    assert model is not None
    program = torch_export(model)
    converted = _convert(torch_graph.folded(program), places=lambda names: torch_graph.places(program, names))
    return finish(converted, request, model.signature.inputs)


def _convert(source: Any, *, places: Callable[[list[str]], list[str]] = lambda names: [], **options: Any) -> ov.Model:
    """Call the vendor's converter; ``places`` finds where the operators are that it lacks."""
    try:
        return ov.convert_model(source, **options)
    except ov.frontend.OpConversionFailure as error:
        if names := messages.operators(str(error)):
            raise messages.lacking("OpenVINO", names, places(names)) from error
        raise


def from_saved_model(model: LoadedModel | None, request: Request) -> Converted:
    """Convert the static batch-1 SavedModel of a TensorFlow-side model; its loops stay loops, never quantized."""
    from edgekit.frameworks import saved_model

    assert model is not None
    with tempfile.TemporaryDirectory() as folder:
        saved = saved_model.export_saved_model(model, Path(folder))
        converted = _convert(str(saved), places=lambda names: tensorflow_graph.places(saved, names))
        found = sum(node.get_type_name() in LOOPS for node in converted.get_ops())
        note = f"{found} of its operators are loops" if found else ""
        return finish(converted, request, model.signature.inputs, note=note)


def from_onnx(model: LoadedModel | None, request: Request) -> Converted:
    """Convert an ONNX model by OpenVINO's own frontend."""
    assert model is not None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(model.native.SerializeToString())
        return finish(_convert(str(file)), request, model.signature.inputs)


def to_fp16(model: LoadedModel | None, request: Request) -> Converted:
    """Store the weights of the fp32 file in float16; the CPU computes in float32."""
    model = read(request.float_file)
    compute_constants(model)
    share_weights(model)
    return finish(model, request, (), fp16=True)


def to_fp16_widened(model: LoadedModel | None, request: Request) -> Converted:
    """The same without the marks that keep weights in float16 in memory: they are widened once, when it is opened.

    The CPU otherwise widens the weights of matmuls in every run, which costs time where a cache would hold them.
    """
    made = to_fp16(model, request)
    text = made.file.read_text("utf-8")
    made.file.write_text(DECOMPRESSION.sub("", text), "utf-8")
    return replace(made, notes=(*made.notes, "float16 weights are widened once, when the file is opened"))


def read(file: Path | None) -> ov.Model:
    """Read an IR that was verified before."""
    assert file is not None
    return ov.Core().read_model(file)


def names_of(model: ov.Model) -> frozenset[str]:
    """The names of a model's operators."""
    return frozenset(node.get_friendly_name() for node in model.get_ops())


def finish(
    model: ov.Model,
    request: Request,
    inputs: Sequence[TensorSpec],
    *,
    fp16: bool = False,
    note: str = "",
    named: Collection[str] = (),
) -> Converted:
    """Fix the shapes, name the tensors, remove what tells of this machine or this run, and write both files.

    Operators that have one of the names ``named``, those of the file that the model was made of, keep it.
    """
    model = _ordered(model, request)
    if inputs:
        model.reshape({port: ov.PartialShape(list(t.shape)) for port, t in zip(model.inputs, inputs, strict=True)})
    for port in (*model.inputs, *model.outputs):
        if port.partial_shape.is_dynamic:
            name = port.any_name if port.names else "a port without a name"
            raise FailedError(
                f"the converter left a dynamic axis in {name!r} ({port.partial_shape}), though all inputs have fixed "
                "shapes"
            )
    if inputs:
        take_apart_first(model)
    _name(model, request, named)
    file = request.folder / FILE
    ov.save_model(model, file, compress_to_fp16=fp16)
    text = file.read_text("utf-8")
    # The model's own rt_info (one tab; a layer's has more) holds converter settings and tool versions; nothing
    # reads it when the file is opened.
    layers, found, _ = text.rpartition("\n\t<rt_info>\n")
    text = f"{layers}\n</net>\n" if found else text
    file.write_text(text, "utf-8")
    return Converted(file, (note,) if note else ())


def share_weights(model: ov.Model) -> None:
    """Keep one of equal weights: the steps of an unrolled layer bring a copy each, which would be widened each."""
    first: dict[tuple[object, ...], Any] = {}
    for node in _weights(model):
        array = node.get_data()
        kept = first.setdefault((array.shape, hashlib.sha256(array).digest()), node)
        if kept is not node:
            for port in node.output(0).get_target_inputs():
                port.replace_source_output(kept.output(0))


def _weights(model: ov.Model) -> list[Any]:
    """Float32 constants of two axes or more."""
    constants = [node for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]
    return [n for n in constants if n.get_element_type() == ov.Type.f32 and len(n.get_output_shape(0)) > 1]


def _ordered(model: ov.Model, request: Request) -> ov.Model:
    """Bring inputs and outputs into the source's order where their names tell it."""
    for kind, ports, names in (("input", model.inputs, request.inputs), ("output", model.outputs, request.outputs)):
        if len(ports) != len(names):
            raise FailedError(f"the converted model has {len(ports)} {kind}s, the source {len(names)}")
    parameters = [port.get_node() for port in _sorted(model.inputs, request.inputs)]
    results = [port.get_node() for port in _sorted(model.outputs, request.outputs)]
    return ov.Model(results, parameters, "model")


def _sorted(ports: Sequence[Any], names: Sequence[str]) -> list[Any]:
    by_name = {re.sub(r"\W", "_", name): port for port in ports for name in port.get_names()}
    wanted = [re.sub(r"\W", "_", name) for name in names]
    return [by_name[name] for name in wanted] if set(wanted) <= by_name.keys() else list(ports)


def _name(model: ov.Model, request: Request, named: Collection[str]) -> None:
    """Give ports the source's names and nodes names that do not depend on what was converted before."""
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() not in ("Parameter", "Result")]
    # What has no name of its own is called by its type and a number, which by chance may be that of another.
    kept = {name for node in nodes if (name := node.get_friendly_name()) in named and name != node.get_name()}
    for node in model.get_ops():
        for port in node.outputs():
            port.get_tensor().set_names(set())
    for port, name in zip(model.inputs, request.inputs, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
    for port, name in zip(model.outputs, request.outputs, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(f"{name}/result")
    taken = {*request.inputs, *kept}
    for node in nodes:
        if node.get_friendly_name() in kept and node.get_friendly_name() != node.get_name():
            continue
        # Unnamed nodes, and what OpenVINO makes of them, are called by a type and a number of the whole process.
        plain = _NUMBERED.sub(r"\1", node.get_friendly_name())
        free = itertools.chain([plain], (f"{plain}_{i}" for i in itertools.count(2)))
        node.set_friendly_name(next(name for name in free if name not in taken))
        taken.add(node.get_friendly_name())
