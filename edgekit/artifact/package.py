"""From what a conversion found to its result and the artifact's folder."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from edgekit import __version__, zoo
from edgekit import target as targets
from edgekit.artifact import contents, picture, publishing
from edgekit.artifact import folder as artifact
from edgekit.artifact.compact import NAMES
from edgekit.artifact.readme import readme
from edgekit.checkpoint import Checkpoint
from edgekit.conversion import candidate as judging
from edgekit.conversion.candidate import Candidate, Evidence, WrittenPart, is_slow
from edgekit.conversion.order import FEW_CALIBRATION_SAMPLES, Order
from edgekit.conversion.outcome import Outcome
from edgekit.conversion.recipe import carrying
from edgekit.conversion.samples import SplitFiles
from edgekit.errors import UsageError
from edgekit.jobs.run import Run
from edgekit.proof import precision
from edgekit.proof.judge import Verdict
from edgekit.ranges.estimator import SETTINGS
from edgekit.result import (
    AgreementFacts,
    ErrorFacts,
    Flag,
    HigherLayer,
    KeptFloat,
    Part,
    Proof,
    RangesFacts,
    Result,
    RoutePassedOver,
    RouteTried,
    SamplesFacts,
    SourceFacts,
    StateFacts,
    TargetFile,
)
from edgekit.result.parity import Second
from edgekit.signature import WHOLE
from edgekit.target import Option, PassedOver, Target

#: Characters of a folder's name that say what a recipe did: file systems allow some 255 in all.
_LONGEST_RECIPE = 60
#: Layers kept in float that a note names.
MOST_NAMED = 12
UNLABELLED = (
    "accuracy is unknown: the samples of --evaluate have no labels, so that the file is compared with the float model "
    "alone"
)


def package(run: Run, order: Order, outcome: Outcome) -> Result:
    """Assemble the result; write the artifact for PASS, keep a rejected candidate aside for all else.

    Returns:
        The result with ``artifact`` (or ``rejected``) and ``files`` filled in.
    """
    result = assemble(run, order, outcome)
    made = outcome.tested or outcome.chosen
    if made is None or not made.parts:
        return result
    files = _paths(made)
    files |= {artifact.golden_of(result.parts[name]): e.file(artifact.GOLDEN) for name, e in made.golden.items()}
    if order.tokenizer is not None:
        files[order.tokenizer.name] = order.tokenizer
    result = result.model_copy(update={"files": contents.list_files(files)})
    destination = destination_of(order, outcome.checkpoint.framework)
    accepted = result.status == "PASS" or (result.status == "NOT_RUN" and order.allow_unproven)
    if not accepted:
        destination = publishing.rejected(destination)
    shown = _picture(order, result, files)
    made_here = {picture.NAME: shown.png} if shown else {}
    texts = {contents.CARD: readme(result, [*files, *made_here], shown).encode(), **made_here}
    replaced = (destination / contents.MANIFEST).is_file()
    written = artifact.write(destination, files, texts, result)
    if replaced:
        run.progress("note", f"{destination} was there before, and is replaced: -o FOLDER keeps both")
    if accepted:
        return written
    return written.model_copy(update={"artifact": None, "rejected": str(destination)})


def _picture(order: Order, result: Result, files: Mapping[str, Path]) -> picture.Picture | None:
    """Golden samples with the artifact's answers, of a model that is one file and is called once."""
    golden = files.get(artifact.GOLDEN)
    if golden is None or result.state or result.accuracy is None:
        return None
    return picture.draw(golden, result.accuracy.metric, order.plan.task, result.samples.classes)


def destination_of(order: Order, framework: str) -> Path:
    """The artifact's folder: what ``-o`` says, else one of a name that says what is in it."""
    if order.output is not None:
        return order.output
    config = "" if order.source.config in (None, "tiny") else f"-{order.source.config}"
    # Of a source after several recipes none replaces another's.
    recipe = f"-{order.recipe.words.replace(', ', '-')[:_LONGEST_RECIPE]}" if order.recipe else ""
    name = re.sub(r"[^\w.+-]+", "_", f"{order.source.name}{config}-{framework}-{order.target.name}{recipe}")
    return Path("edgekit-artifacts") / name.lstrip(".")


def check_destination(order: Order, framework: str | None = None) -> None:
    """Refuse an output that cannot be written before any work is done; see ``publishing.check``.

    Args:
        order: what the user asked for.
        framework: whose model it is. Of a Python function only calling it tells, and until then its default name is
            not known.
    """
    if framework is None:
        framework = order.source.framework
    if framework is None and order.source.kind == "zoo":
        framework = order.target.default_framework
    if order.output is None and framework is None:
        return
    if order.tokenizer is not None and not order.tokenizer.is_file():
        raise UsageError(f"no such tokenizer file: {order.tokenizer}", hint="Give one file, such as tokenizer.json.")
    read = (order.source.path, order.tokenizer, *order.plan.given.values())
    given = [Path(re.sub(r"(\.py):[A-Za-z_]\w*$", r"\1", str(name))) for name in read if name is not None]
    publishing.check(destination_of(order, framework or ""), given)


def assemble(run: Run, order: Order, outcome: Outcome) -> Result:
    """Turn an outcome into the typed result; nothing is written."""
    target, made = order.target, outcome.tested or outcome.chosen
    verdict = judging.final(
        target,
        outcome.candidates,
        outcome.chosen,
        outcome.tested,
        allow_mixed=order.allow_mixed,
        beside=order.beside,
        recipe=order.recipe,
    )
    # Where all that was made is not what it claims, the table says what it is.
    found = made or next((c for c in outcome.candidates if c.status == "FAIL_PRECISION" and c.parts), None)
    worst = found.worst(target.scheme) if found else None
    evidence = made.evidence if made else None
    parts = _parts(made)
    # Of what failed before the test: what it failed by.
    accuracy = evidence.accuracy if evidence and (outcome.tested or verdict.status == "FAIL_ACCURACY") else None
    latency = made.latency if made else None
    return Result(
        status=verdict.status,
        flags=_flags(run, order, outcome),
        reason=verdict.reason,
        proof=_proof(evidence),
        artifact=None,
        target=target.name,
        target_files=_target_files(target),
        format=target.format,
        toolchain=target.toolchain,
        precision=target.precision,
        precision_reached=_reached(target, worst) if worst else None,
        framework=outcome.checkpoint.framework,
        source=SourceFacts(
            given=order.source.given,
            kind=order.source.kind,
            name=order.source.name,
            config=order.source.config,
            sha256=next(iter(outcome.checkpoint.parts.values())).sha256,
            notes=outcome.checkpoint.notes,
            licence=order.licence or _of_zoo(order),
            second=_second(outcome),
        ),
        route=made.route if made else None,
        routes_tried=tuple(_tried(c, made) for c in outcome.candidates),
        routes_passed_over=tuple(
            RoutePassedOver(route=name, by=over.by, reason=over.reason) for name, over in _passed_over(outcome)
        ),
        traits=_traits(outcome),
        keep_float=order.keep_float,
        kept_float=_kept(made),
        kept_macs_share=_kept_share(made),
        higher_layers=_higher(target, made),
        files=contents.list_files(_paths(made)),
        size_bytes=size(made),
        float_size_bytes=size(outcome.twin) or (size(made) if target.float_twin is None else None),
        parts=parts,
        state=_states(outcome.checkpoint) if parts else {},
        audit=next((part.audit for name, part in parts.items() if made and made.parts[name] is worst), None),
        parity=evidence.parity if evidence else None,
        accuracy=accuracy,
        agreement=_agreement(outcome),
        latency=latency,
        gate=target.gate.model_dump(),
        samples=_samples(order, outcome),
        preprocessing=next((m for s in outcome.samples if (m := s.entry.value.preprocessing) is not None), None),
        tokenizer=order.tokenizer.name if order.tokenizer and parts else None,
        ranges=_ranges(order, outcome),
        recipe=carrying.as_in_file(outcome.checkpoint, made),
        gain=outcome.gain,
        notes=(*outcome.checkpoint.notes, *_notes(target, made), *_warnings(order, outcome)),
        tools={"edgekit": __version__, **dict(sorted(run.ledger.tools.items()))},
        host=run.host,
        cpu_seconds=dict(run.ledger.cpu_seconds),
        peak_rss_bytes=run.ledger.peak_rss_bytes,
        reused=tuple(run.ledger.reused),
        error=_error(verdict, _waiting(outcome, "allow-mixed")),
    )


def _of_zoo(order: Order) -> str | None:
    """The licence of weights that the zoo ships; None where they are somebody else's, or random."""
    source = order.source
    shipped = source.kind == "zoo" and zoo.weights_path(source.name, source.config or "tiny") is not None
    return "Apache-2.0" if shipped else None


def _reached(target: Target, worst: WrittenPart) -> str:
    return precision.describe(target.scheme, worst.judged, sum(layer.becomes == "float" for layer in worst.kept))


def _error(verdict: Verdict, waiting: list[str]) -> ErrorFacts | None:
    """Why there is no artifact, and the next step; None for PASS."""
    if verdict.status == "PASS":
        return None
    says = "It tries" if "--allow-mixed" in verdict.hint else "Pass --allow-mixed to try"
    mixed = f"{says} {' and '.join(waiting)} as well." if waiting else ""
    hint = " ".join(filter(None, (verdict.hint, mixed)))
    code = verdict.status.lower().replace("_", "-")
    return ErrorFacts(code=code, message=verdict.reason, hint=hint)


def _proof(evidence: Evidence | None) -> Proof:
    if evidence is None:
        return Proof(kind="none")
    return Proof(kind="stand-in" if evidence.stand_in else "runtime", by=evidence.by)


def _second(outcome: Outcome) -> Second | None:
    selection = _find(outcome.samples, "selection")
    return selection.reference.value.second if selection and selection.reference else None


def _agreement(outcome: Outcome) -> AgreementFacts | None:
    """On the test samples, or where there are none on those of selection."""
    made = outcome.tested or outcome.chosen
    if made is None or made.evidence is None or made.evidence.agreement is None:
        return None
    ran = _find(outcome.samples, made.evidence.split)
    assert ran is not None
    return AgreementFacts(share=made.evidence.agreement, samples=ran.count, output=outcome.checkpoint.agree_on)


def _flags(run: Run, order: Order, outcome: Outcome) -> tuple[Flag, ...]:
    flags: list[Flag] = []
    made = outcome.tested or outcome.chosen
    if made and made.latency and made.latency.verdict == "SLOWER":
        flags.append("SLOWER")
    mine, floats = size(made), size(outcome.twin)
    if mine and floats and mine > floats:
        flags.append("LARGER")
    accuracy = made.evidence.accuracy if made and made.evidence else None
    if accuracy and accuracy.weak:
        flags.append("WEAK_SOURCE")
    if made and made.latency and made.latency.noisy:
        flags.append("NOISY")
    if not run.ledger.made or any(c.latency and c.latency.reused for c in outcome.candidates):
        flags.append("REUSED")
    if order.plan.generated and made and made.evidence:
        flags.append("ESTIMATE")
    if order.target.gate.beyond_ceilings(order.target.scheme):
        flags.append("CUSTOM_GATE")
    if any(file.stands_in for file in _target_files(order.target)):
        flags.append("CUSTOM_TARGET")
    return tuple(flags)


def _target_files(target: Target) -> tuple[TargetFile, ...]:
    """The target's file and that of its float twin, whose limits and routes count as well."""
    twin = (targets.float_twin(target),) if target.float_twin else ()
    return tuple(one.file for one in (target, *twin))


def _kept(made: Candidate | None) -> tuple[KeptFloat, ...]:
    """Layers that rules kept from what the target says, of all parts."""
    each = [(name, layer) for name, part in made.parts.items() for layer in part.kept] if made else []
    return tuple(
        KeptFloat(part=name, name=one.names[0], kind=one.kind, macs=one.macs, becomes=one.becomes) for name, one in each
    )


def _kept_share(made: Candidate | None) -> float | None:
    """Their share of the multiply-accumulates of all parts; None where nothing multiplies."""
    total = sum(part.audit.macs_total for part in made.parts.values()) if made else 0
    return sum(one.macs for one in _kept(made)) / total if total else None


def _first(names: list[str]) -> str:
    """The first names, each once, and how many more there are.

    Of the names of operators that a converter joined, the first: the manifest has them whole.
    """
    once = list(dict.fromkeys(re.sub(r";[^\s\d]\S*", ";...", name) for name in names))
    more = f" and {len(once) - MOST_NAMED} more" if len(once) > MOST_NAMED else ""
    return f"{', '.join(once[:MOST_NAMED])}{more}"


def _higher(target: Target, made: Candidate | None) -> tuple[HigherLayer, ...]:
    """Layers of a file below 8 bits whose weights have more, of all parts."""
    return tuple(
        HigherLayer(part=name, name=layer.name, kind=layer.kind, weight_type=layer.weight_type, because=because)
        for name, part in (made.parts.items() if made else ())
        for layer, because in precision.higher(target, part.judged)
        if not any(layer.name in kept.names for kept in part.kept)
    )


def _notes(target: Target, made: Candidate | None) -> list[str]:
    """What the routes noted, of equal notes of several parts one, and what has more bits than the target says."""
    each = [note for part in made.parts.values() for note in part.notes] if made else []
    total = sum(part.audit.macs_total for part in made.parts.values()) if made else 0
    kept = _kept(made)
    for becomes in dict.fromkeys(one.becomes for one in kept):
        alike = [one for one in kept if one.becomes == becomes]
        share = f" ({sum(one.macs for one in alike) / total:.1%} of MACs)" if total else ""
        each.append(f"kept in {becomes}: {_first([one.name for one in alike])}{share}")
    reasons: dict[str, list[HigherLayer]] = {}
    for layer in _higher(target, made):
        reasons.setdefault(layer.because, []).append(layer)
    for because, layers in reasons.items():
        named = _first([f"{one.name} ({one.weight_type})" for one in layers])
        each.append(f"not {target.scheme.weights}: {named}: {because}")
    odd = made.evidence.findings if made and made.evidence else ()
    return list(dict.fromkeys([*each, *(made.notes if made else ()), *odd]))


def _states(checkpoint: Checkpoint) -> dict[str, tuple[StateFacts, ...]]:
    found = {name: tuple(StateFacts(**asdict(row)) for row in s.state) for name, s in checkpoint.signatures.items()}
    return {name: states for name, states in found.items() if states}


def _listed(names: list[str]) -> str:
    """Numbered names, the first and the last ones where they are many."""
    numbered = [f"{i} {name}" for i, name in enumerate(names)]
    return ", ".join(numbered if len(numbered) <= 12 else [*numbered[:8], "...", *numbered[-2:]])


def _warnings(order: Order, outcome: Outcome) -> list[str]:
    notes = []
    calibration = _find(outcome.samples, "calibration")
    if calibration is not None and calibration.count < FEW_CALIBRATION_SAMPLES:
        notes.append(
            f"only {calibration.count} calibration samples: ranges may be too narrow; "
            f"give at least {FEW_CALIBRATION_SAMPLES}"
        )
    if calibration is not None and (dropped := calibration.entry.value.dropped):
        notes.append(f"{dropped} calibration samples were left out: they are among the evaluation samples, too")
    selection = _find(outcome.samples, "selection")
    if selection is not None and not selection.labelled and outcome.chosen is not None:
        none = "accuracy was not measured: no labelled samples (--evaluate DATA)"
        notes.append(UNLABELLED if order.plan.evaluate else none)
    if selection is not None:
        notes += selection.entry.value.notes
        if names := selection.entry.value.classes:
            notes.append("classes in the order of the outputs: " + _listed(list(names)))
    latency = outcome.chosen.latency if outcome.chosen else None
    if latency and is_slow(latency):
        slow = f"takes {latency.ratio:.1f} times the float time; "
        mixed = [c.route for c in outcome.candidates if c.hint == judging.ALLOW_MIXED]
        if mixed := mixed + _waiting(outcome, "allow-mixed"):
            also = f"--allow-mixed also accepts {' and '.join(mixed)}, which compute partly in float and may be faster"
            notes.append(slow + also)
        if others := _waiting(outcome, "search-routes"):
            notes.append(f"{slow}--search-routes also tries {' and '.join(others)}, which may be faster")
    return notes


def _passed_over(outcome: Outcome) -> list[tuple[str, PassedOver]]:
    """Routes that were not tried and why, in order: the same route may have been tried further down."""
    tried = {candidate.route for candidate in outcome.candidates}
    return [(r.name, r.passed_over) for r in outcome.plan.routes if r.passed_over and r.name not in tried]


def _waiting(outcome: Outcome, option: Option) -> list[str]:
    """Routes that wait for an option to ask for them."""
    found = (name for name, over in _passed_over(outcome) if (over.by, over.option) == ("needs", option))
    return list(dict.fromkeys(found))


def _traits(outcome: Outcome) -> tuple[str, ...] | None:
    """What the graphs of all parts are made of; None where nothing asked."""
    found = outcome.plan.traits
    return None if found is None else tuple(sorted(frozenset[str]().union(*found.values())))


def _tried(candidate: Candidate, made: Candidate | None) -> RouteTried:
    return RouteTried(
        route=candidate.route,
        recipe=candidate.recipe,
        chosen=made is not None and (candidate.route, candidate.recipe) == (made.route, made.recipe),
        status=candidate.status,
        reason=". ".join(text for text in (candidate.reason.rstrip("."), candidate.hint) if text),
        sqnr_db=candidate.evidence.parity.sqnr_db if candidate.evidence else None,
        latency_ratio=candidate.latency.ratio if candidate.latency else None,
        measured_at=candidate.latency.measured_at if candidate.latency else None,
        size_bytes=size(candidate),
    )


def _parts(made: Candidate | None) -> dict[str, Part]:
    """Each part with its own evidence; several lie in a folder each, of the part's name."""
    found = {}
    for name, part in made.parts.items() if made else ():
        assert made is not None
        evidence = made.evidence.parts[name] if made.evidence else None
        delegated = evidence.ops_delegated if evidence else part.audit.ops_delegated
        found[name] = Part(
            file=_within(made, name, part.file),
            entry=part.entry,
            inputs=part.audit.inputs,
            outputs=part.audit.outputs,
            audit=part.audit.alone().model_copy(update={"ops_delegated": delegated}),
            parity=evidence.parity if evidence else None,
        )
    return found


def _within(made: Candidate, part: str, name: str) -> str:
    """Where a part's file lies in the artifact."""
    return name if list(made.parts) == [WHOLE] else f"{part}/{name}"


def _paths(made: Candidate | None) -> dict[str, Path]:
    """The model's own files by their name in the artifact."""
    return {
        _within(made, name, path.relative_to(part.folder).as_posix()): path
        for name, part in (made.parts.items() if made else ())
        for path in sorted(part.folder.rglob("*"))
        if made and path.is_file()
    }


def size(made: Candidate | None) -> int | None:
    """Bytes of the model's own files, without golden data, manifest and what short names stand for."""
    if not made or not made.parts:
        return None
    return sum(path.stat().st_size for path in _paths(made).values() if path.name != NAMES)


def compressed_size(made: Candidate | None) -> int | None:
    """Bytes of the same files as a store ships them: each deflated, at level 9."""
    if not made or not made.parts:
        return None
    return sum(_deflated(path) for path in _paths(made).values() if path.name != NAMES)


def _deflated(path: Path) -> int:
    packer, count = zlib.compressobj(9), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            count += len(packer.compress(block))
    return count + len(packer.flush())


def _samples(order: Order, outcome: Outcome) -> SamplesFacts:
    plan = order.plan
    given = [f"--{option} {plan.called(option)}" for option in plan.given]
    origin = f"task {plan.task}" if plan.task else ", ".join(given) or "generated"
    made = {s.split: s.entry.value for s in outcome.samples}
    splits = {str(s): {"count": v.count, "sha256": v.sha256, "dropped": v.dropped} for s, v in made.items()}
    classes = next((value.classes for value in made.values() if value.classes), ())
    return SamplesFacts(origin=origin, seed=plan.seed, splits=splits, classes=classes)


def _ranges(order: Order, outcome: Outcome) -> RangesFacts | None:
    """How activations got their ranges; None where none came from samples."""
    calibration, used = _find(outcome.samples, "calibration"), order.ranges
    if calibration is None:
        return None
    settings: dict[str, float] = {key: getattr(used, key) for key in SETTINGS[used.method]}
    return RangesFacts(plan=used.name, method=used.method, settings=settings, samples=calibration.count, draw=used.draw)


def _find(samples: list[SplitFiles], split: str) -> SplitFiles | None:
    return next((s for s in samples if s.split == split), None)
