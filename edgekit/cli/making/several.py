"""`edgekit convert` to several targets: one table, a row each."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edgekit import api
from edgekit.artifact import words
from edgekit.cli.columns import columns
from edgekit.cli.printing import DEMAND_NOT_MET, EXIT, print_json, print_line
from edgekit.errors import EdgekitError
from edgekit.jobs import interruption
from edgekit.result import Result
from edgekit.several import Options, SeveralError

T = TypeVar("T")


def named(given: Sequence[str]) -> list[str]:
    """Targets as they were named: one at a time, or with commas."""
    return [name.strip() for text in given for name in ([text] if _lies_there(text) else text.split(","))]


def _lies_there(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # many names are longer than any file's may be
        return False


def converted(source: str, targets: Sequence[str], given: Options) -> Mapping[str, Result | EdgekitError]:
    """Convert; how each target ended, by its name."""
    try:
        results = api.convert(source, list(targets), **given)
    except SeveralError as error:
        return error.ended
    return {result.target: result for result in results}


def show(ended: Mapping[str, Result | EdgekitError], *, require_speedup: bool, as_json: bool) -> int:
    """Print the table; returns the exit code, that of the target which ended worst."""
    exits = {name: one.exit_code if isinstance(one, EdgekitError) else EXIT[one.status] for name, one in ended.items()}
    worst = max(exits, key=lambda name: exits[name])
    if as_json:
        documents = [_document(name, one) for name, one in ended.items()]
        last = documents[list(ended).index(worst)]
        print_json({"schema": 1, "status": last["status"], "reason": last["reason"], "results": documents})
    else:
        interruption.finish()
        sys.stdout.write(columns([_row(name, one) for name, one in ended.items()]))
        for line in _below(ended):
            print_line(line)
    slow = [one for one in ended.values() if isinstance(one, Result) and not _is_faster(one)]
    return DEMAND_NOT_MET if require_speedup and slow and not exits[worst] else exits[worst]


def _below(ended: Mapping[str, Result | EdgekitError]) -> Iterator[str]:
    """What stands below the table, once where it is said of several targets: reasons, what flags mean, notes."""
    results = {name: one for name, one in ended.items() if isinstance(one, Result)}
    for (reason, hint), names in _grouped((name, _why(one)) for name, one in ended.items()):
        if reason:
            yield f"{names}: {reason}"
        if hint:
            yield f"{names}, next step: {hint}"
    for (flag, meaning), names in _grouped((name, said) for name, one in results.items() for said in words.flags(one)):
        yield f"{names}, flag {flag}: {meaning}"
    for note, names in _grouped((name, note) for name, one in results.items() for note in one.notes):
        yield f"{names}, note: {note}"


def _why(ended: Result | EdgekitError) -> tuple[str, str]:
    """The reason for how a target ended, and what may help."""
    if isinstance(ended, EdgekitError):
        return str(ended), ended.hint
    return ended.reason, (ended.error and ended.error.hint) or ""


def _grouped(said: Iterable[tuple[str, T]]) -> Iterator[tuple[T, str]]:
    """What was said, each once, with the targets that it was said of."""
    names: dict[T, list[str]] = {}
    for name, what in said:
        names.setdefault(what, []).append(name)
    yield from ((what, ", ".join(of)) for what, of in names.items())


def _is_faster(result: Result) -> bool:
    return result.latency is not None and result.latency.verdict == "FASTER"


def _document(name: str, ended: Result | EdgekitError) -> dict[str, Any]:
    if isinstance(ended, Result):
        return ended.to_json()
    error = {"code": ended.code, "message": str(ended), "hint": ended.hint}
    return {"target": name, "status": ended.code.upper().replace("-", "_"), "reason": str(ended), "error": error}


def _row(name: str, ended: Result | EdgekitError) -> dict[str, Any]:
    if isinstance(ended, EdgekitError):
        return {"target": name, "status": ended.code.upper().replace("-", "_"), **dict.fromkeys(_FIGURES, "")}
    figures = (
        ended.precision_reached or "",
        f"{ended.parity.sqnr_db:.1f}" if ended.parity else "",
        words.drop(ended.accuracy) if ended.accuracy else "",
        ended.size_bytes,
        f"{ended.latency.ratio:.2f}" if ended.latency else "",
        " ".join(ended.flags),
        ended.artifact or ended.rejected or "",
    )
    return {"target": name, "status": words.status(ended), **dict(zip(_FIGURES, figures, strict=True))}


_FIGURES = ("precision", "SQNR dB", "drop", "bytes", "time to float", "flags", "artifact")
