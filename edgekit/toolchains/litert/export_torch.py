"""Routes from PyTorch through litert-torch. Inputs and outputs keep the model's own layout (channels first)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from edgekit.errors import FailedError, UnsupportedError
from edgekit.frameworks import LoadedModel
from edgekit.scheme import Scheme
from edgekit.toolchains import Converted, Options, Request
from edgekit.toolchains._shared import messages, pt2e, torch_graph
from edgekit.toolchains.litert import session
from edgekit.toolchains.litert.graph import lowered_no_further
from edgekit.toolchains.litert.passes.names import write_named
from edgekit.toolchains.litert.schema import packed_model
from edgekit.user_code import source_line

FILE = "model.tflite"
#: The shape that an operator of MLIR makes.
_RESULT = re.compile(r"-> tensor<([\dx]+)x\w+>")


def convert_fp32(model: LoadedModel | None, request: Request) -> Converted:
    """Float file, nothing quantized."""
    from edgekit.frameworks.torch import exportable, torch_export

    assert model is not None
    scripted = model.kind == "torchscript"  # cannot be exported as it is; any other module litert-torch exports itself
    module = torch_export(model).module(check_guards=False) if scripted else exportable(model)
    return _write(model, module, request)


def convert_pt2e_int8(model: LoadedModel | None, request: Request) -> Converted:
    """Static int8 with observers in the exported graph (PT2E), converted with the scales found there."""
    import torch
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    from edgekit.frameworks.torch import torch_export

    assert model is not None
    graph = torch_graph.erase_identities(torch_export(model).module(check_guards=False))
    quantizer = PT2EQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False))
    pt2e.ready(graph)
    kept = pt2e.keep_floats(graph, request)
    try:
        prepared = pt2e.estimating(prepare_pt2e(graph, quantizer), request)
        with torch.no_grad():
            for sample in torch_graph.samples(model, request):
                prepared(*sample)
        pt2e.give_ranges(prepared, model, request)
        converted = convert_pt2e(prepared, fold_quantize=False)
    except (RuntimeError, ValueError, TypeError, KeyError, AssertionError) as error:  # observers on integer tensors
        raise UnsupportedError(f"PT2E cannot observe this graph: {messages.sentence(error)}") from error
    made = _write(model, converted, request, QuantConfig(pt2e_quantizer=quantizer))
    return replace(made, kept=kept)


def _example(model: LoadedModel) -> tuple[Any, ...]:
    import torch

    return tuple(torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in model.signature.inputs)


def _write(model: LoadedModel, module: Any, request: Request, quantization: Any = None) -> Converted:
    import litert_torch
    import torch
    from litert_torch.fx_infra import decomp

    file = request.folder / FILE
    decomp.add_pre_convert_decomp(torch.ops.aten._softmax.default, _softmax)
    for operator in (torch.ops.aten.add.Tensor, torch.ops.aten.sub.Tensor):
        decomp.add_pre_convert_decomp(operator, partial(_with_factor, operator))
    try:
        written = litert_torch.convert(module, _example(model), quant_config=quantization)
    except Exception as error:  # RuntimeError, ValueError, KeyError and MLIR's own, all for one and the same
        raise _explained(error, model) from error
    written.export(str(file))
    if left := lowered_no_further(packed_model(file.read_bytes(), file)):
        _check_runs(file, left, model, request.scheme)
    write_named(file.read_bytes(), file, request)
    return Converted(file)


def _softmax(x: Any, axis: int, half_to_float: bool) -> Any:
    """A softmax of which TensorFlow Lite has an operator: over the last axis, and over more than one value.

    Any other stays maxima, exponentials and sums, which are computed in float in a file that is full integer else.
    """
    import torch

    if x.ndim == 0 or x.shape[axis] == 1:
        return torch.ones_like(x, dtype=torch.float32 if half_to_float else None)
    if axis in (-1, x.ndim - 1):
        return NotImplemented
    return torch.ops.aten._softmax.default(x.transpose(axis, -1), -1, half_to_float).transpose(axis, -1)


def _with_factor(operator: Any, x: Any, y: Any, *, alpha: Any = 1) -> Any:
    """A sum whose second term has a factor, of which litert-torch ends with a TypeError."""
    return NotImplemented if alpha == 1 else operator(x, y * alpha)


def _check_runs(file: Path, left: Sequence[str], model: LoadedModel, scheme: Scheme) -> None:
    """Refuse a file with operators that the interpreter may lack, by their places in the model."""
    try:
        session.open_session(file, Options(scheme))
    except UnsupportedError as error:
        missing = [name for name in left if name in str(error)] or list(left)
        where = _places(model, [name.removeprefix("STABLEHLO_").lower() for name in missing])
        raise messages.lacking("LiteRT", missing, where) from error


#: What torch calls an operator of MLIR.
_TORCH_NAMES = {"convolution": "conv"}


def _places(model: LoadedModel, names: Sequence[str], shape: Sequence[int] = ()) -> list[str]:
    """Where in the model are operators that MLIR calls by names of its own; a shape tells one from the others."""
    from edgekit.frameworks.torch import torch_export

    stems = [name.rpartition(".")[2] for name in names]
    found = [f"aten.{_TORCH_NAMES.get(stem, stem)}" for stem in stems]
    return torch_graph.places(torch_export(model), found, shape)


def _explained(error: Exception, model: LoadedModel) -> FailedError | UnsupportedError:
    from edgekit.frameworks.torch import data_dependent

    text = str(error)
    if names := messages.operators(text):
        shapes = _RESULT.findall(text)
        shape = [int(n) for n in shapes[-1].split("x") if n.isdecimal()] if shapes else []
        where = [source_line(text)] if source_line(text) else _places(model, names, shape)
        return messages.lacking("litert-torch", names, where)
    if "data-dependent" in text:
        return data_dependent(error)
    if line := messages.line(error, "Lowering not found|is not supported"):
        return UnsupportedError(f"litert-torch: {line}", hint="Replace the operator in the model.")
    return messages.raised("litert-torch", error)
