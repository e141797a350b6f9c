"""Printing for people: colours and progress only on a terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from edgekit.artifact import words
from edgekit.cli import columns
from edgekit.result import Result

_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)

_COLOUR = {"PASS": "green", "UNDECIDED": "yellow", "UNSUPPORTED": "yellow", "NOT_RUN": "yellow"}


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, str], None]]:
    """Show steps on stderr as they run: one line each, a spinner on a terminal."""
    started: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        status = stack.enter_context(_err.status("edgekit")) if _err.is_terminal else None

        def tell(event: str, label: str) -> None:
            if event == "start":
                started[label] = time.monotonic()
                if status is not None:
                    status.update(label)
            elif event == "done":
                _err.print(f"  {label:<44} {time.monotonic() - started[label]:6.1f} s")
            elif event == "note":
                _err.print(f"  {label}")
            else:
                _err.print(f"  {label:<44} reused", style="dim")

        yield tell


def result(result: Result) -> None:
    """One table, the artifact's folder, and what to know."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in words.facts(result):
        table.add_row(f"[bold]{name}[/bold]", value)
    style = _COLOUR.get(result.status, "red")
    said = f"[{style}]{words.status(result)}[/{style}]"
    table.add_row("[bold]status[/bold]", f"{said} {result.reason}".strip())
    for flag, meaning in words.flags(result):
        table.add_row("[bold]flag[/bold]", f"{flag}: {meaning}")
    for note in result.notes:
        table.add_row("[bold]note[/bold]", note)
    if result.error and result.error.hint:
        table.add_row("[bold]next step[/bold]", result.error.hint)
    folder = result.artifact or result.rejected
    if folder:
        table.add_row("[bold]artifact[/bold]" if result.artifact else "[bold]kept aside[/bold]", folder)
    _out.print(table)


def audit(found: dict[str, Any]) -> None:
    """What is inside a file, or in each of several parts."""
    if "parts" in found:
        for name, part in found["parts"].items():
            _out.print(f"[bold]part {name}[/bold]")
            audit(part)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in found.items():
        if name not in ("inputs", "outputs"):
            table.add_row(f"[bold]{name}[/bold]", columns.text(value) or "none")
    for side in ("inputs", "outputs"):
        for tensor in found.get(side, ()):
            shape = "x".join(map(str, tensor["shape"]))
            table.add_row(f"[bold]{side[:-1]}[/bold]", f"{tensor['name']} {shape} {tensor['dtype']}")
    _out.print(table)
