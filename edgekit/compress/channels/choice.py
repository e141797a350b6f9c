"""Which channels go: of each group of channels that are given together, those that weigh least.

A channel weighs the L2 norm of what gives it times the scale of the norms behind it (Li et al., *Pruning Filters for
Efficient ConvNets*, ICLR 2017; Liu et al., *Learning Efficient Convolutional Networks through Network Slimming*, ICCV
2017).
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit.compress.channels.labels import Why
from edgekit.compress.channels.walk import Tensor, Walk
from edgekit.errors import EdgekitError, UnsupportedError, UsageError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Channels are a multiple of it, where there are many: kernels compute so many at once.
MULTIPLE = 8
#: How far the rounding to a multiple may move the number of channels.
_MOVED = 1 / 8
_FROZEN = Why("it is of a layer that is frozen")


@dataclass(frozen=True)
class Group:
    """Channels that are given together.

    Attributes:
        names: of the tensors that give them, as the source calls these.
        roots: the label of each channel, in their order.
        before: how many there are.
        after: how many are left.
    """

    names: tuple[str, ...]
    roots: tuple[int, ...]
    removed: tuple[int, ...]

    @property
    def before(self) -> int:
        """How many channels there are."""
        return len(self.roots)

    @property
    def after(self) -> int:
        """How many are left."""
        return len(self.roots) - len(self.removed)


@dataclass(frozen=True)
class Choice:
    """What goes, and what stays although it is of the inner channels.

    Attributes:
        groups: from which channels go.
        refused: what cannot be followed: the tensor, and why.
    """

    groups: tuple[Group, ...]
    refused: tuple[tuple[str, str], ...]

    @property
    def removed(self) -> frozenset[int]:
        """Roots of all labels that go."""
        return frozenset(root for group in self.groups for root in group.removed)


def kept(count: int, ratio: float) -> int:
    """How many of so many channels are left: a multiple of 8, or of a smaller power of 2 where there are few."""
    exact = count * (1 - ratio)
    step = MULTIPLE
    while step > 1 and step / 2 > _MOVED * exact:
        step //= 2
    return min(count, int(exact / step + 0.5) * step)


def choose(
    walk: Walk,
    ratio: float,
    *,
    keep: Sequence[str] = (),
    residual: bool = False,
    allow_refused: bool = False,
    frozen: Collection[int] = (),
) -> Choice:
    """Choose channels to take out.

    Args:
        walk: through the model.
        ratio: of the channels of each group.
        keep: patterns of names of tensors, or of their layers, whose channels stay.
        residual: whether channels of residual streams may go as well.
        allow_refused: leave channels that cannot be followed as they are.
        frozen: where tensors lie that stay as they are.

    Raises:
        UsageError: a layer would have no channel left, or a pattern fits nothing.
        UnsupportedError: channels cannot be followed, by name; there are no inner channels.
    """
    for place in frozen:
        for axis in walk.tensors[place].axes if place in walk.tensors else ():
            walk.labels.pin(axis, _FROZEN)
    groups, refused, streams = list[Group](), list[tuple[str, str]](), list[str]()
    unmet = set(keep)
    weights = _weights(walk)
    for tensors, roots in _groups(walk):
        names = tuple(tensor.name for tensor in tensors)
        met = {pattern for pattern in keep if any(_fits(pattern, name) for name in names)}
        unmet -= met
        reasons = [why for root in roots if (why := walk.labels.pinned(root)) is not None]
        if met or any(not why.refused for why in reasons):
            continue
        if not residual and any(walk.labels.summed(root) for root in roots):
            streams.append(names[0])
            continue
        if reasons:
            refused.append((names[0], reasons[0].text))
            continue
        left = kept(len(roots), ratio)
        if left < 1:
            raise UsageError(
                f"a ratio of {ratio:g} empties {names[0]}, which gives {len(roots)} channels",
                hint="Lower the ratio, or name the layer in `keep` of the recipe's step.",
            )
        order = sorted(range(len(roots)), key=lambda i: (-weights[roots[i]], i))
        groups.append(Group(names, roots, tuple(roots[i] for i in sorted(order[left:]))))
    if unmet:
        layers = sorted({_layer(tensor.name) for tensor, _ in _giving(walk)})
        raise UsageError(
            f"keep: {min(unmet)!r} fits no layer that gives channels",
            hint=f"{did_you_mean(min(unmet), layers)}There are: {', '.join(layers[:20])}.",
        )
    shown = "; ".join(f"{name}: {text}" for name, text in refused[:5])
    shown += f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
    if refused and not allow_refused:
        raise UnsupportedError(
            f"channels that cannot be taken out: {shown}",
            hint="Pass --allow-mixed to leave these as they are, or name them in `keep` of the recipe's step.",
        )
    whole = [group for group in groups if not group.removed]
    groups = [group for group in groups if group.removed]
    if not groups:
        raise _nothing(ratio, shown, streams, whole)
    return Choice(tuple(groups), tuple(refused))


def _nothing(ratio: float, refused: str, streams: Sequence[str], whole: Sequence[Group]) -> EdgekitError:
    """Why no channel goes: each group that could have had some gone, and what would help."""
    if whole:
        counts = ", ".join(f"{group.names[0]} ({group.before})" for group in whole[:5])
        return UsageError(
            f"a ratio of {ratio:g} takes no channel: what is left is rounded to a multiple of {MULTIPLE}, or of 4 or 2 "
            f"where there are few, and that is all of {counts}",
            hint="Raise the ratio.",
        )
    why = [refused] if refused else []
    why += [f"residual streams of {', '.join(streams[:5])}"] if streams else []
    hint = (
        "`residual = true` in the recipe's step takes residual streams as well."
        if streams
        else "Prune single weights: --prune 0.5."
    )
    return UnsupportedError(
        f"no channels can be taken out of this model: {'; '.join(why) or 'all are inputs, outputs, frozen or kept'}",
        hint=hint,
    )


def _fits(pattern: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(_layer(name), pattern)


def _layer(name: str) -> str:
    """A tensor's layer: of Keras without the tensor's name, of PyTorch likewise."""
    return re.split(r"[./](?=[^./]*$)", name)[0]


def _giving(walk: Walk) -> list[tuple[Tensor, int]]:
    """The stored tensors that give channels, and along which axis."""
    given = {int(label) for axis in walk.produced for label in axis}
    return [
        (tensor, axis)
        for tensor in walk.tensors.values()
        for axis, labels in enumerate(tensor.axes)
        if len(tensor.axes) > 1 and len(labels) > 0 and given.issuperset(labels.tolist())
    ]


def _groups(walk: Walk) -> list[tuple[list[Tensor], tuple[int, ...]]]:
    """Tensors that give the same channels, and those channels, in order."""
    merged: list[tuple[list[Tensor], dict[int, None]]] = []
    for tensor, axis in _giving(walk):
        roots = dict.fromkeys(walk.labels.roots(tensor.axes[axis]).tolist())
        same = [one for one in merged if one[1].keys() & roots.keys()]
        tensors, together = [tensor], roots
        for other in reversed(same):
            merged.remove(other)
            tensors, together = [*other[0], *tensors], {**other[1], **together}
        merged.append((tensors, together))
    return [(tensors, tuple(roots)) for tensors, roots in merged]


def _weights(walk: Walk) -> dict[int, float]:
    """What each channel weighs, by its root."""
    found: dict[int, float] = defaultdict(float)
    for tensor, axis in _giving(walk):
        values: NDArray[np.float64] = tensor.own.detach().double().numpy()
        norms = np.sqrt((np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1) ** 2).sum(1))
        mean = float(norms.mean()) or 1.0  # each tensor counts alike, whatever the scale of its weights
        for root, norm in zip(walk.labels.roots(tensor.axes[axis]).tolist(), norms.tolist(), strict=True):
            found[root] += norm / mean
    for tensor in walk.scales:
        scales = np.abs(tensor.own.detach().double().numpy())
        for root, scale in zip(walk.labels.roots(tensor.axes[0]).tolist(), scales.tolist(), strict=True):
            found[root] *= scale
    return found
