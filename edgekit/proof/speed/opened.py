"""A file that is to be timed: opened in its runtime, with what it is run on."""

from __future__ import annotations

import math
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit import toolchains
from edgekit.data import archives
from edgekit.errors import NotRunError, UsageError
from edgekit.proof.speed import conditions
from edgekit.proof.speed.measurement import Inputs
from edgekit.proof.speed.steady import Subject
from edgekit.result import IO
from edgekit.toolchains import Options, Session

#: What NumPy says of an array of objects; of a file that is no array it says that it may be a pickle.
OBJECTS = "Object arrays cannot be loaded"

#: What is found here is true of this machine alone.
MEASURES = True

Arrays = Mapping[str, NDArray[np.generic]]
#: Samples that are drawn where there are none: a constant one may be faster than any that is met.
DRAWN = 8
#: Numbers of all of them together.
MOST_DRAWN = 1 << 25


@dataclass(frozen=True)
class Contender:
    """A file, or the files of an artifact's parts, and what they are run on.

    Attributes:
        toolchain: whose runtime.
        files: by part.
        options: how they are opened.
        inputs: of every part.
        entries: of parts that are one of several in their file, which.
        recorded: ``golden.npz`` of each part; of parts that have none, numbers are drawn.
        given: npz file of the user's with samples by input name, of a file of one part.
        steps: whether what was recorded are sequences of steps.
        macs: multiply-accumulates of one run, where they are known.
    """

    toolchain: str
    files: Mapping[str, PathLike[str]]
    options: Options
    inputs: Mapping[str, tuple[IO, ...]]
    entries: Mapping[str, str] = field(default_factory=dict)
    recorded: Mapping[str, PathLike[str]] = field(default_factory=dict)
    given: PathLike[str] | None = None
    steps: bool = False
    macs: int | None = None


@dataclass(frozen=True)
class Opened:
    """A contender in its runtime, run once; times in milliseconds, memory in bytes of the process."""

    contender: Contender
    sessions: Mapping[str, Session]
    feeds: Mapping[str, Sequence[Arrays]]
    kind: Inputs
    import_ms: float | None
    load_ms: float
    first_ms: float
    before: int
    peak: int

    @property
    def steps(self) -> int:
        """Of the sequence that is timed; 1 where every run is alike."""
        return max(map(len, self.feeds.values())) if self.contender.steps else 1

    def subject(self) -> Subject:
        """As it is timed: all parts once each."""
        calls: list[Callable[[], object]] = []

        def prepare(number: int) -> None:
            calls[:] = [s.bind(self.feeds[n][number % len(self.feeds[n])]) for n, s in self.sessions.items()]
            invoke()

        def invoke() -> None:
            for call in calls:
                call()

        return Subject(invoke, prepare, self.steps)


def open_contender(contender: Contender, seed: int) -> Opened:
    """Open it, and run it once; inputs that are drawn come from the seed."""
    start = time.perf_counter()
    fresh = toolchains.load_runtime(contender.toolchain)
    imported = time.perf_counter()
    feeds, kind = _feeds(contender, seed)
    before, _ = conditions.memory()
    opening = time.perf_counter()
    sessions = toolchains.open_sessions(contender.toolchain, contender.files, contender.options, contender.entries)
    loaded = time.perf_counter()
    if stand_ins := [session.by for session in sessions.values() if session.stand_in]:
        raise NotRunError(f"{stand_ins[0]} is not what the file ships to: its time says nothing about a device")
    calls = [session.bind(feeds[name][0]) for name, session in sessions.items()]
    running = time.perf_counter()
    for call in calls:
        call()
    ran = time.perf_counter()
    _, peak = conditions.memory()
    return Opened(
        contender,
        sessions,
        feeds,
        kind,
        import_ms=(imported - start) * 1e3 if fresh else None,
        load_ms=(loaded - opening) * 1e3,
        first_ms=(ran - running) * 1e3,
        before=before,
        peak=peak,
    )


def _feeds(contender: Contender, seed: int) -> tuple[dict[str, Sequence[Arrays]], Inputs]:
    """What each part is run on, a sample or a step after the other, and where it comes from."""
    if contender.given is not None:
        [(name, specs)] = contender.inputs.items()
        given = Path(contender.given)
        return {name: samples(specs, held(given), given.name)}, "given"
    if contender.recorded.keys() >= contender.files.keys():
        feeds: dict[str, Sequence[Arrays]] = {}
        for name, file in contender.recorded.items():
            with np.load(file, allow_pickle=False) as stored:
                arrays = {n.removeprefix("in/"): stored[n] for n in stored.files if n.startswith("in/")}
            if contender.steps:  # those of the first sequence
                arrays = {n: array[0] for n, array in arrays.items()}
            feeds[name] = samples(contender.inputs[name], arrays, Path(file).name)
        return feeds, "golden"
    rng = np.random.default_rng(seed)
    return {
        name: [all_drawn(specs, rng) for _ in range(_draws(specs))] for name, specs in contender.inputs.items()
    }, "generated"


def held(file: Path) -> Arrays:
    """The arrays of a file of the user's.

    Raises:
        UsageError: it is no npz file.
        UnsafeInputError: it holds pickled objects.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:  # TypeError: one array and no npz
        if str(error).startswith(OBJECTS):
            raise archives.pickled(file.name) from error
        raise UsageError(
            f"{file.name} is no npz file of numbers", hint="Write it by numpy.savez(file, NAME=samples)."
        ) from error


def _draws(specs: Sequence[IO]) -> int:
    """How many samples are drawn: fewer where inputs are large, since all are held at once."""
    numbers = sum(math.prod(spec.shape) for spec in specs)
    return max(1, min(DRAWN, MOST_DRAWN // max(1, numbers)))


def all_drawn(specs: Sequence[IO], rng: np.random.Generator) -> Arrays:
    """A sample of numbers as a file's inputs take them; raises ``UsageError`` where a shape is not fixed."""
    return {spec.name: _drawn(spec, rng) for spec in specs}


def samples(specs: Sequence[IO], arrays: Arrays, file: str) -> Sequence[Arrays]:
    """The samples that arrays hold, each in the shapes of the inputs, of which -1 takes any size.

    Raises:
        UsageError: an array is missing, empty or of another shape.
    """
    named = {f"arr_{place}": spec.name for place, spec in enumerate(specs)}  # as numpy.savez calls what nobody named
    if named.keys() <= arrays.keys() and not any(spec.name in arrays for spec in specs):
        arrays = {named.get(key, key): array for key, array in arrays.items()}
    if missing := [spec.name for spec in specs if spec.name not in arrays]:
        raise UsageError(f"{file} has no array {missing[0]!r}; it has {', '.join(arrays) or 'none'}")
    if without := [spec.name for spec in specs if not arrays[spec.name].ndim or not len(arrays[spec.name])]:
        raise UsageError(f"{file} has no sample of {without[0]!r}", hint="Its first axis is the sample.")
    count = min(len(arrays[spec.name]) for spec in specs) if specs else 1
    found = []
    for row in range(count):
        sample = {}
        for spec in specs:
            array = arrays[spec.name][row]
            fitted = _fitted(array, spec.shape)
            if fitted is None:
                raise UsageError(
                    f"{file}: a sample of {spec.name!r} has the shape {array.shape}; the file takes {spec.shape}",
                    hint="Its first axis is the sample; the others lie as in the file (channels first or last).",
                )
            sample[spec.name] = fitted
        found.append(sample)
    return found


def _fitted(array: NDArray[np.generic], wanted: tuple[int, ...]) -> NDArray[np.generic] | None:
    """A sample in a shape, of which -1 takes any size; axes of one place come and go, no others change places."""
    if _alike(array.shape, wanted):
        return array
    if wanted[:1] in ((1,), (-1,)) and _alike(array.shape, wanted[1:]):
        return array[None]
    own, others = ([size for size in shape if size != 1] for shape in (array.shape, wanted))
    return array.reshape(wanted) if own == others else None


def _alike(own: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(own) == len(wanted) and all(size in (-1, one) for one, size in zip(own, wanted, strict=True))


def _drawn(spec: IO, rng: np.random.Generator) -> NDArray[np.generic]:
    """Numbers as a file's input takes them.

    Raises:
        UsageError: its shape is not fixed, or it takes no numbers.
    """
    if any(size < 1 for size in spec.shape):
        raise UsageError(
            f"input {spec.name!r} has the shape {spec.shape}, of which a part is not fixed",
            hint="Give samples with --inputs FILE.npz, or a shape: `edgekit run` takes --shape NAME=1x3x224x224, "
            "`edgekit benchmark` --input.",
        )
    if spec.scale:  # stored as integers: real numbers over all that these can be
        info = np.iinfo(spec.dtype)
        stored = rng.integers(info.min, info.max, spec.shape, endpoint=True)
        return ((stored - (spec.zero_point or 0)) * spec.scale).astype(np.float32)
    if spec.dtype == "bool":
        return rng.integers(0, 2, spec.shape).astype(bool)
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError as error:
        raise UsageError(f"input {spec.name!r} takes {spec.dtype}: no numbers can be drawn for it") from error
    if dtype.kind == "f":
        return rng.standard_normal(spec.shape).astype(dtype)
    if dtype == np.uint8:  # pictures
        return rng.integers(0, 256, spec.shape).astype(dtype)
    return rng.integers(0, 2, spec.shape).astype(dtype)  # indices of tables, however small
