"""The single shot detector in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.data.tasks import street_objects
from edgekit.zoo.blocks.pytorch import corners_of, he_normal, offsets_to, overlaps
from edgekit.zoo.ssd.spec import Extra

#: Added to the square of a length, which is divided by.
TINY = 1e-10
#: What the length is multiplied by at first (section 3.1 of the paper).
SCALE = 20.0
#: A default box of at least this overlap with an object belongs to it; so many of the others count per one that does.
OVERLAP, NEGATIVES = 0.5, 3
#: Of the offsets, as ``detection.from_default`` takes them.
VARIANCES = (0.1, 0.2)


class SSD(nn.Module):
    """Takes ``(n, 3, size, size)``, gives raw ``(n, boxes, 4)`` and logits ``(n, boxes, 1 + classes)``."""

    def __init__(
        self,
        classes: int,
        stages: Sequence[Sequence[int]],
        source: int,
        wide: int,
        dilation: int,
        extras: Sequence[Extra],
        anchors: Sequence[int],
    ) -> None:
        super().__init__()
        self.source, self.classes = source, classes
        self.stages = nn.ModuleList()
        inputs = 3
        for widths in stages:
            before = (inputs, *widths)
            self.stages.append(
                nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(before, widths, strict=False))
            )
            inputs = widths[-1]
        self.wide1 = nn.Conv2d(inputs, wide, 3, padding=dilation, dilation=dilation)
        self.wide2 = nn.Conv2d(wide, wide, 1)
        self.narrow, self.extras = nn.ModuleList(), nn.ModuleList()
        inputs = wide
        for extra in extras:
            self.narrow.append(nn.Conv2d(inputs, extra.narrow, 1))
            padding = 1 if extra.stride == 2 else 0
            self.extras.append(nn.Conv2d(extra.narrow, extra.outputs, 3, extra.stride, padding))
            inputs = extra.outputs
        sources = (stages[source][-1], wide, *(extra.outputs for extra in extras))
        self.boxes = nn.ModuleList(nn.Conv2d(i, 4 * n, 3, padding=1) for i, n in zip(sources, anchors, strict=True))
        self.scores = nn.ModuleList(
            nn.Conv2d(i, (classes + 1) * n, 3, padding=1) for i, n in zip(sources, anchors, strict=True)
        )
        he_normal(self)
        self.scale = nn.Conv2d(sources[0], sources[0], 1, groups=sources[0], bias=False)
        nn.init.constant_(self.scale.weight, SCALE)
        for head in (*self.boxes, *self.scores):
            nn.init.xavier_uniform_(head.weight)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute boxes and scores of all maps, one behind the other."""
        x, maps = image, []
        for i, stage in enumerate(self.stages):
            for conv in stage:  # type: ignore[attr-defined]  # a ModuleList
                x = functional.relu(conv(x))
            if i == self.source:
                maps.append(self.scale(x * torch.rsqrt(x.pow(2).sum(1, keepdim=True) + TINY)))
            last = i == len(self.stages) - 1
            x = functional.max_pool2d(x, 3, 1, 1) if last else functional.max_pool2d(x, 2, 2, ceil_mode=True)
        x = functional.relu(self.wide2(functional.relu(self.wide1(x))))
        maps.append(x)
        for narrow, extra in zip(self.narrow, self.extras, strict=True):
            x = functional.relu(extra(functional.relu(narrow(x))))
            maps.append(x)
        return self._rows(self.boxes, maps, 4), self._rows(self.scores, maps, self.classes + 1)

    def _rows(self, heads: nn.ModuleList, maps: list[Tensor], width: int) -> Tensor:
        found = [head(x).permute(0, 2, 3, 1).flatten(1) for head, x in zip(heads, maps, strict=True)]
        return torch.cat(found, 1).unflatten(1, (-1, width))


@cache
def _default_boxes() -> Tensor:
    return torch.from_numpy(street_objects.default_boxes()).float()


def loss(outputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    """The paper's objective (equation 1): smooth L1 of offsets, cross-entropy with the hardest negatives, per box."""
    raw, scores = outputs
    default = _default_boxes()
    kinds, boxes = labels[..., 0], labels[..., 1:].float()
    overlap = overlaps(boxes, corners_of(default)[None]).masked_fill((kinds < 0)[..., None], -1.0)
    # Each object has the default box that it overlaps most, and every one that it overlaps enough.
    best = overlap.argmax(2)
    forced = torch.zeros_like(overlap).scatter_(2, best[..., None], 2.0).masked_fill((kinds < 0)[..., None], 0.0)
    value, owner = (overlap + forced).max(1)
    positive = value >= OVERLAP
    rows = torch.arange(len(labels))[:, None]
    target = torch.where(positive, kinds[rows, owner] + 1, 0)
    wanted = offsets_to(boxes[rows, owner], default, VARIANCES)
    moved = functional.smooth_l1_loss(raw[positive], wanted[positive], reduction="sum")
    each = functional.cross_entropy(scores.movedim(-1, 1), target, reduction="none")
    hardness = each.detach().masked_fill(positive, -1.0)
    rank = hardness.argsort(1, descending=True).argsort(1)
    hard = (rank < NEGATIVES * positive.sum(1, keepdim=True).clamp(min=1)) & ~positive
    return (moved + each[positive | hard].sum()) / positive.sum().clamp(min=1)


def build(
    *,
    image_size: int,
    classes: int,
    stages: Sequence[Sequence[int]],
    source: int,
    wide: int,
    dilation: int,
    extras: Sequence[Extra],
    anchors: Sequence[int],
) -> nn.Module:
    """Build the model; ``source`` is the first stage that is looked at, ``anchors`` the boxes per place of each map."""
    del image_size  # only Keras needs it in advance
    return SSD(classes, stages, source, wide, dilation, extras, anchors)
