"""Whether a file really has the numeric format that it claims."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from edgekit.result import Audit, Inspected, Layer
from edgekit.scheme import Scheme
from edgekit.target import Target
from edgekit.toolchains import Kept

#: Element types that carry weights. Wider integers are biases, shapes and indices.
_WEIGHTS = re.compile(r"b?float\d+\w*|u?int[1-8]|lut[1-8]")


def weight_share(scheme: Scheme, audit: Audit) -> float | None:
    """Share of weight elements stored in the scheme's type of weights; None where the file has no weights."""
    counted = {kind: n for kind, n in audit.weight_elements.items() if _WEIGHTS.fullmatch(kind)}
    total = sum(counted.values())
    return sum(counted.get(kind, 0) for kind in scheme.stored_as) / total if total else None


def out_of_reach(target: Target, layer: Layer) -> str:
    """Why a layer cannot have the target's weights below 8 bits; an empty string where it can."""
    scheme = target.scheme
    if layer.kind not in target.layers:
        return f"{target.format} has no {scheme.weights} {layer.kind} ({target.layers_because})"
    return "" if target.partial_blocks else scheme.too_large_for(layer.shape)


def unserved(target: Target, floats: Mapping[str, Audit]) -> str:
    """Why a target below 8 bits is not for a model; an empty string where it is, or for other targets.

    Args:
        target: which.
        floats: what is inside the float twin's file of each part; a part without weights asks for nothing.
    """
    if not target.scheme.below_8_bits:
        return ""
    reasons = {name: _unserved(target, audit) for name, audit in floats.items()}
    name, reason = next(((name, reason) for name, reason in reasons.items() if reason), ("", ""))
    return f"part {name}: {reason}" if reason and len(floats) > 1 else reason


def _unserved(target: Target, audit: Audit) -> str:
    total = sum(n for kind, n in audit.weight_elements.items() if _WEIGHTS.fullmatch(kind))
    left: Counter[str] = Counter()
    for layer in audit.layers:
        if reason := out_of_reach(target, layer):
            left[reason] += math.prod(layer.shape)
    reach = sum(math.prod(layer.shape) for layer in audit.layers) - left.total()
    if not total or reach / total >= target.scheme.stored:
        return ""
    total = max(total, reach + left.total())  # what operators share is stored once, and is a layer for each
    most = f"; {_percent(left.most_common(1)[0][1] / total)}: {left.most_common(1)[0][0]}" if left else ""
    return (
        f"{target.name} puts {', '.join(target.layers)} layers in {target.scheme.weights}, which hold "
        f"{_percent(reach / total)} of this model's weights; needed: {_percent(target.scheme.stored)}{most}"
    )


def higher(target: Target, audit: Audit) -> list[tuple[Layer, str]]:
    """The layers of a file below 8 bits whose weights have more, each with the reason."""
    if not target.scheme.below_8_bits:
        return []
    found = [layer for layer in audit.layers if layer.weight_type not in target.scheme.stored_as]
    return [(layer, out_of_reach(target, layer) or "the route left it") for layer in found]


def reached(scheme: Scheme, audit: Audit) -> float:
    """The share that a scheme promises: of the multiply-accumulates in integers, or of the weights as stored.

    1 where the file has none.
    """
    share = audit.macs_quantized_share if scheme.promises_arithmetic else weight_share(scheme, audit)
    return 1.0 if share is None else share


def without(audit: Inspected, kept: Collection[Kept]) -> Inspected:
    """The audit of what rules did not keep in float: a file is judged on that.

    Each layer that was kept is one of the file's that multiplies floats, of its name or else of the same work: formats
    rename layers, and some have no names. One that is not there was not kept, which is a finding.
    """
    kept = [layer for layer in kept if layer.becomes == "float"]
    if not kept:
        return audit
    rest, gone, findings = list(audit.layers), list[Layer](), list(audit.findings)
    for layer in kept:
        floats = [own for own in rest if not own.in_integers and "float" in own.weight_type]
        named = [own for own in floats if own.name in layer.names]
        alike = [own for own in floats if own.macs == layer.macs and (own.macs or own.kind == layer.kind)]
        if not (named or alike):
            findings.append(f"{layer.names[0]} was to be kept in float, and the file has no such layer in float")
            continue
        found = (named or alike)[0]
        gone.append(found)
        rest = [own for own in rest if own is not found]
    elements, operators = Counter(audit.weight_elements), Counter(audit.ops_float or {})
    for own in gone:
        elements[own.weight_type] -= math.prod(own.shape)
        operators[own.operator] -= 1
    total = sum(own.macs for own in rest)
    quantized = sum(own.macs for own in rest if own.in_integers)
    names = {f"{own.operator}:{own.name}" for own in gone}
    changes = {
        "weight_elements": dict(+elements),
        "macs_total": total,
        "macs_quantized": quantized,
        "macs_quantized_share": quantized / total if total else None,
        "float_ops": tuple(name for name in audit.float_ops if name not in names),
        "float_weights": tuple(name for name in audit.float_weights if name not in names),
        "ops_float": None if audit.ops_float is None else dict(+operators),
        "findings": tuple(findings),
        "layers": tuple(rest),
    }
    return audit.model_copy(update=changes)


def shortfall(scheme: Scheme, audit: Inspected, *, integer_io: bool = False) -> str:
    """Say why a file is not what it claims; an empty string where it is.

    Findings of the static checks come first: such a file is wrong whatever its types are. Every scheme promises how
    weights are stored; a static one promises integer arithmetic as well. With ``integer_io`` a file claims to be full
    integer: nothing computes in float that the runtime can compute in integers.
    """
    if audit.findings:
        return "; ".join(audit.findings)
    share = weight_share(scheme, audit)
    if share is not None and share < scheme.stored:
        types = ", ".join(f"{kind} {n}" for kind, n in sorted(audit.weight_elements.items()))
        left = _named("stored in float", audit.float_weights) if not scheme.is_float else ""
        return f"only {_percent(share)} of the weights are {scheme.weights} ({types}){left}"
    macs = audit.macs_quantized_share
    if scheme.integers is not None and macs is not None and macs < scheme.integers:
        left = _named("in float", audit.float_ops)
        return f"only {_percent(macs)} of the multiply-accumulates are computed in integers{left}"
    return "; ".join(_not_full_integer(audit)) if integer_io else ""


def _not_full_integer(audit: Inspected) -> Iterator[str]:
    if floating := [t.name for t in (*audit.inputs, *audit.outputs) if t.dtype.startswith(("float", "bfloat"))]:
        yield f"inputs or outputs stayed float: {', '.join(floating)}"
    if left_float := {kind: n for kind, n in (audit.ops_float or {}).items() if kind not in audit.ops_float_only}:
        yield f"not full integer: {_counted(left_float)} compute in float"


def _percent(share: float) -> str:
    """Rounded down, so that a share below a limit never reads as the limit."""
    return f"{math.floor(100 * share + 1e-9)}%"


def _counted(ops: dict[str, int]) -> str:
    return ", ".join(f"{kind} x{n}" for kind, n in ops.items())


def _named(what: str, names: tuple[str, ...]) -> str:
    return f"; {what}: {', '.join(names[:5])}" if names else ""


def describe(scheme: Scheme, audit: Audit, kept: int = 0) -> str:
    """The precision that was really reached, in words, for the table and the README.

    How weights are stored, and of quantized files how many multiply-accumulates of products with weights the runtime
    computes in integers, and what part of all are products of two activations, which are not among these.

    Args:
        scheme: what the file claims.
        audit: of the file, without what rules kept in float.
        kept: how many layers these are.
    """
    share, macs = weight_share(scheme, audit), audit.macs_quantized_share
    parts = [] if share is None else [f"{_percent(share)} of weights {scheme.weights}"]
    between = audit.macs_between_activations or 0
    if not scheme.is_float and macs is not None:
        parts.append(f"{_percent(macs)} of MACs {'with weights ' if between else ''}in integers")
    if kept and parts:
        said = -1 if scheme.promises_arithmetic else 0
        parts[said] += f" but for {kept} layer{'s that were' if kept > 1 else ' that was'} kept in float"
    if not scheme.is_float and macs is not None and between:  # attention: no scheme says what is done with it
        share = between / (between + audit.macs_total)
        parts.append(f"{max(share, 0.01):.0%} of all MACs are between activations and not counted")
    if scheme.promises_arithmetic and audit.ops_float:
        parts.append(f"in float: {_counted(audit.ops_float)}")
    return f"{scheme.name} ({', '.join(parts)})" if parts else scheme.name
