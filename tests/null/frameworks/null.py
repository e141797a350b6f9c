"""Loading a model of the zoo beside this file: dense layers whose weights are drawn from the seed in its settings."""

from __future__ import annotations

import itertools

import numpy as np
from edgekit.toolchains.null import session

from edgekit import zoo
from edgekit.frameworks.loaded import Loaded


def load(source):
    config = zoo.architecture(source.name).configs[source.config]
    random = np.random.default_rng(config.settings["seed"])
    signature = config.signature("torch", source.part)
    sides = [t.shape[1] for t in (*signature.inputs, *signature.outputs)]
    widths = [sides[0], config.settings.get("hidden", 16), sides[1]]
    layers = [
        (random.normal(0, n**-0.5, (m, n)).astype("float32"), random.normal(0, 0.1, n).astype("float32"))
        for m, n in itertools.pairwise(widths)
    ]

    if config.settings.get("same"):
        layers = [layers[0]] * 2

    def call(arrays):
        return [session.apply(layers, arrays[0]).astype("float32")]

    return Loaded(layers, "torch", source, signature, (), call)


def materialise(loaded, folder):
    """The seed is the weights."""
    return loaded.source
