"""Rules for releases of ONNX Runtime and of the exporter's optimizer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from edgekit.toolchains import Converted
from edgekit.toolchains._shared.vendors import Fault

SLOW_FUSED_NORM = Fault(
    "a sum and the layer norm behind it are fused into SkipLayerNormalization, which takes two to seven times the time "
    "of the two",
    package="onnxruntime",
    first="1.30",
    last="1.32",
    reports=("https://github.com/microsoft/onnxruntime/pull/31973",),  # a fast LayerNormalization, and no fused one
)
TELEMETRY = Fault(
    "opening a session sends usage data and writes an identifier into the home folder",
    package="onnxruntime",
    first="1.29",
    last="1.32",
    reports=("https://github.com/microsoft/onnxruntime/pull/27379",),
)
LOST_EPSILONS = Fault(
    "the optimizer behind torch.onnx takes an added 1e-8 or less for 0, and a factor within 1e-5 of 1 for 1, and drops "
    "them: log(x + 1e-10) answers NaN on silence",
    package="onnxscript",
    first="0.7",
    last="0.7",
)
OTHER_ATTENTION = Fault(
    "with gradients on, torch.onnx runs attention with a trained mask by another kernel than the export saw, whose "
    "result lies otherwise in memory, and a view of it ends the conversion",
    package="torch",
    first="2.13",
    last="2.13",
)


@contextlib.contextmanager
def exact_constants() -> Iterator[None]:
    """Let the optimizer's rules match the constants that they name, and no others.

    Its patterns compare with a relative tolerance of 1e-5 and an absolute one of 1e-8 (``_pattern_ir.Constant``). All
    constants in its default rules are whole numbers, which floats hold exactly.
    """
    if not LOST_EPSILONS.here():
        yield
        return
    from onnxscript import rewriter
    from onnxscript.rewriter import _pattern_ir

    nodes = [node for rule in rewriter._DEFAULT_REWRITE_RULES for node in rule._target_pattern]
    constants = [value for node in nodes for value in node.inputs if isinstance(value, _pattern_ir.Constant)]
    before = [(constant._rel_tol, constant._abs_tol) for constant in constants]
    for constant in constants:
        constant._rel_tol = constant._abs_tol = 0.0
    try:
        yield
    finally:
        for constant, (relative, absolute) in zip(constants, before, strict=True):
            constant._rel_tol, constant._abs_tol = relative, absolute


def with_plain_norms(made: Converted) -> Converted:
    """Write a file's sums so that ONNX Runtime does not fuse them with layer norms, where that is slow.

    Microseconds of Add, of Sum and of their norms, one thread (AMD EPYC, AVX-512), by release:

    ======== ============== ============
    release  1 x 128 x 768  1 x 32 x 64
    ======== ============== ============
    1.24     114 against 130  7.3 against 8.5
    1.28     115 against 536  7.3 against 17
    1.29     118 against 545  7.6 against 17
    1.30     518 against 72   17 against 8.4
    1.31     511 against 70   16 against 8.0
    1.32     504 against 72   17 against 8.5
    ======== ============== ============
    """
    import onnx

    from edgekit.toolchains.onnx.passes import sums

    if not SLOW_FUSED_NORM.here():
        return made
    model = onnx.load(made.file)
    count = sums.keep_apart(model.graph)
    if not count:
        return made
    made.file.write_bytes(model.SerializeToString(deterministic=True))
    note = (
        f"{count} sums before layer norms are written as Sum: ONNX Runtime {SLOW_FUSED_NORM.first} to "
        f"{SLOW_FUSED_NORM.last} would fuse them into a slow operator (on 1.28 and 1.29 the file is slower by it)"
    )
    return replace(made, notes=(*made.notes, note))
