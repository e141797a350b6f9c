"""Whether a file really has the numeric format that it claims."""

from __future__ import annotations

from edgekit.scheme import STATIC, Precision
from edgekit.toolchains import Audit

#: Shares that a file must reach to be called by its precision. Normalisation parameters and biases stay float or int32
#: in every runtime, so the share of weights counts int8 among int8, float16 and float32 elements.
WEIGHT_SHARE = 0.5
MAC_SHARE = 0.9
#: Where only weights are quantized ahead of time, products of two activations (attention) stay float by design: 6 to
#: 16 % of the multiply-accumulates in the models measured, 10 % in BERT-base at 512 tokens.
MAC_SHARE_WEIGHTS = 0.75

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


def shortfall(precision: Precision, audit: Audit, *, integer_io: bool = False) -> str:
    """Say why a file is not what it claims; an empty string where it is.

    Findings of the static checks come first: such a file is wrong whatever its types are. With ``integer_io`` it claims
    to be full integer: nothing computes in float that the runtime can compute in integers.
    """
    if audit.findings:
        return "; ".join(audit.findings)
    share = weight_share(precision, audit)
    least = 1.0 if precision == "fp32" else WEIGHT_SHARE
    if share is not None and share < least:
        types = ", ".join(f"{kind} {n}" for kind, n in sorted(audit.weight_elements.items()))
        return f"only {share:.0%} of the weights are {_WEIGHT_TYPE[precision]} ({types}){_left(audit)}"
    macs = audit.macs_quantized_share
    least = MAC_SHARE if precision in STATIC else MAC_SHARE_WEIGHTS
    if precision not in ("fp32", "fp16") and macs is not None and macs < least:
        return f"only {macs:.0%} of the multiply-accumulates are quantized{_left(audit)}"
    if integer_io:
        floating = [t.name for t in (*audit.inputs, *audit.outputs) if t.dtype.startswith(("float", "bfloat"))]
        if floating:
            return f"inputs or outputs stayed float: {', '.join(floating)}"
        if left := {kind: n for kind, n in (audit.ops_float or {}).items() if kind not in audit.ops_float_only}:
            return f"not full integer: {_counted(left)} compute in float"
    return ""


def _counted(ops: dict[str, int]) -> str:
    return ", ".join(f"{kind} x{n}" for kind, n in ops.items())


def _left(audit: Audit) -> str:
    return f"; left in float: {', '.join(audit.float_ops[:5])}" if audit.float_ops else ""


def describe(precision: Precision, audit: Audit) -> str:
    """The precision that was really reached, in words, for the table and the README."""
    share, macs = weight_share(precision, audit), audit.macs_quantized_share
    parts = [] if share is None else [f"{share:.0%} of weights {_WEIGHT_TYPE[precision]}"]
    if precision not in ("fp32", "fp16") and macs is not None:
        parts.append(f"{macs:.0%} of MACs quantized")
    if precision in STATIC and audit.ops_float:
        parts.append(f"in float: {_counted(audit.ops_float)}")
    return f"{precision} ({', '.join(parts)})" if parts else precision
