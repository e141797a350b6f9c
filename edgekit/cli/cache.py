"""`edgekit cache`: the store of finished steps."""

from __future__ import annotations

import sys
from dataclasses import asdict

import typer

from edgekit.cli import columns
from edgekit.cli.printing import EXIT, AsJson, print_json, print_line, print_rows

app = typer.Typer(rich_markup_mode=None, help="The store of finished steps.")


@app.callback(invoke_without_command=True)
def cache(context: typer.Context, as_json: AsJson = False) -> int:
    """The store of finished steps: where it is, how full, and the limit (EDGEKIT_STORE_LIMIT, default 8 GiB)."""
    from edgekit.jobs.store import Store

    if context.invoked_subcommand is not None:
        return 0
    found = asdict(Store().usage())
    if as_json:
        print_json({"status": "PASS", "reason": "", **found})
    else:
        sys.stdout.write(columns.columns([found]))
    return 0


@app.command("list")
def cache_list(as_json: AsJson = False) -> int:
    """Entries of the store."""
    from edgekit.jobs.store import Store

    return print_rows("entries", Store().rows(), as_json)


@app.command("verify")
def cache_verify(as_json: AsJson = False) -> int:
    """Re-hash every entry of the store."""
    from edgekit.jobs.store import Store

    damaged = Store().verify()
    status, reason = ("FAILED", "; ".join(damaged)) if damaged else ("PASS", "")
    if as_json:
        print_json({"status": status, "reason": reason, "damaged": damaged})
    else:
        print_line(status, reason)
    return EXIT[status]


@app.command("clear")
def cache_clear(as_json: AsJson = False) -> int:
    """Remove every entry of the store that no running process uses, and what steps left that did not end."""
    from edgekit.jobs.store import Store

    found = Store().clear()
    reason = f"{found.in_use} entries are in use and were kept" if found.in_use else ""
    if as_json:
        print_json({"status": "PASS", "reason": reason, **asdict(found)})
    else:
        left = f" and {found.unfinished} unfinished steps" if found.unfinished else ""
        sys.stdout.write(f"removed {found.removed} entries{left}{'; ' if reason else ''}{reason}\n")
    return 0
