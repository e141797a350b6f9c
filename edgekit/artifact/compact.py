"""What is done to the chosen files alone: golden data, and short names that change nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgekit import toolchains
from edgekit.artifact.folder import GOLDEN
from edgekit.candidate import Candidate
from edgekit.conversion import Loaded, Samples
from edgekit.jobs.run import Ref, Run
from edgekit.target import Target

#: Golden samples in an artifact: enough to notice a wrong runtime, small enough to travel.
GOLDEN_SAMPLES = 8
#: Of a model that is called step by step: whole sequences, all steps of each.
GOLDEN_SEQUENCES = 1
#: What short names stand for, beside the file that has them.
NAMES = "names.json"


def recorded(run: Run, loaded: Loaded, made: Candidate, selection: Samples) -> Candidate:
    """Record golden data of every part from its proof on selection samples."""
    assert made.proof_entry is not None
    golden = {}
    for name in made.parts:
        arguments: dict[str, Any] = {
            "part": name if loaded.streams else None,
            "samples_file": selection.file,
            "measured_folder": Ref(made.proof_entry, ""),
            "reference_folder": selection.outputs,
            "count": GOLDEN_SEQUENCES if loaded.streams else GOLDEN_SAMPLES,
        }
        golden[name] = run.step("golden", "runtime", "golden", arguments)
    return replace(made, golden=golden)


def named_shortly(run: Run, target: Target, made: Candidate) -> Candidate:
    """Give files short names where these take room; the very same candidate where none of them does."""
    if not toolchains.shortens_names(target.toolchain):
        return made
    parts = dict(made.parts)
    for name, part in made.parts.items():
        arguments = {"toolchain_name": target.toolchain, "file": Ref(part.entry, part.file)}
        entry = run.step("audit:compact", "runtime", "compact", arguments)
        if entry.value["file"] is not None:
            parts[name] = replace(part, entry=entry)
    return replace(made, parts=parts) if parts != made.parts else made


def computes_the_same(run: Run, target: Target, loaded: Loaded, made: Candidate) -> bool:
    """Whether files give what is recorded in the golden data, to the last bit."""
    for name, part in made.parts.items():
        arguments = {
            "toolchain_name": target.toolchain,
            "file": Ref(part.entry, part.file),
            "precision": target.precision,
            "golden_file": Ref(made.golden[name], GOLDEN),
            "steps": loaded.streams,
            "state": loaded.signatures[name]["state"],
            "shapes": {tensor.name: list(tensor.shape) for tensor in part.audit.inputs},
        }
        if not run.step("golden:replay", "runtime", "compact", arguments).value["identical"]:
            return False
    return True
