"""Equalize the models of ``seams.py`` in one framework: FRAMEWORK OUT."""

import json
import os
import sys

import numpy as np
import torch

from edgekit.compress import equalize, graph, products, seams
from edgekit.compress.fakequant import Grid
from edgekit.frameworks import LoadedModel
from edgekit.frameworks import keras as keras_models
from edgekit.frameworks import torch as torch_models
from edgekit.sources import source

framework, out = sys.argv[1:]
RNG = np.random.default_rng(0)
FOLDER = os.path.dirname(os.path.abspath(out))


def loaded() -> LoadedModel:
    if framework == "torch":
        return torch_models.load(source.resolve("seams.py:Seams", trust=True))
    import seams as models

    file = os.path.join(FOLDER, "seams.keras")
    if not os.path.exists(file):
        models.keras_model().save(file)
    return keras_models.load(source.resolve(file))


def outputs(model: LoadedModel, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.concatenate([np.asarray(model.native(torch.from_numpy(one)).detach()) for one in x])


def sqnr(reference: np.ndarray, other: np.ndarray) -> float:
    reference, other = reference.astype("float64"), other.astype("float64")
    return float(10 * np.log10((reference**2).sum() / max(((reference - other) ** 2).sum(), 1e-30)))


def per_tensor(product: products.Product) -> np.ndarray:
    step = np.abs(product.weights).max() / 127
    return np.rint(product.weights / step) * step


shape = (1, 3, 12, 12) if framework == "torch" else (1, 12, 12, 3)
# Channels of very different sizes come from the weights; inputs are as a camera's.
samples = [(one,) for one in RNG.standard_normal((48, *shape)).astype("float32")]
other = RNG.standard_normal((32, *shape)).astype("float32")
before = outputs(loaded(), other)
names = [[f.stored.target for f in s.giving] for s in seams.find_seams(graph.Graph(loaded()))]
readers = [[f.stored.target for _, f in s.reading] for s in seams.find_seams(graph.Graph(loaded()))]
found: dict = {"seams": list(zip(names, readers, strict=True))}
for method in ("cle", "smoothquant", "awq"):
    grid, bits = Grid(7 if method == "awq" else 127), 8 if method == "smoothquant" else None
    model = loaded()
    seen = equalize.equalize(model, samples, method, lambda product, grid=grid: grid, activation_bits=bits)
    found[method] = {"seams": seen, "sqnr_db": sqnr(before, outputs(model, other))}
    if method == "cle":
        for key, rounded in (("plain_db", loaded()), ("equalized_db", model)):
            products.replace_weights(rounded, samples, per_tensor)
            found[method][key] = sqnr(before, outputs(rounded, other))
with open(out, "w") as stream:
    json.dump(found, stream)
