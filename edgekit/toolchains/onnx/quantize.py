"""int8 ONNX files: static (Q/DQ around operators) and dynamic (integer operators)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks import LoadedModel
from edgekit.toolchains import Converted, Request
from edgekit.toolchains.onnx.export import finish, unrolled
from edgekit.toolchains.onnx.passes import sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Operators that carry nearly all multiply-accumulates; everything between them stays float.
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
#: With lookups in tables, which hold a good part of a small language model's weights.
WEIGHTED = (*PRODUCTS, "Gather")
#: Operators whose activations ONNX Runtime quantizes at run time without losing time by it.
DYNAMIC = ["MatMul", "Gemm", "LSTM", "Gather"]


def qdq_all(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize every operator that ONNX Runtime's quantizer knows, weights per channel, ranges by min/max."""
    return _static(read_float(request), request, None)


def qdq_products(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize convolutions, matrix products and lookups only: softmax, norms and masks keep their range."""
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
        quantize_dynamic(
            prepared_file(float_model, folder),
            path,
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["LSTM"],
        )
        done = _static(onnx.load(path), request, None, prepared=True)
    return Converted(done.file, ("LSTM cells quantize their activations at run time, not with calibrated ranges",))


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
    return Converted(done.file, ("recurrent cells are unrolled to one set of matrix products per time step",))


def nncf_qdq(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize with NNCF: bias correction, and its transformer settings where there is attention."""
    from edgekit.toolchains.openvino import nncf

    attention = "attention" in request.traits
    found = nncf.quantize(read_float(request), calibration_of(request), attention=attention)
    return finish(found, request, quantized=True)


def dynamic(model: LoadedModel | None, request: Request) -> Converted:
    """Integer weights; activations are quantized at run time (``MatMulInteger``, ``ConvInteger``, int8 LSTM)."""
    return _dynamic(request, None)


def dynamic_products(model: LoadedModel | None, request: Request) -> Converted:
    """As ``dynamic``, with convolution weights stored in int8 and used in float.

    ``ConvInteger`` is several times slower than the float convolution in ONNX Runtime on the CPU.
    """
    return _dynamic(request, DYNAMIC)


def dynamic_products_tensor(model: LoadedModel | None, request: Request) -> Converted:
    """As ``dynamic_products``, with one scale for the weights of each product: about 1 dB off, and 7 % faster.

    Convolutions, which compute in float, keep a scale per channel.
    """
    return _dynamic(request, DYNAMIC, per_channel=False)


def read_float(request: Request) -> onnx.ModelProto:
    """The verified fp32 file that the request starts from."""
    assert request.float_file is not None
    model = onnx.load(request.float_file)
    sums.as_add(model.graph)
    return model


def calibration_of(request: Request) -> Mapping[str, NDArray[np.generic]]:
    """The request's calibration samples; raises ``UsageError`` where there are none."""
    if not request.calibration or not all(len(a) for a in request.calibration.values()):
        raise UsageError("static int8 needs calibration samples; got none", hint="Give --calibrate DATA.")
    return request.calibration


def samples(calibration: Mapping[str, NDArray[np.generic]]) -> Iterator[dict[str, NDArray[np.generic]]]:
    """One dict per sample, as a run takes it."""
    for index in range(len(next(iter(calibration.values())))):
        yield {name: array[index] for name, array in calibration.items()}


def prepared_file(model: onnx.ModelProto, folder: str) -> str:
    """Infer shapes and fuse (batch norm into convolutions, product + add into Gemm); independent of this CPU."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, prepared = str(Path(folder) / "float.onnx"), str(Path(folder) / "prepared.onnx")
    onnx.save(model, plain)  # handed a ModelProto, the tool moves its weights into a file that it then cannot read
    # Shapes are static, so that ONNX's own inference finds them all; the symbolic one costs an import of sympy.
    quant_pre_process(plain, prepared, skip_symbolic_shape=True)
    return prepared


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

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = samples(calibration_of(request))

        def get_next(self) -> dict[str, Any] | None:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder:
        source, path = str(Path(folder) / "source.onnx"), str(Path(folder) / "quantized.onnx")
        plain = with_plain_products(model if prepared else onnx.load(prepared_file(model, folder)))
        onnx.save(plain, source)
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
            # It computes in float; ONNX Runtime restores its int8 scale and offset anew on each run.
            nodes_to_exclude=[n.name for n in plain.graph.node if n.op_type == "LayerNormalization" and n.name],
        )
        return finish(onnx.load(path), request, quantized=True)


def _dynamic(request: Request, op_types: list[str] | None, *, per_channel: bool = True) -> Converted:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "quantized.onnx")
        quantize_dynamic(
            prepared_file(read_float(request), folder),
            path,
            per_channel=per_channel,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=op_types,
        )
        model = onnx.load(path)
    count = store_convolutions(model)
    done = finish(model, request, quantized=True)
    return Converted(done.file, (f"{count} convolutions compute in float on int8 weights",)) if count else done


def store_convolutions(model: onnx.ModelProto) -> int:
    """Store float weights of convolutions as int8, symmetric, one scale per output channel; returns how many.

    A cast and a product restore them, which ONNX Runtime folds when it loads the file. DequantizeLinear it leaves for
    each run, and a convolution whose weights are not constant then has neither packed weights nor the blocked layout:
    3.8 times the float time on the zoo's MobileNetV2, against 1.02 times.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    stored: set[str] = set()
    nodes = []
    for node in model.graph.node:
        tensor = weights.get(node.input[1]) if node.op_type in ("Conv", "ConvTranspose") else None
        if tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT:
            name = tensor.name
            if name not in stored:
                nodes += _stored(model.graph, tensor, 0 if node.op_type == "Conv" else 1)
                stored.add(name)
            node.input[1] = f"{name}/restored"
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    kept = [t for t in model.graph.initializer if t.name not in stored]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return len(stored)


def _stored(graph: onnx.GraphProto, tensor: onnx.TensorProto, axis: int) -> list[onnx.NodeProto]:
    values = numpy_helper.to_array(tensor)
    others = tuple(i for i in range(values.ndim) if i != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scale = np.maximum(largest, np.finfo(np.float32).tiny) / np.float32(127)
    integers = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
    name = tensor.name
    graph.initializer.append(numpy_helper.from_array(integers, f"{name}/int8"))
    graph.initializer.append(numpy_helper.from_array(scale, f"{name}/scale"))
    return [
        onnx.helper.make_node("Cast", [f"{name}/int8"], [f"{name}/cast"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Mul", [f"{name}/cast", f"{name}/scale"], [f"{name}/restored"]),
    ]
