"""ONNX sources: the graph as it was handed in, run by ONNX Runtime with its optimizations off. In an onnx child only.

The optimizer is what a file for ONNX Runtime is executed by, and is off here: fusions, layouts and folded constants of
one side are no part of the other. ``second`` runs a sample by ``onnx.reference``, which shares no code with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from edgekit.errors import EndlessError, UnsupportedError, UsageError
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.loaded import (
    Arrays,
    Loaded,
    check_finite,
    merge_inputs,
    ones,
    output_specs,
    samples_of,
    zeros,
)
from edgekit.frameworks.onnx import half, inputs, plain, runs
from edgekit.signature import Signature, TensorSpec
from edgekit.sources.source import Source

#: Distributions whose versions change what is done here.
PACKAGES = ("onnx", "onnxruntime")


def load(source: Source) -> Loaded:
    """Load an ONNX model that was checked (``edgekit.sources.onnx_model``), its shapes fixed.

    Raises:
        UsageError: an input's shape cannot be found, a weight is NaN, it has no inputs or outputs.
        UnsupportedError: it is quantized already, or holds what is no tensor of numbers.
    """
    assert source.path is not None
    model = onnx.load(Path(source.path))
    notes = [*plain.plain(source.given, model), *half.widened(model)]
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    check_finite((name, array, False) for name, array in weights.items())
    found = inputs.found(source.given, model)
    said = {spec.name for spec in source.inputs}
    seen = [spec for spec in inputs.shown(found, source.shown) if spec.name not in said]
    declared = inputs.declared(model, [*source.inputs, *seen])
    inputs.check_open(model, found, declared)
    specs, more = merge_inputs(found, [one.name for one in found], declared)
    inputs.fix(model, specs)
    run = runs.Unoptimized(model, source.given)
    sample, outputs = _first_run(run, source, [zeros(specs), ones(specs), _drawn(specs)])
    _check_shapes(source.given, run, outputs, specs)
    inputs.fix_outputs(model, outputs)
    signature = Signature(specs, output_specs(run.outputs, outputs))
    _check(source.given, signature)
    return Loaded(
        model, "onnx", source, signature, (*notes, *more), run, most=1, sample=sample, by=runs.BY, second=runs.second
    )


def materialise(loaded: LoadedModel, folder: Path) -> Source:
    """The source as it is: its weights lie in it."""
    found: Source = loaded.source  # type: ignore[attr-defined]
    return found


def _drawn(specs: Sequence[TensorSpec]) -> Arrays:
    drawn = samples_of(specs, 1)
    return [array.reshape(spec.shape) for array, spec in zip(drawn, specs, strict=True)]


def _first_run(run: runs.Unoptimized, source: Source, tried: list[Arrays]) -> tuple[Arrays, Arrays]:
    """The first sample that the model runs on, and its outputs; the error of the first where it runs on none."""
    errors: list[Exception] = []
    for sample in tried:
        try:
            return sample, run.within(sample, runs.FIRST_RUN_SECONDS)
        except EndlessError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no parent
            errors.append(error)
    shapes = ", ".join(
        f"{n}={'x'.join(map(str, a.shape))}:{a.dtype}" for n, a in zip(run.inputs, tried[0], strict=True)
    )
    raise UsageError(
        f"{source.given} does not run on {shapes}: {source.named(errors[0])}",
        hint=f"Check {'--input' if source.inputs else 'the shapes that it was exported with, or give --input'}.",
    ) from errors[0]


def _check_shapes(given: str, run: runs.Unoptimized, outputs: Arrays, specs: Sequence[TensorSpec]) -> None:
    """Refuse what has another shape for other values: a file's outputs have one."""
    try:
        others = run.within(_drawn(specs), runs.FIRST_RUN_SECONDS)
    except EndlessError:
        raise
    except Exception:  # the model may refuse numbers that nobody meant for it
        return
    for name, first, other in zip(run.outputs, outputs, others, strict=True):
        if first.shape != other.shape:
            raise UnsupportedError(
                f"output {name!r} of {given} has the shape {first.shape} for one sample and {other.shape} for another",
                hint="A file's outputs have one shape, whatever the values are: pad them, or return a mask.",
            )


def _check(given: str, signature: Signature) -> None:
    for spec in signature.outputs:
        if 0 in spec.shape:
            raise UsageError(
                f"output {spec.name!r} of {given} is empty: its shape is {spec.shape}",
                hint="Leave it out of the model, or give --input shapes of which every axis holds something.",
            )
        if np.dtype(spec.dtype).kind not in "fiub":
            raise UsageError(
                f"output {spec.name!r} of {given} holds {spec.dtype}, which is no number",
                hint="Leave it out of the model, or cast it to numbers there.",
            )
