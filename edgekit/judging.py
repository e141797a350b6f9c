"""From evidence to a status: what passes, what is chosen, what is said to the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgekit import precision
from edgekit import target as targets
from edgekit.candidate import Candidate, Status
from edgekit.gate import Verdict
from edgekit.target import Target

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


def judge_audit(target: Target, made: Candidate, *, allow_mixed: bool) -> Candidate:
    """Refuse a file that is not what it claims; with ``allow_mixed`` layers may stay float, and it is noted."""
    for name, part in made.parts.items():
        missing = precision.shortfall(target.precision, part.audit, integer_io=target.integer_io)
        if not missing:
            continue
        missing = _of_part(made, name, missing)
        mixed = not part.audit.findings and precision.weight_share(target.precision, part.audit)
        if not (allow_mixed and mixed):
            return replace(made, status="FAIL_PRECISION", reason=missing, hint=ALLOW_MIXED if mixed else "")
        made = replace(made, notes=(*made.notes, f"mixed precision: {missing}"))
    return made


def judge_evidence(made: Candidate, parity: Mapping[str, Verdict], accuracy: Verdict | None) -> Candidate:
    """Take the first verdict that is not PASS: the parts' in the order in which a step calls them, then accuracy."""
    for name, verdict in parity.items():
        if verdict.status != "PASS":
            return replace(made, status=verdict.status, reason=_of_part(made, name, verdict.reason))
    if accuracy is not None and accuracy.status != "PASS":
        return replace(made, status=accuracy.status, reason=accuracy.reason)
    return replace(made, status="PASS", reason="")


def _of_part(made: Candidate, name: str, reason: str) -> str:
    return f"part {name}: {reason}" if len(made.parts) > 1 else reason


def choose(candidates: list[Candidate]) -> Candidate | None:
    """The candidate that goes on to the test: on selection samples alone.

    The first that passes and is not slower than its float twin; where all that pass are slower, the fastest; else the
    least bad one that was executed, which is reported and kept aside; else one that nothing here could execute. With
    every route tried (``--search-routes``), the fastest that passes. Of those that tie with the fastest, the target's
    order decides, so that noise does not.
    """
    passing = [c for c in candidates if c.status == "PASS"] or [c for c in candidates if c.status == "UNDECIDED"]
    if not passing:
        executed = [c for c in candidates if c.evidence is not None]
        unproven = [c for c in candidates if c.status == "NOT_RUN" and c.parts]
        return min(executed or unproven, key=lambda c: _ORDER.index(c.status), default=None)
    timed = [(c, c.latency) for c in passing if c.latency is not None]
    if len(timed) < 2:
        return passing[0]
    fastest = min((latency for _, latency in timed), key=lambda latency: latency.ratio)
    limit = max(TIED * fastest.ratio, fastest.ratio_ci95[1])
    return next(c for c, latency in timed if min(latency.ratio, latency.ratio_ci95[0]) <= limit)


def final(target: Target, candidates: list[Candidate], chosen: Candidate | None, tested: Candidate | None) -> Verdict:
    """The status of the whole conversion and the sentence that explains it."""
    decisive = tested or chosen
    if decisive is not None:
        reason = decisive.reason
        status = decisive.status
    else:
        worst = min(candidates, key=lambda c: _ORDER.index(c.status))
        status, reason = worst.status, "; ".join(f"{c.route}: {c.reason}" for c in candidates)
    if status == "PASS" or status == "UNDECIDED":
        return Verdict(status, reason)
    return Verdict(status, f"{reason}. {what_would_help(target)}".strip())


def what_would_help(target: Target) -> str:
    """Other targets of the same format that quantize less, as one sentence; empty where there are none."""
    others = targets.gentler(target)
    return f"What may help: --target {' or '.join(others)}" if others else ""
