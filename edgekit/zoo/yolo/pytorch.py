"""Tiny YOLOv2 in PyTorch, and the loss that it is trained with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.data.tasks.scenes import ANCHORS, SIZE

#: Weight of a box's position and size against its scores, as in the authors' first YOLO (arXiv 1506.02640).
BOX_WEIGHT = 5.0
#: An anchor without an object whose box overlaps one by more than this is not told that it is wrong.
IGNORED_IOU = 0.6


class YOLO(nn.Module):
    """Takes ``(n, 3, size, size)``, gives ``(n, cells * anchors, 4)`` boxes and ``(..., 1 + classes)`` scores."""

    def __init__(self, classes: int, anchors: int, widths: Sequence[int], last_pool: bool) -> None:
        super().__init__()
        self.scores = 1 + classes
        self.last_pool = last_pool
        pairs = zip((3, *widths[:-1]), widths, strict=True)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, 1, 1, bias=False) for i, o in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.box_head = nn.Conv2d(widths[-1], anchors * 4, 1)
        self.score_head = nn.Conv2d(widths[-1], anchors * self.scores, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute raw boxes and logits of every anchor; anchors vary fastest, then columns."""
        x, pools = image, len(self.convs) - 2
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = functional.leaky_relu(norm(conv(x)), 0.1)
            if self.last_pool and i == pools - 1:
                x = functional.max_pool2d(functional.pad(x, (0, 1, 0, 1), mode="replicate"), 2, 1)
            elif i < pools:
                # The stride is written out: two exporters fail on the implicit one.
                x = functional.max_pool2d(x, 2, 2)
        boxes, scores = (head(x).permute(0, 2, 3, 1) for head in (self.box_head, self.score_head))
        return boxes.reshape(len(image), -1, 4), scores.reshape(len(image), -1, self.scores)


def build(*, image_size: int, classes: int, anchors: int, widths: Sequence[int], last_pool: bool) -> nn.Module:
    """Build the model; ``anchors`` is how many boxes each cell of the grid predicts."""
    del image_size  # a convolutional network takes any multiple of its stride
    return YOLO(classes, anchors, widths, last_pool)


def loss(outputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    """Sum over the anchors, mean over the images; labels as in ``edgekit/data/tasks/scenes.py``.

    An object belongs to the anchor that is nearest in shape, in the cell of its centre. Squared errors of position
    (after the sigmoid) and log size; cross-entropies in place of YOLOv2's squared errors of objectness and classes,
    as in YOLOv3 (arXiv 1804.02767).
    """
    boxes, scores = outputs
    anchors = boxes.new_tensor(ANCHORS)
    grid = math.isqrt(boxes.shape[1] // len(ANCHORS))
    cell = SIZE / grid
    image, row = torch.nonzero(labels[..., 0] >= 0, as_tuple=True)
    objects = labels[image, row].to(boxes.dtype)
    centre, sides = (objects[:, 1:3] + objects[:, 3:]) / (2 * cell), objects[:, 3:] - objects[:, 1:3]
    column_row = centre.floor().clamp(max=grid - 1)
    shared = torch.minimum(sides[:, None], anchors).prod(-1)
    chosen = (shared / (sides.prod(-1, keepdim=True) + anchors.prod(-1) - shared)).argmax(1)
    at = ((column_row[:, 1] * grid + column_row[:, 0]) * len(ANCHORS) + chosen).long()

    mine, logits = boxes[image, at], scores[image, at]
    place = (mine[:, :2].sigmoid() - (centre - column_row)).square().sum()
    size = (mine[:, 2:] - (sides / anchors[chosen]).log()).square().sum()
    kind = functional.cross_entropy(logits[:, 1:], labels[image, row, 0], reduction="sum")

    wanted = torch.zeros_like(scores[..., 0])
    wanted[image, at] = 1.0
    told = (wanted > 0) | (_overlaps(boxes.detach(), labels, grid) <= IGNORED_IOU)
    objectness = functional.binary_cross_entropy_with_logits(scores[..., 0], wanted, reduction="none")
    return (BOX_WEIGHT * (place + size) + kind + (objectness * told).sum()) / len(labels)


def _overlaps(boxes: Tensor, labels: Tensor, grid: int) -> Tensor:
    """Each anchor's largest intersection over union with an object, ``(n, anchors)``."""
    anchors, at = boxes.new_tensor(ANCHORS), torch.arange(grid)
    column_row = torch.stack([at.repeat(grid), at.repeat_interleave(grid)], -1).repeat_interleave(len(anchors), 0)
    centre = (column_row + boxes[..., :2].sigmoid()) * (SIZE / grid)
    half = anchors.repeat(grid * grid, 1) * boxes[..., 2:].clamp(max=8).exp() / 2
    low, high = (centre - half)[:, :, None], (centre + half)[:, :, None]
    left, right = labels[:, None, :, 1:3], labels[:, None, :, 3:]
    shared = (torch.minimum(high, right) - torch.maximum(low, left)).clamp(min=0).prod(-1)
    return (shared / ((high - low).prod(-1) + (right - left).prod(-1) - shared)).amax(-1)
