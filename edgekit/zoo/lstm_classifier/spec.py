"""Facts about the bidirectional LSTM classifier."""

from __future__ import annotations

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

SPEC = Architecture(
    title="Bidirectional LSTM classifier",
    paper="Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997; "
    "Graves & Schmidhuber, Framewise Phoneme Classification with Bidirectional LSTM, Neural Networks 18, 2005",
    variant="The Keras example 'Bidirectional LSTM on IMDB' (keras.io/examples/nlp/bidirectional_lstm_imdb): "
    "embedding 20,000 x 128, two bidirectional LSTM layers of 64 units per direction, one logit; 2,757,761 parameters. "
    "Gates are sigmoid and tanh, one bias per gate, no peepholes, no padding mask, no dropout. Sequence outputs of "
    "both directions are concatenated between layers; after the last layer the final state of each direction is.",
    family="text",
    kind="recurrent",
    configs={
        "tiny": Config(
            settings={"vocabulary": 61, "embedding": 32, "hidden": 64, "depth": 1, "classes": 3, "length": 24},
            inputs=(TensorSpec("tokens", (1, 24), "int32"),),
            outputs=(TensorSpec("logits", (1, 3), role="classes"),),
            parameters=52_003,
            task="reviews",
            training=Training(epochs=10, batch=64, learning_rate=4e-3),
            floor=0.85,
        ),
        "reference": Config(
            settings={"vocabulary": 20_000, "embedding": 128, "hidden": 64, "depth": 2, "classes": 1, "length": 200},
            inputs=(TensorSpec("tokens", (1, 200), "int32"),),
            outputs=(TensorSpec("logits", (1, 1), role="classes"),),
            parameters=2_757_761,
        ),
    },
)
