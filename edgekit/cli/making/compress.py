"""Commands that train or measure a model's layers: `edgekit compress`, `edgekit sensitivity`, `edgekit train`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from edgekit.cli import completion
from edgekit.cli.options import (
    DryRun,
    Epochs,
    Fit,
    Inputs,
    MemoryLimit,
    Metric,
    Outputs,
    Prune,
    Quiet,
    RecipeName,
    Source,
    Timeout,
    Train,
    Trust,
    Verbose,
)
from edgekit.cli.printing import AsJson, print_json, print_line
from edgekit.jobs import interruption


def compress(
    source: Annotated[
        str, typer.Argument(help="Zoo name, .keras, .h5, or file.py:function.", autocompletion=completion.sources)
    ],
    target: Annotated[
        str,
        typer.Option(help="Whose grid the weights get; see `edgekit list targets`.", autocompletion=completion.targets),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
    recipe: RecipeName = None,
    qat: Epochs = None,
    prune: Prune = None,
    fit: Fit = None,
    train: Train = None,
    evaluate: Annotated[str | None, typer.Option(help="Other labelled samples; 30 % of them choose the epoch.")] = None,
    metric: Metric = "top1",
    input: Inputs = None,
    outputs: Outputs = None,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="Layers without fake quantization are trained in float.")
    ] = False,
    trust: Trust = False,
    memory_limit: MemoryLimit = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> int:
    """Follow a recipe, and write the model as its framework loads it, without edgekit."""
    from edgekit import api
    from edgekit.cli import progress
    from edgekit.cli.making import dry_run as dry

    given: dict[str, Any] = {
        "output": output,
        "recipe": recipe,
        "qat": qat,
        "prune": prune,
        "fit": fit,
        "train": train,
        "evaluate": evaluate,
        "metric": metric,
        "inputs": input or (),
        "outputs": outputs or (),
        "allow_mixed": allow_mixed,
        "trust": trust,
        "memory_limit_mib": memory_limit,
    }
    if dry_run:
        return dry.compress(source, target, given, as_json=as_json)
    with progress.shown(quiet=quiet, verbose=verbose) as tell:
        found = api.compress(source, target, **given, progress=tell)
    if as_json:
        print_json({"schema": 1, "status": "PASS", "reason": "", **found})
    else:
        for line in (*found["notes"], " ".join([found["folder"], *found["files"]])):
            print_line(line)
    return 0


def sensitivity(
    source: Source,
    target: Annotated[
        str,
        typer.Option(help="A target that quantizes; see `edgekit list targets`.", autocompletion=completion.targets),
    ],
    calibrate: Annotated[str | None, typer.Option(help="As of `edgekit convert`.")] = None,
    ranges: Annotated[str | None, typer.Option(help="As of `edgekit convert`.")] = None,
    evaluate: Annotated[str | None, typer.Option(help="As of `edgekit convert`; only selection counts.")] = None,
    metric: Metric = "top1",
    input: Inputs = None,
    outputs: Outputs = None,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="Also by routes of which a part stays in float.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw it into a .png, .svg or .pdf file.")] = None,
    trust: Trust = False,
    timeout: Timeout = 1800.0,
    memory_limit: MemoryLimit = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> int:
    """Measure what quantizing each layer alone costs; a stopped run goes on where it was."""
    from edgekit import api
    from edgekit.cli import progress, show

    if plot is not None:
        from edgekit.report import plots

        plots.check(plot)
    with progress.shown(quiet=quiet, verbose=verbose) as tell:
        found = api.sensitivity(
            source,
            target,
            calibrate=calibrate,
            ranges=ranges,
            evaluate=evaluate,
            metric=metric,
            inputs=input or (),
            outputs=outputs or (),
            allow_mixed=allow_mixed,
            trust=trust,
            timeout=timeout,
            memory_limit_mib=memory_limit,
            progress=tell,
        )
    if plot is not None:
        plots.sensitivity(found, plot)
    if as_json:
        print_json({"schema": 1, "status": "PASS", "reason": "", **asdict(found)})
    else:
        interruption.finish()
        show.sensitivity(found)
    return 0


def train(
    name: Annotated[str, typer.Argument(help="Zoo model, for example lenet5 or lenet5:tiny.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="safetensors file; default NAME-CONFIG.safetensors."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed than the shipped checkpoint's.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> int:
    """Reproduce a zoo checkpoint from its seed."""
    from edgekit import api
    from edgekit.cli import progress

    with progress.shown(quiet=quiet, verbose=verbose) as tell:
        trained = api.train(name, output=output, seed=seed, progress=tell)
    if as_json:
        print_json({"status": "PASS", "reason": "", **trained})
    else:
        print_line(trained["file"], f"{trained['metric']} {trained['value']:.4f} on selection")
    return 0
