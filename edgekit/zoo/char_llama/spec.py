"""Facts about Llama, and the rotary angles that both implementations hold as constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Added to the scores of later tokens. In the trained tiny model they exceed the largest that a token may see by up to
#: 120: -60, which is enough for the zoo's GPT, would let some of them through.
MASKED = -150.0
EPSILON = 1e-5


def rotations(length: int, size: int, theta: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines and sines ``(length, size)`` of the rotary embedding: the angles of one half, and the same again."""
    import numpy as np

    angles = np.arange(length)[:, None] * theta ** (-np.arange(0, size, 2) / size)
    both = np.concatenate([angles, angles], axis=1)
    return np.cos(both).astype(np.float32), np.sin(both).astype(np.float32)


def mask(length: int) -> NDArray[np.float32]:
    """``(length, length)``, added to the scores: ``MASKED`` above the diagonal."""
    import numpy as np

    return np.triu(np.full((length, length), MASKED, np.float32), 1)


SPEC = Architecture(
    title="Llama on characters",
    paper="Touvron et al.: Llama 2: Open foundation and fine-tuned chat models. 2023, arXiv:2307.09288; the reference "
    "is SmolLM2 135M, Ben Allal et al.: SmolLM2: When smol goes big. 2025, arXiv:2502.02737",
    variant="transformers.LlamaForCausalLM: RMSNorm (epsilon 1e-5) before each part and after the last, rotary "
    "positions on the two halves of a head (the published weights of Meta pair neighbours instead), grouped-query "
    "attention, SwiGLU, no biases. Output weights are tied to the token embedding in the reference and of their own in "
    "tiny. Later tokens are masked out by adding -150 to their scores, which leaves the float output as it is with "
    "minus infinity.",
    family="text",
    kind="attention",
    configs={
        "tiny": Config(
            settings={
                "vocabulary": 96,
                "width": 64,
                "depth": 3,
                "heads": 4,
                "groups": 2,
                "inner": 128,
                "theta": 10_000.0,
                "tied": False,
                "length": 64,
            },
            inputs=(TensorSpec("tokens", (1, 64), "int32"),),
            outputs=(TensorSpec("logits", (1, 64, 96), channels=(2,), role="classes"),),
            parameters=123_328,
            task="python_text",
            training=Training(epochs=7, learning_rate=1.2e-2),
            floor=9.7,
        ),
        "reference": Config(
            settings={
                "vocabulary": 49_152,
                "width": 576,
                "depth": 30,
                "heads": 9,
                "groups": 3,
                "inner": 1536,
                "theta": 100_000.0,
                "tied": True,
                "length": 128,
            },
            inputs=(TensorSpec("tokens", (1, 128), "int32"),),
            outputs=(TensorSpec("logits", (1, 128, 49_152), channels=(2,), role="classes"),),
            parameters=134_515_008,
        ),
    },
)
