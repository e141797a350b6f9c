"""``edgekit report``: rows and artifacts as a page, Markdown, pictures, and files for viewers of models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgekit.cli.printing import AsJson, print_json, print_line, say
from edgekit.errors import UsageError
from edgekit.jobs import interruption

PAGE = Path("report.html")


def report(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="ROWS|ARTIFACT...",
            help="Files of rows (.jsonl), artifacts' folders, and what `edgekit sensitivity --json` printed (.json).",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page; report.html where nothing else is asked for.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print tables as Markdown on stdout.")] = False,
    plots: Annotated[Path | None, typer.Option(help="Folder for the pictures, as PNG and SVG.")] = None,
    export: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VIEWER=FOLDER",
            help="Values of operators and layers for model-explorer or netron; may be given several times.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Show rows and artifacts: one HTML file that loads nothing, Markdown, pictures."""
    from edgekit.report import charts, gather, page, pictures
    from edgekit.report import export as viewers
    from edgekit.report import markdown as md

    wanted = [_viewer(one) for one in export or ()]
    if output is None and not (markdown or plots or wanted):
        output = PAGE
    if output is not None:
        _check(output)
    if output is not None or plots is not None:
        charts.need_matplotlib()
    found = gather.gather(inputs, say)
    document: dict[str, Any] = {"status": "PASS", "reason": "", "rows": len(found.rows), "cells": len(found.newest())}
    if output is not None:
        _write(output, page.html(found))
        document["page"] = str(output)
    if plots is not None:
        document["plots"] = [str(path) for path in pictures.write(found, plots)]
    if wanted:
        document["exports"] = [str(path) for one, folder in wanted for path in viewers.write(found, one, folder)]
    if markdown:
        document["markdown"] = md.markdown(found)
    if as_json:
        print_json(document)
        return 0
    interruption.finish()
    if markdown:
        sys.stdout.write(document["markdown"])
    for path in (*([document["page"]] if output else ()), *document.get("plots", ()), *document.get("exports", ())):
        say(f"wrote {path}") if markdown else print_line(path)
    return 0


def _viewer(option: str) -> tuple[Any, Path]:
    from edgekit.report import export as viewers

    name, separator, folder = option.partition("=")
    if not separator or not folder:
        raise UsageError(f"--export {option}: it has no folder", hint="--export model-explorer=FOLDER")
    return viewers.viewer(name), Path(folder)


def _check(file: Path) -> None:
    """Refuse before any work what cannot be written."""
    if file.is_dir():
        raise UsageError(f"--output {file} is a folder", hint=f"-o {file / PAGE}")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"--output {file}: there is no folder {file.absolute().parent}", hint="Make it first.")


def _write(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    beside = file.with_name(f".{file.name}.partial")
    try:
        beside.write_text(text, "utf-8")
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UsageError(f"{file} cannot be written: {error.strerror or error}", hint="Name another file.") from error
