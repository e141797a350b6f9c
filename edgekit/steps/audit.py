"""A toolchain's file, not executed: what is inside, what its graph is made of, short names for it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from edgekit import toolchains
from edgekit.signature import Signature
from edgekit.steps import Json


def run(folder: str, toolchain_name: str, file: str) -> Json:
    """What is inside."""
    return toolchains.audit(toolchain_name, Path(file)).model_dump(mode="json")


def traits(folder: str, toolchain_name: str, file: str, signature: Json) -> Json:
    """What the graph of a proven float file is made of, sorted; of a model that has no file yet, see ``traits.py``."""
    return sorted(toolchains.traits_of(toolchain_name, Path(file), Signature.from_json(signature).state))


def compact(folder: str, toolchain_name: str, file: str) -> Json:
    """Write a file under short names, and beside it ``names.json``; ``file`` is None where its names stay."""
    names = toolchains.compact(toolchain_name, Path(file), Path(folder))
    if names is None:
        return {"file": None}
    document = {"schema": 1, **asdict(names)}
    (Path(folder) / "names.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", "utf-8")
    return {"file": Path(file).name}
