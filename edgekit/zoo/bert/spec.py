"""Facts about BERT."""

from __future__ import annotations

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

SPEC = Architecture(
    title="BERT",
    paper="Devlin, Chang, Lee & Toutanova, BERT: Pre-training of Deep Bidirectional Transformers for Language "
    "Understanding, arXiv 1810.04805",
    variant="bert-base-uncased as transformers.BertModel holds it, encoder with pooler: LayerNorm after each residual "
    "sum (epsilon 1e-12), exact (erf) GELU, learned positions, token types (all of type 0 here), tanh pooler on the "
    "first token. Padding tokens (0) are masked out by adding -60 to their scores, which leaves the float output as "
    "it is with minus infinity. classes=None gives the published model, whose outputs are the hidden states and the "
    "pooled first token; with classes, a linear head on the pooled token gives logits, as in "
    "BertForSequenceClassification. No dropout.",
    family="text",
    kind="attention",
    configs={
        "tiny": Config(
            settings={
                "vocabulary": 61,
                "positions": 24,
                "width": 64,
                "depth": 2,
                "heads": 4,
                "inner": 256,
                "length": 24,
                "classes": 3,
            },
            inputs=(TensorSpec("tokens", (1, 24), "int32"),),
            outputs=(TensorSpec("logits", (1, 3), role="classes"),),
            parameters=110_019,
            task="reviews",
            training=Training(epochs=16, batch=64, learning_rate=1e-3),
            floor=0.85,
        ),
        "reference": Config(
            settings={
                "vocabulary": 30_522,
                "positions": 512,
                "width": 768,
                "depth": 12,
                "heads": 12,
                "inner": 3072,
                "length": 128,
                "classes": None,
            },
            inputs=(TensorSpec("tokens", (1, 128), "int32"),),
            outputs=(TensorSpec("hidden", (1, 128, 768), channels=(2,)), TensorSpec("pooled", (1, 768))),
            parameters=109_482_240,
        ),
    },
)
