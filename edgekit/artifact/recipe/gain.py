"""What pruning gained: in bytes, in bytes as a store ships them, and in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edgekit import toolchains
from edgekit.artifact import compact, package
from edgekit.conversion import candidate as judging
from edgekit.conversion import trying
from edgekit.conversion.candidate import Candidate
from edgekit.conversion.trying import Trial
from edgekit.errors import DamagedFileError, FailedError, NotRunError, UnsupportedError
from edgekit.jobs.run import Run
from edgekit.result.speed import Gain, Latency
from edgekit.schemes import FP32
from edgekit.sources import source as sources
from edgekit.steps import latency
from edgekit.toolchains import Options, Zeros

#: Part of the size that a file must be smaller by to have gained anything: names, headers and alignment differ by less.
_SMALLER = 0.005


def gained(run: Run, trial: Trial, chosen: Candidate | None) -> Gain | None:
    """What the chosen files gained by pruning; None where nothing was pruned, or nothing may be handed out.

    The source without the recipe is converted by the route that was chosen, else to the format's float file. Neither is
    proven: they say what is saved, and are not handed out.
    """
    steps = trial.checkpoint.steps
    if (
        steps is None
        or not (steps.pruned or steps.narrows)
        or chosen is None
        or chosen.status not in judging.ACCEPTABLE
    ):
        return None
    parts = {part.part: part for part in sources.parts(trial.checkpoint.source)}
    # Ranges of the training are of the trained model's tensors, which the source's need not be called like.
    source = replace(trial.checkpoint, parts=parts, recipe=None, steps=None, ranges=())
    before = replace(trial, checkpoint=source, label="unpruned")
    against, other = _without(run, before, trial.twin, chosen)
    size, compressed = package.size(chosen), package.compressed_size(chosen)
    size_without, compressed_without = package.size(other), package.compressed_size(other)
    if other is None or not (size and compressed and size_without and compressed_without):
        return None
    scheme = trial.order.target.scheme
    gain = Gain(
        against="target" if against else "float file",
        size_bytes=size,
        size_bytes_without=size_without,
        compressed_bytes=compressed,
        compressed_bytes_without=compressed_without,
        latency=_timed(run, trial, chosen, other, Options(scheme if against else FP32)),
        zeros=zeros_of(trial.order.target.toolchain).because if steps.pruned else "",
        words=(),
    )
    return gain.model_copy(update={"words": tuple(_words(gain))})


def zeros_of(toolchain: str) -> Zeros:
    """What a toolchain declares of zeros."""
    found: Zeros = toolchains.facts(toolchain).ZEROS
    return found


def _without(run: Run, before: Trial, twin: Candidate | None, chosen: Candidate) -> tuple[bool, Candidate | None]:
    """The source's own files, and whether they are of the target and not of the float twin."""
    found = None
    try:
        if twin is not None:
            found = _converted(run, replace(before.for_float_twin, label="unpruned float twin"), twin.route)
            before = replace(before, twin=found)
        return True, _converted(run, before, chosen.route)
    except (FailedError, UnsupportedError, NotRunError, DamagedFileError):  # the route was chosen for another model
        return False, found


def _converted(run: Run, trial: Trial, name: str) -> Candidate:
    """The files of one route, under short names as those that are handed out."""
    planned = trying.plan(run, trial)
    route = next((route for route in planned.routes if route.name == name), None)
    if route is None:
        raise UnsupportedError(f"no route {name} for the source without the recipe")
    parts = {part: trying.make_part(run, trial, part, planned.of_part(part), route) for part in trial.checkpoint.parts}
    return compact.named_shortly(run, trial.order.target, Candidate(name, "PASS", parts=parts))


def _timed(run: Run, trial: Trial, chosen: Candidate, other: Candidate, options: Options) -> Latency | None:
    """Both in turns; None where nothing is timed."""
    order, time = trial.order, trial.order.device.time
    if not order.latency or time is None or chosen.evidence is None or chosen.evidence.stand_in:
        return None
    request = latency.Request(
        toolchain=order.target.toolchain,
        files=chosen.files,
        options=Options(order.target.scheme),
        float_files=other.files,
        float_options=options,
        samples=trial.selection.parts,
        signatures=trial.checkpoint.signatures,
        entries=chosen.entries,
        float_entries=other.entries,
    )
    try:
        entry = run.step(time, "runtime", "latency without pruning", request)
    except (FailedError, NotRunError):
        return None
    return trying.judged_latency(entry.value, reused=entry.reused)


def _words(gain: Gain) -> Iterator[str]:
    """The gain in words: three sentences, of which each says that there is none where there is none."""
    other = f"the {'file' if gain.against == 'target' else 'float file'} without pruning"
    zeros = f": {gain.zeros}" if gain.zeros else ""
    yield _smaller("the file takes", gain.size_bytes, gain.size_bytes_without, other, zeros)
    yield _smaller(
        "compressed as a store ships it, it takes", gain.compressed_bytes, gain.compressed_bytes_without, other, ""
    )
    if (timed := gain.latency) is None:
        yield "whether it is faster was not measured"
        return
    ratio = f"{timed.ratio:.2f} ({timed.ratio_ci95[0]:.2f} to {timed.ratio_ci95[1]:.2f}) of the time of {other}"
    if timed.verdict == "FASTER":
        yield f"it takes {ratio}"
    elif timed.verdict == "TOO_SMALL_TO_TELL":
        yield f"whether it is faster is not judged, since the call itself is most of so short a time: {ratio}"
    else:
        yield f"no time is gained: {ratio}{': this runtime computes zeros as other numbers' if zeros else ''}"


def _smaller(what: str, size: int, without: int, other: str, because: str) -> str:
    saved = 1 - size / without
    if saved > _SMALLER:
        return f"{what} {size} bytes, {saved:.1%} less than {other} ({without})"
    more = f"{-saved:.1%} more than" if saved < -_SMALLER else "as many as"
    return f"no room is gained: {what} {size} bytes, {more} {other} ({without}){because}"
