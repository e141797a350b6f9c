"""Weights adjusted by what they do to calibration samples: another checkpoint of the same source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekit import toolchains
from edgekit.checkpoint import Checkpoint
from edgekit.conversion import candidate as judging
from edgekit.conversion.candidate import Candidate
from edgekit.conversion.order import Order
from edgekit.conversion.samples import SplitFiles
from edgekit.conversion.trying import Trial
from edgekit.errors import FailedError, UnsupportedError
from edgekit.jobs.run import Run
from edgekit.signature import WHOLE
from edgekit.sources.source import with_weights
from edgekit.steps import adjust, score

#: Kinds of child that can hand a graph to PyTorch.
ABLE = ("torch", "keras-torch")
#: How to convert without.
_WITHOUT = "Pass --rounding nearest and no --equalize."


def able(checkpoint: Checkpoint) -> str | None:
    """The kind of child that adjusts its weights; None where none of PyTorch can load the model."""
    return next((kind for kind in ABLE if kind in checkpoint.able()), None)


def may_help(trial: Trial, tried: Sequence[Candidate]) -> bool:
    """Whether no route that was tried passes, one is near, and the target knows a way to equalize that is untried."""
    order = trial.order
    wanted = order.recipe is None and order.equalize is None and order.target.equalize != "none" and order.has_samples
    return wanted and judging.near(tried, order.target.gate) and able(trial.checkpoint) is not None


def adjusted(run: Run, order: Order, checkpoint: Checkpoint, calibration: SplitFiles | None) -> Checkpoint:
    """The checkpoint with channels equalized, and the weights of the target's layers on its grid, as ordered.

    Where no child of PyTorch can load the model, or its graph is beyond what is known, it stays as it is, with a note.

    Raises:
        UnsupportedError: so it is, and the user asked for it.
        FailedError: it did not come through, and the user asked for it.
    """
    child, asked = able(checkpoint), order.equalize if order.equalizes else order.rounding
    if child is None and asked is None:
        note = f"weights were rounded to the nearest: of a {checkpoint.source.kind} source there is no PyTorch graph"
        return replace(checkpoint, notes=(*checkpoint.notes, f"{note} for GPTQ"))
    if child is None:
        raise UnsupportedError(
            f"{asked} needs the model as a PyTorch graph, which a {checkpoint.source.kind} source of "
            f"{checkpoint.framework} cannot be made",
            hint=_WITHOUT,
        )
    folding = getattr(toolchains.facts(order.target.toolchain), "FOLDS_NORMS_OF", ())
    parts, seams, count, kept = {}, 0, 0, 0
    for name, part in checkpoint.parts.items():
        file = calibration.parts.get(name, calibration.parts.get(WHOLE)) if calibration else None
        request = adjust.Request(
            part,
            child,
            order.target.scheme,
            order.target.layers,
            file,
            order.layers,
            order.equalize or "none",
            order.rounds_by_samples and checkpoint.framework in folding,
            order.rounds_by_samples,
            order.target.partial_blocks,
        )
        try:
            entry = run.step(adjust.run, child, f"adjust:{order.adjusts}", request)
        except (FailedError, UnsupportedError) as error:  # of graphs there are more kinds than anybody has met
            if asked is not None:
                raise type(error)(str(error), hint=_WITHOUT) from error
            note = f"weights were rounded to the nearest, since GPTQ failed: {error}"
            return replace(checkpoint, notes=(*checkpoint.notes, note))
        seams, count = seams + entry.value.equalized, count + entry.value.rounded
        kept += entry.value.kept
        parts[name] = part
        if entry.value.equalized or entry.value.rounded:
            parts[name] = with_weights(part, entry.file(entry.value.file))
    notes = list(checkpoint.notes)
    samples = f" on {min(calibration.count, adjust.MOST)} calibration samples" if calibration else ""
    if order.equalizes:
        seen = samples if order.equalize != "cle" else ""  # which looks at weights alone
        notes.append(f"channels of {seams} values were equalized by {order.equalize}{seen}")
    if count:
        notes.append(f"{count} weights were rounded by GPTQ{samples}")
    elif order.rounds_by_samples:
        notes.append(
            "no weight was rounded by GPTQ, all to the nearest: none of the layers that the target quantizes is a "
            "product with stored float32 weights of its own"
        )
    if count and order.keep_float and not kept:
        notes.append(
            "layers of --keep-float hold weights that were rounded with the others, since the source calls them "
            "otherwise: pass --rounding nearest to keep the source's own"
        )
    done = [checkpoint.recipe, order.equalize if seams else None, "gptq" if count else None]
    return replace(checkpoint, parts=parts, recipe=", ".join(filter(None, done)) or None, notes=tuple(notes))


def compared(run: Run, checkpoint: Checkpoint, selection: SplitFiles) -> Checkpoint:
    """The checkpoint with a note of how far it is from the source, both in their framework."""
    assert selection.source_outputs is not None
    request = score.Request(checkpoint.signatures, selection.file, selection.source_outputs, selection.outputs)
    parity = run.step(score.run, "runtime", "score:adjusted", request).value.parity.values()
    worst = min(parity, key=lambda found: found.sqnr_db)
    against = f"against the source on {selection.count} samples"
    note = f"the {checkpoint.as_made} model in float: SQNR {worst.sqnr_db:.1f} dB {against}"
    return replace(checkpoint, notes=(*checkpoint.notes, note))
