"""Facts about GPT-2."""

from __future__ import annotations

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

SPEC = Architecture(
    title="GPT-2",
    paper="Radford, Wu, Child, Luan, Amodei & Sutskever, Language Models are Unsupervised Multitask Learners, "
    "OpenAI, 2019",
    variant="gpt2 (small) as transformers.GPT2LMHeadModel holds it: LayerNorm before each part and after the last "
    "(epsilon 1e-5), tanh GELU, learned positions, query, key and value from one linear layer, output weights tied to "
    "the token embedding. Later tokens are masked out by adding -60 to their scores, which leaves the float output "
    "as it is with minus infinity. No dropout.",
    family="text",
    kind="attention",
    configs={
        "tiny": Config(
            settings={"vocabulary": 101, "positions": 32, "width": 64, "depth": 2, "heads": 4, "length": 32},
            inputs=(TensorSpec("tokens", (1, 32), "int32"),),
            outputs=(TensorSpec("logits", (1, 32, 101), channels=(2,), role="classes"),),
            parameters=108_608,
            task="sentences",
            training=Training(epochs=12, batch=64, learning_rate=2e-3),
            floor=10.0,
        ),
        "reference": Config(
            settings={"vocabulary": 50_257, "positions": 1024, "width": 768, "depth": 12, "heads": 12, "length": 128},
            inputs=(TensorSpec("tokens", (1, 128), "int32"),),
            outputs=(TensorSpec("logits", (1, 128, 50_257), channels=(2,), role="classes"),),
            parameters=124_439_808,
        ),
    },
)
