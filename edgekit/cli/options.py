"""Options that several commands have, said once."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekit.cli import completion
from edgekit.errors import UsageError


def _not_both(context: typer.Context, option: typer.CallbackParam, value: bool) -> bool:
    """Refuse ``-q`` beside ``-v``: whichever won, the other would say nothing of it."""
    other = "verbose" if option.name == "quiet" else "quiet"
    if value and context.params.get(other):
        raise UsageError("--quiet and --verbose say the opposite of each other", hint="Give one of them.")
    return value


Source = Annotated[
    str,
    typer.Argument(help="Zoo name, file, folder, or file.py:function.", autocompletion=completion.sources),
]
Target = Annotated[
    str, typer.Option("--target", help="Name from `edgekit list targets`.", autocompletion=completion.targets)
]
Train = Annotated[
    str | None, typer.Option("--train", help="Labelled samples that a recipe trains on; zoo models have their own.")
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="What is done first: a name from `edgekit list recipes`, or a TOML file.",
        autocompletion=completion.recipes,
    ),
]
Epochs = Annotated[
    int | None, typer.Option("--qat", help="Epochs of training with weights on the target's grid: the recipe qat.")
]
Prune = Annotated[
    str | None,
    typer.Option("--prune", help="What is left out: 0.5 (of the weights), 2:4, channels:0.5; before --qat."),
]
Fit = Annotated[
    str | None, typer.Option("--fit", help="A training loop of your own, file.py:function, in the place of edgekit's.")
]
#: Options that mean to other commands what they mean to `convert`.
Metric = Annotated[str, typer.Option("--metric", help="As of `edgekit convert`.", autocompletion=completion.metrics)]
Inputs = Annotated[list[str] | None, typer.Option("--input", help="As of `edgekit convert`.")]
Outputs = Annotated[list[str] | None, typer.Option("--outputs", help="As of `edgekit convert`.")]
Trust = Annotated[bool, typer.Option("--trust", help="Load files that could run code.")]
MemoryLimit = Annotated[int | None, typer.Option("--memory-limit", help="MiB that one child may take.")]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds that one step may take.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Load the model, read the samples; say what would be tried, what the store has and what is missing.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_not_both, help="Nothing on stderr but errors.")]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        callback=_not_both,
        help="Also each route and why it lost, what a step ran in and took, and its log.",
    ),
]
