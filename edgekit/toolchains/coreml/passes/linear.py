"""Products with one constant matrix as ``linear``, which Core ML computes in int8; ``matmul`` it does not.

coremltools makes it of a product and a sum with a constant alone: layers without a bias, as Llama's are, stay
``matmul`` where TensorFlow wrote them.
"""

from __future__ import annotations

from typing import Any

NAME = "edgekit::matmul_as_linear"
#: Axes of what ``linear`` takes at most.
_MOST_AXES = 3


def register() -> str:
    """Make the pass known to coremltools; returns its name for a pipeline."""
    from coremltools.converters.mil.mil import Builder
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    class MatmulAsLinear(AbstractGraphPass):  # type: ignore[misc]
        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                self._block(function)

        def _block(self, block: Any) -> None:
            for op in list(block.operations):
                for inner in op.blocks:
                    self._block(inner)
                if op.op_type == "matmul" and _fits(op):
                    matrix = op.y.val if op.transpose_y.val else op.y.val.T
                    with block:
                        made = Builder.linear(x=op.x, weight=matrix, before_op=op, name=op.name)
                    block.replace_uses_of_var_after_op(anchor_op=op, old_var=op.outputs[0], new_var=made)
                    block.remove_ops([op])

    PASS_REGISTRY.passes[NAME] = MatmulAsLinear()
    PASS_REGISTRY.passes[NAME].namespace = NAME
    return NAME


def _fits(op: Any) -> bool:
    single = op.y.val is not None and op.y.rank == 2 and len(op.y.child_ops) == 1
    return single and op.x.val is None and op.x.rank <= _MOST_AXES and not op.transpose_x.val
