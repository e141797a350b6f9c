"""int8 ONNX files: static (Q/DQ around operators) and dynamic (integer operators)."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.errors import UnsupportedError
from edgekit.frameworks import LoadedModel
from edgekit.scheme import Range
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import int8, rules
from edgekit.toolchains._shared.calibration import calibration_of, observers, one_by_one, range_of
from edgekit.toolchains._shared.rules import Found, Outcomes
from edgekit.toolchains.onnx import audit
from edgekit.toolchains.onnx.export import finish, unrolled
from edgekit.toolchains.onnx.passes import sums
from edgekit.toolchains.onnx.passes.observing import bounded, observe
from edgekit.toolchains.onnx.passes.preparing import prepared_file
from edgekit.toolchains.onnx.passes.ranges import pair_of

#: Operators that carry nearly all multiply-accumulates; everything between them stays float.
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
#: With lookups in tables, which hold a good part of a small language model's weights.
WEIGHTED = (*PRODUCTS, "Gather")
#: Operators whose activations ONNX Runtime quantizes at run time without losing time by it.
DYNAMIC = ["MatMul", "Gemm", "LSTM", "Gather"]
#: Samples of which ONNX Runtime keeps the extremes before it joins them; their number must divide by it.
_AT_ONCE = 64


def layers(model: onnx.ModelProto) -> list[Found[str]]:
    """The layers of a float model by the names of their operators, which all get one."""
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    stored = {tensor.name for tensor in model.graph.initializer}
    constants = {node.name: [name for name in node.input if name in stored] for node in model.graph.node}
    return rules.of_layers(audit.look(model, audit.fused).layers, constants)


def values(model: onnx.ModelProto) -> dict[str, str]:
    """What may have a range: inputs and results of operators; a layer's name stands for its result."""
    results = {node.name: node.output[0] for node in model.graph.node}
    found = {name: results[one.at] for one in layers(model) for name in one.names if one.at in results}
    found |= {name: name for node in model.graph.node for name in node.output if name}
    return found | {value.name: value.name for value in model.graph.input}


def qdq_all(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize every operator that ONNX Runtime's quantizer knows, weights per channel, ranges by min/max."""
    return _static(read_float(request), request, None)


def qdq_products(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize convolutions, products with weights and lookups only: softmax, norms, masks keep their range.

    So do the products of attention with the softmax between them.
    """
    return _static(read_float(request), request, WEIGHTED)


def qdq_dynamic_cells(model: LoadedModel | None, request: Request) -> Converted:
    """As ``qdq_all``, with LSTMs as ``DynamicQuantizeLSTM``: int8 weights, activations quantized at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    float_model = read_float(request)
    if not any(node.op_type == "LSTM" for node in float_model.graph.node):
        raise UnsupportedError(
            "ONNX Runtime has an int8 LSTM and nothing like it for other cells; the file has no LSTM"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "cells.onnx")
        named, found = _ruled(prepared_file(float_model, folder), request)
        quantize_dynamic(
            named,
            path,
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["LSTM"],
            nodes_to_exclude=list(found.floats),
        )
        done = _static(onnx.load(path), request, None, prepared=True)
    return replace(done, notes=("LSTM cells quantize their activations at run time, not with calibrated ranges",))


def unrolled_qdq(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize recurrent cells too, as matrix products per time step.

    ONNX Runtime has no static int8 LSTM or GRU: its quantizer leaves them float. Unrolled, every product is int8, at
    the price of a larger graph that mostly runs slower than the float cell.
    """
    proto = unrolled(model)
    if len(proto.graph.node) > 20_000:
        raise UnsupportedError(f"unrolled, the recurrent cells make {len(proto.graph.node)} operators; at most 20000")
    with tempfile.TemporaryDirectory() as folder:
        named = finish(proto, Request(**{**vars(request), "folder": Path(folder)}))
        model_proto = share_constants(onnx.load(prepared_file(onnx.load(named.file), folder)))
        done = _static(model_proto, request, WEIGHTED, prepared=True)
    return replace(done, notes=("recurrent cells are unrolled to one set of matrix products per time step",))


def nncf_qdq(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize with NNCF: bias correction, and its transformer settings where there is attention."""
    from edgekit.toolchains.openvino import nncf

    attention = "attention" in request.traits
    floats = read_float(request)
    found = rules.outcomes(request, layers(floats) if request.layers else ())
    wanted = rules.ranges(request, values(floats) if request.ranges else {})
    own = request.estimator.by_tool
    quantized = nncf.quantize(
        floats,
        calibration_of(request),
        attention=attention,
        ignored=found.floats,
        own_ranges=own,
        on_grid=request.on_grid,
    )
    if not own:
        _estimate(quantized, floats, request)
    _give(quantized.graph, wanted)
    return replace(finish(quantized, request, quantized=True), kept=found.kept)


def _estimate(model: onnx.ModelProto, floats: onnx.ModelProto, request: Request) -> None:
    """Give the pairs behind activations the estimator's ranges in the place of those that are there.

    Values are observed in the float model. Those that smoothing scaled are in the new one alone: they are observed
    there, on its integer weights and with every activation in float.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    pairs = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] not in stored]
    quantized = {pair.output[0]: pair.input[0] for pair in pairs}
    restored = {
        node.output[0]: quantized[node.input[0]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in quantized
    }
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for node in plain.graph.node:
        node.input[:] = [restored.get(name, name) for name in node.input]
    seen = observers(request, dict.fromkeys(quantized.values()), bounded=bounded(model))
    known = {name for node in floats.graph.node for name in (*node.input, *node.output)}
    for source, inside in ((floats, True), (plain, False)):
        if here := {name: one for name, one in seen.items() if (name in known) == inside}:
            observe(source, here, calibration_of(request))
    _give(model.graph, {name: range_of(name, observer) for name, observer in seen.items()})


def _give(graph: onnx.GraphProto, wanted: Mapping[str, Range]) -> None:
    """Give the pairs behind activations these ranges, in place."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    pairs = {
        node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] not in tensors
    }
    for name, one in wanted.items():
        if name not in pairs:
            rules.without_own(one.tensor, pairs)
        for pair in (n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == name):
            scale, zero = (tensors[parameter] for parameter in pair.input[1:3])
            point = one.zero_point + (128 if zero.data_type == onnx.TensorProto.UINT8 else 0)
            for tensor, value in ((scale, one.scale), (zero, point)):
                old = numpy_helper.to_array(tensor)
                tensor.CopyFrom(numpy_helper.from_array(np.full(old.shape, value, old.dtype), tensor.name))


def dynamic(model: LoadedModel | None, request: Request) -> Converted:
    """Integer weights; activations are quantized at run time (``MatMulInteger``, ``ConvInteger``, int8 LSTM)."""
    return _dynamic(request, None)


def dynamic_products(model: LoadedModel | None, request: Request) -> Converted:
    """As ``dynamic``, with convolution weights stored in int8 and used in float.

    ``ConvInteger`` is several times slower than the float convolution in ONNX Runtime on the CPU.
    """
    return _dynamic(request, DYNAMIC)


def dynamic_products_tensor(model: LoadedModel | None, request: Request) -> Converted:
    """As ``dynamic_products``, with one scale for the weights of each product: smaller and faster, a little less close.

    See targets/REASONS.md#onnx-dynamic-per-tensor. Convolutions, which compute in float, keep a scale per channel.
    """
    return _dynamic(request, DYNAMIC, per_channel=False)


def read_float(request: Request) -> onnx.ModelProto:
    """The verified fp32 file that the request starts from."""
    assert request.float_file is not None
    model = onnx.load(request.float_file)
    sums.as_add(model.graph)
    return model


def share_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep one of equal initializers: each time step brings a transposed copy of the recurrent weights."""
    first: dict[tuple[object, ...], str] = {}
    same: dict[str, str] = {}
    kept = []
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim < 2:  # a bias's scale depends on its reader's input
            kept.append(tensor)
            continue
        key = (tensor.data_type, array.shape, array.tobytes())
        if key in first:
            same[tensor.name] = first[key]
        else:
            first[key] = tensor.name
            kept.append(tensor)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for node in model.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
    return model


def with_plain_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every product a bias of its own, and take sums with another product (``Gemm``'s third input) out again.

    ONNX Runtime quantizes a bias that several products read once, with the scale of one of them, and has no integer
    ``Gemm`` that adds an activation: both ran in float in 46 of 49 products of an unrolled Keras LSTM.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    used: set[str] = set()
    nodes = []
    for index, node in enumerate(model.graph.node):
        node.name = node.name or node.output[0]  # the quantizer knows what it leaves out by its name
        nodes.append(node)
        third = node.input[2] if node.op_type in PRODUCTS and len(node.input) > 2 else ""
        if third in used:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensors[third])
            copy.name = f"{third}/{index}"
            model.graph.initializer.append(copy)
            node.input[2] = copy.name
        elif third in tensors:
            used.add(third)
        elif third and node.op_type == "Gemm" and _is_plain(node):
            product = f"{node.output[0]}/product"
            nodes[-1] = onnx.helper.make_node("MatMul", list(node.input[:2]), [product], node.name)
            nodes.append(onnx.helper.make_node("Add", [product, third], list(node.output), f"{node.name}/sum"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _is_plain(gemm: onnx.NodeProto) -> bool:
    """Whether a Gemm is a product and a sum: nothing transposed or scaled."""
    neutral = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
    return all(onnx.helper.get_attribute_value(a) == neutral[a.name] for a in gemm.attribute)


def _static(
    model: onnx.ModelProto, request: Request, op_types: tuple[str, ...] | None, *, prepared: bool = False
) -> Converted:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    samples = one_by_one(calibration_of(request))
    # ONNX Runtime keeps what it reads off each sample until so many were run.
    at_once = next(count for count in range(_AT_ONCE, 0, -1) if len(samples) % count == 0)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        left = iter(samples)

        def __len__(self) -> int:
            return len(samples)

        def set_range(self, start_index: int, end_index: int) -> None:
            self.some = itertools.islice(self.left, end_index - start_index)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.some, None)

    with tempfile.TemporaryDirectory() as folder:
        source, path = str(Path(folder) / "source.onnx"), str(Path(folder) / "quantized.onnx")
        plain = with_plain_products(model if prepared else onnx.load(prepared_file(model, folder)))
        found = rules.outcomes(request, layers(plain) if request.layers else ())
        wanted = rules.ranges(request, values(plain) if request.ranges else {})
        onnx.save(plain, source)
        ranges = Path(folder) / "ranges.json"
        if not request.estimator.by_tool:
            _write_ranges(plain, request, op_types, ranges)
        quantize_static(
            source,
            path,
            Reader(),
            per_channel=True,
            # With int8 activations (the default) ONNX Runtime leaves part of the convolutions and additions in float
            # on x86; with uint8 it fuses all of them, at the same accuracy.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(op_types) if op_types else None,
            nodes_to_exclude=[
                *found.floats,
                *(_between_activations(plain.graph) if op_types else ()),
                # It computes in float; ONNX Runtime restores its int8 scale and offset anew on each run.
                *(n.name for n in plain.graph.node if n.op_type == "LayerNormalization" and n.name),
            ],
            extra_options={
                "TensorQuantOverrides": {name: [_override(one)] for name, one in with_tables(wanted, plain).items()},
                "CalibStridedMinMax": at_once,
            },
            calibration_cache_path=ranges if ranges.exists() else None,
        )
        made = onnx.load(path)
        ranged = [pair_of(n.input[0]) for n in made.graph.node if n.op_type == "QuantizeLinear"]
        for name, one in wanted.items():
            if name not in ranged:
                rules.without_own(one.tensor, ranged)
        return replace(finish(made, request, quantized=True), kept=found.kept)


def _between_activations(graph: onnx.GraphProto) -> list[str]:
    """Products without weights, those of attention: in int8 less close, and no faster (REASONS.md#qdq-matmuls)."""
    stored = {tensor.name for tensor in graph.initializer}
    return [node.name for node in graph.node if node.op_type == "MatMul" and not stored & set(node.input)]


def _write_ranges(model: onnx.ModelProto, request: Request, op_types: tuple[str, ...] | None, file: Path) -> None:
    """Write the estimator's ranges of all activations that the quantizer asks for, as it writes its own."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import CalibraterBase, TensorsData, save_tensors_data

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "source.onnx"
        onnx.save(model, path)
        calibrater = CalibraterBase(path, op_types)
        names, _ = calibrater.select_tensors_to_calibrate(calibrater.model)
    seen = observers(request, sorted(names), bounded=bounded(model))
    observe(model, seen, calibration_of(request))
    ends = {name: tuple(np.array([end], np.float32) for end in one.range()) for name, one in seen.items()}
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, ends), file)


def with_tables(wanted: Mapping[str, Range], model: onnx.ModelProto) -> dict[str, Range]:
    """Ranges, with those of the tables that values are looked up in: a value has the steps of its table."""
    stored = {tensor.name for tensor in model.graph.initializer}
    lookups = (node for node in model.graph.node if node.op_type == "Gather" and node.input[0] in stored)
    tables = {node.output[0]: node.input[0] for node in lookups}
    return {**wanted, **{tables[name]: one for name, one in wanted.items() if name in tables}}


def _override(one: Range) -> dict[str, Any]:
    """A range as ONNX Runtime's quantizer takes it, of uint8."""
    return {"scale": np.array(one.scale, np.float32), "zero_point": np.array(one.zero_point + 128, np.uint8)}


def _ruled(prepared: str, request: Request) -> tuple[str, Outcomes[str]]:
    """A prepared file, with names for its operators where there are rules, and what these make of its layers."""
    if not request.layers:
        return prepared, Outcomes()
    model = onnx.load(prepared)
    found = rules.outcomes(request, layers(model))
    onnx.save(model, prepared)
    return prepared, found


def _dynamic(request: Request, op_types: list[str] | None, *, per_channel: bool = True) -> Converted:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "quantized.onnx")
        prepared, found = _ruled(prepared_file(read_float(request), folder), request)
        quantize_dynamic(
            prepared,
            path,
            per_channel=per_channel,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=op_types,
            # The quantizer writes a Gemm as a MatMul of its own name first.
            nodes_to_exclude=[name for kept in found.floats for name in (kept, f"{kept}_MatMul")],
        )
        model = onnx.load(path)
    count = store_convolutions(model, found.floats)
    done = replace(finish(model, request, quantized=True), kept=found.kept)
    return replace(done, notes=(f"{count} convolutions compute in float on int8 weights",)) if count else done


def store_convolutions(model: onnx.ModelProto, kept: Collection[str] = ()) -> int:
    """Store float weights of convolutions as int8, symmetric, one scale per output channel; returns how many.

    Those that are ``kept`` stay as they are.

    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    stored: set[str] = set()
    nodes = []
    for node in model.graph.node:
        stores = node.op_type in ("Conv", "ConvTranspose") and node.name not in kept
        tensor = weights.get(node.input[1]) if stores else None
        if tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT:
            name = tensor.name
            if name not in stored:
                outputs = 0 if node.op_type == "Conv" else 1
                nodes += restored(model.graph, tensor, tuple(i for i in range(len(tensor.dims)) if i != outputs))
                stored.add(name)
            node.input[1] = f"{name}/restored"
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    kept = [t for t in model.graph.initializer if t.name not in stored]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return len(stored)


def restored(graph: onnx.GraphProto, tensor: onnx.TensorProto, axes: int | tuple[int, ...]) -> list[onnx.NodeProto]:
    """Store a float weight as int8, symmetric, one scale for all values along ``axes``; returns what restores it.

    A cast and a product restore it, which ONNX Runtime folds when it loads the file. DequantizeLinear it leaves for
    each run, and a convolution whose weights are not constant then has neither packed weights nor the blocked layout
    (targets/REASONS.md#onnx-dynamic-noconv).
    """
    integers, scale = int8.symmetric(numpy_helper.to_array(tensor), axes)
    name = tensor.name
    graph.initializer.append(numpy_helper.from_array(integers, f"{name}/int8"))
    graph.initializer.append(numpy_helper.from_array(scale, f"{name}/scale"))
    return [
        onnx.helper.make_node("Cast", [f"{name}/int8"], [f"{name}/cast"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Mul", [f"{name}/cast", f"{name}/scale"], [f"{name}/restored"]),
    ]
