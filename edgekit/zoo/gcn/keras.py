"""The graph convolutional network in Keras, for a dense adjacency and for a list of edges."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


def build(
    *, nodes: int, features: int, hidden: int, depth: int, classes: int, dropout: float, edges: int
) -> keras.Model:
    """Build the model of ``depth`` layers; ``edges`` is the length of the list, 0 for a dense adjacency."""
    given = keras.Input((nodes, features), name="features")
    graph = [keras.Input((nodes, nodes), name="adjacency")]
    if edges:
        graph = [keras.Input((edges,), dtype="int32", name=name) for name in ("source", "target")]
        graph.append(keras.Input((edges,), name="weight"))
    x = layers.Dense(hidden, name="hidden")(layers.Dropout(dropout, name="hidden_dropout")(given))
    x = layers.ReLU(name="hidden_relu")(_neighbours(x, nodes, graph))
    for i in range(depth - 2):
        name = f"deeper_{i}"
        y = layers.Dense(hidden, name=name)(layers.Dropout(dropout, name=f"{name}_dropout")(x))
        y = layers.ReLU(name=f"{name}_relu")(_neighbours(y, nodes, graph))
        x = layers.Add(name=f"{name}_add")([x, y])
    x = layers.Dense(classes, name="classes")(layers.Dropout(dropout, name="classes_dropout")(x))
    logits = layers.Identity(name="logits")(_neighbours(x, nodes, graph))
    return keras.Model([given, *graph], logits, name="gcn")


def _neighbours(x: Any, nodes: int, graph: list[Any]) -> Any:
    """Sum over each node's neighbours; a list of edges is of one graph."""
    if len(graph) == 1:
        return ops.matmul(graph[0], x)
    source, target, weight = graph
    sent = ops.take(x[0], source[0], axis=0) * ops.expand_dims(weight[0], 1)
    return ops.expand_dims(ops.segment_sum(sent, target[0], num_segments=nodes), 0)
