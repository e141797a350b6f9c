"""The detection transformer in PyTorch, on ResNet's trunk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.data import street
from edgekit.zoo.blocks.pytorch import attend, corners_of
from edgekit.zoo.detr.spec import positions
from edgekit.zoo.resnet.pytorch import Trunk
from edgekit.zoo.resnet.spec import Block, Kind, plan

#: Distributions whose versions change what is done here.
PACKAGES = ("scipy",)

#: Weights of the parts of loss and matching, and of the class "no object" (section A.4 of the paper).
LENGTHS, OVERLAPS, NOTHING = 5.0, 2.0, 0.1

Layers = list[tuple[Tensor, Tensor]]


class Attention(nn.Module):
    """Projections around scaled dot-product attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.attended = nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """``query`` (n, T, width), ``key`` and ``value`` (n, S, width)."""
        out: Tensor = self.attended(attend(self.query(query), self.key(key), self.value(value), self.heads))
        return out


class FeedForward(nn.Module):
    """Two linear layers with ReLU between."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        out: Tensor = self.outer(functional.relu(self.inner(x)))
        return out


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each followed by its residual sum and LayerNorm."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.attention_norm = nn.LayerNorm(width)
        self.forth = FeedForward(width, inner)
        self.forth_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """``x`` (n, tokens, width), ``places`` (tokens, width)."""
        placed = x + places
        x = self.attention_norm(x + self.dropout(self.attention(placed, placed, x)))
        normed: Tensor = self.forth_norm(x + self.dropout(self.forth(x)))
        return normed


class DecoderLayer(nn.Module):
    """Attention among the queries, attention to the map, feed-forward."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.attention_norm = nn.LayerNorm(width)
        self.look = Attention(width, heads)
        self.look_norm = nn.LayerNorm(width)
        self.forth = FeedForward(width, inner)
        self.forth_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, queries: Tensor, memory: Tensor, placed: Tensor) -> Tensor:
        """``x`` (n, queries, width), ``memory`` (n, tokens, width) and the same with its places added."""
        asked = x + queries
        x = self.attention_norm(x + self.dropout(self.attention(asked, asked, x)))
        x = self.look_norm(x + self.dropout(self.look(x + queries, placed, memory)))
        normed: Tensor = self.forth_norm(x + self.dropout(self.forth(x)))
        return normed


class DETR(Trunk):
    """Takes ``(n, 3, size, size)``, gives box logits ``(n, queries, 4)``, class logits ``(n, queries, classes + 1)``.

    In training it gives them behind each decoder layer.
    """

    places: Tensor

    def __init__(
        self,
        kind: Kind,
        blocks: Sequence[Block],
        stem: int,
        stem_kernel: int,
        stem_stride: int,
        side: int,
        classes: int,
        width: int,
        heads: int,
        inner: int,
        encoder: int,
        decoder: int,
        queries: int,
        dropout: float,
    ) -> None:
        super().__init__(kind, blocks, stem, stem_kernel, stem_stride)
        self.project = nn.Conv2d(blocks[-1].outputs, width, 1)
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, inner, dropout) for _ in range(encoder))
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, inner, dropout) for _ in range(decoder))
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Embedding(queries, width)
        self.scores = nn.Linear(width, classes + 1)
        self.box1 = nn.Linear(width, width)
        self.box2 = nn.Linear(width, width)
        self.boxes = nn.Linear(width, 4)
        self.register_buffer("places", torch.from_numpy(positions(side, width)), persistent=False)
        for name, parameter in self.named_parameters():
            if name.startswith(("encoder", "decoder")) and parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor] | Layers:
        """Compute boxes and scores."""
        memory = self.project(self.features(image)).flatten(2).transpose(1, 2)
        for layer in self.encoder:
            memory = layer(memory, self.places)
        placed, queries = memory + self.places, self.queries.weight
        x = torch.zeros_like(queries).expand(memory.shape[0], -1, -1)
        found = []
        for i, layer in enumerate(self.decoder):
            x = layer(x, queries, memory, placed)
            if self.training or i == len(self.decoder) - 1:
                found.append(self._heads(self.norm(x)))
        return found if self.training else found[-1]

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = functional.relu(self.box2(functional.relu(self.box1(x))))
        return self.boxes(hidden), self.scores(x)


def loss(outputs: Layers, labels: Tensor) -> Tensor:
    """The paper's loss (equation 2) behind each decoder layer, on the best matching of queries and objects."""
    from scipy.optimize import linear_sum_assignment

    kinds, corners = labels[..., 0], labels[..., 1:].float() / street.SIZE
    total = torch.zeros(())
    for raw, scores in outputs:
        boxes = corners_of(torch.sigmoid(raw))
        lengths, overlaps = _apart(boxes, corners)
        with torch.no_grad():
            likely = scores.softmax(-1).gather(2, kinds.clamp(min=0)[:, None].expand(-1, scores.shape[1], -1))
            cost = LENGTHS * lengths + OVERLAPS * overlaps - likely
        wanted = torch.full(scores.shape[:2], scores.shape[2] - 1)
        moved = torch.zeros(())
        for i, objects in enumerate(kinds >= 0):
            here = objects.nonzero()[:, 0]
            query, which = (torch.from_numpy(part) for part in linear_sum_assignment(cost[i][:, here].numpy()))
            wanted[i, query] = kinds[i, here[which]]
            pairs = (i, query, here[which])
            moved = moved + LENGTHS * lengths[pairs].sum() + OVERLAPS * overlaps[pairs].sum()
        weight = torch.ones(scores.shape[2])
        weight[-1] = NOTHING
        named = functional.cross_entropy(scores.movedim(-1, 1), wanted, weight)
        total = total + named + moved / (kinds >= 0).sum().clamp(min=1)
    return total


def _apart(boxes: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
    """Of each query and object: the sum of differences of centre and size, and one less the generalized overlap.

    The latter is Rezatofighi et al., arXiv:1902.09630: ``(n, queries, objects)`` both.
    """
    a, b = boxes[:, :, None], objects[:, None]
    difference = a - b
    centre, size = (difference[..., :2] + difference[..., 2:]) / 2, difference[..., 2:] - difference[..., :2]
    lengths = centre.abs().sum(-1) + size.abs().sum(-1)

    def area(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp(min=0).prod(-1)

    shared = area(torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:]))
    around = area(torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])).clamp(min=1e-6)
    union = (area(a[..., :2], a[..., 2:]) + area(b[..., :2], b[..., 2:]) - shared).clamp(min=1e-6)
    return lengths, 1 - shared / union + (around - union) / around


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
    heads: int,
    inner: int,
    encoder: int,
    decoder: int,
    queries: int,
    dropout: float,
) -> nn.Module:
    """Build the model; ``encoder`` and ``decoder`` are numbers of layers, ``inner`` is the width of feed-forward."""
    side = image_size // (2 * stem_stride * 2 ** (len(depths) - 1))
    blocks = plan(kind, depths, widths, stem)
    return DETR(
        kind, blocks, stem, stem_kernel, stem_stride, side, classes, width, heads, inner, encoder, decoder, queries,
        dropout,
    )  # fmt: skip
