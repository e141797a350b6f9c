"""Bidirectional LSTM classifier in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LSTMClassifier(nn.Module):
    """Embedding, bidirectional LSTM layers, linear head on the final state of both directions."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int, depth: int, classes: int) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary, embedding)
        widths = [embedding] + [2 * hidden] * (depth - 1)
        self.lstm = nn.ModuleList(nn.LSTM(w, hidden, batch_first=True, bidirectional=True) for w in widths)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens`` int32 (n, T) -> logits (n, classes)."""
        x = self.word(tokens)
        for lstm in self.lstm:
            x, (state, _) = lstm(x)
        logits: Tensor = self.head(torch.cat((state[0], state[1]), dim=-1))
        return logits


def build(*, vocabulary: int, embedding: int, hidden: int, depth: int, classes: int, length: int) -> nn.Module:
    """Build with random weights; ``hidden`` units per direction."""
    del length  # only Keras needs it in advance
    return LSTMClassifier(vocabulary, embedding, hidden, depth, classes)
