"""What is inside a file of dense layers."""

from __future__ import annotations

from collections import Counter

from edgekit.toolchains.null import session

from edgekit.result import IO, Inspected
from edgekit.toolchains._shared import products
from edgekit.toolchains._shared.products import Product, Weights


def audit(file):
    inputs, outputs, layers, more = session.read(file)
    elements, sizes = Counter(), Counter()
    for kernel, *_rest in layers:
        elements[kernel.dtype.name] += kernel.size
        sizes[kernel.dtype.name] += kernel.nbytes
    rows = int(more["rows"])
    return Inspected(
        inputs=(IO(name=inputs[0], shape=(rows, layers[0][0].shape[0]), dtype="float32"),),
        outputs=(IO(name=outputs[0], shape=(rows, layers[-1][0].shape[1]), dtype="float32"),),
        weight_bytes=dict(sizes), weight_elements=dict(elements), activation_types={"float32": len(layers) + 1},
        ops_total=len(layers), ops_quantized=sum(len(layer) > 2 for layer in layers),
        **products.count(dense(str(i), *layer) for i, layer in enumerate(layers)),
    )  # fmt: skip


def dense(name, kernel, _bias, scale=None, *static):
    """A layer; its kernel's columns have a scale each, or all have the same."""
    weights = Weights(kernel.T.shape, kernel.dtype.name, None if scale is None else scale.size, kernel.T == 0)
    return Product("DENSE", name, "linear", kernel.size, scale is not None, lambda: [weights])
