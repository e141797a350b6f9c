"""Rules per layer and ranges of activations, held against what a file or a graph has.

A toolchain lists its layers (``Found``) and its values before it quantizes; what is decided here it applies natively.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NoReturn, TypeVar

from edgekit.errors import UnsupportedError, UsageError
from edgekit.result import Layer
from edgekit.scheme import Kind, Range, Rule, Scheme
from edgekit.toolchains import Kept, Request

T = TypeVar("T", bound=Hashable)

#: Names that a message lists where the nearest do not help.
_MOST_NAMED = 12
_ACTIVATION_BITS = {"int8": 8, "int16": 16}


@dataclass(frozen=True)
class Found(Generic[T]):
    """A layer of what is about to be quantized.

    Attributes:
        at: what the toolchain knows it by.
        names: what a pattern is held against: first the name that ``inspect`` shows, then that of the source.
        kind: what it does with its weights.
        macs: multiply-accumulates of one run.
        also: names that count where a pattern is that of no layer's ``names``.
    """

    at: T
    names: tuple[str, ...]
    kind: Kind
    macs: int
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcomes(Generic[T]):
    """What rules make of layers.

    Attributes:
        floats: layers that stay in float.
        schemes: those that get another scheme than the target's.
        kept: both, as the user is told of them.
    """

    floats: tuple[T, ...] = ()
    schemes: Mapping[T, Scheme] = field(default_factory=dict)
    kept: tuple[Kept, ...] = ()


def outcomes(
    request: Request, layers: Iterable[Found[T]], *, able: Callable[[Scheme], bool] = lambda _: False
) -> Outcomes[T]:
    """Hold the request's rules against layers, which are listed only where there is a rule.

    Args:
        request: whose rules.
        layers: all that carry weights.
        able: whether the route can give a scheme to a single layer, besides the request's own.

    Raises:
        UsageError: a rule matches nothing, or nothing is left to quantize.
        UnsupportedError: a rule asks for a scheme that the route cannot give to a layer.
    """
    if not request.layers:
        return Outcomes()
    found = list(layers)
    for rule in request.layers:
        if rule.becomes != "float" and rule.becomes.name != request.scheme.name and not able(rule.becomes):
            raise UnsupportedError(f"this route cannot give {rule.becomes.name} to a single layer, {rule.words}")
    taken = [_taken(rule, found) for rule in request.layers]
    if request.whole:
        for rule, places in zip(request.layers, taken, strict=True):
            if not places:
                _missing(f"no layer is {rule.words}", rule.name or "", [name for one in found for name in one.names])
    decides: dict[int, Rule] = {}
    for rule, places in zip(request.layers, taken, strict=True):
        decides |= {place: rule for place in places if place not in decides}
    floats = {place: found[place] for place in sorted(decides) if decides[place].becomes == "float"}
    if found and len(floats) == len(found) and request.whole:
        raise UsageError(
            f"all {len(found)} layers are to be kept in float: nothing would be quantized",
            hint="Name fewer layers, or take a float target.",
        )
    others = {
        found[place].at: rule.becomes
        for place, rule in decides.items()
        if rule.becomes != "float" and rule.becomes.name != request.scheme.name
    }
    kept = tuple(
        _kept(found[place], decides[place]) for place in sorted(decides) if place in floats or found[place].at in others
    )
    return Outcomes(tuple(one.at for one in floats.values()), others, kept)


def of_layers(layers: Iterable[Layer], constants: Mapping[str, Iterable[str]]) -> list[Found[str]]:
    """Layers as an audit lists them, by their names there.

    Args:
        layers: of the float file.
        constants: by a layer's name what its weights are called, which often says the source's name.

    The source's name is told from the parts of both: those that several layers have, of which one is called so alone,
    are the name of that one (converters join the names of what they fuse); other shared parts are no layer's name.
    """
    found = list(layers)
    said = [_parts((layer.name, *constants.get(layer.name, ()))) for layer in found]
    left = [set(parts) for parts in said]
    alone: set[str] = set()
    while alone != (more := {part for parts in left if len(parts) == 1 for part in parts}):
        alone = more
        left = [parts - alone if len(parts) > 1 else parts for parts in left]
    often = Counter(part for parts in left for part in parts)
    made = []
    for layer, parts, own in zip(found, said, left, strict=True):
        names = [part for part in parts if part in own and (part in alone or often[part] == 1)]
        also = tuple(stem for name in names if (stem := re.sub(r"_\d+$", "", name)) != name)
        made.append(Found(layer.name, tuple(dict.fromkeys((layer.name, *names))), layer.kind, layer.macs, also))
    return made


def _parts(names: Iterable[str]) -> list[str]:
    """What may be a layer's name in names such as these, each once.

    ``functional_1/conv2d_1/convolution;...`` (TensorFlow), ``__module.block.stem/aten::_convolution/Convolution``
    (OpenVINO), ``torch.nn.modules.linear.Linear_head;2`` (litert-torch: class and name), ``head.weight`` (ONNX).
    """
    found: dict[str, None] = {}
    for part in (part for name in names for part in re.split("[;:/]", name)):
        part = part.removeprefix("__module.").removeprefix("self.")
        if known := re.fullmatch(r"[\w.]+\.[A-Z][A-Za-z0-9]*(?:_(\w+))?", part):
            part = known[1] or ""
        part = re.sub(r"[._](weight|kernel|bias)(_\w+)?$", "", part)
        if part and not part.isdecimal() and "." not in (part[0], part[-1]):
            found[part] = None
    return list(found)


def _taken(rule: Rule, layers: Sequence[Found[T]]) -> list[int]:
    """The layers that a rule is for."""
    shown = [i for i, one in enumerate(layers) if rule.takes(one.names, one.kind)]
    return shown or [i for i, one in enumerate(layers) if rule.takes(one.also, one.kind)]


def _kept(one: Found[T], rule: Rule) -> Kept:
    """A layer with the name that the rule found it by first."""
    names = (*one.names, *one.also)
    by = next(name for name in names if rule.takes((name,), one.kind))
    becomes = "float" if rule.becomes == "float" else rule.becomes.name
    return Kept(tuple(dict.fromkeys((by, *names))), one.kind, one.macs, becomes)


def ranges(request: Request, values: Mapping[str, T], *, symmetric: bool = False) -> dict[T, Range]:
    """The request's ranges by the values that get them.

    Args:
        request: whose ranges.
        values: all that there are, by every name that they have.
        symmetric: whether the route's activations have no zero point.

    Raises:
        UsageError: a tensor is not there.
        UnsupportedError: the route's activations cannot have such a range.
    """
    found: dict[T, Range] = {}
    for one in request.ranges:
        if one.tensor not in values:
            if not request.whole:
                continue
            _missing(f"there is no tensor {one.tensor!r} to give a range to", one.tensor, list(values))
        bits = _ACTIVATION_BITS.get(request.scheme.activations)
        if one.bits != bits or one.granularity != "tensor":
            raise UnsupportedError(
                f"the range of {one.tensor!r} is of {one.bits} bits per {one.granularity}; "
                f"{request.scheme.name} has {bits} per tensor"
            )
        if symmetric and not one.symmetric:
            raise UnsupportedError(
                f"the range of {one.tensor!r} has a zero point, and activations of this format have none",
                hint="Give a symmetric range.",
            )
        found[values[one.tensor]] = one
    return found


def without_own(tensor: str, others: Iterable[str]) -> NoReturn:
    """Raise for a tensor that the route gives no range of its own: it is fused, or shares that of another."""
    raise UnsupportedError(
        f"the tensor {tensor!r} gets no range of its own by this route; those that do: {_listed(tensor, list(others))}"
    )


def _missing(what: str, name: str, there: list[str]) -> NoReturn:
    raise UsageError(f"{what}; there is {_listed(name, there)}", hint="`edgekit inspect FILE --layers` lists layers.")


def _listed(name: str, there: Sequence[str]) -> str:
    """The nearest names first, and so many others."""
    names = list(dict.fromkeys(there))
    close = difflib.get_close_matches(name.strip("*"), names, n=3, cutoff=0.4)
    rest = [other for other in names if other not in close][: _MOST_NAMED - len(close)]
    more = len(names) - len(close) - len(rest)
    return ", ".join([*close, *rest, *([f"{more} more"] if more else [])]) or "none"
