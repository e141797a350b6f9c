"""The routes of this toolchain, by name."""

from __future__ import annotations

from edgekit.frameworks import LoadedModel
from edgekit.toolchains import Converted, Request, Route


def _fp32(model: LoadedModel | None, request: Request) -> Converted:
    from edgekit.toolchains.executorch import export

    return export.to_fp32(model, request)


def _half_weights(model: LoadedModel | None, request: Request) -> Converted:
    from edgekit.toolchains.executorch.passes import half

    return half.weights_only(model, request)


def _half(model: LoadedModel | None, request: Request) -> Converted:
    from edgekit.toolchains.executorch.passes import half

    return half.everything(model, request)


def _static(model: LoadedModel | None, request: Request) -> Converted:
    from edgekit.toolchains.executorch import quantize

    return quantize.static(model, request)


def _static_products(model: LoadedModel | None, request: Request) -> Converted:
    from edgekit.toolchains.executorch import quantize

    return quantize.static_products(model, request)


def _dynamic(model: LoadedModel | None, request: Request) -> Converted:
    from edgekit.toolchains.executorch import quantize

    return quantize.dynamic(model, request)


# Lowering imports torch and the compiler; the audit of a file needs neither.
ROUTES = {
    "xnnpack": Route({"torch": "torch", "keras": "keras-torch"}, _fp32),
    "xnnpack-half-weights": Route({"torch": "torch", "keras": "keras-torch"}, _half_weights),
    "xnnpack-half": Route({"torch": "torch", "keras": "keras-torch"}, _half),
    "pt2e": Route({"torch": "torch", "keras": "keras-torch"}, _static),
    "pt2e-products": Route({"torch": "torch", "keras": "keras-torch"}, _static_products),
    "pt2e-dynamic": Route({"torch": "torch", "keras": "keras-torch"}, _dynamic),
}
