"""What a source takes and gives."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import DamagedFileError, UsageError
from edgekit.frameworks import LoadedModel, python_file, spans
from edgekit.signature import Signature
from edgekit.sources import check
from edgekit.sources import source as sources
from edgekit.sources.source import Source, file_sha256, with_weights
from edgekit.steps import Json
from edgekit.steps.load import framework, load

if TYPE_CHECKING:
    from edgekit.jobs.store import Entry


def run(folder: str, source: Json, environment: str, materialise: bool) -> Json:
    """Load a source and say what it takes and gives.

    With ``materialise`` the model is saved as well, so that every other child loads the same weights (a function
    with random initial weights gives new ones at each call).
    """
    loaded = load(source, environment, anew=source["kind"] == "python")
    saved = framework(environment).materialise(loaded, Path(folder)) if materialise else None
    return {
        "signature": asdict(_with_spans(loaded).with_channels(loaded.framework)),
        "framework": loaded.framework,
        "notes": list(getattr(loaded, "notes", ())),
        "checkpoint": _describe_checkpoint(saved, Path(folder)) if saved else None,
    }


def _with_spans(loaded: LoadedModel) -> Signature:
    """The signature with the values that a Keras model's first layer expects."""
    if loaded.framework != "keras":
        return loaded.signature
    found = spans.spans(loaded.native, loaded.signature.inputs)
    inputs = tuple(replace(t, span=found.get(t.name)) for t in loaded.signature.inputs)
    return replace(loaded.signature, inputs=inputs)


#: File of a whole model; every other checkpoint holds weights for a fresh build of the source.
_WHOLE = "checkpoint.keras"
_CHECKPOINTS = (_WHOLE, "checkpoint.weights.h5", "checkpoint.safetensors")


def _describe_checkpoint(saved: Source, folder: Path) -> Json:
    """What the parent needs to know beside its own source: which file, and who wrote it; None where none was saved."""
    file = Path(saved.weights or saved.path or "")
    if file.parent != folder.resolve():
        return None
    return {"file": file.name, "keras_version": saved.keras_version}


def checkpoint(source: Source, described: Entry) -> Source:
    """The source with the weights that were saved when it was described; itself where nothing was saved.

    Kind, path and trust are not read from the store, whose files anybody may have edited who can write there: a
    checkpoint is one of three files, a whole model among them holds no code and is loaded like any file that is handed
    in without ``--trust``, and weights are loaded over the source that the user named.
    """
    found = described.value["checkpoint"]
    if found is None:
        return source
    name = found.get("file") if isinstance(found, dict) else None
    if name not in _CHECKPOINTS:
        raise DamagedFileError(f"{name!r} is no checkpoint", hint="Run `edgekit cache clear`.")
    file = described.file(name)
    if name != _WHOLE:
        return with_weights(source, file)
    return replace(
        source,
        kind="keras",
        framework="keras",
        path=str(file.resolve()),
        function=None,
        sha256=file_sha256(file),
        keras_version=str(found.get("keras_version", "")),
        trust=False,
    )


def identify(folder: str, source: Json) -> Json:
    """Say which framework the model of a Python function belongs to."""
    return python_file.identify(Source.from_json(source))


def examine(folder: str, file: str, kind: str, given: str, sha256: str, trust: bool) -> Json:
    """Look at a file before a framework does, and leave the copy that may be loaded; see ``edgekit.sources.check``.

    Raises:
        UsageError: the file is not the one that was named by its hash.
    """
    if sources.sha256(Path(file), trust=trust) != sha256:
        raise UsageError(f"{given} changed while it was read", hint="Convert it again when it is whole.")
    return check.check(Path(file), kind, given, Path(folder), trust=trust).to_json()
