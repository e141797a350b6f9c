"""Ranges of our own in a file that NNCF quantized: it knows the places of the grids, and has estimators of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
from openvino import opset13 as opset

from edgekit.ranges.observers import Observer
from edgekit.scheme import Range
from edgekit.toolchains import Request, Rows
from edgekit.toolchains._shared.calibration import BOUNDED, Kept, calibration_of, observers, one_by_one, range_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVELS = 256


def grids(model: ov.Model) -> dict[str, list[Any]]:
    """The ``FakeQuantize`` of activations by the name of what they take."""
    found: dict[str, list[Any]] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize" and node.input_value(0).get_node().get_type_name() != "Constant":
            found.setdefault(node.input_value(0).get_node().get_friendly_name(), []).append(node)
    return found


def read(file: Path) -> tuple[Range, ...]:
    """The ranges of activations in a file, by the names of what grids take; not of what the CPU does not round.

    What depthwise convolutions take has one for each channel: the range that holds all of them stands for these.
    """
    found, model = {}, ov.Core().read_model(file)  # which holds what reads a value
    for name, nodes in grids(model).items():
        if all(map(_joined_in_a_sum, nodes)):
            continue
        low, high = (nodes[0].input_value(place).get_node().get_data() for place in (1, 2))
        readers = [port.get_node() for port in nodes[0].input_value(0).get_target_inputs()]
        others = tuple(n.get_friendly_name() for n in readers if n.get_type_name() not in ("FakeQuantize", "Result"))
        found[name] = Range(name, float(low.min()), float(high.max()), unrounded=others)
    return tuple(found.values())


def _joined_in_a_sum(grid: Any) -> bool:
    """Whether the CPU joins a grid to the convolution ahead of it, with the sum that alone reads it.

    Such a convolution rounds behind the sum, and not what it adds: read out on the way, the same file gives other
    numbers (docs/recipes.md). Where both sides of the sum are so, it is the first that is joined.
    """
    readers = list(grid.output(0).get_target_inputs())
    if len(readers) != 1 or readers[0].get_node().get_type_name() != "Add" or not _of_convolution(grid):
        return False
    other = readers[0].get_node().input_value(1 - readers[0].get_index()).get_node()
    both = other.get_type_name() == "FakeQuantize" and len(other.output(0).get_target_inputs()) == 1
    return readers[0].get_index() == 0 or not (both and _of_convolution(other))


def _of_convolution(grid: Any) -> bool:
    """Whether what a grid takes is a convolution with its bias."""
    node = grid.input_value(0).get_node()
    while node.get_type_name() in ("Add", "Multiply"):
        inner = [value.get_node() for value in node.input_values() if not _constant(value.get_node())]
        if len(inner) != 1:
            return False
        [node] = inner
    return node.get_type_name() in ("Convolution", "GroupConvolution")


def _constant(node: Any) -> bool:
    """Whether a value is stored, in whichever type and shape."""
    while node.get_type_name() in ("Convert", "Reshape"):
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")


def values(file: Path, names: Iterable[str], samples: Mapping[str, Rows]) -> dict[str, list[NDArray[Any]]]:
    """What tensors of a float file are on each of some samples; those that the file does not have are left out."""
    model = ov.Core().read_model(file)
    one_output = {node.get_friendly_name() for node in model.get_ops() if node.get_output_size() == 1}
    seen = {name: Kept() for name in names if name in one_output}
    _observe(model, dict.fromkeys(seen, 0), seen, samples)
    return {name: one.values for name, one in seen.items()}


def give(node: Any, bounds: tuple[float, float]) -> None:
    """Give a ``FakeQuantize`` the values of its smallest and its largest integer, in place."""
    for place, value in zip(range(1, 5), bounds * 2, strict=True):
        constant = opset.constant(np.full(tuple(node.input_value(place).shape), value, np.float32))
        node.input(place).replace_source_output(constant.output(0))


def estimate(model: ov.Model, floats: ov.Model, request: Request) -> None:
    """Give grids the ranges of the request's estimator in the place of NNCF's, in place.

    A grid without a zero point, which the runtime computes faster on, stays one; those that a ``Concat`` joins share
    one range, as NNCF had it.

    Args:
        model: what NNCF made.
        floats: what it was made of, in which values are observed. Those that smoothing scaled are in ``model`` alone:
            they are observed there, on its integer weights and with every activation in float.
        request: whose estimator, and whose samples.
    """
    by_name = grids(model)
    symmetric = [name for name, nodes in by_name.items() if _symmetric(nodes[0])]
    bounded = {node.get_friendly_name() for node in model.get_ops() if node.get_type_name().lower() in BOUNDED}
    seen: dict[str, Observer] = observers(request, symmetric, symmetric=True, bounded=bounded)
    seen |= observers(request, (name for name in by_name if name not in symmetric), bounded=bounded)
    known, samples = {node.get_friendly_name() for node in floats.get_ops()}, calibration_of(request)
    ports = {name: nodes[0].input_value(0).get_index() for name, nodes in by_name.items()}
    _observe(floats.clone(), {name: port for name, port in ports.items() if name in known}, seen, samples)
    _observe(_without_grids(model), {name: port for name, port in ports.items() if name not in known}, seen, samples)
    found = {name: range_of(name, one, symmetric=name in symmetric).bounds for name, one in seen.items()}
    for names in _joined(model, by_name):
        lows, highs = zip(*(found[name] for name in names), strict=True)
        found |= dict.fromkeys(names, (min(lows), max(highs)))
    for name, nodes in by_name.items():
        for node in nodes:
            give(node, found[name])


def _symmetric(node: Any) -> bool:
    """Whether a grid has 0 in its middle."""
    low, high = (float(node.input_value(place).get_node().get_data().reshape(-1)[0]) for place in (1, 2))
    return bool(np.isclose(low, -high * _LEVELS / (_LEVELS - 2), rtol=1e-4))


def _without_grids(model: ov.Model) -> ov.Model:
    """A copy whose activations are all in float."""
    copy = model.clone()
    for nodes in grids(copy).values():
        for node in nodes:
            node.output(0).replace(node.input_value(0))
    return copy


def _observe(
    model: ov.Model, ports: Mapping[str, int], seen: Mapping[str, Observer], samples: Mapping[str, Rows]
) -> None:
    """Show values to their observers, by the names of the operators whose outputs they are; adds to the model."""
    if not ports:
        return
    nodes = {node.get_friendly_name(): node for node in model.get_ops()}
    model.add_results([opset.result(nodes[name].output(port)) for name, port in ports.items()])
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
    running = ov.Core().compile_model(model, "CPU", options).create_infer_request()
    first = len(model.outputs) - len(ports)
    for sample in one_by_one(samples):
        running.infer(sample)
        for place, name in enumerate(ports):
            seen[name].update(running.get_output_tensor(first + place).data)


def _joined(model: ov.Model, by_name: Mapping[str, Any]) -> list[list[str]]:
    """Names of activations whose grids a ``Concat`` joins."""
    names = {node.get_friendly_name(): name for name, nodes in by_name.items() for node in nodes}
    return [
        [names[source] for source in sources if source in names]
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Concat"
        and (sources := [value.get_source_output().get_node().get_friendly_name() for value in node.inputs()])
        and any(source in names for source in sources)
    ]
