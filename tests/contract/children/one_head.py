"""A detector that gives boxes and scores in one tensor, as a ``file.py:function`` source, and its data.

The zoo's ``yolo`` with its trained weights and its decoding in the graph: of each anchor the corners of its box in
pixels, 0 to 48 and beyond, then a confidence per class within 0 to 1. In int8 the tensor has one step for both, a fifth
of a pixel, which is as much as most confidences are.

    edgekit convert tests/contract/children/one_head.py:detector --target openvino-int8 --metric map
        --outputs output=boxes+scores
        --calibrate tests/contract/children/one_head.py:calibration
        --evaluate tests/contract/children/one_head.py:evaluation
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgekit import zoo
from edgekit.data import tasks
from edgekit.data.tasks.scenes import ANCHORS, SIZE

if TYPE_CHECKING:
    import torch

CONFIG = zoo.architecture("yolo").configs["tiny"]


def two_ranges() -> "torch.nn.Module":
    """Nothing but what is hard of it: a few layers, whose answers are pixels and shares in one tensor."""
    import torch
    from torch import nn

    class TwoRanges(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.inner, self.pixels, self.shares = nn.Linear(16, 32), nn.Linear(32, 4), nn.Linear(32, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.inner(x))
            return torch.cat([600 * self.pixels(x).sigmoid(), self.shares(x).sigmoid()], -1)

    model = TwoRanges().eval()
    model.example_inputs = (torch.zeros(1, 16),)
    return model


def numbers() -> Iterator[dict[str, np.ndarray]]:
    """Inputs of ``two_ranges``."""
    yield {"x": np.random.default_rng(0).standard_normal((400, 16)).astype(np.float32)}


def detector() -> "torch.nn.Module":
    import torch
    from torch import nn

    from edgekit.zoo import weights
    from edgekit.zoo.yolo import pytorch

    class OneHead(nn.Module):
        """As ``edgekit.data.tasks.scenes.postprocess`` and ``detection.decode`` do it."""

        def __init__(self) -> None:
            super().__init__()
            self.net = pytorch.build(**CONFIG.settings)
            weights.load_torch(self.net, weights.read(zoo.weights_path("yolo", "tiny")))
            grid = math.isqrt(CONFIG.outputs[0].shape[1] // len(ANCHORS))
            at = torch.arange(grid, dtype=torch.float32)
            places = torch.stack([at.repeat(grid), at.repeat_interleave(grid)], -1)
            self.register_buffer("places", places.repeat_interleave(len(ANCHORS), 0))
            self.register_buffer("anchors", torch.tensor(ANCHORS).repeat(grid * grid, 1))
            self.cell = SIZE / grid

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            boxes, scores = self.net(image)
            centre = (self.places + boxes[..., :2].sigmoid()) * self.cell
            half = boxes[..., 2:].exp() * self.anchors / 2
            confidences = scores[..., :1].sigmoid() * scores[..., 1:].softmax(-1)
            return torch.cat([centre - half, centre + half, confidences], -1)

    model = OneHead().eval()
    model.example_inputs = (torch.zeros(1, 3, SIZE, SIZE),)
    return model


def calibration() -> Iterator[dict[str, np.ndarray]]:
    """Images of the task's calibration split."""
    yield {"image": _channels_first(tasks.load(CONFIG.task, "calibration"))}


def evaluation() -> Iterator[dict[str, np.ndarray]]:
    """Those of its test and selection splits with the objects in them."""
    for split in ("test", "selection"):
        samples = tasks.load(CONFIG.task, split)
        yield {"image": _channels_first(samples), "y": samples.labels}


def _channels_first(samples: tasks.Samples) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(samples.inputs["image"], -1, 1))
