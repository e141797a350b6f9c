"""Facts about the streaming denoiser, DTLN."""

from __future__ import annotations

from edgekit.signature import State, TensorSpec
from edgekit.zoo import Architecture, Config, Part, Training


def _parts(frame: int, hidden: int, depth: int) -> dict[str, Part]:
    """Both stages for one frame; every layer carries its hidden and its cell state."""
    names = [f"{kind}_{layer}" for layer in range(depth) for kind in ("hidden", "cell")]

    def part(given: str, found: TensorSpec) -> Part:
        before = (TensorSpec(name, (1, hidden)) for name in names)
        after = (TensorSpec(f"next_{name}", (1, hidden)) for name in names)
        return Part(
            inputs=(TensorSpec(given, found.shape), *before),
            outputs=(found, *after),
            state=tuple(State(f"next_{name}", name) for name in names),
        )

    return {
        "stage1": part("magnitude", TensorSpec("mask", (1, frame // 2 + 1))),
        "stage2": part("frame", TensorSpec("enhanced_frame", (1, frame), channels=())),  # a waveform
    }


SPEC = Architecture(
    title="DTLN, streaming denoiser",
    paper="Westhausen & Meyer, Dual-Signal Transformation LSTM Network for Real-Time Noise Suppression, "
    "Interspeech 2020, arXiv 2005.07551",
    variant="The authors' published model (github.com/breizhn/DTLN) without normalisation of the spectrum, in its "
    "streaming form: two models, one frame per call, LSTM states as inputs and outputs. Frames of 512 samples, hops of "
    "128, no window; two LSTM layers of 128 per stage and a sigmoid mask; the second stage encodes the frame without "
    "bias to 256 features, normalises them over the features (epsilon 1e-7) for the LSTM alone, and decodes the masked "
    "features without bias. One bias per gate; no dropout at inference. The LSTM is written in products, sigmoids and "
    "tanhs: a call is one step, and its state lies open. `tiny` normalises with an epsilon of 1e-3: 1e-7 blows frames "
    "that are all but silent up to full size, whose variance an int8 (and a float16) file cannot tell from zero.",
    family="audio",
    kind="recurrent",
    configs={
        "tiny": Config(
            settings={"frame": 256, "hop": 64, "width": 128, "hidden": 64, "depth": 1, "epsilon": 1e-3},
            inputs=(TensorSpec("noisy", (1, 6656)),),
            outputs=(TensorSpec("enhanced", (1, 6464)),),
            parameters=181_569,
            task="noisy_speech",
            training=Training(epochs=20, batch=32, learning_rate=3e-3),
            floor=9.15,
            parts=_parts(frame=256, hidden=64, depth=1),
        ),
        # An LSTM from i to h has 4 h (i + h + 1) parameters:
        #   stage 1   197,632 + 131,584, mask 33,153
        #   stage 2   encoder 131,072, norm 512, 197,120 + 131,584, mask 33,024, decoder 131,072
        "reference": Config(
            settings={"frame": 512, "hop": 128, "width": 256, "hidden": 128, "depth": 2, "epsilon": 1e-7},
            inputs=(TensorSpec("noisy", (1, 16_000)),),
            outputs=(TensorSpec("enhanced", (1, 15_616)),),
            parameters=986_753,
            parts=_parts(frame=512, hidden=128, depth=2),
        ),
    },
)
