"""Lowering a rewritten graph to a .pte with the XNNPACK delegate; the route for float32 files."""

from __future__ import annotations

import torch
from torch import fx

from edgekit.errors import UnsupportedError
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.loaded import example as example_of
from edgekit.frameworks.torch import torch_export
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import messages, torch_graph
from edgekit.toolchains._shared.messages import sentence
from edgekit.toolchains.executorch import vendor
from edgekit.toolchains.executorch.audit import inspect, write_sidecar
from edgekit.toolchains.executorch.graphs import drop_unread
from edgekit.toolchains.executorch.passes.integers import agree
from edgekit.toolchains.executorch.passes.rewriting import rewritten

FILE = "model.pte"
_MOST_NAMED = 6


@torch_graph.unrepeated()
def to_fp32(model: LoadedModel | None, request: Request) -> Converted:
    """Float file, nothing quantized."""
    assert model is not None
    return lowered(graph_of(model), model, request)


def graph_of(model: LoadedModel, *, exact_gelu: bool = False) -> fx.GraphModule:
    """The model's graph, rewritten; see ``rewriting.rewritten``.

    ``torch.onnx.export`` puts a module back into the mode that its outermost part had before: one that was wrapped
    for it comes out in training mode, and everything exported later in this process is wrong.
    """
    if isinstance(model.native, torch.nn.Module) and not isinstance(model.native, fx.GraphModule):
        model.native.eval()
    vendor.forget_programs()
    return rewritten(torch_export(model), exact_gelu=exact_gelu)


def _refuse_complex(program: torch.export.ExportedProgram) -> None:
    """Refuse complex numbers, which the format's reader does not know, where they are made first."""
    for node in program.graph.nodes:
        if getattr(getattr(node.meta.get("val"), "dtype", None), "is_complex", False):
            name = str(node.target)
            raise messages.lacking(
                "ExecuTorch", [f"the complex numbers of {name}"], torch_graph.places(program, [name])
            )


def lowered(graph: fx.GraphModule, model: LoadedModel, request: Request, *notes: str) -> Converted:
    """Give everything that XNNPACK takes to it and write the program; what stays outside is named in a note.

    ``graph`` is used up: it is empty afterwards.

    Raises:
        UnsupportedError: ExecuTorch has no kernel for an operator.
    """
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    drop_unread(graph)
    agree(graph)
    example = tuple(torch.from_numpy(a) for a in example_of(model))
    with torch.no_grad():
        program = torch.export.export(graph, example, strict=False)
    _refuse_complex(program)
    norms = {
        torch.ops.aten.group_norm.default: vendor.two_pass_group_norm,
        torch.ops.aten.instance_norm.default: vendor.two_pass_instance_norm,
    }
    if any(node.target in norms for node in graph.graph.nodes):
        program = program.run_decompositions(norms)
    graph.graph = fx.Graph()  # the program has all of it, and what follows makes more copies
    vendor.collect(program)
    try:
        # The check of the core operator set refuses some quantized graphs that lower and run all the same.
        with vendor.merged_transposes():
            edge = to_edge_transform_and_lower(
                program, partitioner=[vendor.partitioner()], compile_config=EdgeCompileConfig(_check_ir_validity=False)
            )
        written = edge.to_executorch()
    except RuntimeError as error:
        if "Missing out variants" in str(error):
            raise UnsupportedError(
                f"ExecuTorch has no kernel for an operator of this model: {sentence(error)}",
                hint="Replace the operator, or take another format.",
            ) from error
        raise
    file = request.folder / FILE
    with file.open("wb") as stream:
        written.write_to_file(stream)
    write_sidecar(file, request.inputs, request.outputs)
    contents = inspect(file)
    left = [f"{name} x{count}" for name, count in contents.outside.items()]
    if len(left) > _MOST_NAMED:
        left[_MOST_NAMED:] = [f"{len(left) - _MOST_NAMED} more kinds"]
    named = f"outside the XNNPACK delegate, in portable kernels: {', '.join(left)}" if left else ""
    return Converted(file, tuple(note for note in (*notes, named) if note))
