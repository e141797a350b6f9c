"""Facts about Mamba."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training


def _config(
    settings: dict[str, object], length: int, vocabulary: int, parameters: int, *, trained: bool = False
) -> Config:
    return Config(
        settings={"vocabulary": vocabulary, "length": length, **settings},
        inputs=(TensorSpec("tokens", (1, length), "int32"),),
        outputs=(TensorSpec("logits", (1, length, vocabulary), role="classes"),),
        parameters=parameters,
        task="python_text" if trained else None,
        training=Training(epochs=1, learning_rate=8e-3) if trained else None,
        floor=9.7 if trained else None,
    )


_TINY = {"width": 48, "depth": 2, "state": 4, "rank": 4}

SPEC = Architecture(
    title="Mamba",
    paper="Gu and Dao: Mamba: Linear-time sequence modeling with selective state spaces. 2023, arXiv:2312.00752",
    variant=(
        "mamba-130m as transformers has it: RMSNorm (epsilon 1e-5) before each block, expansion by 2, causal depthwise "
        "convolution over 4 tokens, SiLU, selective state space, output weights tied to the embedding. The recurrence "
        "is computed in chunks: within one, every token sums what earlier ones left by products of decays, written as "
        "exponentials of differences that are never above 0, and a state goes on from chunk to chunk. `sequential` is "
        "the same with chunks of one token, 64 steps in a row. No runtime has a kernel for the scan: what counts is "
        "how many small operations are left"
    ),
    family="probes",
    kind="recurrent",
    configs={
        "tiny": _config({**_TINY, "chunk": 8}, 64, 96, 37_584, trained=True),
        "sequential": _config({**_TINY, "chunk": 1}, 64, 96, 37_584),
        # state-spaces/mamba-130m
        "reference": _config({"width": 768, "depth": 24, "state": 16, "rank": 48, "chunk": 8}, 64, 50_280, 129_135_360),
    },
)
