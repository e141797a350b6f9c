"""What a loop of an OpenVINO model runs, how often, and on what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgekit.toolchains._shared import products


def shape(value: Any) -> tuple[int, ...]:
    """Shape of a value; 1 for an axis without a size (a free batch is 1)."""
    return tuple(1 if d.is_dynamic else int(d.get_length()) for d in value.partial_shape)


def trips(loop: Any) -> int:
    """How often a TensorIterator's or Loop's body runs; 1 where the file does not tell."""
    for description in loop.get_input_descriptions():
        if type(description).__name__ == "SliceInputDescription":
            steps = shape(loop.input_value(description.input_index))[description.axis]
            return steps // abs(int(description.part_size))
    if loop.get_type_name() != "Loop":
        return 1
    count = _number(loop.input_value(0))
    return int(count) if count is not None and count >= 0 else min(_counted(loop), default=1)


def _counted(loop: Any) -> Iterator[int]:
    """Trips by each counter that the condition compares with a constant after every trip."""
    body = loop.get_function()
    results = body.get_results()
    condition = loop.get_special_body_ports()[1]
    first, after = {}, {}
    for description in loop.get_input_descriptions():
        if type(description).__name__ == "MergedInputDescription":
            counter = body.get_parameters()[description.body_parameter_index].get_name()
            first[counter] = _number(loop.input_value(description.input_index))
            after[counter] = results[description.body_value_index].input_value(0).get_node()
    asked = [results[condition].input_value(0).get_node()]
    while asked:
        node = asked.pop()
        if node.get_type_name() == "LogicalAnd":
            asked += [value.get_node() for value in node.input_values()]
        if node.get_type_name() != "Less" or node.input_value(0).get_node().get_type_name() != "Add":
            continue
        added, limit = node.input_value(0).get_node(), _number(node.input_value(1))
        counter, step = added.input_value(0).get_node().get_name(), _number(added.input_value(1))
        start = first.get(counter)
        same = counter in after and after[counter].get_name() == added.get_name()
        if same and start is not None and step is not None and limit is not None:
            yield products.trips(start, step, limit)


def _number(value: Any) -> float | None:
    """A constant of one number."""
    node = value.get_node()
    single = node.get_type_name() == "Constant" and node.get_data().size == 1
    return node.get_data().item() if single else None


def handed_in(loop: Any) -> Iterator[tuple[str, Any]]:
    """Parameters of the body that are the same in every trip, by name, with the values outside."""
    parameters = loop.get_function().get_parameters()
    results = loop.get_function().get_results()
    for description in loop.get_input_descriptions():
        kind = type(description).__name__
        name = parameters[description.body_parameter_index].get_name()
        kept = kind == "InvariantInputDescription"
        if kind == "MergedInputDescription":
            kept = results[description.body_value_index].input_value(0).get_node().get_name() == name
        if kept:
            yield name, loop.input_value(description.input_index)
