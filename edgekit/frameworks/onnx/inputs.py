"""What an ONNX graph says of its inputs, and fixing them to one shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from edgekit.errors import NoShapeError, UnsupportedError, UsageError
from edgekit.frameworks.loaded import Arrays, Found
from edgekit.signature import TensorSpec
from edgekit.sources.source import DTYPES

#: Distributions whose versions change what is done here.
PACKAGES = ("onnx",)

_Axis = int | str | None


def found(given: str, model: onnx.ModelProto) -> list[Found]:
    """The inputs as the graph declares them; a batch is what their first axes are called, wherever that stands.

    Raises:
        UnsupportedError: an input is a sequence or a map, or holds text.
        UsageError: an axis has no place for a number.
    """
    _check(given, model)
    axes = {value.name: _axes(value) for value in model.graph.input}
    batches = {shape[0] for shape in axes.values() if shape and isinstance(shape[0], str)}
    return [
        Found(
            value.name,
            tuple(n if isinstance(n, int) else None for n in axes[value.name]),
            _dtype(value),
            batches=tuple(axis for axis, n in enumerate(axes[value.name]) if n in batches or (axis == 0 and n is None)),
        )
        for value in model.graph.input
    ]


def declared(model: onnx.ModelProto, given: Sequence[TensorSpec]) -> list[TensorSpec]:
    """What ``--input`` says, and what follows from it for other inputs: axes of one name are of one length."""
    axes = {value.name: _axes(value) for value in model.graph.input}
    said = {spec.name: spec for spec in given}
    lengths = {
        name: length
        for spec in given
        for name, length in zip(axes.get(spec.name, ()), spec.shape, strict=False)
        if isinstance(name, str)
    }
    for value in model.graph.input:
        own = axes[value.name]
        if value.name in said or not lengths.keys() & set(own):
            continue
        shape = [n if isinstance(n, int) else lengths.get(n or "", 1 if i == 0 else 0) for i, n in enumerate(own)]
        if all(shape):
            said[value.name] = TensorSpec(value.name, tuple(shape), _dtype(value))
    return list(said.values())


def shown(found: Sequence[Found], samples: Sequence[TensorSpec]) -> list[TensorSpec]:
    """What samples show of the inputs, in the types that the graph takes; whole numbers may be of another width."""
    types = {one.name: one.dtype for one in found}
    arrays = [spec for spec in samples if spec.name in types]
    if not arrays and len(found) == 1:
        arrays = [replace(spec, name=found[0].name) for spec in samples if spec.name in ("x", "arr_0")]
    return [replace(spec, dtype=types[spec.name]) for spec in arrays]


def check_open(model: onnx.ModelProto, found: Sequence[Found], given: Sequence[TensorSpec]) -> None:
    """Refuse axes whose length nobody said, by their names.

    Raises:
        NoShapeError: there are some; samples may show them.
    """
    said = {spec.name for spec in given}
    missing = [one for one in found if one.fixed() is None and one.name not in said]
    if not missing or said - {one.name for one in found}:  # of an input that is not there another error speaks
        return
    axes = {value.name: _axes(value) for value in model.graph.input}
    named = ", ".join(
        f"axis {i} of {one.name!r}" + (f" ({axes[one.name][i]})" if axes[one.name][i] else "")
        for one in missing
        for i, n in enumerate(one.shape)
        if n is None and i not in one.batches
    )
    example = " ".join(
        f"--input {one.name}={'x'.join(str(n or (1 if i in one.batches else 16)) for i, n in enumerate(one.shape))}"
        f":{one.dtype}"
        for one in missing
    )
    raise NoShapeError(
        f"the model leaves the length of {named} open",
        hint=f"{example} (with your own lengths), or samples with --calibrate.",
    )


def fix(model: onnx.ModelProto, specs: Sequence[TensorSpec]) -> None:
    """Give a graph's inputs static shapes, in place.

    Raises:
        UsageError: the graph says otherwise.
    """
    for value, spec in zip(model.graph.input, specs, strict=True):
        axes, kind = _axes(value), _dtype(value)
        fits = len(axes) == len(spec.shape) or not value.type.tensor_type.HasField("shape")
        if not fits or any(isinstance(n, int) and n != m for n, m in zip(axes, spec.shape, strict=False)):
            shape = "x".join("?" if n is None else str(n) for n in axes)
            raise UsageError(
                f"--input {spec.name}={'x'.join(map(str, spec.shape))}: the model takes {shape or '()'}",
                hint="Axes with a number are fixed in the file; export it with other ones, or with open axes.",
            )
        if spec.dtype != kind:
            shape = "x".join(map(str, spec.shape))
            raise UsageError(
                f"--input {spec.name}: the model takes {kind}, not {spec.dtype}",
                hint=f"--input {spec.name}={shape}:{kind}",
            )
        value.type.tensor_type.ClearField("shape")
        for size in spec.shape:
            value.type.tensor_type.shape.dim.add().dim_value = size


def fix_outputs(model: onnx.ModelProto, outputs: Arrays) -> None:
    """Declare the outputs as a run of one sample gave them: inference does not find all that is static."""
    for value, array in zip(model.graph.output, outputs, strict=True):
        value.type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        value.type.tensor_type.ClearField("shape")
        value.type.tensor_type.shape.SetInParent()
        for size in array.shape:
            value.type.tensor_type.shape.dim.add().dim_value = size


def _check(given: str, model: onnx.ModelProto) -> None:
    for kind, side in (("input", model.graph.input), ("output", model.graph.output)):
        for value in side:
            which = value.type.WhichOneof("value")
            if which not in ("tensor_type", None):
                raise UnsupportedError(
                    f"{kind} {value.name!r} of {given} is a {which.removesuffix('_type')}, not a tensor",
                    hint="Export a model that takes and gives tensors of numbers.",
                )
            said = _dtype(value) if which else "float32"
            if said not in DTYPES:
                raise UnsupportedError(
                    f"{kind} {value.name!r} of {given} holds {said}; allowed: {', '.join(DTYPES)}",
                    hint="Cast it inside the model, or leave the part of the model out that needs it (text, for one).",
                )
            if kind == "input" and 0 in _axes(value):
                raise UsageError(
                    f"input {value.name!r} of {given} has an axis of size 0: no sample of it holds a number",
                    hint="Export the model without it, or with an open axis and --input.",
                )


def _axes(value: onnx.ValueInfoProto) -> tuple[_Axis, ...]:
    """Lengths of axes, names of open ones, None for those without."""
    return tuple(
        int(d.dim_value) if d.HasField("dim_value") and d.dim_value >= 0 else d.dim_param or None
        for d in value.type.tensor_type.shape.dim
    )


def _dtype(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type.elem_type
    if kind in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
        return "text" if kind else "nothing that is known"
    return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).name)
