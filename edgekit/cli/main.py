"""The command line: parse, call one function, print. stdout carries the result, stderr everything else."""

from __future__ import annotations

import contextlib
import io
import json
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

from edgekit import __version__
from edgekit.cli import columns
from edgekit.errors import EdgekitError, printable
from edgekit.jobs import interruption

app = typer.Typer(
    name="edgekit",
    add_completion=False,
    rich_markup_mode=None,  # rich's help costs 0.15 s of imports
    pretty_exceptions_enable=False,
)
list_app = typer.Typer(rich_markup_mode=None, help="What edgekit knows: targets, models, metrics, toolchains, devices.")
cache_app = typer.Typer(rich_markup_mode=None, help="The store of finished steps.")
app.add_typer(list_app, name="list")
app.add_typer(cache_app, name="cache")

_EXIT = {
    "PASS": 0,
    "UNSUPPORTED": 3,
    "FAIL_PARITY": 4,
    "FAIL_ACCURACY": 4,
    "FAIL_PRECISION": 4,
    "FAIL_INTEGRITY": 4,
    "UNDECIDED": 4,
    "FAILED": 6,
    "NOT_RUN": 9,
}
_DEMAND_NOT_MET = 5
#: What a shell reports for a process whose output nobody reads any more (SIGPIPE).
_UNREAD = 141

AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]


def _print_json(document: Any) -> None:
    interruption.finish()
    sys.stdout.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


def _print(*values: object) -> None:
    """One line on stdout of what may have been named by others."""
    interruption.finish()
    sys.stdout.write("  ".join(printable(str(value)) for value in values) + "\n")


def _say(text: str) -> None:
    sys.stderr.write(printable(text, lines=True) + "\n")


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
    target: Annotated[str, typer.Option(help="Name from `edgekit list targets`, or a TOML file.")],
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
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The artifact's folder.")] = None,
    search_routes: Annotated[
        bool, typer.Option("--search-routes", help="Try every route, take the fastest that passes.")
    ] = False,
    allow_mixed: Annotated[bool, typer.Option("--allow-mixed", help="Accept layers that stayed in float.")] = False,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(
            help="Pattern of layers' names that stay in float (`edgekit inspect --layers` lists names); the file is "
            "judged on the rest. May be given several times."
        ),
    ] = None,
    allow_unproven: Annotated[
        bool, typer.Option("--allow-unproven", help="Keep a file that nothing here could execute (exit 9).")
    ] = False,
    require_speedup: Annotated[
        bool, typer.Option("--require-speedup", help="Exit 5 unless faster than the float twin.")
    ] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Load files that could run code.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds that one step may take.")] = 1800.0,
    memory_limit: Annotated[
        int | None, typer.Option(help="MiB that one child may take; default 80 % of memory.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Convert a model and prove the file: executed, compared with the float model, looked into, gated."""
    from edgekit import api
    from edgekit.cli import show

    with show.progress() as progress:
        result = api.convert(
            source,
            target,
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
            allow_unproven=allow_unproven,
            trust=trust,
            timeout=timeout,
            memory_limit_mib=memory_limit,
            progress=progress,
        )
    if as_json:
        _print_json(result.to_json())
    else:
        interruption.finish()
        show.result(result)
    if require_speedup and _EXIT[result.status] == 0 and not (result.latency and result.latency.verdict == "FASTER"):
        _say(
            "a speed-up was required: "
            + (result.latency.verdict or "it was not judged" if result.latency else "latency was not measured")
        )
        return _DEMAND_NOT_MET
    return _EXIT[result.status]


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
        _print_json(found)
    else:
        _print(found["status"], artifact, found["reason"])
        _print(found["seal"])
    return _EXIT[found["status"]]


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
        _print_json(derived.to_json())
    else:
        by = derived.proof.by or "not executed"
        _print(derived.status, derived.artifact, by, derived.reason)
    return _EXIT[derived.status]


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
        _print_json({"status": "PASS", "reason": "", **found})
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
        _print_json({"status": "PASS", "reason": "", **found})
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
        _print_json({"status": "PASS", "reason": "", **trained})
    else:
        _print(trained["file"], f"{trained['metric']} {trained['value']:.4f} on selection")
    return 0


@list_app.command("targets")
def list_targets(as_json: AsJson = False) -> int:
    """Targets: format and precision."""
    from edgekit import catalogue  # not `target`: validating with pydantic would double the time of a list

    rows: list[dict[str, Any]] = []
    for name in catalogue.names("targets"):
        path = catalogue.find("targets", name)
        own = not catalogue.is_packaged("targets", path)
        found, problem = _read_target(path, whole=own)
        facts = {key: found.get(key) for key in ("title", "format", "precision")}
        rows.append({"name": name, **facts, "file": str(path) if own else None, "problem": problem})
    if as_json:
        return _rows("targets", rows, as_json)
    extra = [key for key in ("file", "problem") if any(row[key] for row in rows)]
    return _rows(
        "targets", [{k: row[k] for k in ("name", "title", "format", "precision", *extra)} for row in rows], as_json
    )


def _read_target(path: Path, *, whole: bool) -> tuple[dict[str, Any], str | None]:
    """A target's TOML, and why it cannot be used; those that edgekit brings are not validated for a list."""
    from edgekit import catalogue

    try:
        if whole:
            from edgekit import target

            target.parse(path)
        return catalogue.read(path), None
    except EdgekitError as error:
        return {}, str(error)


@list_app.command("ranges")
def list_ranges(as_json: AsJson = False) -> int:
    """Range plans: how activations get their ranges from samples."""
    from edgekit import catalogue
    from edgekit.ranges import plans

    rows: list[dict[str, Any]] = []
    for name in plans.names():
        path = catalogue.find("calibration", name)
        own = not catalogue.is_packaged("calibration", path)
        try:
            plan, problem = plans.parse(path), None
            title = catalogue.read(path)["title"]
            facts = {"method": plan.method, "samples": plan.samples, "least": plan.least, "title": title}
        except EdgekitError as error:
            facts, problem = dict.fromkeys(("method", "samples", "least", "title")), str(error)
        rows.append({"name": name, **facts, "file": str(path) if own else None, "problem": problem})
    if as_json:
        return _rows("ranges", rows, as_json)
    extra = [key for key in ("file", "problem") if any(row[key] for row in rows)]
    shown = ("name", "method", "samples", "least", "title", *extra)
    return _rows("ranges", [{key: row[key] for key in shown} for row in rows], as_json)


@list_app.command("models")
def list_models(as_json: AsJson = False) -> int:
    """Architectures of the zoo."""
    from edgekit import zoo

    rows = []
    for name in zoo.names():
        spec = zoo.architecture(name)
        configs = {key: config.parameters for key, config in spec.configs.items()}
        rows.append(
            {
                "name": name,
                "title": spec.title,
                "frameworks": ["keras", "torch"],
                "configs": configs,
                "paper": spec.paper,
            }
        )
    return _rows("models", rows, as_json)


@list_app.command("metrics")
def list_metrics(as_json: AsJson = False) -> int:
    """What `--metric` takes: what each reads of the outputs, and its labels."""
    from edgekit.proof import metrics

    found = map(metrics.metric, metrics.names())
    rows = [{"name": m.name, "reads": m.about, "labels": m.labels, "gate": m.family} for m in found]
    return _rows("metrics", rows, as_json)


@list_app.command("devices")
def list_devices(as_json: AsJson = False) -> int:
    """Devices that `edgekit build` builds for."""
    from edgekit.artifact import derived as build_for

    rows: list[dict[str, Any]] = []
    for name in build_for.devices():
        try:
            found = build_for.load_device(name)
            rows.append({"name": name, "title": found.title, "kind": found.kind, "builder": found.builder})
        except EdgekitError as error:
            rows.append({"name": name, "title": f"broken: {error}", "kind": None, "builder": None})
    return _rows("devices", rows, as_json)


@list_app.command("toolchains")
def list_toolchains(as_json: AsJson = False) -> int:
    """Toolchains and the targets that each serves."""
    from edgekit import target, toolchains

    served = target.whole()
    rows = [{"name": name, "targets": [t.name for t in served if t.toolchain == name]} for name in toolchains.names()]
    return _rows("toolchains", rows, as_json)


def _rows(kind: str, rows: list[dict[str, Any]], as_json: bool) -> int:
    if as_json:
        _print_json({"status": "PASS", "reason": "", kind: rows})
        return 0
    sys.stdout.write(columns.columns(rows))
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
        made = api.install(install, _say)
        if as_json:
            _print_json({"status": "PASS", "reason": "", **made})
        else:
            sys.stdout.write(f"jobs of {made['toolchain']} run on {made['python']} from now on\n")
        return 0
    extras, confinement = api.doctor(), api.confinement()
    if as_json:
        _print_json({"status": "PASS", "reason": "", "toolchains": extras, "confinement": confinement})
        return 0
    sys.stdout.write(columns.columns(extras))
    kept = "a file of others is kept from"
    rows = [{kept: row["name"], "holds": row["holds"], "by": row["by"]} for row in confinement]
    sys.stdout.write("\n" + columns.columns(rows))
    return 0


@cache_app.callback(invoke_without_command=True)
def cache(context: typer.Context, as_json: AsJson = False) -> int:
    """The store of finished steps: where it is, how full, and the limit (EDGEKIT_STORE_LIMIT, default 8 GiB)."""
    from edgekit.jobs.store import Store

    if context.invoked_subcommand is not None:
        return 0
    found = asdict(Store().usage())
    if as_json:
        _print_json({"status": "PASS", "reason": "", **found})
    else:
        sys.stdout.write(columns.columns([found]))
    return 0


@cache_app.command("list")
def cache_list(as_json: AsJson = False) -> int:
    """Entries of the store."""
    from edgekit.jobs.store import Store

    return _rows("entries", Store().rows(), as_json)


@cache_app.command("verify")
def cache_verify(as_json: AsJson = False) -> int:
    """Re-hash every entry of the store."""
    from edgekit.jobs.store import Store

    damaged = Store().verify()
    status, reason = ("FAILED", "; ".join(damaged)) if damaged else ("PASS", "")
    if as_json:
        _print_json({"status": status, "reason": reason, "damaged": damaged})
    else:
        _print(status, reason)
    return _EXIT[status]


@cache_app.command("clear")
def cache_clear(as_json: AsJson = False) -> int:
    """Remove every entry of the store that no running process uses."""
    from edgekit.jobs.store import Store

    found = Store().clear()
    reason = f"{found.in_use} entries are in use and were kept" if found.in_use else ""
    if as_json:
        _print_json({"status": "PASS", "reason": reason, **asdict(found)})
    else:
        sys.stdout.write(f"removed {found.removed} entries{'; ' if reason else ''}{reason}\n")
    return 0


def _fail(code: str, exit_code: int, message: str, hint: str, as_json: bool) -> int:
    if as_json:
        status = next((name for name in ("UNSUPPORTED", "NOT_RUN") if exit_code == _EXIT[name]), "FAILED")
        error = {"code": code, "message": message, "hint": hint}
        _print_json({"schema": 1, "status": status, "reason": message, "error": error})
    _say(f"error: {message}")
    if hint:
        _say(f"       {hint}")
    return exit_code


def _interrupted(number: int, as_json: bool) -> int:
    """Say that a signal came, on a terminal that may be gone by now; returns its exit code."""
    with contextlib.suppress(OSError):
        message = f"interrupted by {signal.Signals(number).name}; what was not complete is gone"
        _fail("interrupted", 128 + number, message, "", as_json)
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
        return _interrupted(error.number, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(signal.SIGINT, as_json)
    except BrokenPipeError:  # whoever read the output has had enough
        return _UNREAD
    except Exception as error:  # boundary: a bug of ours still gives one JSON document and exit code 1
        if number := interruption.heard():  # what failed is the way out, for example a terminal that has hung up
            return _interrupted(number, as_json)
        _say(traceback.format_exc())
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
