"""Which values a Keras model expects, as its first layer says it: generated inputs beyond them tell nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.signature import TensorSpec

Span = tuple[float, float]

#: Layers that hand on what they get: in evaluation mode they do nothing to its values.
_PASSING = ("Dropout", "GaussianNoise", "GaussianDropout", "Reshape", "Permute", "ZeroPadding2D", "Flatten", "Identity")
#: Standard deviations around the mean that a normalised input covers.
_DEVIATIONS = 2.0


def spans(model: Any, inputs: tuple[TensorSpec, ...]) -> dict[str, Span]:
    """Lowest and highest value of each input that a first ``Rescaling`` or ``Normalization`` layer implies, by name.

    A model without such a layer, or one that is no graph of layers, implies nothing.
    """
    tensors = list(getattr(model, "inputs", None) or ())
    if len(tensors) != len(inputs):
        return {}
    found = {spec.name: _span(_consumer(model, tensor)) for spec, tensor in zip(inputs, tensors, strict=True)}
    return {name: span for name, span in found.items() if span is not None}


def _consumer(model: Any, tensor: Any) -> Any:
    """The layer that takes a tensor, past those that hand it on and into models within the model; None for several."""
    takers = [
        (layer, node)
        for layer in getattr(model, "layers", ())
        if type(layer).__name__ != "InputLayer"
        for node in getattr(layer, "_inbound_nodes", ())
        if any(given is tensor for given in _inputs(node))
    ]
    if len(takers) != 1:
        return None
    layer, node = takers[0]
    if type(layer).__name__.startswith("Random") or type(layer).__name__ in _PASSING:
        return _consumer(model, _outputs(node)[0])
    inner = list(getattr(layer, "inputs", None) or ()) if getattr(layer, "layers", None) else []
    return _consumer(layer, inner[0]) if len(inner) == 1 else layer


def _inputs(node: Any) -> list[Any]:
    """Tensors that a node takes: ``input_tensors``, in Keras 2 one of them as itself."""
    return _listed(getattr(node, "input_tensors", ()))


def _outputs(node: Any) -> list[Any]:
    """Tensors that a node gives: ``outputs``, in Keras 2 one of them as itself."""
    return _listed(node.outputs)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _span(layer: Any) -> Span | None:
    kind = type(layer).__name__
    if kind == "Rescaling":
        scale, offset = np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)
        if scale.size != 1 or offset.size != 1 or not scale.item():
            return None
        # A scale alone brings to 0..1; with a negative offset it is the lower end of a range around zero.
        width = -2 * offset.item() if offset.item() < 0 else 1.0
        ends = sorted((0.0, width / scale.item()))
        return ends[0], ends[1]
    if kind == "Normalization" and not getattr(layer, "invert", False):
        if layer.mean is None or layer.variance is None:  # not adapted yet
            return None
        middle, variance = (np.array(value, np.float64) for value in (layer.mean, layer.variance))
        spread = _DEVIATIONS * np.sqrt(variance)
        return float((middle - spread).min()), float((middle + spread).max())
    return None
