"""ML Programs of 8 and of 4 bits: from the verified float file, or from PyTorch's own quantizer."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgekit.errors import UnsupportedError
from edgekit.frameworks import LoadedModel
from edgekit.mil.package import Package, read
from edgekit.mil.program import Program
from edgekit.mil.program import read as read_program
from edgekit.scheme import Scheme
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import messages, rules, torch_graph
from edgekit.toolchains._shared import pt2e as observing
from edgekit.toolchains._shared.calibration import BOUNDED, calibration_of, observers
from edgekit.toolchains._shared.rules import Outcomes
from edgekit.toolchains.coreml import package
from edgekit.toolchains.coreml.audit import Factor, factors, layers
from edgekit.toolchains.coreml.audit import weights as weights_of
from edgekit.toolchains.coreml.export import convert_program, exported
from edgekit.toolchains.coreml.passes import low_bits
from edgekit.toolchains.coreml.passes.activations import ALL, PRODUCTS, Taken, quantize_activations
from edgekit.toolchains.coreml.vendor import coremltools


def weights(model: LoadedModel | None, request: Request) -> Converted:
    """Store weights in int8, one scale per channel; arithmetic stays in float."""
    assert request.float_file is not None
    opened = read(request.float_file)
    found = rules.outcomes(request, layers(read_program(opened)) if request.layers else ())
    return _written(opened, request, found)


def in_4_bits(model: LoadedModel | None, request: Request) -> Converted:
    """Store weights in 4 bits where that is possible, in int8 elsewhere; arithmetic stays in float."""
    assert request.float_file is not None
    opened = read(request.float_file)
    program = read_program(opened)
    found = rules.outcomes(request, layers(program) if request.layers else (), able=_by_layer)
    left = {*found.floats, *found.schemes}
    return _written(opened, request, found, low_bits.chosen(factors(program), request.scheme, left))


def activations(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize activations of the float file, with ranges from the evaluator, and then its weights."""
    assert request.float_file is not None
    return _static(request.float_file, request, ALL)


def activations_of_products(model: LoadedModel | None, request: Request) -> Converted:
    """As ``activations``, what products and convolutions take alone: sums and pooling stay in float."""
    assert request.float_file is not None
    return _static(request.float_file, request, PRODUCTS)


def unrolled(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize products and convolutions alone, those inside of recurrent cells too.

    Core ML's ``lstm`` and ``gru`` compute in float. Taken apart, their products are int8, at the price of a larger
    program; gates and states stay float, which costs least.
    """
    with tempfile.TemporaryDirectory() as folder:
        program = exported(model)
        if (count := len(program.graph.nodes)) > _MOST_UNROLLED:
            raise UnsupportedError(
                f"unrolled, the recurrent layers make {count} operators; at most {_MOST_UNROLLED}",
                hint="Use coreml-int8-weights, which keeps them whole.",
            )
        floats = convert_program(program, replace(request, folder=Path(folder)))
        return _static(floats.file, request, PRODUCTS)


def _static(file: Path, request: Request, taken: Taken) -> Converted:
    samples = calibration_of(request)
    opened = read(file)
    program = read_program(opened)
    program.refuse_unknown()
    files = {original: name for name, original in opened.names.items()}
    inside = {files.get(name, name): rows for name, rows in samples.items()}
    found = rules.outcomes(request, layers(program) if request.layers else (), able=_by_layer)
    wanted = rules.ranges(request, _values(program, files) if request.ranges else {})
    left = {*found.floats, *found.schemes}
    bounded = {name for o in program.block.operations if o.type in BOUNDED for name, _ in o.outputs}
    observe = functools.partial(observers, request, bounded=bounded)
    quantize_activations(opened.spec, program, inside, taken, observe, left=left, given=wanted)
    return _written(opened, request, found)


def _by_layer(scheme: Scheme) -> bool:
    """Whether a single layer can have a scheme: its activations stay as they are."""
    return scheme.weights_only and scheme.weights == "int8" and scheme.granularity == "channel"


def _values(program: Program, files: Mapping[str, str]) -> dict[str, str]:
    """What may have a range, by the names of values and inputs; a layer's name stands for what it gives."""
    operations = list(program.block.operations)
    results = {operation.name: operation.outputs[0][0] for operation in operations if operation.outputs}
    found = {name: results[one.at] for one in layers(program) for name in one.names if one.at in results}
    found |= {name: name for o in operations for name, _ in o.outputs if name not in program.constants}
    return found | {name: name for name in program.inputs} | dict(files)


def _written(
    opened: Package, request: Request, found: Outcomes[str], wanted: Mapping[str, Factor] = MappingProxyType({})
) -> Converted:
    """Store weights in int8, but for those ``wanted`` in 4 bits and those that stay in float, and write the package.

    So do constants that are added or multiplied place by place (sines of positions, masks), which coremltools rounds as
    well: they are no weights, few bytes, and training does not know them.
    """
    program = read_program(opened)
    kept = set(program.constants) - weights_of(program)
    if found.floats:
        of_kept = [o for o in program.block.all_operations() if o.name in found.floats]
        kept |= {name for o in of_kept for names in o.inputs.values() for name in names if name in program.constants}
    ct = coremltools()
    before = [low_bits.pass_of(ct, wanted, request.scheme)] if wanted else []
    made = package.write(*_with_int8_weights(ct, opened, kept, before), request)
    return replace(made, kept=found.kept)


def _constants(spec: Any, values: Collection[str]) -> Iterator[str]:
    """Names of the operators that hold constants, by which coremltools knows them: from TensorFlow they are others."""
    blocks = [block for f in spec.mlProgram.functions.values() for block in f.block_specializations.values()]
    while blocks:
        for operation in blocks.pop().operations:
            blocks += operation.blocks
            if operation.type == "const" and operation.outputs[0].name in values:
                yield operation.attributes["name"].immediateValue.tensor.strings.values[0]


#: coremltools takes seconds for a thousand operators in float (targets/REASONS.md#coreml-unrolled).
_MOST_UNROLLED = 20_000
#: Of somewhat larger graphs coremltools comes to no end (targets/REASONS.md#coreml-pt2e).
_MOST_NODES = 700


@torch_graph.unrepeated()
def pt2e(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize the exported graph with observers (PT2E, XNNPACK's rules), recurrent cells as products per step."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config

    assert model is not None
    graph = torch_graph.erase_identities(exported(model).module(check_guards=False))
    if len(graph.graph.nodes) > _MOST_NODES:
        raise UnsupportedError(
            f"the exported graph has {len(graph.graph.nodes)} operators (recurrent layers are unrolled); coremltools "
            f"does not convert quantized graphs of more than {_MOST_NODES} in reasonable time",
            hint="Use coreml-int8-weights.",
        )
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    observing.ready(graph)
    kept = observing.keep_floats(graph, request)
    prepared = observing.estimating(prepare_pt2e(graph, quantizer), request)
    with torch.no_grad():
        for sample in torch_graph.samples(model, request):
            prepared(*sample)
        observing.give_ranges(prepared, model, request)
        program = torch.export.export(convert_pt2e(prepared), sample, strict=False).run_decompositions({})
    return replace(convert_program(program, request), kept=kept)


def _with_int8_weights(ct: Any, opened: Package, kept: Collection[str], before: Sequence[Any] = ()) -> tuple[Any, Any]:
    """The model and where its weights lie, after other passes and coremltools' int8 for what they leave."""
    import coremltools.optimize.coreml as cto
    from coremltools.models.utils import _apply_graph_pass

    found = ct.models.MLModel(opened.spec, weights_dir=str(opened.weights), skip_model_load=True)

    # weight_threshold: the default leaves tensors of up to 2048 elements in float, which is every depthwise kernel.
    settings = cto.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", granularity="per_channel", weight_threshold=0
    )
    try:
        for one in before:
            found = _apply_graph_pass(found, one)
        left = dict.fromkeys(_constants(opened.spec, kept))
        made = cto.linear_quantize_weights(found, cto.OptimizationConfig(settings, op_name_configs=left))
    except Exception as error:  # coremltools raises ValueError, TypeError, RuntimeError and KeyError here
        raise messages.raised("coremltools, quantizing weights,", error) from error
    return made.get_spec(), made.weights_dir
