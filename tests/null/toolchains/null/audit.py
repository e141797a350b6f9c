"""What is inside a file of dense layers."""

from __future__ import annotations

from collections import Counter

from edgekit.toolchains.null import session

from edgekit.toolchains import Audit, IOTensor


def audit(file):
    inputs, outputs, layers, more = session.read(file)
    elements, sizes = Counter(), Counter()
    for kernel, *_rest in layers:
        elements[kernel.dtype.name] += kernel.size
        sizes[kernel.dtype.name] += kernel.nbytes
    return Audit(
        inputs=(IOTensor(inputs[0], (int(more["rows"]), layers[0][0].shape[0]), "float32"),),
        outputs=(IOTensor(outputs[0], (int(more["rows"]), layers[-1][0].shape[1]), "float32"),),
        weight_bytes=dict(sizes), weight_elements=dict(elements), activation_types={"float32": len(layers) + 1},
        ops_total=len(layers), ops_quantized=sum(len(layer) > 2 for layer in layers),
        macs_total=sum(layer[0].size for layer in layers),
        macs_quantized=sum(layer[0].size for layer in layers if len(layer) > 2),
        float_ops=tuple(f"DENSE:{i}" for i, layer in enumerate(layers) if len(layer) == 2),
    )  # fmt: skip
