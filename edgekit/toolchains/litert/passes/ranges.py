"""Ranges of activations in a .tflite file, and the values that they are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.ranges.observers import Observer
from edgekit.scheme import Range
from edgekit.toolchains._shared.calibration import Kept, one_by_one
from edgekit.toolchains._shared.inputs import narrowed
from edgekit.toolchains.litert.graph import input_types, read_subgraphs
from edgekit.toolchains.litert.schema import packed_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.toolchains import Rows

    #: The smallest and the largest value of a tensor, ``min`` and ``max``, as ai-edge-quantizer has them.
    Ranges = dict[str, NDArray[Any]]


def read(file: Path) -> tuple[Range, ...]:
    """The ranges of activations of one scale and 8 bits, by the names of tensors."""
    return tuple(
        Range.of_steps(tensor.name, float(tensor.scales[0]), int(tensor.zero_points[0]))
        for graph in read_subgraphs(packed_model(file.read_bytes(), file))
        for tensor in graph.tensors
        if tensor.data is None and tensor.type == "int8" and len(tensor.scales) == 1
    )


def values(file: Path, names: Iterable[str], samples: Mapping[str, Rows]) -> dict[str, list[NDArray[Any]]]:
    """What tensors of a float file are on each of some samples; those that the file does not have are left out."""
    content = file.read_bytes()
    (graph, *_) = read_subgraphs(packed_model(content, file))
    there = {tensor.name for tensor in graph.tensors if tensor.data is None and tensor.type == "float32"}
    seen = {name: Kept() for name in names if name in there}
    observe(content, seen, samples)
    return {name: one.values for name, one in seen.items()}


def tensors(file: Path) -> tuple[tuple[str, object], ...]:
    """All tensors in the file's order: the name of each, and its shape with the operator that makes it.

    litert-torch joins the names of what it fuses, in an order that depends on the weights.
    """
    found: list[tuple[str, object]] = []
    for graph in read_subgraphs(packed_model(file.read_bytes(), file)):
        made = {o.name: (number, op.type) for number, op in enumerate(graph.operators) for o in op.outputs}
        found += [(tensor.name, (tensor.shape, made.get(tensor.name))) for tensor in graph.tensors]
    return tuple(found)


def as_taken(packed: Any, samples: Mapping[str, Rows]) -> Iterator[dict[str, NDArray[Any]]]:
    """Samples one by one, in the types that a file takes: litert-torch writes an input of int64 as int32."""
    types = input_types(packed)
    for sample in one_by_one(samples):
        yield {name: narrowed(name, array, types.get(name, array.dtype)) for name, array in sample.items()}


def observe(content: bytes, observers: Mapping[str, Observer], samples: Mapping[str, Rows]) -> None:
    """Show tensors of a float file to their observers, sample after sample."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,  # they keep what lies inside
        experimental_preserve_all_tensors=True,
        num_threads=1,
    )
    (signature, *_) = interpreter.get_signature_list()
    run = interpreter.get_signature_runner(signature)
    places = {tensor["name"]: tensor["index"] for tensor in interpreter.get_tensor_details()}
    for sample in as_taken(packed_model(content, Path()), samples):
        run(**sample)
        for name, observer in observers.items():
            observer.update(interpreter.get_tensor(places[name]))
