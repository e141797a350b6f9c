"""What a comparison finds, and the limits that it holds it to.

Field names are a contract (schema 1): more may be added, none changes its meaning. What was not measured is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgekit.bench.row import Cell
from edgekit.limits import DROP
from edgekit.result import Family

What = Literal["status", "accuracy", "latency", "size", "memory"]
#: ``SAME``: a change for the worse as large as the limit is excluded. ``UNDECIDED``: it is not, and neither is none.
Verdict = Literal["BETTER", "SAME", "WORSE", "UNDECIDED", "NOT_COMPARED"]


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True, allow_inf_nan=False
    )


class Limits(_Frozen):
    """How much worse NEW may be than OLD; the defaults stand here alone.

    Attributes:
        slowdown: ratio of times. A file that takes so much longer is found, see ``timing.decide``.
        growth: ratio of the files' sizes, which are known exactly.
        memory: ratio of peak memory, which moves from run to run of one file.
        drop: of the metric, in the unit of ``result.Accuracy.drop``; None: what a target may lose, by metric family.
    """

    slowdown: Annotated[float, Field(gt=1)] = 1.05
    growth: Annotated[float, Field(ge=1)] = 1.01
    memory: Annotated[float, Field(ge=1)] = 1.10
    drop: Annotated[float, Field(gt=0, lt=1)] | None = None

    def drop_of(self, family: Family) -> float:
        """The limit of a metric of this family."""
        return DROP[family].drop_max if self.drop is None else self.drop


class Finding(_Frozen):
    """One figure of a cell, before and after.

    Attributes:
        old: in ``unit``, as ``new``; None where it was not measured.
        change: of latency, size and memory the ratio new / old; of accuracy the drop, positive is worse.
        ci95: 95 % interval of the change; None of what is known exactly.
        n: what the interval rests on: samples, blocks, or runs in fresh processes.
        limit: that the change was held to.
        reason: why it cannot be compared or decided; where it can, by what it was.
    """

    what: What
    verdict: Verdict
    unit: str = ""
    old: float | None = None
    new: float | None = None
    change: float | None = None
    ci95: tuple[float, float] | None = None
    n: int | None = None
    limit: float | None = None
    reason: str = ""


class Compared(_Frozen):
    """A cell with what was found of it; a cell of one side alone has one finding, which says so."""

    cell: Cell
    findings: tuple[Finding, ...]

    def find(self, what: What) -> Finding | None:
        """The finding of this kind."""
        return next((finding for finding in self.findings if finding.what == what), None)


class Comparison(_Frozen):
    """Everything that was compared, and all that was not.

    Attributes:
        status: ``FAIL_ACCURACY`` where an accuracy or a status became worse, else ``FAIL_PERFORMANCE`` where a
            latency, size or memory did, else ``NOT_RUN`` where nothing at all could be compared.
        old: what was compared, as it was given; ``new`` likewise.
        notes: facts that the user must know, a sentence each: a torn line, a file that was not looked at.
    """

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    status: Literal["PASS", "FAIL_ACCURACY", "FAIL_PERFORMANCE", "NOT_RUN"]
    reason: str
    old: str
    new: str
    limits: Limits
    cells: tuple[Compared, ...]
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """Of the command."""
        return {"PASS": 0, "FAIL_ACCURACY": 4, "FAIL_PERFORMANCE": 5, "NOT_RUN": 9}[self.status]

    @property
    def found(self) -> Iterator[tuple[Cell, Finding]]:
        """Every finding with its cell."""
        return ((one.cell, finding) for one in self.cells for finding in one.findings)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with the contract's names."""
        return self.model_dump(mode="json", by_alias=True)


def concluded(
    old: str, new: str, limits: Limits, cells: tuple[Compared, ...], notes: tuple[str, ...] = ()
) -> Comparison:
    """All findings with what they come to."""
    found = [(one.cell, finding) for one in cells for finding in one.findings]
    worse = [(cell, finding) for cell, finding in found if finding.verdict == "WORSE"]
    lost = [(cell, finding) for cell, finding in worse if finding.what in ("status", "accuracy")]
    status: Literal["PASS", "FAIL_ACCURACY", "FAIL_PERFORMANCE", "NOT_RUN"]
    if lost:
        status = "FAIL_ACCURACY"
    elif worse:
        status = "FAIL_PERFORMANCE"
    else:
        status = "PASS" if any(finding.verdict != "NOT_COMPARED" for _, finding in found) else "NOT_RUN"
    named = "; ".join(f"{cell}: {finding.what} is worse" for cell, finding in [*lost, *worse][:3])
    rest = len(worse) - 3
    reason = named + (f"; and {rest} more" if rest > 0 else "")
    if status == "NOT_RUN":
        reason = "nothing could be compared: " + (found[0][1].reason if found else "there is no row on either side")
    return Comparison(status=status, reason=reason, old=old, new=new, limits=limits, cells=cells, notes=notes)


def not_compared(what: What, reason: str) -> Finding:
    """A figure that cannot be compared, and why."""
    return Finding(what=what, verdict="NOT_COMPARED", reason=reason)


def grown(what: What, old: int | None, new: int | None, limit: float) -> Finding:
    """A number of bytes, before and after."""
    if not old or not new:
        return not_compared(what, "not measured")
    ratio = new / old
    verdict: Verdict = "WORSE" if ratio > limit else "BETTER" if ratio < 1 / limit else "SAME"
    return Finding(what=what, verdict=verdict, unit="bytes", old=old, new=new, change=ratio, limit=limit)
