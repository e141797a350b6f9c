"""`edgekit convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import completion
from edgekit.cli.options import (
    DryRun,
    Epochs,
    Fit,
    Prune,
    Quiet,
    RecipeName,
    Source,
    Timeout,
    Train,
    Trust,
    Verbose,
)
from edgekit.cli.printing import DEMAND_NOT_MET, EXIT, AsJson, print_json, say
from edgekit.jobs import interruption


def convert(
    source: Source,
    target: Annotated[
        list[str],
        typer.Option(
            help="Name from `edgekit list targets`, or a TOML file; several by commas, or again.",
            autocompletion=completion.targets,
        ),
    ],
    calibrate: Annotated[
        str | None, typer.Option(help="Real inputs for activation ranges: npz, image folder, file.py:function.")
    ] = None,
    ranges: Annotated[
        str | None,
        typer.Option(
            help="How they give ranges of activations: a name from `edgekit list ranges`, or a TOML file.",
            autocompletion=completion.ranges,
        ),
    ] = None,
    evaluate: Annotated[
        str | None,
        typer.Option(help="Labelled samples; split 30/70 into selection and test. Without labels: agreement alone."),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            help="What the labels are scored by: a name from `edgekit list metrics`.",
            autocompletion=completion.metrics,
        ),
    ] = "top1",
    input: Annotated[
        list[str] | None, typer.Option(help="NAME=1x3x224x224:float32 where shapes cannot be found.")
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=classes: an output of which only the largest value counts. NAME=scored: the one that the metric "
            "reads, else the first. A detector's: NAME=boxes (corners in pixels; -xywh, -cxcywh, -yxyx, -unit), "
            "NAME=scores (or scores-logit)."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The artifact's folder; of several targets their parent."),
    ] = None,
    search_routes: Annotated[
        bool, typer.Option("--search-routes", help="Try every route, take the fastest that passes.")
    ] = False,
    allow_mixed: Annotated[
        bool,
        typer.Option(
            "--allow-mixed",
            help="Accept layers that stayed in float; where no file passes, search the fewest layers to keep higher.",
        ),
    ] = False,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(
            help="Pattern of layers' names that stay in float (`edgekit inspect --layers` lists names); the file is "
            "judged on the rest. May be given several times."
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="size=2MB or latency=0.6x: what the file may cost; a file beyond it fails.")
    ] = None,
    rounding: Annotated[
        str | None,
        typer.Option(help="Below 8 bits: gptq (by what weights do to samples) or nearest; else the target's."),
    ] = None,
    equalize: Annotated[
        str | None,
        typer.Option(
            help="How channels are scaled before: smoothquant, cle, awq or none; else as the target says, where "
            "nothing passes without."
        ),
    ] = None,
    train: Train = None,
    recipe: RecipeName = None,
    qat: Epochs = None,
    prune: Prune = None,
    fit: Fit = None,
    allow_unproven: Annotated[
        bool, typer.Option("--allow-unproven", help="Keep a file that nothing here could execute (exit 9).")
    ] = False,
    require_speedup: Annotated[
        bool, typer.Option("--require-speedup", help="Exit 5 unless faster than the float twin.")
    ] = False,
    licence: Annotated[
        str | None, typer.Option(help="Of the source's weights: the artifact's README names it.")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="File that makes the inputs of text; it goes into the artifact.")
    ] = None,
    trust: Trust = False,
    timeout: Timeout = 1800.0,
    memory_limit: Annotated[
        int | None, typer.Option(help="MiB that one child may take; default 80 % of memory.")
    ] = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> int:
    """Convert a model and prove the file: executed, compared with the float model, looked into, gated."""
    from edgekit import api
    from edgekit.cli import progress, show
    from edgekit.cli.making import dry_run as dry
    from edgekit.cli.making import several
    from edgekit.several import Options

    given = Options(
        calibrate=calibrate,
        ranges=ranges,
        evaluate=evaluate,
        metric=metric,
        inputs=input or (),
        outputs=outputs or (),
        output=output,
        search_routes=search_routes,
        allow_mixed=allow_mixed,
        keep_float=keep_float or (),
        budget=budget,
        rounding=rounding,
        equalize=equalize,
        train=train,
        recipe=recipe,
        qat=qat,
        prune=prune,
        fit=fit,
        allow_unproven=allow_unproven,
        licence=licence,
        tokenizer=tokenizer,
        trust=trust,
        timeout=timeout,
        memory_limit_mib=memory_limit,
    )
    names = several.named(target)
    if dry_run:
        return dry.convert(source, names, given, as_json=as_json)
    with progress.shown(quiet=quiet, verbose=verbose) as given["progress"]:
        if len(names) == 1:
            result = api.convert(source, names[0], **given)
        else:
            ended = several.converted(source, names, given)
    if len(names) > 1:
        return several.show(ended, require_speedup=require_speedup, as_json=as_json)
    if as_json:
        print_json(result.to_json())
    else:
        interruption.finish()
        show.result(result)
    if require_speedup and EXIT[result.status] == 0 and not (result.latency and result.latency.verdict == "FASTER"):
        say(
            "a speed-up was required: "
            + (result.latency.verdict or "it was not judged" if result.latency else "latency was not measured")
        )
        return DEMAND_NOT_MET
    return EXIT[result.status]
