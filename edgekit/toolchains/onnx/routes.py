"""The routes of this toolchain, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgekit.frameworks import LoadedModel
from edgekit.signature import Environment
from edgekit.toolchains import Converted, Request, Route
from edgekit.toolchains.onnx import export, quantize, vendor

_Convert = Callable[[LoadedModel | None, Request], Converted]


def _route(environments: Mapping[str, Environment], convert: _Convert, *, quantizes_file: bool = False) -> Route:
    """A route whose file is for ONNX Runtime: other toolchains call the functions themselves."""

    def converted(model: LoadedModel | None, request: Request) -> Converted:
        return vendor.with_plain_norms(convert(model, request))

    return Route(environments, converted, quantizes_file)


def _quantizes(convert: _Convert) -> Route:
    return _route({"keras": "runtime", "torch": "runtime"}, convert, quantizes_file=True)


ROUTES = {
    "torch-dynamo": _route({"torch": "torch"}, export.from_torch),
    "torch-script": _route({"torch": "torch"}, export.from_torchscript),
    "tf2onnx": _route({"keras": "keras-tensorflow"}, export.from_saved_model),
    "keras-torch": _route({"keras": "keras-torch"}, export.from_torch),
    "qdq-all": _quantizes(quantize.qdq_all),
    "qdq-products": _quantizes(quantize.qdq_products),
    "nncf": _quantizes(quantize.nncf_qdq),
    "qdq-dynamic-cells": _quantizes(quantize.qdq_dynamic_cells),
    "unrolled-qdq": _route({"torch": "torch", "keras": "keras-torch"}, quantize.unrolled_qdq),
    "dynamic": _quantizes(quantize.dynamic),
    "dynamic-products-tensor": _quantizes(quantize.dynamic_products_tensor),
    "dynamic-products": _quantizes(quantize.dynamic_products),
}
