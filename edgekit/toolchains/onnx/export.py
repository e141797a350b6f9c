"""From a framework to an fp32 ONNX file with the source's tensor names and nothing else of the source in it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx

from edgekit.errors import FailedError, OtherRouteError
from edgekit.frameworks import LoadedModel
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import messages, torch_graph
from edgekit.toolchains.onnx import vendor
from edgekit.toolchains.onnx.passes import opset
from edgekit.toolchains.onnx.passes.names import graphs, number, rename, shorten
from edgekit.toolchains.onnx.passes.sharing import share_parameters
from edgekit.toolchains.onnx.passes.stacks import one_scale

#: ONNX Runtime 1.31 refuses its own quantized files from opset 21 on when only some operator types are quantized
#: ("output_dtype INT8 does not match y_zero_point type UINT8"), so every file is opset 20.
OPSET = 20
#: tf2onnx 1.17 ends here.
OPSET_TENSORFLOW = 18


def from_torch(model: LoadedModel | None, request: Request) -> Converted:
    """Export through ``torch.export`` and the dynamo exporter (torch modules, and Keras on the torch backend)."""
    if model is not None and model.kind == "torchscript":  # what converts it to a program leaves its axes dynamic
        raise OtherRouteError("torch.export does not read TorchScript")
    return finish(_dynamo(torch_program(model)), request)


def from_torchscript(model: LoadedModel | None, request: Request) -> Converted:
    """Export a ``ScriptModule``, which ``torch.export`` cannot read, with the older exporter."""
    import torch

    assert model is not None
    if not isinstance(model.native, torch.jit.ScriptModule):
        raise OtherRouteError(f"the TorchScript route takes a ScriptModule, not {type(model.native).__name__}")
    sample = tuple(torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in model.signature.inputs)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        torch.onnx.export(model.native, sample, str(file), dynamo=False, opset_version=OPSET)
        proto = onnx.load(file)
    for value, spec in zip(proto.graph.output, model.signature.outputs, strict=False):
        shape = value.type.tensor_type.shape  # what a loop makes has open axes; a run has told their lengths
        if any(not d.HasField("dim_value") for d in shape.dim) or len(shape.dim) != len(spec.shape):
            shape.ClearField("dim")
            shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=n) for n in spec.shape)
    return finish(proto, request)


def from_onnx(model: LoadedModel | None, request: Request) -> Converted:
    """The model as it was handed in, its shapes fixed, in an opset that routes take."""
    assert model is not None
    copy = onnx.ModelProto()
    copy.CopyFrom(model.native)
    fitted, note = opset.fitted(copy, OPSET)
    done = finish(fitted, request)
    return Converted(done.file, (note,)) if note else done


def from_saved_model(model: LoadedModel | None, request: Request) -> Converted:
    """Export the static batch-1 function of a TensorFlow-side model with tf2onnx; its loops stay loops, in float."""
    import tensorflow as tf
    import tf2onnx

    from edgekit.frameworks.saved_model import forward_function

    assert model is not None
    call, _ = forward_function(model)
    specs = [tf.TensorSpec(t.shape, t.dtype) for t in model.signature.inputs]
    function = tf.function(call, input_signature=specs, autograph=False)
    proto, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=OPSET_TENSORFLOW)
    foreign = {
        node.op_type: node.name for node in proto.graph.node if not node.domain and not onnx.defs.has(node.op_type)
    }
    if foreign:  # tf2onnx passes on what it does not know
        places = [f"at {name.split('PartitionedCall/')[-1]}" for name in foreign.values()]
        raise messages.lacking("tf2onnx", list(foreign), places)
    found = sum(node.op_type in ("Loop", "Scan") for node in proto.graph.node)
    shorten(proto.graph)
    number(proto.graph)
    done = finish(proto, request)
    return Converted(done.file, (f"{found} of its operators are loops",)) if found else done


def torch_program(model: LoadedModel | None, *, unroll: bool = False) -> Any:
    """Export a fresh ``ExportedProgram``; ``unroll`` turns recurrent cells into their matrix products.

    ``aten.lstm`` is one opaque node that no quantizer enters; only that entry of PyTorch's decomposition table is
    applied, because the whole table also takes linear layers apart.

    Raises:
        OtherRouteError: to be unrolled, and without a recurrent cell: plain routes convert the same operators.
    """
    from edgekit.frameworks.torch import torch_export

    assert model is not None
    program = torch_export(model)
    if not unroll:
        return program
    import torch

    aten = torch.ops.aten
    table = torch.export.default_decompositions()
    cells = {op: table[op] for op in (aten.lstm.input, aten.gru.input)}
    if not any(node.target in cells for node in program.graph.nodes):
        raise OtherRouteError(
            "the model has no recurrent cell of PyTorch's to unroll (Keras's are unrolled in any export)"
        )
    return program.run_decompositions(cells)


def _without_overflow(program: Any) -> Any:
    """Write functions of large exponentials so that none overflows.

    The exporter writes log(sigmoid(x)) and log(exp(x) + exp(y)): -inf from x = -64 on where the answer is -64.
    """
    import torch

    aten = torch.ops.aten

    def log_sigmoid(x: Any) -> Any:
        return -aten.softplus.default(-x)

    def logaddexp(x: Any, y: Any) -> Any:
        return aten.maximum.default(x, y) + aten.softplus.default(-aten.abs.default(x - y))

    table = {aten.log_sigmoid.default: log_sigmoid, aten.logaddexp.default: logaddexp}
    return program.run_decompositions(table) if any(n.target in table for n in program.graph.nodes) else program


def _dynamo(program: Any) -> onnx.ModelProto:
    import torch

    program = _without_overflow(program)
    try:
        with torch.no_grad(), vendor.exact_constants():  # vendor.OTHER_ATTENTION
            exported = torch.onnx.export(
                program, (), dynamo=True, opset_version=OPSET, external_data=False, verbose=False, optimize=True
            )
    except torch.onnx.errors.OnnxExporterError as error:
        if names := messages.operators(str(error)):
            raise messages.lacking("torch.onnx", names, torch_graph.places(program, names)) from error
        raise messages.raised("torch.onnx", error.__cause__ or error) from error
    assert exported is not None
    proto: onnx.ModelProto = exported.model_proto
    return proto


def unrolled(model: LoadedModel | None) -> onnx.ModelProto:
    """Export with recurrent cells as matrix products, one set per time step."""
    return _dynamo(torch_program(model, unroll=True))


def finish(model: onnx.ModelProto, request: Request, name: str = "model.onnx", *, quantized: bool = False) -> Converted:
    """Strip, name, check and write a model.

    Exporters write source paths and stack traces into the file; without them the same model gives the same bytes
    on every machine, and tells nothing about the machine. Shapes between the operators are left out
    (targets/REASONS.md#names); of a ``quantized`` file, equal parameters are kept once.

    Raises:
        FailedError: the exporter wrote an invalid model (tf2onnx writes exact GELU as a non-existent ``Erfc``).
    """
    strip(model)
    _name_tensors(model.graph, request)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise FailedError(f"the exporter wrote an invalid ONNX model: {messages.sentence(error)}") from error
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    if quantized:
        one_scale(model.graph)
    for value in (*model.graph.input, *model.graph.output):
        if any(not d.HasField("dim_value") or d.dim_value < 1 for d in value.type.tensor_type.shape.dim):
            raise FailedError(
                f"the exporter left a dynamic axis in {value.name!r}, though all inputs have fixed shapes"
            )
    for graph in graphs(model.graph):  # all of them can be inferred again
        del graph.value_info[:]
    if quantized:
        share_parameters(model.graph)
    file = request.folder / name
    file.write_bytes(model.SerializeToString(deterministic=True))
    return Converted(file)


def strip(model: onnx.ModelProto) -> None:
    """Remove doc strings and metadata everywhere."""
    model.doc_string = ""
    del model.metadata_props[:]
    for graph in graphs(model.graph):
        graph.doc_string = ""
        for item in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
            item.doc_string = ""
            del item.metadata_props[:]


def _name_tensors(graph: onnx.GraphProto, request: Request) -> None:
    """Give inputs and outputs the source's names, in order (or by name where all of them match already)."""
    for kind, values, names in (("input", graph.input, request.inputs), ("output", graph.output, request.outputs)):
        found = [v.name for v in values]
        if len(found) != len(names):
            raise FailedError(f"the file has {len(found)} {kind}s ({', '.join(found)}), the source {len(names)}")
        if set(found) != set(names):
            rename(graph, dict(zip(found, names, strict=True)))
