"""Bidirectional LSTM classifier in Keras."""

from __future__ import annotations

import keras
from keras import layers


def build(*, vocabulary: int, embedding: int, hidden: int, depth: int, classes: int, length: int) -> keras.Model:
    """Build with random weights; ``hidden`` units per direction, sequences of ``length`` tokens."""
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    x = layers.Embedding(vocabulary, embedding, name="word")(tokens)
    for i in range(depth):
        cell = layers.LSTM(hidden, return_sequences=i < depth - 1)
        x = layers.Bidirectional(cell, name=f"lstm_{i}")(x)
    return keras.Model(tokens, layers.Dense(classes, name="head")(x), name="lstm_classifier")
