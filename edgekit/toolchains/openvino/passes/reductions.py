"""Means over an axis: of positions whose features lie last, and of the squares that a norm divides by."""

from __future__ import annotations

import openvino as ov
from openvino import opset13 as opset


def keep_axes(model: ov.Model) -> None:
    """Let reductions keep the axes that they sum over, and take these away behind them, in place.

    The CPU's kernel makes one of a reduction, the scales or shifts of features behind it and the rounding that follows.
    It is wrong where the features lie last and the axes before them are gone: a mean over tokens with batch
    normalization behind it had 0.5 dB (OpenVINO 2026.4), and LeViT 13.6 of 37 dB. Without the rounding it is right.
    """
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if not kind.startswith("Reduce") or not hasattr(opset, made_by := _snake(kind)):
            continue
        if node.get_attributes()["keep_dims"] or node.get_output_partial_shape(0).is_dynamic:
            continue
        shape = list(node.get_output_shape(0))
        if not shape:
            continue
        kept = getattr(opset, made_by)(node.input_value(0), node.input_value(1), True)
        kept.set_friendly_name(node.get_friendly_name())
        done = opset.reshape(kept, opset.constant(shape), special_zero=False)
        done.output(0).set_names(node.output(0).get_names())
        node.output(0).replace(done.output(0))


def _snake(kind: str) -> str:
    """``ReduceMean`` -> ``reduce_mean``."""
    return "reduce_" + kind.removeprefix("Reduce").lower()


def written_norms(model: ov.Model) -> list[str]:
    """Operators of norms by the mean of squares (RMSNorm) that are written out, up to what scales the input.

    On one grid with the largest squares small ones are zero, and what they divide is not the norm any more.
    """
    found: list[str] = []
    for node in model.get_ordered_ops():
        squares = node.input_value(0).get_node() if node.get_type_name() == "ReduceMean" else None
        if squares is None or not _squares(squares):
            continue
        path = [squares, node]
        while (reader := _only_reader(path[-1])) and reader.get_type_name() in _AFTER:
            path.append(reader)
            if reader.get_type_name() == "Multiply":
                break
        if "Sqrt" in {one.get_type_name() for one in path} or "Power" in {one.get_type_name() for one in path[2:]}:
            found += [one.get_friendly_name() for one in path]
    return found


#: What lies between a mean of squares and the product with the norm's input.
_AFTER = ("Add", "Sqrt", "Divide", "Power", "Multiply", "Reshape")


def _squares(node: ov.Node) -> bool:
    """Whether it is numbers times themselves."""
    if node.get_type_name() == "Power":
        power = node.input_value(1).get_node()
        return power.get_type_name() == "Constant" and bool((power.get_data() == 2).all())
    return node.get_type_name() == "Multiply" and node.input_value(0) == node.input_value(1)


def _only_reader(node: ov.Node) -> ov.Node | None:
    readers = node.output(0).get_target_inputs()
    return next(iter(readers)).get_node() if len(readers) == 1 else None
