"""Running one model file on arrays of the user's, or on numbers that are drawn; nothing is compared or timed."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit import schemes, toolchains
from edgekit.data import archives
from edgekit.errors import DamagedFileError, EdgekitError, FailedError, UsageError
from edgekit.proof.speed import opened
from edgekit.result import IO
from edgekit.scheme import Precision
from edgekit.toolchains import Options
from edgekit.toolchains._shared import messages

OUTPUTS = "outputs.npz"
#: What labels are called beside inputs.
LABELS = "y"
#: Of the numbers that are drawn.
SEED = 0

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Request:
    """A file and what it is run on.

    Attributes:
        toolchain: whose runtime.
        model: the file.
        inputs: npz file of arrays by name, or npy file of a model with one input; None draws numbers.
        entry: of a file that has several, which.
        precision: what the file claims; sessions look closer at what may be quantized.
        shapes: by input, where the file leaves a shape open.
    """

    toolchain: str
    model: PathLike[str]
    inputs: PathLike[str] | None
    entry: str | None
    precision: Precision
    shapes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Row:
    """An array that went in or came out, of all samples.

    Attributes:
        name: of the input or output.
        shape: with the samples first.
        dtype: of its elements.
        min: smallest number; None where one is not finite, or there is none, as the following two.
        max: largest.
        mean: of all.
        nan: how many elements are NaN.
        infinite: how many are infinite.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    min: float | None
    max: float | None
    mean: float | None
    nan: int = 0
    infinite: int = 0

    @property
    def odd(self) -> str:
        """What is no number in it, in words; empty where all is."""
        found = [f"{what} in {n}" for what, n in (("NaN", self.nan), ("infinity", self.infinite)) if n]
        return f"{self.name!r} holds {' and '.join(found)} of {math.prod(self.shape)} values" if found else ""


@dataclass(frozen=True)
class Ran:
    """How a file ran.

    Attributes:
        by: the runtime, its version and engine.
        stand_in: whether that is not what the file ships to.
        precision: what it computes in.
        ops_delegated: operators of a fast delegate, where that is known.
        samples: how many it ran on, one after the other.
        source: whether they were given, or drawn from a seed.
        inputs: what went in.
        outputs: what came out.
        left_out: arrays of the user's that are no input of the file: ``y``, labels, and others.
    """

    by: str
    stand_in: bool
    precision: str
    ops_delegated: int | None
    samples: int
    source: Literal["given", "generated"]
    inputs: tuple[Row, ...]
    outputs: tuple[Row, ...]
    left_out: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd, a sentence each: NaN that went in and NaN that came out of numbers are told apart."""
        rows = [("input", row) for row in self.inputs] + [("output", row) for row in self.outputs]
        odd = tuple(f"the {side} {row.odd}" for side, row in rows if row.odd)
        made = any(row.odd for row in self.outputs) and not any(row.odd for row in self.inputs)
        return (*odd, "all inputs are finite: the file itself makes what is not") if made else odd


def run(folder: Path, request: Request) -> Ran:
    """Run a file on each sample; writes ``outputs.npz``.

    Raises:
        UsageError: the inputs do not fit, numbers cannot be drawn for them, or the opened file does not run on them.
        EdgekitError: see ``toolchains.open_session``.
    """
    file = Path(request.model)
    inspected = toolchains.audit(request.toolchain, file, request.entry)
    specs = _fixed(inspected.inputs, request.shapes, file)
    if request.inputs is None:
        samples: Sequence[Arrays] = [opened.all_drawn(specs, np.random.default_rng(SEED))]
        left_out: tuple[str, ...] = ()
    else:
        samples, left_out = _given(specs, Path(request.inputs))
        _check_range(specs, samples, Path(request.inputs).name)
    options = Options(schemes.find(request.precision))
    session = toolchains.open_session(request.toolchain, file, options, entry=request.entry)
    found = []
    for number, sample in enumerate(samples):
        session.reset()
        with _running(file, number, given=request.inputs is not None):
            found.append(session.run(sample))
    outputs = {name: _together([one[name] for one in found]) for name in found[0]}
    np.savez(folder / OUTPUTS, **outputs)  # type: ignore[arg-type]
    return Ran(
        by=session.by,
        stand_in=session.stand_in,
        precision=session.precision,
        ops_delegated=session.ops_delegated,
        samples=len(samples),
        source="generated" if request.inputs is None else "given",
        inputs=tuple(_row(s.name, _together([one[s.name] for one in samples])) for s in specs),
        outputs=tuple(_row(name, array) for name, array in outputs.items()),
        left_out=left_out,
    )


@contextlib.contextmanager
def _running(file: Path, number: int, *, given: bool) -> Iterator[None]:
    """Say of a file that was opened, and raises on a sample, that it does not run on it: no sign of damage."""
    try:
        yield
    except EdgekitError as error:
        if not isinstance(error, FailedError):
            raise
        said: Exception = error
    except Exception as error:  # a runtime raises whatever it happens to
        said = error
    else:
        return
    raise UsageError(
        f"{file.name} does not run on {f'sample {number} of the inputs' if given else 'numbers that are drawn'}: "
        f"{messages.sentence(said)}",
        hint="Check the values that go in: an index of a table, for one, has to be one of its rows."
        if given
        else "Give samples with --inputs FILE.npz.",
    ) from said


def _fixed(inputs: Sequence[IO], shapes: Mapping[str, tuple[int, ...]], file: Path) -> tuple[IO, ...]:
    """The inputs with the shapes that the user gives to those that the file leaves open."""
    if unknown := sorted(shapes.keys() - {tensor.name for tensor in inputs}):
        raise UsageError(
            f"{file.name} has no input {unknown[0]!r}", hint=f"It has {', '.join(tensor.name for tensor in inputs)}."
        )
    return tuple(
        tensor.model_copy(update={"shape": shapes[tensor.name]}) if tensor.name in shapes else tensor
        for tensor in inputs
    )


def _given(specs: Sequence[IO], file: Path) -> tuple[Sequence[Arrays], tuple[str, ...]]:
    """The samples of a file: one, where arrays have the shapes of the inputs, else one per place of the first axis.

    Also the arrays that are left out: labels, as data for `edgekit convert` have them, and what no input is called.
    """
    arrays = _alone(specs, file) if file.suffix == ".npy" else opened.held(file)
    names = [spec.name for spec in specs]
    others = [name for name in arrays if name not in (LABELS, *names)]
    if len(specs) == len(others) == 1 and names[0] not in arrays:  # with one input and one array no name is needed
        arrays = {**arrays, names[0]: arrays[others.pop()]}
    left_out = tuple(name for name in arrays if name in others or (name == LABELS and LABELS not in names))
    if all(spec.name in arrays and _fits(arrays[spec.name], spec) for spec in specs):
        return [{spec.name: arrays[spec.name] for spec in specs}], left_out
    return opened.samples(specs, arrays, file.name), left_out


def _check_range(specs: Sequence[IO], samples: Sequence[Arrays], file: str) -> None:
    """Refuse numbers that an input's type makes infinite: what the file answers would not be its answer to them."""
    for spec in specs:
        if spec.dtype not in ("float16", "float32"):
            continue
        most = np.finfo(spec.dtype).max
        for number, sample in enumerate(samples):
            array = sample[spec.name]
            if array.dtype.kind == "f" and (beyond := array[np.isfinite(array) & (np.abs(array) > most)]).size:
                name = f"{file}: input {spec.name!r}"
                raise UsageError(
                    f"{name} has {beyond[0]} in sample {number}; {spec.dtype} holds at most {most}",
                    hint="Store the values as the model takes them.",
                )


def _alone(specs: Sequence[IO], file: Path) -> Arrays:
    """The array of an npy file."""
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise UsageError(f"{file.name} holds one array, and the model has {len(specs)} inputs: {names}", hint="npz.")
    try:
        return {specs[0].name: np.load(file, allow_pickle=False)}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if str(error).startswith(opened.OBJECTS):
            raise archives.pickled(file.name) from error
        raise UsageError(f"{file.name} is no npy file of numbers", hint="Write it by numpy.save.") from error


def _fits(array: NDArray[Any], spec: IO) -> bool:
    alike = len(array.shape) == len(spec.shape)
    return alike and all(size in (-1, own) for own, size in zip(array.shape, spec.shape, strict=True))


def _together(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays of all samples: along their own first axis where that is the sample, else along a new one."""
    if len(arrays) == 1:
        return np.asarray(arrays[0])
    batched = all(array.shape[:1] == (1,) for array in arrays)
    return np.concatenate(arrays) if batched else np.stack(arrays)


def _row(name: str, array: NDArray[Any]) -> Row:
    if array.dtype == object:
        raise DamagedFileError(f"the output {name!r} is no number")
    wide = array.astype(np.float64)
    nan, infinite = int(np.isnan(wide).sum()), int(np.isinf(wide).sum())
    finite = wide.size > 0 and not nan and not infinite
    least, most, mean = (float(wide.min()), float(wide.max()), float(wide.mean())) if finite else (None, None, None)
    return Row(name, tuple(array.shape), array.dtype.name, least, most, mean, nan, infinite)
