"""What one route produced, what was found inside, and which of several is chosen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from edgekit import target as targets
from edgekit.checkpoint import Checkpoint
from edgekit.compress.recipes import Recipe
from edgekit.conversion.budget import Budget
from edgekit.errors import UsageError
from edgekit.jobs.run import Ref
from edgekit.jobs.store import Entry
from edgekit.limits import Gate
from edgekit.proof import judge, metrics, precision, sparsity
from edgekit.proof.judge import Verdict
from edgekit.result import Accuracy, Inspected, Status
from edgekit.result.parity import Parity
from edgekit.result.speed import Latency
from edgekit.scheme import Range, Rule, Scheme
from edgekit.steps import execute, golden, score
from edgekit.target import Target
from edgekit.toolchains import Kept

#: From best to worst, for saying how a conversion ended where no route passed.
_ORDER: tuple[Status, ...] = (
    "PASS",
    "UNDECIDED",
    "FAIL_ACCURACY",
    "FAIL_PARITY",
    "FAIL_PRECISION",
    "FAILED",
    "UNSUPPORTED",
    "NOT_RUN",
)

#: The next step for a file of which a part stayed in float.
ALLOW_MIXED = "Pass --allow-mixed to accept it."

#: Routes within 5 % of the fastest tie with it, as those do whose intervals meet: the same file, timed twice on a busy
#: machine, differs by as much.
TIED = 1.05


#: What other weights, or a better choice of layers, may mend.
MENDABLE: tuple[Status, ...] = ("FAIL_ACCURACY", "FAIL_PARITY", "UNDECIDED")

#: What a candidate is called that stands for no route.
NO_ROUTE = "none"

#: What may still be handed out, once it has run on the test samples.
ACCEPTABLE: tuple[Status, ...] = ("PASS", "UNDECIDED")


@dataclass(frozen=True)
class PartEvidence:
    """What running one part gave.

    Attributes:
        ops_delegated: operators run by the fast delegate, or None.
        parity: closeness to the framework's own run, see ``edgekit.proof.parity``.
    """

    ops_delegated: int | None
    parity: Parity


@dataclass(frozen=True)
class Evidence:
    """What running a candidate on one split gave.

    Attributes:
        split: which samples.
        by: what executed it.
        stand_in: whether that is not the runtime that the files ship to.
        parts: what was found of each part.
        accuracy: the task metric of both, see ``edgekit.proof.accuracy``; None without labels.
        findings: what is odd and no failure, one sentence each.
        agreement: without labels, share of positions where float and file have the same largest value.
    """

    split: str
    by: str
    stand_in: bool
    parts: Mapping[str, PartEvidence]
    accuracy: Accuracy | None
    findings: tuple[str, ...] = ()
    agreement: float | None = None

    @property
    def parity(self) -> Parity:
        """That of the worst part."""
        return min((part.parity for part in self.parts.values()), key=lambda parity: parity.sqnr_db)


@dataclass(frozen=True)
class WrittenPart:
    """One part of a model as a route wrote it.

    Attributes:
        ref: its main file, in the store's entry that holds all its files.
        audit: what is inside.
        notes: facts the user must know.
        entry: the signature, method or function of the file that is the part; None where it has one alone.
        kept: layers that rules kept in float.
        ranges: of activations where the file names no tensors; see ``toolchains.Converted``.
        given: how many ranges of activations it got from training.
        lost: activations that have another range than the one that training had.
    """

    ref: Ref
    audit: Inspected
    notes: tuple[str, ...] = ()
    entry: str | None = None
    kept: tuple[Kept, ...] = ()
    ranges: tuple[Range, ...] = ()
    given: int = 0
    lost: tuple[str, ...] = ()

    @property
    def judged(self) -> Inspected:
        """The audit of what no rule kept in float."""
        return precision.without(self.audit, self.kept)

    @property
    def file(self) -> str:
        """Name of the main file within its folder."""
        return self.ref.name

    @property
    def folder(self) -> Path:
        """The folder of all its files."""
        return self.ref.entry.file("")


@dataclass(frozen=True)
class Candidate:
    """What one route produced, with its evidence on selection samples, before one is chosen.

    Attributes:
        route: the route's name in its toolchain.
        status: how it ended so far.
        reason: why, where it is not PASS.
        notes: facts the user must know beyond those of its parts.
        parts: every part, in the order in which a step calls them; empty where the route failed.
        evidence: what running it gave.
        latency: against its float twin; None where not measured.
        execution: the store's entry of the latest run, which holds the files' outputs.
        golden: the store's entry of each part's golden data, once it is chosen.
        hint: the next step, where the route raised an error that knows one.
        recipe: what was done to the source before; None where it was converted as it is.
        too_costly: whether it passes, and costs more than the user allows.
        serves: whether the route reads this kind of source at all.
    """

    route: str
    status: Status
    reason: str = ""
    parts: Mapping[str, WrittenPart] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    evidence: Evidence | None = None
    latency: Latency | None = None
    execution: Entry[execute.Answer] | None = None
    golden: Mapping[str, Entry[golden.Answer]] = field(default_factory=dict)
    hint: str = ""
    recipe: str | None = None
    too_costly: bool = False
    serves: bool = True

    @property
    def files(self) -> Mapping[str, Ref]:
        """The main file of every part."""
        return {name: part.ref for name, part in self.parts.items()}

    @property
    def entries(self) -> Mapping[str, str]:
        """What is called in the file of every part that is one of several."""
        return {name: part.entry for name, part in self.parts.items() if part.entry is not None}

    def worst(self, claimed: Scheme) -> WrittenPart | None:
        """The part that is furthest from the scheme that it claims; None without files."""
        return min(self.parts.values(), key=lambda part: precision.reached(claimed, part.judged), default=None)


def check_ranges(made: Candidate) -> Candidate:
    """Fail a candidate in which ranges that training had, and that it was given, are not."""
    lost = [tensor for part in made.parts.values() for tensor in part.lost]
    if not lost or made.status == "FAIL_PRECISION":
        return made
    reason = f"the ranges of {len(lost)} activations are not those of the training: {', '.join(lost[:3])}"
    return replace(made, status="FAIL_PRECISION", reason=reason)


def check_kept(rules: Sequence[Rule], made: Candidate) -> None:
    """Refuse rules of a model of several parts that match in none of them, or leave nothing to quantize.

    Of a model of one part the route sees to it (``_shared/rules.py``).
    """
    kept = [layer for part in made.parts.values() for layer in part.kept]
    if len(made.parts) == 1 or not rules:
        return
    for rule in rules:
        if not any(rule.takes(layer.names, layer.kind) for layer in kept):
            raise UsageError(f"no layer of any part is {rule.words}", hint="`edgekit inspect FILE --layers` lists all.")
    if sum(len(part.audit.layers) for part in made.parts.values()) <= len(kept):
        raise UsageError(f"all {len(kept)} layers are to be kept in float: nothing would be quantized")


def judge_zeros(checkpoint: Checkpoint, made: Candidate) -> Candidate:
    """Refuse files of a pruned model that have lost zeros on the way."""
    steps = checkpoint.steps
    if steps is None or not steps.pruned or made.status != "PASS":
        return made
    missing = sparsity.lost(
        steps.pruned, steps.grouped, [layer for part in made.parts.values() for layer in part.audit.layers]
    )
    return replace(made, status="FAIL_PRECISION", reason=missing) if missing else made


def judge_audit(target: Target, made: Candidate, *, allow_mixed: bool) -> Candidate:
    """Refuse a file that is not what it claims; with ``allow_mixed`` layers may stay float, and it is noted.

    Layers that rules kept in float count for neither side.
    """
    for name, part in made.parts.items():
        missing = precision.shortfall(target.scheme, part.judged, integer_io=target.integer_io)
        if not missing:
            continue
        missing = _of_part(made, name, missing)
        mixed = not part.judged.findings and precision.weight_share(target.scheme, part.judged)
        if not (allow_mixed and mixed):
            return replace(made, status="FAIL_PRECISION", reason=missing, hint=ALLOW_MIXED if mixed else "")
        made = replace(made, notes=(*made.notes, f"mixed precision: {missing}"))
    return made


@dataclass(frozen=True)
class Judged:
    """The scores of a run, and what is known beside them.

    Attributes:
        scores: what ``steps/score.py`` found.
        split: which samples were run.
        share: of the samples that the user hands in, those that come into this split.
        reference: who ran the checkpoint.
        inputs: whether on data or on generated inputs.
        classes: of each part, outputs of which only the largest value counts.
        floor: of each part, the framework's own run on inputs moved by one rounding; None where not measured.
    """

    scores: score.Answer
    split: str
    share: float
    reference: str
    inputs: Literal["data", "generated"]
    classes: Mapping[str, list[str]]
    floor: Mapping[str, Parity] | None = None


def judge_scores(made: Candidate, judged: Judged, gate: Gate) -> Candidate:
    """Judge the latest run of a candidate; nothing is executed.

    The first verdict that is not PASS counts: the parts' in the order in which a step calls them, then accuracy.
    """
    assert made.execution is not None
    ran, scores = made.execution.value, judged.scores
    parts, odd = {}, []
    verdicts = [Verdict("FAIL_PARITY", edge, LOST_EDGE) for edge in scores.edges[:1]]
    for name, closeness in scores.parity.items():
        classes, floor = judged.classes[name], judged.floor[name] if judged.floor else None
        verdict = judge.judge_parity(closeness, gate.parity, classes, floor)
        verdicts.append(verdict._replace(reason=_of_part(made, name, verdict.reason)))
        odd += judge.findings(closeness, gate.parity, classes)
        said = {
            "reference": judged.reference,
            "inputs": judged.inputs,
            "runtime": ran.by,
            "runtime_precision": ran.parts[name].runtime_precision,
            "noise_floor_db": floor.sqnr_db if floor else None,
        }
        parts[name] = PartEvidence(ran.parts[name].ops_delegated, closeness.model_copy(update=said))
    measured = None
    if scores.accuracy:
        measured = scores.accuracy.model_copy(update={"split": judged.split})
        verdicts.append(judge.judge_accuracy(measured, gate, split=judged.split, share=judged.share))
    evidence = Evidence(judged.split, ran.by, ran.stand_in, parts, measured, tuple(odd), scores.agreement)
    status, reason, hint = next((v for v in verdicts if v.status != "PASS"), Verdict("PASS", ""))
    return replace(made, evidence=evidence, status=status, reason=reason, hint=hint)


#: What helps where a file is not finite on inputs at the edge of what the model meets.
LOST_EDGE = (
    "A number that keeps a logarithm or a division finite was lost on the way, or is too small for the file's types: "
    "make it larger in the model (1e-5 for 1e-10), or take a target that quantizes less."
)


def with_places(made: Candidate, places: Sequence[str]) -> Candidate:
    """A candidate that failed, with the places in the model that may be why."""
    if not places:
        return made
    return replace(made, reason=f"{made.reason.rstrip('.')}; in the model: {'; '.join(places)}")


def _of_part(made: Candidate, name: str, reason: str) -> str:
    return f"part {name}: {reason}" if len(made.parts) > 1 else reason


def rank(status: Status) -> int:
    """From best to worst."""
    return _ORDER.index(status)


def distance(made: Candidate) -> tuple[int, float]:
    """How far from passing: by status first, then by the error."""
    quality = made.evidence.parity.variation_db if made.evidence else None
    return rank(made.status), -(quality if quality is not None else 0.0)


def is_slow(latency: Latency | None) -> bool:
    """Whether another route is worth trying."""
    return latency is not None and latency.verdict == "SLOWER"


def choose(candidates: list[Candidate], gate: Gate) -> Candidate | None:
    """The candidate that goes on to the test: on selection samples alone.

    Of those that pass; where none does, of those that are undecided with a drop within the limit, then of the other
    undecided ones; else the least bad one that was executed, which is reported and kept aside; else one that nothing
    here could execute. Among equals the fastest; of those that tie with it, the target's order decides, so that noise
    does not. (Routes are tried until one passes and is not slower than its float
    twin, so that with ``--search-routes`` alone a later one can beat it.)
    """
    ranks: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.status in ACCEPTABLE:
            ranks.setdefault(_doubt(candidate, gate), []).append(candidate)
    if ranks:
        return _fastest(ranks[min(ranks)])
    executed = [c for c in candidates if c.evidence is not None]
    unproven = [c for c in candidates if c.status == "NOT_RUN" and c.parts]
    return min(executed or unproven, key=distance, default=None)


def _doubt(candidate: Candidate, gate: Gate) -> int:
    """0 for what passes, 1 for what more samples would probably let pass, 2 for what they would probably refuse."""
    if candidate.status == "PASS":
        return 0
    accuracy = candidate.evidence.accuracy if candidate.evidence else None
    return 1 if accuracy is not None and accuracy.drop <= gate.drop_max(metrics.metric(accuracy.metric).family) else 2


def _fastest(candidates: list[Candidate]) -> Candidate:
    """The fastest, or the first that ties with it; the first of all where fewer than two were timed."""
    timed = [(c, c.latency) for c in candidates if c.latency is not None]
    if len(timed) < 2:
        return candidates[0]
    fastest = min((latency for _, latency in timed), key=lambda latency: latency.ratio)
    limit = max(TIED * fastest.ratio, fastest.ratio_ci95[1])
    return next(c for c, latency in timed if min(latency.ratio, latency.ratio_ci95[0]) <= limit)


def within(budget: Budget | None, chosen: Candidate | None, size_bytes: int | None) -> Candidate | None:
    """Refuse a candidate that costs more than the user allows, and say what it costs: none that passes is nearer."""
    if chosen is None or budget is None or chosen.status not in ACCEPTABLE:
        return chosen
    missed = budget.missed(size_bytes, chosen.latency)
    if not missed:
        return chosen
    return replace(
        chosen,
        status="FAILED",
        reason=f"the nearest file that passes is not within the budget: {missed}",
        hint="Allow it more, or take a target of fewer bits: one of more bits makes a larger file."
        if budget.what == "size"
        else "Allow it more: `edgekit list targets` has others, of which none is promised to be faster.",
        too_costly=True,
    )


def near(candidates: Sequence[Candidate], gate: Gate) -> bool:
    """Whether none passes, and one may be mended: other weights mend no lack of samples, which one would pass with."""
    if any(made.status == "PASS" for made in candidates):
        return False
    scored = [(made, made.evidence.accuracy if made.evidence else None) for made in candidates]
    if any(made.status == "UNDECIDED" and found and judge.too_few(found, gate) for made, found in scored):
        return False
    return any(made.status in MENDABLE for made in candidates)


def final(
    target: Target,
    candidates: list[Candidate],
    chosen: Candidate | None,
    tested: Candidate | None,
    *,
    allow_mixed: bool = False,
    beside: Collection[str] = (),
    recipe: Recipe | None = None,
) -> Verdict:
    """The status of the whole conversion, the sentence that explains it, and the next step.

    What was asked for ``beside`` in the same call is no next step. Where the checkpoint of a recipe is what loses, no
    other target helps.
    """
    decisive = tested or chosen
    if decisive is not None:
        status, reason, hint = decisive.status, decisive.reason, decisive.hint
    else:
        told = serving(candidates)
        status = min(told, key=lambda c: rank(c.status)).status
        alike: dict[str, list[str]] = {}
        for c in told:
            alike.setdefault(c.reason, []).append(c.route)
        # One that stands for no route at all is called none.
        reason = "; ".join(
            said if routes == [NO_ROUTE] else f"{', '.join(routes)}: {said}" for said, routes in alike.items()
        )
        hint = advice([c for c in told if c.status == status])
    if status in ACCEPTABLE or (decisive is not None and decisive.too_costly):
        return Verdict(status, reason, hint)
    search = status in ("FAIL_ACCURACY", "FAIL_PARITY") and not allow_mixed and not target.scheme.is_float
    helps = what_would_help(target, beside, search=search)
    unable = status in ("FAILED", "UNSUPPORTED")
    accuracy = decisive.evidence.accuracy if decisive and decisive.evidence else None
    if recipe is not None and status == "FAIL_ACCURACY" and accuracy and (own := judge.own_drop(accuracy, target.gate)):
        reason = f"{reason.rstrip('.')}; {own.words}"
        helps = recipe.gentler if own.alone else f"{recipe.gentler} {helps}".strip()
    hint = " ".join(filter(None, (hint, helps))) or (elsewhere(target, beside) if unable else "")
    return Verdict(status, f"{reason.rstrip('.')}.", hint)


def serving(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """Those whose routes read this kind of source: what others say of it tells nothing; all where there are none."""
    return [c for c in candidates if c.serves] or candidates


def advice(candidates: Sequence[Candidate]) -> str:
    """The next steps that the routes' own errors know, each once."""
    return " ".join(dict.fromkeys(c.hint for c in candidates if c.hint))


def elsewhere(target: Target, beside: Collection[str] = ()) -> str:
    """Float targets of other formats that were not asked for in the same call, as a next step."""
    others = [name for name in targets.of_other_formats(target) if name not in beside]
    return f"Another format may take it: --target {' or '.join(others)}." if others else ""


def what_would_help(target: Target, beside: Collection[str] = (), *, search: bool = False) -> str:
    """What quantizes less, as one sentence; empty where there is nothing.

    Args:
        target: which did not do; other targets of its format.
        beside: what was asked for in the same call.
        search: whether ``--allow-mixed`` is left to try.
    """
    others = [name for name in targets.gentler(target) if name not in beside]
    named = [*(["--allow-mixed"] if search else []), *([f"--target {' or '.join(others)}"] if others else [])]
    return f"Try {', or '.join(named)}." if named else ""
