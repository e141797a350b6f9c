"""What several architectures are made of: facts here, and each block once in ``pytorch.py`` and ``keras.py``.

Activations go by Keras's names in both frameworks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.errors import UsageError

#: Zeros around a convolution: ``kernel // 2`` on all sides; as many as TensorFlow's SAME adds, with a stride of 2 one
#: less before an even image than behind it; none.
Padding = Literal["symmetric", "same", "valid"]


@dataclass(frozen=True)
class InvertedResidual:
    """One block of the MobileNets (arXiv:1801.04381) and of EfficientNet.

    ``expanded`` equals ``inputs`` where there is no expansion convolution; ``squeezed`` is the width of
    squeeze-and-excite, 0 where there is none, with ``gates`` the activations of its two convolutions.
    """

    inputs: int
    expanded: int
    outputs: int
    kernel: int
    stride: int
    activation: str
    squeezed: int = 0
    gates: tuple[str, str] = ("relu", "hard_sigmoid")

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.inputs == self.outputs


def check_even(image_size: int, blocks: Sequence[InvertedResidual]) -> None:
    """Refuse an image that is not even before each stride of 2, the stem's too, where SAME would pad otherwise.

    Raises:
        UsageError: it is not.
    """
    halvings = 1 + sum(block.stride == 2 for block in blocks)
    if image_size % 2**halvings:
        raise UsageError(f"image_size {image_size} must be a multiple of {2**halvings} for these blocks")


def divisible(channels: float) -> int:
    """Round to a multiple of 8, never below 90 % of ``channels`` (as in the MobileNets' code)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
