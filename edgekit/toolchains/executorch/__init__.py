"""ExecuTorch programs (.pte) with the XNNPACK delegate.

``rewriting`` brings an exported graph into the forms that the delegate takes, ``lowering``, ``half`` and ``quantize``
are the routes, ``flatbuffer``, ``program`` and ``xnnpack`` read a file without the runtime, ``audit`` counts what is
inside, ``session`` runs it.
"""

from __future__ import annotations

from edgekit.frameworks import LoadedModel
from edgekit.toolchains import Converted, Request, Route
from edgekit.toolchains.executorch.audit import audit
from edgekit.toolchains.executorch.session import open_session

__all__ = ["PACKAGES", "ROUTES", "STEP_VERSION", "audit", "open_session"]

STEP_VERSION = 1
PACKAGES = ("executorch", "torch", "torchao")


def _fp32(model: LoadedModel | None, request: Request) -> Converted:
    from edgekit.toolchains.executorch import lowering

    return lowering.to_fp32(model, request)


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
