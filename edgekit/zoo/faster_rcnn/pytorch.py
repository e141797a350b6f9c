"""Faster R-CNN with a mask head in PyTorch: its three parts, and what lies between them in training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.data import detection, street
from edgekit.data.tasks import street_instances as task
from edgekit.zoo.blocks.pytorch import corners_of, flat, offsets_to, overlaps
from edgekit.zoo.resnet.pytorch import Trunk
from edgekit.zoo.resnet.spec import Block, Kind, plan

#: Least overlap of an anchor that is an object, most of one that is none; least of a region that is an object.
OBJECT, NO_OBJECT, REGION_OBJECT = 0.7, 0.3, 0.5
#: Of an image count so many anchors, and as many of them as objects at most; likewise regions; masks are drawn of some.
ANCHORS, ANCHORS_OBJECTS, REGIONS, REGIONS_OBJECTS, MASKS = 64, 32, 24, 8, 4
#: Proposals that regions are drawn from in training, beside the objects themselves.
PROPOSED = 32
#: Variances of offsets, of anchors and of regions, as ``detection.from_default`` takes them.
OF_ANCHORS, OF_REGIONS = (1.0, 1.0), (0.1, 0.2)


class Proposals(Trunk):
    """Takes ``(n, 3, size, size)``, gives objectness, offsets and the maps that regions are read from.

    ResNet's trunk, a feature pyramid on all of its stages, and the region proposal network on each of its maps.
    """

    def __init__(
        self,
        kind: Kind,
        blocks: Sequence[Block],
        widths: Sequence[int],
        stem: int,
        stem_kernel: int,
        stem_stride: int,
        width: int,
        anchors: int,
    ) -> None:
        super().__init__(kind, blocks, stem, stem_kernel, stem_stride)
        self.lateral = nn.ModuleList(nn.Conv2d(outputs, width, 1) for outputs in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in widths)
        self.hidden = nn.Conv2d(width, width, 3, padding=1)
        self.objectness = nn.Conv2d(width, anchors, 1)
        self.offsets = nn.Conv2d(width, 4 * anchors, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Objectness ``(n, anchors, 1)`` as logits, offsets ``(n, anchors, 4)``, and the maps, the finest first."""
        summed = [lateral(x) for lateral, x in zip(self.lateral, self.maps(image), strict=True)]
        for i in reversed(range(len(summed) - 1)):
            summed[i] = summed[i] + functional.interpolate(summed[i + 1], scale_factor=2, mode="nearest")
        maps = [smooth(x) for smooth, x in zip(self.smooth, summed, strict=True)]
        hidden = [functional.relu(self.hidden(x)) for x in (*maps, functional.max_pool2d(maps[-1], 1, 2))]
        return _rows(self.objectness, hidden, 1), _rows(self.offsets, hidden, 4), *maps


def _rows(head: nn.Module, maps: Sequence[Tensor], width: int) -> Tensor:
    """What a convolution says of each anchor, maps behind each other: ``(n, anchors, width)``."""
    return torch.cat([flat(head(x)) for x in maps], 1).unflatten(1, (-1, width))


class BoxHead(nn.Module):
    """Takes ``(n, width, size, size)`` of one region, gives logits, the background first, and offsets per class."""

    def __init__(self, size: int, width: int, inner: int, classes: int) -> None:
        super().__init__()
        self.inner1 = nn.Linear(size * size * width, inner)
        self.inner2 = nn.Linear(inner, inner)
        self.scores = nn.Linear(inner, classes + 1)
        self.offsets = nn.Linear(inner, 4 * classes)

    def forward(self, region: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(n, 1 + classes)`` and offsets ``(n, classes, 4)``."""
        x = functional.relu(self.inner2(functional.relu(self.inner1(flat(region)))))
        return self.scores(x), self.offsets(x).unflatten(1, (-1, 4))


class MaskHead(nn.Module):
    """Takes ``(n, width, size, size)`` of one region, gives a mask per class, twice as wide and high, as logits."""

    def __init__(self, width: int, depth: int, classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.up = nn.ConvTranspose2d(width, width, 2, 2)
        self.masks = nn.Conv2d(width, classes, 1)

    def forward(self, region: Tensor) -> Tensor:
        """Compute the masks."""
        for conv in self.convs:
            region = functional.relu(conv(region))
        found: Tensor = self.masks(functional.relu(self.up(region)))
        return found


class MaskRCNN(nn.Module):
    """All parts; the host's code between them is that of ``edgekit/data/tasks/street_instances.py``."""

    def __init__(self, proposals: Proposals, box_head: BoxHead, mask_head: MaskHead) -> None:
        super().__init__()
        self.proposals, self.box_head, self.mask_head = proposals, box_head, mask_head

    def forward(self, image: Tensor) -> tuple[Tensor, ...] | tuple[tuple[Tensor, ...], nn.Module]:
        """The detections of the task's ``stream``; in training what the first part found, and this, for the loss."""
        if self.training:
            return self.proposals(image), self

        def proposals(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            objectness, offsets, *maps = self.proposals(_turned(inputs["image"]))
            found = {f"map_{i}": _turned_back(x) for i, x in enumerate(maps)}
            return {"objectness": objectness.numpy(), "offsets": offsets.numpy(), **found}

        def box_head(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            scores, offsets = self.box_head(_turned(inputs["region"]))
            return {"scores": scores.numpy(), "offsets": offsets.numpy()}

        def mask_head(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"masks": _turned_back(self.mask_head(_turned(inputs["region"])))}

        parts = {"proposals": proposals, "box_head": box_head, "mask_head": mask_head}
        found = task.stream(parts, {"image": _turned_back(image)})  # type: ignore[arg-type]
        return tuple(torch.from_numpy(found[name]) for name in ("boxes", "scores", "masks"))


def _turned(x: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def _turned_back(x: Tensor) -> np.ndarray:
    return x.movedim(1, -1).numpy()


def loss(outputs: tuple[tuple[Tensor, ...], MaskRCNN], labels: Tensor) -> Tensor:
    """The paper's five terms in approximate joint training: boxes of the regions are taken for constants.

    Anchors and regions that count are drawn at random, as many that hold an object as the paper says at most.
    """
    (objectness, offsets, *maps), model = outputs
    masks, kinds, boxes = _objects(labels)
    with torch.no_grad():
        proposed = task.proposed(objectness.numpy(), offsets.numpy(), PROPOSED)
        regions = torch.cat((torch.from_numpy(proposed).float(), boxes), 1)
    first = _of_anchors(objectness[..., 0], offsets, kinds, boxes)
    return first + _of_regions(model, maps, regions, masks, kinds, boxes)


def _objects(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels ``(n, objects, size, size)``, classes (-1 is none) and boxes in pixels of the objects of each image."""
    number = torch.where(labels < 0, -1, labels % detection.UNIT)
    masks = number[:, None] == torch.arange(street.OBJECTS)[:, None, None]
    kinds = torch.where(masks, (labels // detection.UNIT)[:, None], -1).amax((2, 3))
    at = torch.arange(labels.shape[-1])
    sides = []
    for there in (masks.any(2), masks.any(3)):  # columns, rows
        sides += [torch.where(there, at, labels.shape[-1]).amin(2), torch.where(there, at + 1, 0).amax(2)]
    left, right, top, bottom = sides
    boxes = torch.stack((left, top, right, bottom), 2).float()
    return masks, kinds, torch.where((kinds < 0)[..., None], 0.0, boxes)


def _of_anchors(objectness: Tensor, offsets: Tensor, kinds: Tensor, boxes: Tensor) -> Tensor:
    """What the region proposal network is wrong by (equation 1 of Faster R-CNN)."""
    anchors = _anchors()
    overlap = overlaps(boxes, corners_of(anchors)[None])
    best = torch.zeros_like(overlap).scatter_(2, overlap.argmax(2, keepdim=True), 1.0)
    best = best.masked_fill((kinds < 0)[..., None], 0.0)
    value, owner = (overlap + best).max(1)
    is_object = value >= OBJECT
    chosen, valid = _drawn(is_object, value < NO_OBJECT, ANCHORS_OBJECTS, ANCHORS)
    said, wanted = objectness.gather(1, chosen), is_object.gather(1, chosen)
    likely = functional.binary_cross_entropy_with_logits(said, wanted.float(), reduction="none")
    target = offsets_to(boxes[_rows_of(chosen), owner.gather(1, chosen)], anchors[chosen], OF_ANCHORS)
    moved = functional.smooth_l1_loss(offsets[_rows_of(chosen), chosen], target, reduction="none", beta=1 / 9).sum(2)
    return ((likely * valid).sum() + (moved * (valid & wanted)).sum()) / valid.sum()


def _of_regions(
    model: MaskRCNN, maps: Sequence[Tensor], regions: Tensor, masks: Tensor, kinds: Tensor, boxes: Tensor
) -> Tensor:
    """What both heads are wrong by (section 3 of Mask R-CNN)."""
    overlap = overlaps(boxes, regions).masked_fill((kinds < 0)[..., None], 0.0)
    value, owner = overlap.max(1)
    there = (regions[..., 2:] > regions[..., :2]).all(2)
    chosen, valid = _drawn((value >= REGION_OBJECT) & there, (value < REGION_OBJECT) & there, REGIONS_OBJECTS, REGIONS)
    rows = _rows_of(chosen)
    regions, owner, is_object = regions[rows, chosen], owner[rows, chosen], value[rows, chosen] >= REGION_OBJECT
    kind = torch.where(is_object, kinds[rows, owner], -1)
    weight = (valid & is_object).float()

    scores, offsets = model.box_head(_read(maps, regions, task.BOX))
    named = functional.cross_entropy(scores, (kind + 1).flatten(), reduction="none") * valid.flatten()
    own = offsets[torch.arange(len(offsets)), kind.flatten().clamp(min=0)].view(*kind.shape, 4)
    target = offsets_to(boxes[rows, owner], _centred(regions), OF_REGIONS)
    moved = functional.smooth_l1_loss(own, target, reduction="none").sum(2) * weight

    # Those that hold an object stand in front.
    regions, owner, kind, weight = (x[:, :MASKS] for x in (regions, owner, kind, weight))
    drawn = model.mask_head(_read(maps, regions, task.MASK))
    drawn = drawn[torch.arange(len(drawn)), kind.flatten().clamp(min=0)].view(*kind.shape, *drawn.shape[2:])
    shape = _crops(masks[_rows_of(kind), owner].float(), regions, drawn.shape[-1])
    inside = functional.binary_cross_entropy_with_logits(drawn, (shape >= 0.5).float(), reduction="none").mean((2, 3))
    inside = (inside * weight).sum() / weight.sum().clamp(min=1)
    return (named.sum() + moved.sum()) / valid.sum() + inside


def _drawn(objects: Tensor, others: Tensor, most: int, count: int) -> tuple[Tensor, Tensor]:
    """Some of both kinds at random, objects in front: their places ``(n, count)``, and which of them are any."""
    chance = torch.rand(objects.shape)
    first, firsts = torch.where(objects, chance, -1.0).topk(most, 1)
    second, seconds = torch.where(others, chance, -1.0).topk(count - most, 1)
    return torch.cat((firsts, seconds), 1), torch.cat((first, second), 1) >= 0


def _rows_of(chosen: Tensor) -> Tensor:
    return torch.arange(len(chosen))[:, None]


def _read(maps: Sequence[Tensor], regions: Tensor, bins: int) -> Tensor:
    """As the task's ``read_maps``, with a gradient: ``(n * regions, channels, bins, bins)``."""
    chosen = detection.levels(regions.numpy(), task.SECOND, len(maps))
    total = torch.zeros(())
    for i, values in enumerate(maps):
        rows, columns = detection.sampling(regions.numpy(), bins, street.SIZE, values.shape[-1])
        rows *= (chosen == i)[..., None, None]
        lines = torch.einsum("nrbh,nchw->nrcbw", torch.from_numpy(rows), values)
        total = total + lines @ torch.from_numpy(columns)[:, :, None].transpose(-1, -2)
    return total.flatten(0, 1)


def _crops(masks: Tensor, regions: Tensor, bins: int) -> Tensor:
    """How much of each cell of a region's grid a mask fills: ``(n, regions, bins, bins)``."""
    rows, columns = detection.sampling(regions.numpy(), bins, street.SIZE, masks.shape[-1])
    return torch.from_numpy(rows) @ masks @ torch.from_numpy(columns).transpose(-1, -2)


@cache
def _anchors() -> Tensor:
    return torch.from_numpy(task.anchors()).float()


def _centred(corners: Tensor) -> Tensor:
    return torch.from_numpy(detection.centred(corners.numpy()))


def build(
    *,
    image_size: int,
    classes: int,
    kind: Kind,
    depths: Sequence[int],
    widths: Sequence[int],
    stem: int,
    stem_kernel: int,
    stem_stride: int,
    width: int,
    anchors: int,
    box_size: int,
    inner: int,
    mask_size: int,
    mask_depth: int,
) -> nn.Module:
    """Build the parts; ``width`` channels of the pyramid, ``anchors`` per place, ``inner`` of the box head.

    ``box_size`` and ``mask_size`` are bins along a side of what the heads read, ``mask_depth`` convolutions.
    """
    del image_size, mask_size  # only Keras needs them in advance
    blocks = plan(kind, depths, widths, stem)
    return MaskRCNN(
        Proposals(kind, blocks, widths, stem, stem_kernel, stem_stride, width, anchors),
        BoxHead(box_size, width, inner, classes),
        MaskHead(width, mask_depth, classes),
    )
