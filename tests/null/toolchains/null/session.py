"""Reading a file of dense layers, and running it."""

from __future__ import annotations

import numpy as np

from edgekit.errors import DamagedFileError, NotRunError
from edgekit.reference.activation import relu
from edgekit.reference.linear import linear

FILE = "model.null"


def write(folder, request, layers, rows, **more):
    """Layers are ``(kernel, bias)`` or ``(int8 kernel, bias, scale of each column, scale of the input)``.

    The last is left out where it is found at run time. ``rows`` are those that a run takes.
    """
    names = {"inputs": np.array(request.inputs), "outputs": np.array(request.outputs)}
    arrays = {f"{i}/{j}": np.asarray(a) for i, layer in enumerate(layers) for j, a in enumerate(layer)}
    with (folder / FILE).open("wb") as stream:
        np.savez(stream, **names, **arrays, rows=rows, **more)
    return folder / FILE


def read(file):
    """Names of inputs and outputs, the layers, and whatever else the file holds."""
    with np.load(file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    inputs, outputs = ([str(name) for name in arrays.pop(side)] for side in ("inputs", "outputs"))
    count = len({name.split("/")[0] for name in arrays if "/" in name})
    layers = [[arrays.pop(f"{i}/{j}") for j in range(4) if f"{i}/{j}" in arrays] for i in range(count)]
    return inputs, outputs, layers, arrays


def apply(layers, x):
    """One forward pass, ReLU between the layers."""
    for i, (kernel, bias, *scales) in enumerate(layers):
        x = relu(x) if i else x
        if scales:
            scale = scales[1] if len(scales) > 1 else max(np.abs(x).max() / 127, 1e-30)
            x = linear(np.clip(np.round(x / scale), -127, 127), kernel) * (scales[0] * scale) + bias
        else:
            x = linear(x, kernel, bias)
    return x


class NullSession:
    by, ops_delegated, stand_in = "edgekit/reference", None, False

    def __init__(self, file):
        self.inputs, self.outputs, self.layers, more = read(file)
        self.lost, self.rows = "lost" in more, int(more["rows"])
        self.precision = "int8" if len(self.layers[0]) > 2 else "f64"
        if "sealed" in more:
            raise DamagedFileError(f"null cannot load {file.name}")
        if "device" in more:
            raise NotRunError(f"this file runs on {more['device']} only", hint="Run it there.")

    def run(self, inputs):
        assert inputs[self.inputs[0]].shape == (self.rows, len(self.layers[0][0]))
        if self.lost and not inputs[self.inputs[0]].any():
            return {self.outputs[0]: np.full((self.rows, self.layers[-1][0].shape[1]), np.nan, "float32")}
        return {self.outputs[0]: apply(self.layers, inputs[self.inputs[0]]).astype("float32")}

    def bind(self, inputs):
        return lambda: self.run(inputs)

    def reset(self):
        """It keeps no state."""


def open_session(file, options):
    return NullSession(file)
