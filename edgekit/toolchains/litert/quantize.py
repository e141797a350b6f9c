"""Routes through ai-edge-quantizer: they start from the verified fp32 file and import no framework."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from edgekit.errors import FailedError, UnsupportedError
from edgekit.frameworks import LoadedModel
from edgekit.scheme import Range, Scheme
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import int8, rules
from edgekit.toolchains._shared.calibration import calibration_of, observers
from edgekit.toolchains._shared.messages import sentence
from edgekit.toolchains._shared.rules import Found, Outcomes
from edgekit.toolchains.litert.graph import read_subgraphs
from edgekit.toolchains.litert.passes import masks, norms, padding, xnnpack
from edgekit.toolchains.litert.passes.constants import computed, moved_factors
from edgekit.toolchains.litert.passes.half import halve_constants
from edgekit.toolchains.litert.passes.integers import (
    compute_in_integers,
    flatten_biases,
    multiply_squares,
    quantize_unread_pieces,
    square_signed,
)
from edgekit.toolchains.litert.passes.lookups import as_embedding_lookups
from edgekit.toolchains.litert.passes.names import named_tensors
from edgekit.toolchains.litert.passes.ranges import as_taken, observe
from edgekit.toolchains.litert.schema import packed_model
from edgekit.toolchains.litert.vendor import fitting_ranks

if TYPE_CHECKING:
    from edgekit.toolchains.litert.passes.ranges import Ranges

FILE = "model.tflite"


def cast_fp16(model: LoadedModel | None, request: Request) -> Converted:
    """Weights stored as float16; a CPU widens them to float32 on load."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe = RecipeManager()
    recipe.add_weight_only_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        num_bits=16,
        algorithm_key=AlgorithmName.FLOAT_CASTING,
    )
    converted = _quantize(request, recipe.get_quantization_recipe())
    converted.file.write_bytes(halve_constants(converted.file.read_bytes()))
    return converted


#: Operators whose outputs hold the values of their first input.
MOVES = ("RESHAPE", "TRANSPOSE", "UNPACK")


def dynamic_int8(model: LoadedModel | None, request: Request) -> Converted:
    """Weights int8 per channel, activations quantized at run time."""
    return _dynamic(request)


def dynamic_products(model: LoadedModel | None, request: Request) -> Converted:
    """As ``dynamic_int8``, with depthwise convolutions used in float, from weights stored in int8.

    XNNPACK has no depthwise kernel that quantizes activations at run time, and the built-in one is slow
    (targets/REASONS.md#litert-dynamic-nodepthwise).
    """
    return _dynamic(request, depthwise_in_float=True)


def dynamic_mixed(model: LoadedModel | None, request: Request) -> Converted:
    """As ``dynamic_products``, with pointwise convolutions used in float as well, from weights stored in int8.

    Quantizing an input at run time pays where each of its numbers is used often: in a kernel of several positions. A
    pointwise convolution uses it once per output channel.
    """
    pointwise = [operator for operator in _operators(request) if _pointwise(operator)]
    made = _dynamic(request, depthwise_in_float=True, in_float=pointwise)
    note = f"{len(pointwise)} pointwise convolutions compute in float: their inputs are used too seldom to be quantized"
    return replace(made, notes=(*made.notes, note)) if pointwise else made


#: Operators with 4-bit kernels; depthwise and transposed convolutions have none.
INT4_KERNELS = ("CONV_2D", "FULLY_CONNECTED", "EMBEDDING_LOOKUP")


def dynamic_int4(model: LoadedModel | None, request: Request) -> Converted:
    """As ``dynamic_products``, with 4-bit weights per channel where there are kernels for them."""
    return _int4(request, INT4_KERNELS)


def dynamic_int4_products(model: LoadedModel | None, request: Request) -> Converted:
    """As ``dynamic_int4``, with tables in 8 bits: what is looked up is all that a model sees of its input."""
    return _int4(request, INT4_KERNELS[:-1])


def _int4(request: Request, in_4_bits: Sequence[str]) -> Converted:
    assert request.float_file is not None
    with TemporaryDirectory(dir=request.folder) as folder:
        file = Path(folder) / FILE
        file.write_bytes(as_embedding_lookups(request.float_file.read_bytes()))
        return _dynamic(replace(request, float_file=file), depthwise_in_float=True, in_4_bits=in_4_bits)


def _dynamic(
    request: Request,
    *,
    depthwise_in_float: bool = False,
    in_float: Sequence[Any] = (),
    in_4_bits: Sequence[str] = (),
) -> Converted:
    """Integer weights and tables everywhere; depthwise convolutions and those ``in_float`` may keep float activations.

    Weights of the operators ``in_4_bits`` have 4 bits, all others 8.
    """
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.recipe_manager import RecipeManager

    names, manager = qtyping.TFLOperationName, RecipeManager()
    manager.add_dynamic_config(regex=".*", operation_name=names.ALL_SUPPORTED, num_bits=8)
    for name in in_4_bits:
        manager.add_dynamic_config(regex=".*", operation_name=names[name], num_bits=4)
    if depthwise_in_float:
        manager.add_weight_only_config(regex=".*", operation_name=names.DEPTHWISE_CONV_2D, num_bits=8)
    for operator in in_float:
        manager.add_weight_only_config(regex=_regex(operator), operation_name=names.CONV_2D, num_bits=8)
    operators = _operators(request)
    lookups = _lookups(operators)
    for operator in lookups:
        manager.add_static_config(
            regex=_regex(operator), operation_name=names.GATHER, activation_num_bits=8, weight_num_bits=8
        )
    known = (_grid_ranges(operators) if in_4_bits else {}) | _table_ranges(lookups)
    made = _quantize(request, manager.get_quantization_recipe(), known)
    depthwise = sum(operator.type == "DEPTHWISE_CONV_2D" for operator in operators)
    note = f"{depthwise} depthwise convolutions compute in float: XNNPACK has no kernel that quantizes their inputs"
    return replace(made, notes=(note,)) if depthwise and depthwise_in_float else made


def _operators(request: Request) -> list[Any]:
    """All operators of the fp32 file."""
    assert request.float_file is not None
    packed = packed_model(request.float_file.read_bytes(), request.float_file)
    return [operator for graph in read_subgraphs(packed) for operator in graph.operators]


def _pointwise(operator: Any) -> bool:
    return operator.type == "CONV_2D" and operator.inputs[1].shape[1:3] == (1, 1)


def _lookups(operators: list[Any]) -> list[Any]:
    """Operators that look up in an embedding table, as Keras's embeddings come: ``GATHER`` from a float constant."""
    tables = [(operator, operator.inputs[0]) for operator in operators if operator.type == "GATHER"]
    return [operator for operator, t in tables if t is not None and t.data is not None and t.type == "float32"]


def _regex(operator: Any) -> str:
    """What selects one operator in a recipe: the quantizer joins the names of its outputs with ``;``."""
    return f"^{';'.join(re.escape(output.name) for output in operator.outputs)};?$"


def _table_ranges(lookups: list[Any]) -> dict[str, Ranges]:
    """Ranges of tables and of what is looked up in them, which needs no samples."""
    import numpy as np

    found: dict[str, Ranges] = {}
    for operator in lookups:
        values = operator.inputs[0].data.view("<f4")
        extremes = {"min": np.full((1, 1), values.min()), "max": np.full((1, 1), values.max())}
        found |= {operator.inputs[0].name: extremes, operator.outputs[0].name: extremes}
    return found


def _grid_ranges(operators: list[Any]) -> dict[str, Ranges]:
    """Ranges that the quantizer divides by 7: of a channel whose weights lie on a grid, those of that grid."""
    import numpy as np

    found: dict[str, Ranges] = {}
    for operator in operators:
        for tensor in operator.weights() if operator.type in INT4_KERNELS else ():
            if tensor.type == "float32":
                rows = tensor.data.view("<f4").reshape(tensor.shape[0], -1)
                _, scales = int8.blocks(rows, 0, 1, rows.shape[1])
                high = (scales * np.float32(int8.LARGEST_4)).reshape(-1, *[1] * (len(tensor.shape) - 1))
                found[tensor.name] = {"min": -high, "max": high}
    return found


def static_int8(model: LoadedModel | None, request: Request) -> Converted:
    """Full integer, per-channel weights, ranges from the samples' true minimum and maximum."""
    return _quantize(request, _static_recipe(activation_bits=8), apart=True)


def static_products(model: LoadedModel | None, request: Request) -> Converted:
    """int8 inputs, outputs, convolutions and dense layers; softmax, norms and sums between them in float.

    Not full integer, so that a full-integer target takes it with ``--allow-mixed`` only. XNNPACK has no int8 kernels
    for softmax, GELU and reciprocal roots, and the built-in ones are slow. Products of two activations (attention) stay
    float with the softmax between them.
    """
    return _static_products(request, ends=("INPUT", "OUTPUT"))


def static_products_float_outputs(model: LoadedModel | None, request: Request) -> Converted:
    """As ``static_products``, with outputs in float: one scale cannot hold boxes in pixels and scores of at most 1."""
    return _static_products(request, ends=("INPUT",))


def _static_products(request: Request, ends: Sequence[str]) -> Converted:
    """Quantize products, lookups and those ``ends`` of the graph."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.recipe_manager import RecipeManager

    names, manager = qtyping.TFLOperationName, RecipeManager()
    chosen = [names.CONV_2D, names.DEPTHWISE_CONV_2D, names.CONV_2D_TRANSPOSE, names.FULLY_CONNECTED]
    chosen += [names.GATHER, *(names[end] for end in ends)]
    for name in chosen:
        manager.add_static_config(regex=".*", operation_name=name, activation_num_bits=8, weight_num_bits=8)
    manager.add_dynamic_config(regex=".*", operation_name=names.EMBEDDING_LOOKUP, num_bits=8)
    operators = _operators(request)
    weighted = [operator for operator in operators if operator.type == "BATCH_MATMUL" and operator.weights()]
    for operator in (*weighted, *_embedded_moves(operators), *_embedded_sums(operators)):
        manager.add_static_config(
            regex=_regex(operator), operation_name=names[operator.type], activation_num_bits=8, weight_num_bits=8
        )
    return _quantize(request, manager.get_quantization_recipe())


def _embedded_moves(operators: list[Any]) -> list[Any]:
    """Operators that only move what was looked up in a table, as Keras's unrolled recurrent layers do to its steps.

    In float, each of the steps would be quantized again for its product.
    """
    moved = {operator.outputs[0].name for operator in _lookups(operators)}
    found = []
    for operator in operators:  # in the order in which they run
        if operator.type in MOVES and operator.inputs[0] is not None and operator.inputs[0].name in moved:
            moved |= {output.name for output in operator.outputs}
            found.append(operator)
    return found


def _embedded_sums(operators: list[Any]) -> list[Any]:
    """Sums of what was looked up in a table and a constant, the positions: their weights are a table as well."""
    looked_up = {operator.outputs[0].name for operator in _lookups(operators)}
    return [
        operator
        for operator in operators
        if operator.type == "ADD"
        and looked_up & {t.name for t in operator.inputs if t is not None}
        and any(t is not None and t.data is not None for t in operator.inputs)
    ]


def static_int16x8(model: LoadedModel | None, request: Request) -> Converted:
    """Activations int16, weights int8 per channel, ranges from the samples' true minimum and maximum."""
    return _quantize(request, _static_recipe(activation_bits=16), apart=True)


def _static_recipe(activation_bits: int) -> Any:
    """Everything static; the embedding table, which the static recipes leave in float, as dynamic int8."""
    from ai_edge_quantizer import qtyping, recipe
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8() if activation_bits == 8 else recipe.static_wi8_ai16())
    manager.add_dynamic_config(regex=".*", operation_name=qtyping.TFLOperationName.EMBEDDING_LOOKUP, num_bits=8)
    return manager.get_quantization_recipe()


def _quantize(
    request: Request, recipe: Any, known: dict[str, Ranges] | None = None, *, apart: bool = False
) -> Converted:
    """Quantize the fp32 file by a recipe.

    Args:
        request: what is made.
        recipe: the quantizer's.
        known: ranges that need no samples, of all that the recipe asks for.
        apart: whether all operators become integers, so that what XNNPACK has no integer kernel for is taken apart.
    """
    if request.float_file is None:
        raise FailedError("this route quantizes a file and was given none", hint="Convert the fp32 target first.")
    layers = _layers(request)
    found = rules.outcomes(request, layers.values(), able=_by_layer)
    if found.floats or found.schemes:
        recipe = _ruled(recipe, found, {op.outputs[0].name: op for op in _operators(request) if op.outputs})
    content, wanted = _integers(request, recipe, known, layers, apart=apart)
    if whole := xnnpack.misfits(content):
        content, wanted = _integers(request, recipe, known, layers, apart=apart, whole=whole)
    if wrong := xnnpack.wrapped(content):
        raise UnsupportedError(
            f"{wrong[0]}: its inputs reach much further than its result, and LiteRT's kernel is wrong there",
            hint="Give inputs of a smaller range (pixels divided by 255, say), or a norm before it.",
        )
    file = request.folder / FILE
    file.write_bytes(content)
    _check(file, wanted)
    return Converted(file, kept=found.kept)


def _integers(
    request: Request,
    recipe: Any,
    known: dict[str, Ranges] | None,
    layers: Mapping[str, Found[str]],
    *,
    apart: bool,
    whole: frozenset[str] = frozenset(),
) -> tuple[bytes, dict[str, Range]]:
    """The file, and the ranges that the request gives, by tensor; ``whole`` is not taken apart."""
    from ai_edge_quantizer.quantizer import Quantizer

    assert request.float_file is not None
    prepared = _prepared(request.float_file.read_bytes(), static=request.scheme.needs_calibration)
    source = bytearray(xnnpack.take_apart(prepared, _bits(request), whole) if apart else prepared)
    ranges = known
    if not known and Quantizer(bytes(source), recipe).need_calibration:
        ranges = _calibrate(source, request, recipe)
        if not request.estimator.by_tool:
            ranges |= _estimate(source, request, ranges)
        padding.bound(source, request.float_file, ranges)
        norms.bound(source, request.float_file, ranges, _bits(request))
        masks.bound(source, request.float_file, ranges, _bits(request))
        if apart and _bits(request) == 8:
            xnnpack.center_factors(source, request.float_file, ranges)
    wanted = _give(request, ranges, layers) if request.ranges else {}
    quantizer = Quantizer(bytes(source), recipe)
    try:
        with fitting_ranks():
            content = quantizer.quantize(
                ranges, enable_progress_bar=False, enable_progress_report=False
            ).quantized_model
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        loop = "a loop over time cannot be calibrated; " if "while" in str(error) else ""
        raise UnsupportedError(f"ai-edge-quantizer: {loop}{sentence(error)}") from error
    return xnnpack.coarsen_summands(quantize_unread_pieces(compute_in_integers(bytes(content)))), wanted


def _bits(request: Request) -> int:
    return 16 if request.scheme.activations == "int16" else 8


def _prepared(content: bytes, *, static: bool) -> bytes:
    """The fp32 file with nothing in it that an integer file would compute in float without need, or wrong."""
    for step in (multiply_squares, square_signed, flatten_biases, computed):
        content = step(content)
    return moved_factors(content, static=static)


def _by_layer(scheme: Scheme) -> bool:
    """Whether a recipe can give a scheme to a single operator, whatever it gives to others: it needs no ranges."""
    return scheme.weights == "int8" and scheme.granularity == "channel" and not scheme.needs_calibration


def _layers(request: Request) -> dict[str, Found[str]]:
    """The layers of the fp32 file by the names of their first outputs; none where no rule or range asks."""
    from edgekit.toolchains.litert.audit import audit

    if not (request.layers or request.ranges):
        return {}
    assert request.float_file is not None
    constants = {op.outputs[0].name: [t.name for t in op.weights()] for op in _operators(request) if op.outputs}
    return {one.at: one for one in rules.of_layers(audit(request.float_file).layers, constants)}


#: What recipes call operators whose names are others in the file.
_OTHER_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}


def _ruled(recipe: Any, found: Outcomes[str], operators: Mapping[str, Any]) -> Any:
    """The recipe with what the rules say of single operators behind all else: the last that fits counts."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    manager.load_quantization_recipe(recipe)
    for name in (*found.floats, *found.schemes):
        operator = operators[name]
        kind = qtyping.TFLOperationName(_OTHER_NAMES.get(operator.type, operator.type))
        scheme = found.schemes.get(name)
        if scheme is None:
            manager.add_quantization_config(_regex(operator), kind, algorithm_key=AlgorithmName.NO_QUANTIZE)
        elif scheme.weights_only:
            manager.add_weight_only_config(regex=_regex(operator), operation_name=kind, num_bits=8)
        else:
            manager.add_dynamic_config(regex=_regex(operator), operation_name=kind, num_bits=8)
    return manager.get_quantization_recipe()


def _give(request: Request, ranges: dict[str, Ranges] | None, layers: Mapping[str, Found[str]]) -> dict[str, Range]:
    """Put the ranges that the request has in the place of those of the samples; returns them by tensor."""
    import numpy as np

    assert request.float_file is not None and ranges is not None
    packed = packed_model(request.float_file.read_bytes(), request.float_file)
    graphs = list(read_subgraphs(packed))
    tensors = [tensor for graph in graphs for tensor in graph.tensors]
    values = {name: one.at for one in layers.values() for name in one.names}
    values |= {tensor.name: tensor.name for tensor in tensors if tensor.data is None}
    values |= named_tensors(packed)
    no_zero_point = request.scheme.activations == "int16"
    wanted = rules.ranges(request, values, symmetric=no_zero_point)
    given = set(wanted)
    for tensor, one in wanted.items():
        low, high = one.bounds
        shape = ranges[tensor]["min"].shape if tensor in ranges else (1,)
        extremes = {"min": -high if no_zero_point else low, "max": high}
        ranges[tensor] = {side: np.full(shape, value, np.float32) for side, value in extremes.items()}
    for operator in (op for graph in graphs for op in reversed(graph.operators) if op.type in (*MOVES, "GATHER")):
        source, moved = operator.inputs[0], operator.outputs[0].name  # what is moved has the steps of what it was
        if source is not None and source.type == "float32" and moved in given and source.name not in given:
            ranges[source.name] = ranges[moved]
            given.add(source.name)
    return wanted


def _check(file: Path, wanted: Mapping[str, Range]) -> None:
    """Refuse a file in which a tensor has another range than it was given: it shares that of another."""
    import numpy as np

    if not wanted:
        return
    packed = packed_model(file.read_bytes(), file)
    found = {t.name: t for graph in read_subgraphs(packed) for t in graph.tensors if t.data is None and len(t.scales)}
    for name, one in wanted.items():
        tensor = found.get(name)
        if tensor is None or not np.allclose(tensor.scales, one.scale) or (tensor.zero_points != one.zero_point).any():
            rules.without_own(one.tensor, found)


def _calibrate(source: bytearray, request: Request, recipe: Any) -> dict[str, Ranges]:
    """Ranges of every tensor over all samples.

    ``Quantizer.calibrate`` keeps a 0.95 moving average of each sample's range, which clips
    (targets/REASONS.md#litert-quantizer), so the calibrator underneath is given the rule to merge by. The
    profiler-based mode gives the same ranges as the default one in less time, and can do without the values of outputs
    that nothing reads.
    """
    from ai_edge_quantizer.calibrator import CalibrationMode, Calibrator
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    manager.load_quantization_recipe(recipe)
    calibrator = Calibrator(
        bytes(source),
        num_threads=1,
        mode=CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=widest,
    )
    (signature, *_) = calibrator.get_signature_list()
    for sample in as_taken(packed_model(source, Path(FILE)), calibration_of(request)):  # it would make a list of all
        calibrator.calibrate({signature: [sample]}, manager)
    ranges: dict[str, Ranges] = calibrator.get_model_qsvs()
    return ranges


def _estimate(source: bytearray, request: Request, extremes: Mapping[str, Ranges]) -> dict[str, Ranges]:
    """Ranges by the request's estimator in the place of extremes: of float tensors whose values the samples make."""
    import numpy as np

    assert request.float_file is not None
    (graph, *_) = read_subgraphs(packed_model(source, request.float_file))
    made = [tensor.name for tensor in graph.tensors if tensor.data is None and tensor.type == "float32"]
    names = [name for name in made if name in extremes]
    no_zero_point = request.scheme.activations == "int16"
    seen = observers(request, names, symmetric=no_zero_point)
    observe(bytes(source), seen, calibration_of(request))
    found = {name: dict(zip(("min", "max"), observer.range(), strict=True)) for name, observer in seen.items()}
    return {
        name: {side: np.full(extremes[name][side].shape, value, np.float32) for side, value in ends.items()}
        for name, ends in found.items()
    }


def widest(old: Mapping[str, Any], new: Mapping[str, Any]) -> Mapping[str, Any]:
    """The smallest range that holds both; a tensor without a range in one sample keeps the other's."""
    import numpy as np

    if not old or not new:
        return old or new
    return {"min": np.minimum(old["min"], new["min"]), "max": np.maximum(old["max"], new["max"])}
