"""What a source takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edgekit.errors import DamagedFileError, UsageError
from edgekit.frameworks import LoadedModel, python_file
from edgekit.frameworks.of_keras import spans
from edgekit.frameworks.once import framework, load
from edgekit.signature import Framework, Signature
from edgekit.sources import check
from edgekit.sources import source as sources
from edgekit.sources.source import Facts, Kind, Source, file_sha256, with_weights
from edgekit.steps import File


@dataclass(frozen=True)
class Request:
    """What is loaded, in which kind of child; whether its weights are saved for all others (``run``)."""

    source: Source
    environment: str
    materialise: bool


@dataclass(frozen=True)
class Saved:
    """Weights that were saved when a source was described: which file, and the Keras version that wrote it."""

    file: str
    keras_version: str = ""


@dataclass(frozen=True)
class Answer:
    """What a source takes and gives.

    Attributes:
        signature: its inputs, outputs and states.
        framework: whose model it is.
        notes: facts that the user must know.
        checkpoint: what was saved of it; None where nothing was.
    """

    signature: Signature
    framework: Framework
    notes: tuple[str, ...] = ()
    checkpoint: Saved | None = None


def run(folder: Path, request: Request) -> Answer:
    """Load a source and say what it takes and gives.

    With ``materialise`` the model is saved as well, so that every other child loads the same weights (a function
    with random initial weights gives new ones at each call).
    """
    loaded = load(request.source, request.environment, anew=request.source.kind == "python")
    saved = framework(request.environment).materialise(loaded, folder) if request.materialise else None
    return Answer(
        signature=_with_spans(loaded).with_channels(loaded.framework),
        framework=loaded.framework,
        notes=tuple(getattr(loaded, "notes", ())),
        checkpoint=_saved(saved, folder) if saved else None,
    )


def _with_spans(loaded: LoadedModel) -> Signature:
    """The signature with the values that a Keras model's first layer expects, or that an example shows."""
    specs = loaded.signature.inputs
    found = spans.spans(loaded.native, specs) if loaded.framework == "keras" else shown(loaded)
    inputs = tuple(replace(t, span=found.get(t.name)) for t in loaded.signature.inputs)
    return replace(loaded.signature, inputs=inputs)


def shown(loaded: LoadedModel) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of the integer inputs of an example; nothing where none is known.

    Samples of zeros and ones are no example: a model is tried with them.
    """
    sample = getattr(loaded, "sample", None) or ()
    whole = {
        spec.name: (float(array.min()), float(array.max()))
        for spec, array in zip(loaded.signature.inputs, sample, strict=False)
        if np.issubdtype(np.dtype(spec.dtype), np.integer)
    }
    return whole if any(most > 1 for _, most in whole.values()) else {}


#: File of a whole model; every other checkpoint holds weights for a fresh build of the source.
_WHOLE = "checkpoint.keras"
_CHECKPOINTS = (_WHOLE, "checkpoint.weights.h5", "checkpoint.safetensors")


def _saved(saved: Source, folder: Path) -> Saved | None:
    """What the parent needs to know beside its own source: which file, and who wrote it; None where none was saved."""
    file = saved.weights or saved.path
    if file is None or file.parent != folder.resolve():
        return None
    return Saved(file.name, saved.keras_version)


def with_saved(source: Source, saved: Saved | None, folder: Path) -> Source:
    """The source with the weights that were saved when it was described; itself where nothing was saved.

    Kind, path and trust are not read from the store, whose files anybody may have edited who can write there: a
    checkpoint is one of three files, a whole model among them holds no code and is loaded like any file that is handed
    in without ``--trust``, and weights are loaded over the source that the user named.
    """
    if saved is None:
        return source
    if saved.file not in _CHECKPOINTS:
        raise DamagedFileError(f"{saved.file!r} is no checkpoint", hint="Run `edgekit cache clear`.")
    file = folder / saved.file
    if saved.file != _WHOLE:
        return with_weights(source, file)
    return replace(
        source,
        kind="keras",
        framework="keras",
        path=file.resolve(),
        function=None,
        sha256=file_sha256(file),
        keras_version=saved.keras_version,
        trust=False,
    )


@dataclass(frozen=True)
class IdentifyRequest:
    """A Python function."""

    source: Source


def identify(folder: Path, request: IdentifyRequest) -> Framework:
    """Say which framework the model of a Python function belongs to."""
    return python_file.identify(request.source)


@dataclass(frozen=True)
class ExamineRequest:
    """A file as it was handed in.

    Attributes:
        file: it.
        kind: its kind.
        given: its name as it was typed.
        sha256: its hash.
        trust: whether the user answers for it.
        beside: files that it names, by these names.
    """

    file: File
    kind: Kind
    given: str
    sha256: str
    trust: bool
    beside: Mapping[str, File] = field(default_factory=dict)


def examine(folder: Path, request: ExamineRequest) -> Facts:
    """Look at a file before a framework does, and leave the copy that may be loaded; see ``edgekit.sources.check``.

    Raises:
        UsageError: the file is not the one that was named by its hash.
    """
    file = Path(request.file)
    if sources.sha256(file, trust=request.trust) != request.sha256:
        raise UsageError(f"{request.given} changed while it was read", hint="Convert it again when it is whole.")
    beside = {name: Path(one) for name, one in request.beside.items()}
    return check.check(file, request.kind, request.given, folder, trust=request.trust, beside=beside)


@dataclass(frozen=True)
class BesideRequest:
    """An .onnx, and its name as it was typed."""

    file: File
    given: str


def beside(folder: Path, request: BesideRequest) -> tuple[str, ...]:
    """The files that a model takes its weights from, relative to its folder."""
    return check.beside(Path(request.file), request.given)
