"""A loaded model: what every framework's ``load`` returns."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import EdgekitError, FailedError, NoShapeError, UsageError, did_you_mean, nearest, with_article
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.brought import faults
from edgekit.result.parity import Second
from edgekit.signature import Framework, Signature, TensorSpec
from edgekit.sources.source import Source

Arrays = list[NDArray[np.generic]]

#: Samples per forward pass where the model takes more than one.
BATCH = 32


@dataclass(frozen=True)
class Loaded:
    """A model in its framework, in evaluation mode (implements ``edgekit.frameworks.LoadedModel``).

    Attributes:
        native: the framework's own object.
        framework: whose it is.
        source: what it was loaded from.
        signature: static inputs and outputs of one sample, in the model's own order and layout.
        notes: facts the user must know, one sentence each.
        call: one forward pass: inputs in the signature's order to outputs in the signature's order.
        most: samples per forward pass at most; 1 where the model's own batch is fixed.
        probed: False where it is known that samples can share a forward pass, as those that were trained in batches do.
        sample: one that the model is known to run on; zeros where None.
        by: who runs it, where that is not the framework.
        second: how another implementation runs one sample of it; None where there is no other.
    """

    native: Any
    framework: Framework
    source: Source
    signature: Signature
    notes: tuple[str, ...]
    call: Callable[[Arrays], Arrays]
    most: int = BATCH
    probed: bool = True
    sample: Arrays | None = None
    by: str = ""
    second: Callable[[Loaded, Arrays], Second] | None = None

    @functools.cached_property
    def batch(self) -> int:
        """Samples per forward pass, found when first needed: conversion alone does not pay for it."""
        tensors = (*self.signature.inputs, *self.signature.outputs)
        if self.most == 1 or any(t.shape[:1] != (1,) for t in tensors):
            return 1
        return batch_of(self.call, self.signature.inputs) if self.probed else self.most

    @property
    def kind(self) -> str:
        """The source's kind."""
        return self.source.kind

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run ``n`` samples (first axis) in float and return outputs by name, first axis ``n``.

        Raises:
            UsageError: an input is missing, unknown, of another shape, or the counts differ.
            FailedError: the model's own code raised; the layer and the line are named.
        """
        arrays = _checked(self.signature.inputs, inputs)
        try:
            return self._run(arrays)
        except (EdgekitError, MemoryError):
            raise
        except Exception as error:  # the user's model may raise anything
            if beyond := self._beyond_a_table(error, arrays):
                raise beyond from error
            raise FailedError(faults.told(error, self.native)) from error

    def _beyond_a_table(self, error: Exception, arrays: Arrays) -> UsageError | None:
        """What is said where whole numbers look up a row that a table lacks; None where it is not that."""
        whole = [(t.name, a) for t, a in zip(self.signature.inputs, arrays, strict=True) if a.dtype.kind in "iu"]
        if not whole or not (isinstance(error, IndexError) or " is not in [0, " in str(error)):
            return None
        have = "; ".join(f"{name!r} has {array.min()} to {array.max()}" for name, array in whole)
        return UsageError(
            f"the model does not run on these samples: {faults.told(error, self.native)}; of the inputs {have}",
            hint="Give numbers that its table has a row for, or a model with a larger one (the tokenizer's size).",
        )

    def _run(self, arrays: Arrays) -> dict[str, NDArray[np.generic]]:
        count = len(arrays[0])
        batch = self.batch if count > 1 else 1
        if batch == 1:
            parts = (self._alone(arrays, i) for i in range(count))
        else:
            parts = (self.call([a[i : i + batch] for a in arrays]) for i in range(0, count, batch))
        names = [spec.name for spec in self.signature.outputs]
        return stack((dict(zip(names, part, strict=True)) for part in parts), count)

    def _alone(self, arrays: Arrays, number: int) -> Arrays:
        """One sample as it is, its outputs as rows of data; a shape that changes is told by ``stack``."""
        given = [spec.sample(a, number) for spec, a in zip(self.signature.inputs, arrays, strict=True)]
        found = zip(self.signature.outputs, self.call(given), strict=True)
        return [output if spec.shape[:1] == (1,) else output[None] for spec, output in found]


def stack(parts: Iterable[Mapping[str, NDArray[Any]]], count: int) -> dict[str, NDArray[Any]]:
    """Put parts of ``count`` samples below each other as they come: a list of them would take their memory twice.

    Raises:
        UsageError: the parts hold more or fewer samples, or an output's shape is not always the same.
    """
    stacked: dict[str, NDArray[Any]] = {}
    filled: dict[str, int] = {}
    for part in parts:
        for name, array in part.items():
            if name not in stacked:
                stacked[name], filled[name] = np.empty((count, *array.shape[1:]), array.dtype), 0
            if array.shape[1:] != (usual := stacked[name].shape[1:]):
                raise UsageError(
                    f"output {name!r} has shape {array.shape[1:]} for one sample and {usual} for another",
                    hint="A file's outputs have one shape, whatever the values are: pad them, or return a mask.",
                )
            end = filled[name] + len(array)
            if end <= count:
                stacked[name][filled[name] : end] = array
            filled[name] = end
    for name, found in filled.items():
        if found != count:
            raise UsageError(
                f"output {name!r} has {found} rows for {count} samples", hint="The first axis is the batch."
            )
    return stacked


def _checked(specs: Sequence[TensorSpec], inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
    names = [spec.name for spec in specs]
    if set(names) != set(inputs):
        raise UsageError(
            f"the model's inputs are {', '.join(names)}; given: {', '.join(inputs) or 'none'}",
            hint="Give an array for each input, under its name.",
        )
    for spec in specs:
        if inputs[spec.name].shape[1:] != spec.row:
            raise UsageError(
                f"input {spec.name!r} has samples of shape {inputs[spec.name].shape[1:]}; the model takes {spec.row}",
                hint="The first axis of an array is the sample; all others are as the model takes them.",
            )
    counts = {name: len(inputs[name]) for name in names}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise UsageError(
            f"every input needs the same number of samples, at least one; given: {counts}",
            hint="The first axis of each array is the sample.",
        )
    return [np.ascontiguousarray(inputs[spec.name], dtype=spec.dtype) for spec in specs]


def zeros(specs: Sequence[TensorSpec]) -> Arrays:
    """One sample of zeros: safe for every input, token ids included."""
    return [np.zeros(spec.shape, spec.dtype) for spec in specs]


def example(model: LoadedModel) -> Arrays:
    """One sample, to trace a model with: one that it is known to run on, else zeros."""
    return getattr(model, "sample", None) or zeros(model.signature.inputs)


def ones(specs: Sequence[TensorSpec]) -> Arrays:
    """One sample of ones: to a model that masks what is 0, zeros are nothing at all."""
    return [np.ones(spec.shape, spec.dtype) for spec in specs]


def samples_of(specs: Sequence[TensorSpec], count: int) -> Arrays:
    """A few fixed pseudo-random samples, to probe a model's behaviour with and never its accuracy.

    Integer inputs are 0 or 1, which any vocabulary has.
    """
    rng = np.random.default_rng(0)
    made: Arrays = []
    for spec in specs:
        shape = (count, *spec.row)
        floating = np.issubdtype(np.dtype(spec.dtype), np.floating)
        made.append((rng.normal(size=shape) if floating else rng.integers(0, 2, shape)).astype(spec.dtype))
    return made


def batch_of(call: Callable[[Arrays], Arrays], specs: Sequence[TensorSpec]) -> int:
    """How many samples a model takes at once: ``BATCH`` where two together give what each gives alone, else 1.

    A model may have its batch of 1 written into a reshape, and would then mix samples without an error.
    """
    two = samples_of(specs, 2)
    alone = [call([a[i : i + 1] for a in two]) for i in range(2)]
    try:
        together = call(two)
    except Exception:  # any error of the model itself means the same: it takes one sample at a time
        return 1
    for j, output in enumerate(together):
        expected = np.concatenate([alone[0][j], alone[1][j]])
        if output.shape != expected.shape or not np.allclose(output, expected, rtol=1e-3, atol=1e-4, equal_nan=True):
            return 1
    return BATCH


def output_specs(names: Sequence[str], outputs: Arrays) -> tuple[TensorSpec, ...]:
    """Specs of outputs from one sample's outputs."""
    return tuple(
        TensorSpec(name, tuple(int(n) for n in output.shape), output.dtype.name)
        for name, output in zip(names, outputs, strict=True)
    )


def named(
    value: Any, is_tensor: Callable[[Any], bool], name: str = "", *, by_key: bool = False, lenient: bool = False
) -> list[tuple[str, Any]]:
    """Flatten what a model returned (tensor, tuple, dict, named tuple, dataclass) into named tensors.

    Dicts keep their own order, or with ``by_key`` that of their keys. What is none of these is left out if ``lenient``.
    """
    if is_tensor(value):
        return [(name or "output", value)]
    if isinstance(value, Mapping):
        entries: Iterable[tuple[str, Any]] = [(str(key), value[key]) for key in (sorted(value) if by_key else value)]
    elif isinstance(value, list | tuple):
        fields = getattr(value, "_fields", None) or [f"output_{i}" if not name else str(i) for i in range(len(value))]
        entries = [(str(key), inner) for key, inner in zip(fields, value, strict=True)]
    elif is_record(value):
        entries = fields_of(value)
    elif value is None or lenient:
        return []
    else:
        raise UsageError(
            f"the model returns {with_article(type(value).__name__)}",
            hint="Return tensors, or tuples, lists, dicts or dataclasses of them.",
        )
    named_entries = [(f"{name}_{key}" if name else key, inner) for key, inner in entries]
    return [
        pair for key, inner in named_entries for pair in named(inner, is_tensor, key, by_key=by_key, lenient=lenient)
    ]


def is_record(value: Any) -> bool:
    """Whether a value is an object of a dataclass."""
    return is_dataclass(value) and not isinstance(value, type)


def fields_of(value: Any) -> list[tuple[str, Any]]:
    """What an object of a dataclass holds, by its names; what is None is not there."""
    found = ((field.name, getattr(value, field.name)) for field in fields(value))
    return [(name, inner) for name, inner in found if inner is not None]


def check_finite(tensors: Iterable[tuple[str, NDArray[np.generic], bool]]) -> None:
    """Raise ``UsageError`` naming the first weight that holds NaN or infinity.

    Args:
        tensors: of each the name, the values, and whether it is trained. One that is not may hold infinities: a mask
            of attention does.
    """
    for name, value, trained in tensors:
        if not np.issubdtype(value.dtype, np.floating):
            continue
        bad = int((~np.isfinite(value) if trained else np.isnan(value)).sum())
        if bad:
            raise UsageError(
                f"weight {name!r} has {bad} of {value.size} values that are NaN or infinite",
                hint="Hand in a checkpoint from before the training diverged.",
            )


@dataclass(frozen=True)
class Found:
    """An input as the model declares it, or as an example shows it.

    Attributes:
        name: what the model calls it.
        shape: its axes; None for one that is open (of any length).
        dtype: NumPy name of the element type.
        batches: axes that are a batch where they are open, and are then fixed to 1.
        example: whether an example shows it, which does not say what its axes are.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    batches: tuple[int, ...] = (0,)
    example: bool = False

    def fixed(self) -> TensorSpec | None:
        """The input with its batch fixed to 1; None where another axis is open."""
        shape = [1 if n is None and axis in self.batches else n for axis, n in enumerate(self.shape)]
        static = tuple(n for n in shape if n is not None)
        return TensorSpec(self.name, static, self.dtype) if len(static) == len(shape) else None


#: What stands for the input of a ``forward`` that names none.
UNNAMED = "args"


def merge_inputs(
    found: Sequence[Found | None], names: Sequence[str], given: Sequence[TensorSpec], shown: Sequence[TensorSpec] = ()
) -> tuple[tuple[TensorSpec, ...], tuple[str, ...]]:
    """Inputs of a model: as declared with ``--input`` by their names, found in it, or shown.

    An only input that has no name of its own (``forward(*args)``) takes the one that is declared.

    Returns:
        The inputs, and a note for each axis that was open or that looks like a batch and is none.

    Raises:
        UsageError: an input is declared that the model does not have, or one is larger than any sample.
        NoShapeError: one is neither found nor declared nor shown.
    """
    declared = {t.name: t for t in given}
    if list(names) == [UNNAMED] and len(given) == 1:
        names = [given[0].name]
    unknown = sorted(declared.keys() - set(names))
    if unknown:
        raise UsageError(
            f"--input {unknown[0]!r}: the model's inputs are {', '.join(names)}",
            hint=f"{did_you_mean(unknown[0], names)}Write --input {nearest(unknown[0], names)}=..., and one for each "
            "input whose shape is open."
            if names
            else "",
        )
    specs = [declared.get(name) or (one.fixed() if one else None) for name, one in zip(names, found, strict=True)]
    specs = [spec or _shown(names, place, shown) for place, spec in enumerate(specs)]
    missing = [name for name, spec in zip(names, specs, strict=True) if spec is None]
    if missing:
        raise NoShapeError(
            f"the shape of input {', '.join(missing)} cannot be found in the model",
            hint=" ".join(
                f"--input {name}={_for_example(one)}"
                for name, one, spec in zip(names, found, specs, strict=True)
                if spec is None
            )
            + " (with your own shape), or samples with --calibrate.",
        )
    inputs = tuple(spec for spec in specs if spec is not None)
    _check_sizes(inputs)
    notes = [note for spec, one in zip(inputs, found, strict=True) for note in _notes(spec, one, spec.name in declared)]
    return inputs, tuple(notes)


#: What one sample of an input may take: no device at the edge holds more, nor does a file of most formats.
_MOST_SAMPLE_BYTES = 4 << 30


def _check_sizes(specs: Sequence[TensorSpec]) -> None:
    """Refuse shapes of which no sample can be made, before one is."""
    for spec in specs:
        size = math.prod(spec.shape) * np.dtype(spec.dtype).itemsize
        if size > _MOST_SAMPLE_BYTES:
            raise UsageError(
                f"input {spec.name!r} has the shape {spec.shape}: one sample of {spec.dtype} takes "
                f"{size / 2**30:.0f} GiB, and at most {_MOST_SAMPLE_BYTES >> 30} GiB are allowed",
                hint="Check the lengths of its axes, in the model or in --input.",
            )


def _for_example(found: Found | None) -> str:
    """A declaration of an input that agrees with what is known of it: its batch, its rank, its fixed axes, its type."""
    if found is None:
        return "1x3x224x224:float32"
    length = 224 if len(found.shape) == 4 else 16
    shape = [n or (1 if axis in found.batches else length) for axis, n in enumerate(found.shape)]
    return f"{'x'.join(map(str, shape))}:{found.dtype}"


def _shown(names: Sequence[str], place: int, shown: Sequence[TensorSpec]) -> TensorSpec | None:
    """What samples show of an input: by its name, by its place, or as ``x`` where it is the only one."""
    known, name = {spec.name: spec for spec in shown}, names[place]
    spec = known.get(name) or known.get(f"arr_{place}") or (known.get("x") if len(names) == 1 else None)
    return None if spec is None else replace(spec, name=name)


def _notes(spec: TensorSpec, found: Found | None, declared: bool) -> list[str]:
    """What was made of an input's axes, where the user may think that another length can be given."""
    open_ = [axis for axis, n in enumerate(found.shape) if n is None and axis < len(spec.shape)] if found else []
    of = f"of input {spec.name!r}"
    notes = [f"Dynamic {'axis ' + str(axis) if axis else 'batch'} {of} fixed to {spec.shape[axis]}." for axis in open_]
    if 0 in open_ or spec.shape[:1] in ((), (1,)):
        return notes
    where, otherwise = "the model", ""
    if declared or found is None:
        where = "--input"
    elif found.example:
        one = "x".join(map(str, (1, *spec.shape[1:])))
        where, otherwise = "its example", f"; where it is a batch, --input {spec.name}={one}:{spec.dtype} makes it 1"
    return [*notes, f"Axis 0 {of} is fixed to {spec.shape[0]}, as in {where}{otherwise}."]


def identifiers(names: Sequence[str]) -> list[str]:
    """Names with every character that a Python name cannot have replaced by ``_``: TensorFlow signatures need it.

    Raises:
        UsageError: two names become one.
    """
    found = ["".join(c if c.isalnum() or c == "_" else "_" for c in name) for name in names]
    found = [name if name.isidentifier() else f"x_{name}" for name in found]
    if len(set(found)) != len(found):
        raise UsageError(
            f"inputs {', '.join(names)} have the same name once special characters are replaced",
            hint="Rename one of them in the model, with letters, digits and _ alone.",
        )
    return found
