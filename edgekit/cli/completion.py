"""Completion in shells: `edgekit completion SHELL` prints what a shell reads, and names that options take.

The script asks this command itself, by typer's own completion, so that it never lags behind the parser.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer

from edgekit import catalogue
from edgekit.catalogue import Catalogue
from edgekit.errors import EdgekitError


class Shell(StrEnum):
    """Shells that there is completion for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="Whose completion.")]) -> int:
    """Print the completion of a shell: eval "$(edgekit completion bash)" in ~/.bashrc, or into fish's folder."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    script = get_completion_script(prog_name="edgekit", complete_var="_EDGEKIT_COMPLETE", shell=shell.value)
    sys.stdout.write(script + "\n")
    return 0


def targets(incomplete: str) -> list[str]:
    """Names of targets, also behind commas."""
    return _after_commas(incomplete, _catalogue("targets"))


def sources(incomplete: str) -> list[str]:
    """Names of the zoo; where none fits the shell completes names of files."""
    from edgekit import zoo

    return _beginning(incomplete, zoo.names())


def recipes(incomplete: str) -> list[str]:
    """Names of recipes."""
    return _beginning(incomplete, _catalogue("targets/recipes"))


def ranges(incomplete: str) -> list[str]:
    """Names of range plans."""
    return _beginning(incomplete, _catalogue("calibration"))


def suites(incomplete: str) -> list[str]:
    """Names of suites."""
    return _beginning(incomplete, _catalogue("benchmarks/suites"))


def devices(incomplete: str) -> list[str]:
    """Names of devices that are built for."""
    return _beginning(incomplete, _catalogue("benchmarks/devices"))


def metrics(incomplete: str) -> list[str]:
    """Names of metrics."""
    from edgekit.proof import metrics as known

    return _beginning(incomplete, known.names())


def _catalogue(kind: Catalogue) -> list[str]:
    try:
        return list(catalogue.names(kind))
    except EdgekitError:  # of a catalogue that is broken the command itself says more
        return []


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _after_commas(incomplete: str, names: Iterable[str]) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [f"{before}{comma}{name}" for name in _beginning(last, names) if name not in taken]
