"""The routes of this toolchain, by name."""

from __future__ import annotations

from edgekit.signature import Environment
from edgekit.toolchains import Route
from edgekit.toolchains.onnx import export, quantize

_RUNTIME: dict[str, Environment] = {"keras": "runtime", "torch": "runtime"}

ROUTES = {
    "torch-dynamo": Route({"torch": "torch"}, export.from_torch),
    "torch-script": Route({"torch": "torch"}, export.from_torchscript),
    "tf2onnx": Route({"keras": "keras-tensorflow"}, export.from_saved_model),
    "tf2onnx-loop": Route({"keras": "keras-tensorflow"}, export.from_saved_model_with_loops),
    "keras-torch": Route({"keras": "keras-torch"}, export.from_torch),
    "qdq-all": Route(_RUNTIME, quantize.qdq_all, quantizes_file=True),
    "qdq-products": Route(_RUNTIME, quantize.qdq_products, quantizes_file=True),
    "nncf": Route(_RUNTIME, quantize.nncf_qdq, quantizes_file=True),
    "qdq-dynamic-cells": Route(_RUNTIME, quantize.qdq_dynamic_cells, quantizes_file=True),
    "unrolled-qdq": Route({"torch": "torch", "keras": "keras-torch"}, quantize.unrolled_qdq),
    "dynamic": Route(_RUNTIME, quantize.dynamic, quantizes_file=True),
    "dynamic-products-tensor": Route(_RUNTIME, quantize.dynamic_products_tensor, quantizes_file=True),
    "dynamic-products": Route(_RUNTIME, quantize.dynamic_products, quantizes_file=True),
}
