"""What a source takes and gives."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from edgekit.frameworks import python_file
from edgekit.sources.source import Source
from edgekit.steps import Json
from edgekit.steps.load import framework, load


def run(folder: str, source: Json, environment: str, materialise: bool) -> Json:
    """Load a source and say what it takes and gives.

    With ``materialise`` the model is saved as well, so that every other child loads the same weights (a function
    with random initial weights gives new ones at each call).
    """
    loaded = load(source, environment)
    checkpoint: Source | None = None
    if materialise:
        checkpoint = framework(environment).materialise(loaded, Path(folder))
    return {
        "signature": asdict(loaded.signature.with_channels(loaded.framework)),
        "framework": loaded.framework,
        "notes": list(getattr(loaded, "notes", ())),
        "checkpoint": _without_folder(checkpoint.to_json(), folder) if checkpoint else None,
    }


#: Stands for a step's own folder in its value: the folder is renamed when the entry is published.
_FOLDER = "<files>/"


def _without_folder(document: Json, folder: str) -> Json:
    prefix = str(Path(folder).resolve()) + "/"
    return {k: v.replace(prefix, _FOLDER) if isinstance(v, str) else v for k, v in document.items()}


def with_folder(document: Json, folder: Path) -> Json:
    """Put an entry's real folder into paths of its value."""
    return {k: v.replace(_FOLDER, f"{folder}/") if isinstance(v, str) else v for k, v in document.items()}


def identify(folder: str, source: Json) -> Json:
    """Say which framework the model of a Python function belongs to."""
    return python_file.identify(Source.from_json(source))
