"""From a framework to an ML Program in float."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.errors import FailedError, UnsupportedError
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.loaded import identifiers
from edgekit.signature import TensorSpec
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import messages, torch_graph
from edgekit.toolchains.coreml import package
from edgekit.toolchains.coreml.passes import cells, linear
from edgekit.toolchains.coreml.vendor import coremltools, torch_frontend

#: Where the target names none: the first with 4-bit weights and attention as one operator.
DEPLOYMENT_TARGET = "iOS18"


def from_trace(model: LoadedModel | None, request: Request) -> Converted:
    """Convert through TorchScript tracing, which keeps recurrent cells whole (PyTorch, Keras on the torch backend)."""
    import torch

    from edgekit.frameworks.torch import tracing

    assert model is not None
    specs = model.signature.inputs
    example = tuple(torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in specs)
    with torch.no_grad(), tracing(model):
        traced = torch.jit.trace(flat(model), example, check_trace=False)  # type: ignore[no-untyped-call]
    ct = coremltools()
    return _convert(ct, traced, request, inputs=_tensor_types(ct, specs))


def from_program(model: LoadedModel | None, request: Request) -> Converted:
    """Convert a ``torch.export`` program; recurrent cells become one set of products per time step."""
    return convert_program(exported(model), request)


def convert_program(program: Any, request: Request) -> Converted:
    """Convert an ``ExportedProgram`` whose inputs are in the source's order."""
    return _convert(coremltools(), program, request)


@torch_graph.unrepeated()
def exported(model: LoadedModel | None) -> Any:
    """Export with what coremltools cannot read in an exported program taken apart.

    That is recurrent cells, tanh GELU, and every operator that it does not know and PyTorch can write in others.
    """
    import torch

    from edgekit.frameworks.torch import torch_export

    assert model is not None
    aten, table = torch.ops.aten, torch.export.default_decompositions()
    known: dict[Any, Any] = {op: table[op] for op in (aten.lstm.input, aten.gru.input)}
    known |= {**torch_graph.crops(), **cells.decompositions()}  # coremltools 9 refuses a padding that takes away
    program = torch_graph.folded(torch_export(model))
    if any(node.kwargs.get("approximate") == "tanh" for node in program.graph.nodes):
        # coremltools reads GELU's approximation from TorchScript only, and takes it for exact here
        # (targets/REASONS.md#tanh-gelu).
        known |= torch._decomp.get_decompositions([aten.gelu.default])
    coremltools()
    program = program.run_decompositions(known)
    while more := _unknown(program) & set(table):  # what an operator is taken apart into may be unknown, too
        program = program.run_decompositions({op: table[op] for op in more})
    return program.run_decompositions({})


def _unknown(program: Any) -> set[Any]:
    """PyTorch's operators in a program that coremltools has no translation of."""
    import torch
    from coremltools.converters.mil.frontend.torch import torch_op_registry

    registry = torch_op_registry._TORCH_OPS_REGISTRY
    with torch_frontend():
        targets = {node.target for node in program.graph.nodes if node.op == "call_function"}
        return {op for op in targets if isinstance(op, torch._ops.OpOverload) and registry.get_func(op.name()) is None}


def from_concrete(model: LoadedModel | None, request: Request) -> Converted:
    """Convert a TensorFlow function of static batch 1 (a SavedModel that Keras writes has two, which is refused)."""
    import tensorflow as tf

    from edgekit.frameworks.of_keras.outputs import forward

    assert model is not None
    inputs, native = model.signature.inputs, model.native
    names = identifiers([t.name for t in inputs])
    specs = [tf.TensorSpec(t.shape, t.dtype, name=n) for t, n in zip(inputs, names, strict=True)]
    outputs = model.signature.outputs

    @tf.function(input_signature=specs, autograph=False)  # type: ignore[untyped-decorator]
    def serve(*xs: Any) -> dict[str, Any]:
        if model.kind == "savedmodel":
            found = next(iter(native.signatures.values()))(**dict(zip((t.name for t in inputs), xs, strict=True)))
            results = [found[t.name] for t in outputs]
        else:
            results = forward(native, xs)
        return {name: tf.identity(r) for name, r in zip(identifiers([t.name for t in outputs]), results, strict=True)}

    return _convert(coremltools(), [serve.get_concrete_function()], request, source="tensorflow")


def flat(model: LoadedModel) -> Any:
    """The model as a module from positional tensors to one tensor or a tuple of them."""
    import torch

    from edgekit.frameworks.loaded import named
    from edgekit.frameworks.of_keras.outputs import forward

    native, keras = model.native, model.framework == "keras"

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = native

        def forward(self, *xs: Any) -> Any:
            found = forward(native, xs) if keras else [t for _, t in named(native(*xs), torch.is_tensor)]
            return found[0] if len(found) == 1 else tuple(found)

    return Flat().eval()


def _tensor_types(ct: Any, specs: Sequence[TensorSpec]) -> list[Any]:
    names = identifiers([t.name for t in specs])
    return [ct.TensorType(name=n, shape=t.shape, dtype=_dtype(t)) for n, t in zip(names, specs, strict=True)]


def _dtype(spec: TensorSpec) -> Any:
    """Core ML's inputs are float or int32."""
    return np.float32 if spec.dtype.startswith("float") else np.int32


def _convert(ct: Any, model: Any, request: Request, **options: Any) -> Converted:
    half = request.scheme.weights == "float16"
    name = request.minimum_deployment_target or DEPLOYMENT_TARGET
    target = package.deployment_target(ct, name)
    try:
        with torch_frontend():
            converted = ct.convert(
                model,
                convert_to="mlprogram",
                minimum_deployment_target=target,
                compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
                pass_pipeline=_passes(ct),
                skip_model_load=True,
                **options,
            )
    except NotImplementedError as error:
        raise UnsupportedError(f"coremltools: {messages.sentence(error)}") from error
    except Exception as error:  # coremltools raises RuntimeError, ValueError, TypeError, KeyError for one and the same
        raise _explained(error, name) from error
    return package.write(converted.get_spec(), converted.weights_dir, request)


def _passes(ct: Any) -> Any:
    """Coremltools' graph passes without the one that scales by ``1 / sqrt(1 + 1e-5)``.

    It writes any multiply and add as a batch norm of variance 1 with the default epsilon; folded into the convolution
    before it, every weight comes out 5e-6 too small (targets/REASONS.md#coreml-batch-norm). Other passes fold the
    multiply and the add. At the end products with a matrix become ``linear``, see ``passes/linear.py``.
    """
    pipeline = ct.PassPipeline.DEFAULT
    pipeline.remove_passes({"common::fuse_elementwise_to_batchnorm"})
    pipeline.append_pass(linear.register())
    return pipeline


def _explained(error: Exception, target: str) -> FailedError | UnsupportedError:
    if line := messages.line(error, "not implemented|Unsupported fx node|not supported"):
        return UnsupportedError(f"coremltools: {line}")
    if line := messages.line(error, "minimum_deployment_target|(?i:opset)"):
        return UnsupportedError(
            f"the model needs more than {target} has: {line}",
            hint="Raise minimum_deployment_target in the target's TOML.",
        )
    return messages.raised("coremltools", error)
