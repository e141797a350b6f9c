"""A decoder that default static int8 destroys by its structure alone, as a ``file.py:function`` source, and its data.

The zoo's ``char_llama`` with its trained weights, but for the mask: minus infinity, as many decoders have it, in the
place of a large finite number. The float model is the same. A range that ends at minus infinity has no scale that
means anything, so that a quantizer which takes the sum of scores and mask, or the softmax behind it, into int8 loses
the scores.

    edgekit convert tests/contract/children/structural.py:endless_mask --target onnxruntime-int8 --metric perplexity
        --calibrate tests/contract/children/structural.py:calibration
        --evaluate tests/contract/children/structural.py:evaluation
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgekit import zoo
from edgekit.data import tasks

if TYPE_CHECKING:
    import torch

CONFIG = zoo.architecture("char_llama").configs["tiny"]


def finite_mask() -> "torch.nn.Module":
    """The zoo's own model, to compare with."""
    import torch

    from edgekit.zoo import weights
    from edgekit.zoo.char_llama import pytorch

    model = pytorch.build(**CONFIG.settings)
    weights.load_torch(model, weights.read(zoo.weights_path("char_llama", "tiny")))
    model.example_inputs = (torch.zeros(CONFIG.inputs[0].shape, dtype=torch.int32),)
    return model.eval()


def endless_mask() -> "torch.nn.Module":
    """Later tokens get minus infinity."""
    model = finite_mask()
    model.mask.masked_fill_(model.mask < 0, -np.inf)
    return model


def calibration() -> Iterator[dict[str, np.ndarray]]:
    """Windows of the task's calibration split."""
    yield dict(tasks.load(CONFIG.task, "calibration").inputs)


def evaluation() -> Iterator[dict[str, np.ndarray]]:
    """Windows of its test and selection splits with their labels."""
    for split in ("test", "selection"):
        samples = tasks.load(CONFIG.task, split)
        yield {**samples.inputs, "y": samples.labels}
