"""The command line: parse, call one function, print. stdout carries the result, stderr everything else."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from edgekit import __version__, errors
from edgekit.cli import cache, columns, compare, lists, report
from edgekit.cli.bench import benchmark
from edgekit.cli.options import Epochs, Fit, Inputs, MemoryLimit, Metric, Outputs, Prune, RecipeName, Train, Trust
from edgekit.cli.printing import EXIT, AsJson, print_json, print_line, say
from edgekit.errors import EdgekitError
from edgekit.jobs import interruption

app = typer.Typer(
    name="edgekit",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # rich's help costs 0.15 s of imports
    pretty_exceptions_enable=False,
)
app.add_typer(lists.app, name="list")
app.add_typer(cache.app, name="cache")
app.command()(benchmark.benchmark)
app.command()(report.report)
app.command()(compare.compare)

_DEMAND_NOT_MET = 5
#: What a shell reports for a process whose output nobody reads any more (SIGPIPE).
_UNREAD = 141


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"edgekit {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """From a Keras or PyTorch model to a proven file for an edge runtime."""


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="Zoo name, file, folder, or file.py:function.")],
    target: Annotated[
        list[str], typer.Option(help="Name from `edgekit list targets`, or a TOML file; several by commas, or again.")
    ],
    calibrate: Annotated[
        str | None, typer.Option(help="Real inputs for activation ranges: npz, image folder, file.py:function.")
    ] = None,
    ranges: Annotated[
        str | None,
        typer.Option(help="How they give ranges of activations: a name from `edgekit list ranges`, or a TOML file."),
    ] = None,
    evaluate: Annotated[
        str | None,
        typer.Option(help="Labelled samples; split 30/70 into selection and test. Without labels: agreement alone."),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(help="What the labels are scored by: a name from `edgekit list metrics`."),
    ] = "top1",
    input: Annotated[
        list[str] | None, typer.Option(help="NAME=1x3x224x224:float32 where shapes cannot be found.")
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=classes: an output of which only the largest value counts. A detector's: NAME=boxes (corners in "
            "pixels; -xywh, -cxcywh, -yxyx, -unit), NAME=scores (or scores-logit)."
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
    trust: Trust = False,
    timeout: Annotated[float, typer.Option(help="Seconds that one step may take.")] = 1800.0,
    memory_limit: Annotated[
        int | None, typer.Option(help="MiB that one child may take; default 80 % of memory.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Convert a model and prove the file: executed, compared with the float model, looked into, gated."""
    from edgekit import api
    from edgekit.cli import several, show
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
        trust=trust,
        timeout=timeout,
        memory_limit_mib=memory_limit,
    )
    names = several.named(target)
    if len(names) > 1:
        return several.convert(source, names, given, require_speedup=require_speedup, as_json=as_json)
    with show.progress() as progress:
        given["progress"] = progress
        result = api.convert(source, names[0], **given)
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
        return _DEMAND_NOT_MET
    return EXIT[result.status]


@app.command()
def compress(
    source: Annotated[str, typer.Argument(help="Zoo name, .keras, .h5, or file.py:function.")],
    target: Annotated[str, typer.Option(help="Whose grid the weights get; see `edgekit list targets`.")],
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
    as_json: AsJson = False,
) -> int:
    """Follow a recipe, and write the model as its framework loads it, without edgekit."""
    from edgekit import api
    from edgekit.cli import show

    with show.progress() as progress:
        found = api.compress(
            source,
            target,
            output=output,
            recipe=recipe,
            qat=qat,
            prune=prune,
            fit=fit,
            train=train,
            evaluate=evaluate,
            metric=metric,
            inputs=input or (),
            outputs=outputs or (),
            allow_mixed=allow_mixed,
            trust=trust,
            memory_limit_mib=memory_limit,
            progress=progress,
        )
    if as_json:
        print_json({"schema": 1, "status": "PASS", "reason": "", **found})
    else:
        for line in (*found["notes"], " ".join([found["folder"], *found["files"]])):
            print_line(line)
    return 0


@app.command()
def sensitivity(
    source: Annotated[str, typer.Argument(help="Zoo name, file, folder, or file.py:function.")],
    target: Annotated[str, typer.Option(help="A target that quantizes; see `edgekit list targets`.")],
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
    timeout: Annotated[float, typer.Option(help="Seconds that one step may take.")] = 1800.0,
    memory_limit: MemoryLimit = None,
    as_json: AsJson = False,
) -> int:
    """Measure what quantizing each layer alone costs; a stopped run goes on where it was."""
    from edgekit import api
    from edgekit.cli import show

    if plot is not None:
        from edgekit.report import plots

        plots.check(plot)
    with show.progress() as progress:
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
            progress=progress,
        )
    if plot is not None:
        plots.sensitivity(found, plot)
    if as_json:
        print_json({"schema": 1, "status": "PASS", "reason": "", **asdict(found)})
    else:
        interruption.finish()
        show.sensitivity(found)
    return 0


@app.command()
def verify(artifact: Annotated[Path, typer.Argument(help="An artifact's folder.")], as_json: AsJson = False) -> int:
    """Re-hash every file of an artifact and run its golden samples again."""
    from edgekit.artifact import derived as build_for
    from edgekit.artifact import folder as artifacts
    from edgekit.jobs.workers import Workers

    check = build_for.verify if build_for.is_derived(artifact) else artifacts.verify
    with Workers() as workers:
        found = check(artifact, workers)
    if as_json:
        print_json(found)
    else:
        print_line(found["status"], artifact, found["reason"])
        print_line(found["seal"])
    return EXIT[found["status"]]


@app.command()
def build(
    artifact: Annotated[Path, typer.Argument(help="An artifact's folder.")],
    device: Annotated[str, typer.Option(help="Name from `edgekit list devices`, or a TOML file.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The derived artifact's folder.")] = None,
    allow_unproven: Annotated[bool, typer.Option(help="Keep an engine that no GPU here has executed.")] = False,
    as_json: AsJson = False,
) -> int:
    """Build what a device runs (a TensorRT engine), and run the golden samples through it where the device is."""
    from edgekit.artifact import derived as build_for
    from edgekit.jobs.interruption import listening
    from edgekit.jobs.workers import Workers

    with listening(), Workers() as workers:
        derived = build_for.build(artifact, device, output=output, allow_unproven=allow_unproven, workers=workers)
    if as_json:
        print_json(derived.to_json())
    else:
        by = derived.proof.by or "not executed"
        print_line(derived.status, derived.artifact, by, derived.reason)
    return EXIT[derived.status]


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="An artifact's folder or a model file.")],
    toolchain: Annotated[str | None, typer.Option(help="Toolchain, where the file's ending does not tell.")] = None,
    entry: Annotated[
        str | None, typer.Option(help="One of the signatures, methods or functions of a file that has several.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="List every layer; --json always does.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show what is really inside a file: types, operators, multiply-accumulates, static checks, layers."""
    from edgekit import api
    from edgekit.cli import show

    found = api.inspect(path, toolchain, entry)
    if as_json:
        print_json({"status": "PASS", "reason": "", **found})
    else:
        show.audit(found, layers=layers)
    return 0


@app.command("run")
def run_file(
    model: Annotated[Path, typer.Argument(help="An .mlpackage folder.")],
    input: Annotated[Path, typer.Option(help="npz file with one array per input, named as the inputs.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="npz file for the outputs.")] = None,
    as_json: AsJson = False,
) -> int:
    """Execute a Core ML ML Program on any machine with edgekit's evaluator."""
    from edgekit import api

    found = api.run_file(model, input, output)
    if as_json:
        print_json({"status": "PASS", "reason": "", **found})
    else:
        sys.stdout.write(columns.columns(found["outputs"]))
    return 0


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="Zoo model, for example lenet5 or lenet5:tiny.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="safetensors file; default <name>.safetensors.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed than the shipped checkpoint's.")] = None,
    as_json: AsJson = False,
) -> int:
    """Reproduce a zoo checkpoint from its seed."""
    from edgekit import api
    from edgekit.cli import show

    with show.progress() as progress:
        trained = api.train(name, output=output, seed=seed, progress=progress)
    if as_json:
        print_json({"status": "PASS", "reason": "", **trained})
    else:
        print_line(trained["file"], f"{trained['metric']} {trained['value']:.4f} on selection")
    return 0


@app.command()
def doctor(
    install: Annotated[
        str | None,
        typer.Option(metavar="TOOLCHAIN", help="Give a toolchain whose pins part ways an environment of its own."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """What works here, what does not, and the install line for it."""
    from edgekit import api

    if install is not None:
        made = api.install(install, say)
        if as_json:
            print_json({"status": "PASS", "reason": "", **made})
        else:
            sys.stdout.write(f"jobs of {made['toolchain']} run on {made['python']} from now on\n")
        return 0
    extras, confinement = api.doctor(), api.confinement()
    if as_json:
        print_json({"status": "PASS", "reason": "", "toolchains": extras, "confinement": confinement})
        return 0
    sys.stdout.write(columns.columns(extras))
    kept = "a file of others is kept from"
    rows = [{kept: row["name"], "holds": row["holds"], "by": row["by"]} for row in confinement]
    sys.stdout.write("\n" + columns.columns(rows))
    return 0


def _fail(code: str, exit_code: int, message: str, hint: str, as_json: bool) -> int:
    if as_json:
        status = next((name for name in ("UNSUPPORTED", "NOT_RUN") if exit_code == EXIT[name]), "FAILED")
        error = {"code": code, "message": message, "hint": hint}
        print_json({"schema": 1, "status": status, "reason": message, "error": error})
    say(f"error: {message}")
    if hint:
        say(f"       {hint}")
    return exit_code


def _interrupted(number: int, as_json: bool, left: Sequence[str] = ()) -> int:
    """Say that a signal came, and what is left, on a terminal that may be gone by now; returns its exit code."""
    with contextlib.suppress(OSError):
        gone = "" if left else "; what was not complete is gone"
        message = f"interrupted by {signal.Signals(number).name}{gone}"
        _fail("interrupted", 128 + number, message, " ".join(left), as_json)
    return 128 + number


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; nothing escapes but a bug, which exits 1."""
    as_json = "--json" in arguments
    if bad := [argument for argument in arguments if not _is_utf8(argument)]:
        return _fail("usage", 2, f"{bad[0]} is not UTF-8", "Rename the file; its name goes into JSON.", as_json)
    command: Callable[..., Any] = typer.main.get_command(app)
    try:
        return int(command(list(arguments), prog_name="edgekit", standalone_mode=False) or 0)
    except EdgekitError as error:
        return _fail(error.code, error.exit_code, str(error), error.hint, as_json)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "edgekit"
        return _fail("usage", 2, error.format_message(), f"See `{where} --help`.", as_json)
    except interruption.Interrupted as error:
        return _interrupted(error.number, as_json, getattr(error, "__notes__", ()))
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(signal.SIGINT, as_json)
    except BrokenPipeError:  # whoever read the output has had enough
        return _UNREAD
    except Exception as error:  # boundary: a bug of ours still gives one JSON document and exit code 1
        if isinstance(error, OSError) and (refused := errors.of_system(error)) is not None:
            return _fail(refused.code, refused.exit_code, str(refused), refused.hint, as_json)
        if number := interruption.heard():  # what failed is the way out, for example a terminal that has hung up
            return _interrupted(number, as_json)
        say(traceback.format_exc())
        return _fail("internal", 1, f"{type(error).__name__}: {error}", "This is a bug in edgekit.", as_json)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # Python keeps the bytes of such a name as surrogates
        return False
    return True


def main() -> None:
    """Run the command line on this process's arguments and end it."""
    interruption.listen()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may know fewer characters than a name has
        sys.stdout.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody can read them any more, which Python would make an exit code of its own of
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
