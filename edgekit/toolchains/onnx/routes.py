"""The routes of this toolchain, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgekit.frameworks import LoadedModel
from edgekit.ranges.estimator import Method
from edgekit.signature import Environment
from edgekit.toolchains import BY_LAYER, DYNAMIC_RANGES, FLOAT_ACTIVATIONS, RUNTIME, STEERED, Converted, Request, Route
from edgekit.toolchains.onnx import export, low_bits, quantize, vendor

_Convert = Callable[[LoadedModel | None, Request], Converted]


def _route(environments: Mapping[str, Environment], convert: _Convert, **more: Any) -> Route:
    """A route whose file is for ONNX Runtime: other toolchains call the functions themselves."""

    def converted(model: LoadedModel | None, request: Request) -> Converted:
        return vendor.with_plain_norms(convert(model, request))

    return Route(environments, converted, **more)


def _static(convert: _Convert, own: Method = "minmax") -> Route:
    return _route(RUNTIME, convert, quantizes_file=True, honours=STEERED, own=own)


def _by_layer(convert: _Convert, because: str) -> Route:
    return _route(RUNTIME, convert, quantizes_file=True, honours=BY_LAYER, because=because)


ROUTES = {
    "export-onnx": _route({"onnx": "onnx"}, export.from_onnx),
    "export-torch-dynamo": _route({"torch": "torch", "keras": "keras-torch"}, export.from_torch),
    "export-torch-script": _route({"torch": "torch"}, export.from_torchscript),
    "export-tf2onnx": _route({"keras": "keras-tensorflow"}, export.from_saved_model),
    "ptq-w8a8-qdq": _static(quantize.qdq_all),
    "ptq-w8a8-qdq-matmuls": _static(quantize.qdq_products),
    "ptq-w8a8-nncf": _static(quantize.nncf_qdq, "tool"),
    "ptq-w8a8-qdq-dynamic-cells": _static(quantize.qdq_dynamic_cells),
    "ptq-w8a8-qdq-unrolled": _route(
        {"torch": "torch", "keras": "keras-torch"}, quantize.unrolled_qdq, honours=STEERED, own="minmax"
    ),
    "dynamic-w8a8-ort": _by_layer(quantize.dynamic, DYNAMIC_RANGES),
    "dynamic-w8a8-ort-noconv-per-tensor": _by_layer(quantize.dynamic_products_tensor, DYNAMIC_RANGES),
    "dynamic-w8a8-ort-noconv": _by_layer(quantize.dynamic_products, DYNAMIC_RANGES),
    "weights-w4-ort": _by_layer(low_bits.weights_int4, FLOAT_ACTIVATIONS),
    "weights-w4-ort-matmuls": _by_layer(low_bits.weights_int4_products, FLOAT_ACTIVATIONS),
}
