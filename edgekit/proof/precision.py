"""Whether a file really has the numeric format that it claims."""

from __future__ import annotations

import math

from edgekit.result import Audit, Inspected
from edgekit.scheme import STATIC, Precision

#: Share of the weights that must be stored in the precision's type for a file to be called by it. What is no weight of
#: an operator, normalisation parameters and biases, stays float or int32 in every runtime; in small files it counts.
WEIGHT_SHARE = 0.5
#: The same where storage is all that is promised (``-dynamic``, ``-weights``): what multiplies in integers is the
#: runtime's choice, and is said.
STORAGE_SHARE = 0.75
#: Share of the multiply-accumulates that a static file must compute in integers.
MAC_SHARE = 0.9

_WEIGHT_TYPE = {
    "fp32": "float32",
    "fp16": "float16",
    "int8": "int8",
    "int8-dynamic": "int8",
    "int8-weights": "int8",
    "int16x8": "int8",
}


def weight_share(precision: Precision, audit: Audit) -> float | None:
    """Share of weight elements stored in the precision's weight type; None where the file has no weights."""
    counted = {kind: n for kind, n in audit.weight_elements.items() if kind in _FLOAT_OR_INT8}
    total = sum(counted.values())
    wanted = _WEIGHT_TYPE[precision]
    names = ("int8", "uint8") if wanted == "int8" else (wanted,)
    return sum(counted.get(name, 0) for name in names) / total if total else None


_FLOAT_OR_INT8 = frozenset({"float32", "float16", "bfloat16", "float64", "int8", "uint8", "int4", "uint4"})


def reached(precision: Precision, audit: Audit) -> float:
    """The share that a precision promises: of the multiply-accumulates in integers, or of the weights as stored.

    1 where the file has none.
    """
    share = audit.macs_quantized_share if precision in STATIC else weight_share(precision, audit)
    return 1.0 if share is None else share


def shortfall(precision: Precision, audit: Inspected, *, integer_io: bool = False) -> str:
    """Say why a file is not what it claims; an empty string where it is.

    Findings of the static checks come first: such a file is wrong whatever its types are. Every precision promises how
    weights are stored; a static one promises integer arithmetic as well. With ``integer_io`` a file claims to be full
    integer: nothing computes in float that the runtime can compute in integers.
    """
    if audit.findings:
        return "; ".join(audit.findings)
    share = weight_share(precision, audit)
    if share is not None and share < _least_stored(precision):
        types = ", ".join(f"{kind} {n}" for kind, n in sorted(audit.weight_elements.items()))
        left = _named("stored in float", audit.float_weights) if precision not in ("fp32", "fp16") else ""
        return f"only {_percent(share)} of the weights are {_WEIGHT_TYPE[precision]} ({types}){left}"
    macs = audit.macs_quantized_share
    if precision in STATIC and macs is not None and macs < MAC_SHARE:
        left = _named("in float", audit.float_ops)
        return f"only {_percent(macs)} of the multiply-accumulates are computed in integers{left}"
    if integer_io:
        floating = [t.name for t in (*audit.inputs, *audit.outputs) if t.dtype.startswith(("float", "bfloat"))]
        if floating:
            return f"inputs or outputs stayed float: {', '.join(floating)}"
        if left_float := {kind: n for kind, n in (audit.ops_float or {}).items() if kind not in audit.ops_float_only}:
            return f"not full integer: {_counted(left_float)} compute in float"
    return ""


def _least_stored(precision: Precision) -> float:
    if precision == "fp32":
        return 1.0
    return WEIGHT_SHARE if precision in STATIC or precision == "fp16" else STORAGE_SHARE


def _percent(share: float) -> str:
    """Rounded down, so that a share below a limit never reads as the limit."""
    return f"{math.floor(100 * share + 1e-9)}%"


def _counted(ops: dict[str, int]) -> str:
    return ", ".join(f"{kind} x{n}" for kind, n in ops.items())


def _named(what: str, names: tuple[str, ...]) -> str:
    return f"; {what}: {', '.join(names[:5])}" if names else ""


def describe(precision: Precision, audit: Audit) -> str:
    """The precision that was really reached, in words, for the table and the README.

    How weights are stored, and of quantized files how many multiply-accumulates (of products with weights) the runtime
    computes in integers.
    """
    share, macs = weight_share(precision, audit), audit.macs_quantized_share
    parts = [] if share is None else [f"{_percent(share)} of weights {_WEIGHT_TYPE[precision]}"]
    if precision not in ("fp32", "fp16") and macs is not None:
        parts.append(f"{_percent(macs)} of MACs in integers")
    if precision in STATIC and audit.ops_float:
        parts.append(f"in float: {_counted(audit.ops_float)}")
    return f"{precision} ({', '.join(parts)})" if parts else precision
