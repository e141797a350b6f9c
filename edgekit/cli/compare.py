"""`edgekit compare`: what became worse from OLD to NEW."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import columns
from edgekit.cli.printing import AsJson, print_json, print_line, say
from edgekit.errors import UsageError


def compare(
    old: Annotated[Path, typer.Argument(help="A file of rows (.jsonl), an artifact's folder, or a model file.")],
    new: Annotated[Path, typer.Argument(help="Likewise.")],
    max_slowdown: Annotated[float | None, typer.Option(help="Ratio of times that is found; default 1.05.")] = None,
    max_growth: Annotated[float | None, typer.Option(help="Ratio of sizes that is allowed; default 1.01.")] = None,
    max_memory: Annotated[float | None, typer.Option(help="Ratio of peak memory; default 1.10.")] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Of the metric, 0.01 is one point; default as a conversion's.")
    ] = None,
    execute: Annotated[
        bool, typer.Option(help="Time two files side by side; run artifacts of the zoo on their task's samples.")
    ] = True,
    threads: Annotated[int, typer.Option(help="Of the runtime that they are measured in.")] = 1,
    seconds: Annotated[float, typer.Option(help="That measuring them may take.")] = 60.0,
    markdown: Annotated[Path | None, typer.Option(help="Write the table into this file, too.")] = None,
    as_json: AsJson = False,
) -> int:
    """Find regressions by paired statistics: exit 4 for accuracy, 5 for latency, size or memory."""
    from pydantic import ValidationError

    from edgekit.bench.compare import comparing, pairs, words
    from edgekit.bench.compare.values import Limits
    from edgekit.bench.measuring import Asked
    from edgekit.cli.progress import shown
    from edgekit.jobs import interruption

    given = {"slowdown": max_slowdown, "growth": max_growth, "memory": max_memory, "drop": max_drop}
    try:
        limits = Limits(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"--max-{first['loc'][0]} {first['input']}: {first['msg']}", hint="Ratios are 1 or more; a drop is a share."
        ) from error
    if markdown is not None and (markdown.is_dir() or not markdown.absolute().parent.is_dir()):
        raise UsageError(f"{markdown} cannot be written", hint="Give a file in a folder that exists.")
    asked = Asked(threads=threads)
    asked.check()
    with interruption.listening(), shown() as progress:
        how = pairs.here(asked, seconds, progress) if execute else None
        found = comparing.compare(old, new, limits, asked=asked, how=how)
    if markdown is not None:
        markdown.write_text(words.markdown(found), "utf-8")
    if as_json:
        print_json(found.to_json())
        return found.exit_code
    for note in found.notes:
        say(note)
    table = words.rows(found)
    reasons = [row.pop("because") for row in table]
    interruption.finish()
    sys.stdout.write(columns.columns(table))
    for row, reason in zip(table, reasons, strict=True):
        if reason and row["verdict"] not in (words.SIGN["SAME"], words.SIGN["BETTER"]):
            print_line(f"{row['cell']} {row['what']}: {reason}")
    print_line(words.headline(found))
    return found.exit_code
