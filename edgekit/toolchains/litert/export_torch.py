"""Routes from PyTorch through litert-torch. Inputs and outputs keep the model's own layout (channels first)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgekit.errors import FailedError, UnsupportedError
from edgekit.frameworks import LoadedModel
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import messages, pt2e, torch_graph
from edgekit.toolchains.litert.passes.names import write_named
from edgekit.user_code import source_line

FILE = "model.tflite"


def convert_fp32(model: LoadedModel | None, request: Request) -> Converted:
    """Float file, nothing quantized."""
    from edgekit.frameworks.torch import torch_export

    assert model is not None
    scripted = model.kind == "torchscript"  # cannot be exported as it is; any other module litert-torch exports itself
    module = torch_export(model).module(check_guards=False) if scripted else model.native
    return _write(module, _example(model), request)


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
    made = _write(converted, _example(model), request, QuantConfig(pt2e_quantizer=quantizer))
    return replace(made, kept=kept)


def _example(model: LoadedModel) -> tuple[Any, ...]:
    import torch

    return tuple(torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in model.signature.inputs)


def _write(module: Any, example: tuple[Any, ...], request: Request, quantization: Any = None) -> Converted:
    import litert_torch

    file = request.folder / FILE
    try:
        written = litert_torch.convert(module, example, quant_config=quantization)
    except Exception as error:  # RuntimeError, ValueError, KeyError and MLIR's own, all for one and the same
        raise _explained(error) from error
    written.export(str(file))
    write_named(file.read_bytes(), file, request)
    return Converted(file)


def _explained(error: Exception) -> FailedError | UnsupportedError:
    from edgekit.frameworks.torch import data_dependent

    text = str(error)
    if names := messages.operators(text):
        return messages.lacking("litert-torch", names, [source_line(text)])
    if "data-dependent" in text:
        return data_dependent(error)
    if line := messages.line(error, "Lowering not found|is not supported"):
        return UnsupportedError(f"litert-torch: {line}", hint="Replace the operator in the model.")
    return messages.raised("litert-torch", error)
