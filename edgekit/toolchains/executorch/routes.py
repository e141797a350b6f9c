"""The routes of this toolchain, by name."""

from __future__ import annotations

from edgekit.frameworks import LoadedModel
from edgekit.toolchains import BY_LAYER, DYNAMIC_RANGES, STEERED, Converted, Request, Route


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


def _blocks(model: LoadedModel | None, request: Request) -> Converted:
    from edgekit.toolchains.executorch import quantize

    return quantize.in_blocks(model, request)


# Lowering imports torch and the compiler; the audit of a file needs neither.
ROUTES = {
    "export-xnnpack": Route({"torch": "torch", "keras": "keras-torch"}, _fp32),
    "cast-wf16-xnnpack": Route({"torch": "torch", "keras": "keras-torch"}, _half_weights),
    "cast-wf16af16-xnnpack": Route({"torch": "torch", "keras": "keras-torch"}, _half),
    "ptq-w8a8-pt2e": Route({"torch": "torch", "keras": "keras-torch"}, _static, honours=STEERED),
    "ptq-w8a8-pt2e-matmuls": Route({"torch": "torch", "keras": "keras-torch"}, _static_products, honours=STEERED),
    "dynamic-w8a8-pt2e": Route(
        {"torch": "torch", "keras": "keras-torch"}, _dynamic, honours=BY_LAYER, because=DYNAMIC_RANGES
    ),
    "dynamic-w4a8-pt2e": Route(
        {"torch": "torch", "keras": "keras-torch"}, _blocks, honours=BY_LAYER, because=DYNAMIC_RANGES
    ),
}
