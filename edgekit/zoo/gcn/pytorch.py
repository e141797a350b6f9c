"""The graph convolutional network in PyTorch, for a dense adjacency and for a list of edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class GCN(nn.Module):
    """Gives logits ``(n, nodes, classes)``; takes ``features`` ``(n, nodes, features)`` and the graph.

    The graph is ``adjacency`` ``(n, nodes, nodes)``, or, of one graph alone, the edges ``source``, ``target``
    and ``weight`` ``(1, edges)``.
    """

    def __init__(self, features: int, hidden: int, depth: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, hidden)
        self.deeper = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(depth - 2))
        self.classes = nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, *graph: Tensor) -> Tensor:
        """Compute the logits of every node."""
        x = functional.relu(neighbours(self.hidden(self.dropout(features)), *graph))
        for layer in self.deeper:
            x = x + functional.relu(neighbours(layer(self.dropout(x)), *graph))
        return neighbours(self.classes(self.dropout(x)), *graph)


class Dense(GCN):
    """The form with a dense adjacency."""

    def forward(self, features: Tensor, adjacency: Tensor) -> Tensor:  # type: ignore[override]  # named for export
        """Compute the logits of every node."""
        return super().forward(features, adjacency)


class Edges(GCN):
    """The form with a list of edges."""

    def forward(self, features: Tensor, source: Tensor, target: Tensor, weight: Tensor) -> Tensor:  # type: ignore[override]
        """Compute the logits of every node."""
        return super().forward(features, source, target, weight)


def neighbours(x: Tensor, *graph: Tensor) -> Tensor:
    """Sum over each node's neighbours."""
    if len(graph) == 1:
        return torch.matmul(graph[0], x)
    # PyTorch's exporter writes a ScatterND over 32-bit indices otherwise, which ONNX has not.
    source, target, weight = graph[0].long(), graph[1].long(), graph[2]
    sent = x[0].index_select(0, source[0]) * weight[0][:, None]
    return torch.zeros_like(x[0]).index_add(0, target[0], sent)[None]


def build(*, nodes: int, features: int, hidden: int, depth: int, classes: int, dropout: float, edges: int) -> nn.Module:
    """Build the model of ``depth`` layers; ``edges`` is the length of the list, 0 for a dense adjacency."""
    del nodes  # any number
    return (Edges if edges else Dense)(features, hidden, depth, classes, dropout)
