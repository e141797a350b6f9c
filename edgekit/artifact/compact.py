"""What is done to the chosen files alone: golden data, and short names and the like, which change nothing else."""

from __future__ import annotations

from dataclasses import replace

from edgekit import toolchains
from edgekit.artifact.folder import GOLDEN
from edgekit.checkpoint import Checkpoint
from edgekit.conversion.candidate import Candidate
from edgekit.conversion.samples import SplitFiles
from edgekit.jobs.run import Ref, Run
from edgekit.steps import audit, golden
from edgekit.target import Target
from edgekit.toolchains import Options

#: Golden samples in an artifact: enough to notice a wrong runtime, small enough to travel.
GOLDEN_SAMPLES = 8
#: Of a model that is called step by step: whole sequences, all steps of each.
GOLDEN_SEQUENCES = 1
#: What short names stand for, beside the file that has them.
NAMES = "names.json"


def recorded(run: Run, checkpoint: Checkpoint, made: Candidate, selection: SplitFiles) -> Candidate:
    """Record golden data of every part from its run on selection samples."""
    assert made.execution is not None
    found = {}
    for name in made.parts:
        request = golden.Request(
            part=name if checkpoint.streams else None,
            samples=selection.file,
            measured=Ref(made.execution, ""),
            reference=selection.outputs,
            count=GOLDEN_SEQUENCES if checkpoint.streams else GOLDEN_SAMPLES,
        )
        found[name] = run.step(golden.run, "runtime", "golden", request)
    return replace(made, golden=found)


def named_shortly(run: Run, target: Target, made: Candidate) -> Candidate:
    """Write files smaller where names or zeros take room; the very same candidate where none of them does."""
    if not toolchains.shortens_names(target.toolchain):
        return made
    parts = dict(made.parts)
    for name, part in made.parts.items():
        entry = run.step(audit.compact, "runtime", "compact", audit.Request(target.toolchain, part.ref))
        if entry.value.file is not None:
            parts[name] = replace(part, ref=Ref(entry, entry.value.file))
            if not entry.value.renamed:  # what is stored is, and its layers are found by their names
                inside = run.step(audit.run, "runtime", "audit", audit.Request(target.toolchain, parts[name].ref))
                parts[name] = replace(parts[name], audit=inside.value)
    return replace(made, parts=parts) if parts != made.parts else made


def computes_the_same(run: Run, target: Target, checkpoint: Checkpoint, made: Candidate) -> bool:
    """Whether files give what is recorded in the golden data, to the last bit."""
    for name, part in made.parts.items():
        request = golden.ReplayRequest(
            toolchain=target.toolchain,
            file=part.ref,
            options=Options(target.scheme),
            golden=Ref(made.golden[name], GOLDEN),
            steps=checkpoint.streams,
            state=checkpoint.signatures[name].state,
            shapes={tensor.name: tensor.shape for tensor in part.audit.inputs},
            entry=part.entry,
        )
        if not run.step(golden.replay, "runtime", "compact", request).value.identical:
            return False
    return True
