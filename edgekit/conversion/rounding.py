"""Weights rounded by what they do to calibration samples: another checkpoint of the same source."""

from __future__ import annotations

from dataclasses import replace

from edgekit.checkpoint import Checkpoint
from edgekit.conversion.order import Order
from edgekit.conversion.samples import SplitFiles
from edgekit.errors import UnsupportedError
from edgekit.jobs.run import Run
from edgekit.signature import WHOLE
from edgekit.sources.source import with_weights
from edgekit.steps import round as rounding
from edgekit.steps import score

#: Kinds of child that can hand a graph to PyTorch.
ABLE = ("torch", "keras-torch")


def rounded(run: Run, order: Order, checkpoint: Checkpoint, calibration: SplitFiles) -> Checkpoint:
    """The checkpoint with the weights of the target's layers on its grid, by GPTQ.

    Where no child of PyTorch can load the model, it stays as it is, with a note.

    Raises:
        UnsupportedError: so it is, and the user asked for GPTQ.
    """
    able = [kind for kind in ABLE if kind in checkpoint.able()]
    if not able and order.rounding is None:
        why = f"of a {checkpoint.source.kind} source there is no PyTorch graph for GPTQ"
        note = f"weights were rounded to the nearest: {why}"
        return replace(checkpoint, notes=(*checkpoint.notes, note))
    if not able:
        raise UnsupportedError(
            f"GPTQ needs the model as a PyTorch graph, which a {checkpoint.source.kind} source of "
            f"{checkpoint.framework} cannot be made",
            hint="Pass --rounding nearest.",
        )
    parts, count = {}, 0
    for name, part in checkpoint.parts.items():
        file = calibration.parts.get(name, calibration.parts.get(WHOLE))
        assert file is not None
        request = rounding.Request(part, able[0], order.target.scheme, order.target.layers, file)
        entry = run.step(rounding.run, able[0], "round:gptq", request)
        count += len(entry.value.rounded)
        parts[name] = with_weights(part, entry.file(entry.value.file)) if entry.value.rounded else part
    if not count:
        return checkpoint
    note = f"{count} weights were rounded by GPTQ on {calibration.count} calibration samples"
    return replace(checkpoint, parts=parts, recipe="gptq", notes=(*checkpoint.notes, note))


def compared(run: Run, checkpoint: Checkpoint, selection: SplitFiles) -> Checkpoint:
    """The checkpoint with a note of how far it is from the source, both in their framework."""
    assert selection.source_outputs is not None
    request = score.Request(checkpoint.signatures, selection.file, selection.source_outputs, selection.outputs)
    parity = run.step(score.run, "runtime", "score:rounded", request).value.parity.values()
    worst = min(parity, key=lambda found: found.sqnr_db)
    note = f"the rounded model in float: SQNR {worst.sqnr_db:.1f} dB against the source on {selection.count} samples"
    return replace(checkpoint, notes=(*checkpoint.notes, note))
