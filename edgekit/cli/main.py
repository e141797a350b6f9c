"""The command line: parse, call one function, print. stdout carries the result, stderr everything else."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from edgekit import __version__, errors
from edgekit.cli import cache, columns, compare, completion, files, lists, report
from edgekit.cli.bench import benchmark
from edgekit.cli.making import compress, convert
from edgekit.cli.options import Quiet, Verbose
from edgekit.cli.printing import EXIT, AsJson, print_json, say
from edgekit.errors import EdgekitError
from edgekit.jobs import interruption

app = typer.Typer(
    name="edgekit",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # rich's help costs 0.15 s of imports
    pretty_exceptions_enable=False,
)
app.command()(convert.convert)
app.command()(compress.compress)
app.command()(compress.sensitivity)
app.command()(files.verify)
app.command()(files.build)
app.command()(files.inspect)
app.command("run")(files.run_file)
app.command()(benchmark.benchmark)
app.command()(compare.compare)
app.command()(report.report)
app.command()(compress.train)
app.add_typer(lists.app, name="list")
app.add_typer(cache.app, name="cache")

#: What a shell reports for a process whose output nobody reads any more (SIGPIPE).
_UNREAD = 141
#: By which a shell asks for completions.
_COMPLETE = "_EDGEKIT_COMPLETE"


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"edgekit {__version__}\n")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """From a Keras or PyTorch model to a proven file for an edge runtime."""
    # Before a command they mean what they mean behind it; what has no such option says nothing on the way anyway.
    said = {name: True for name, given in (("quiet", quiet), ("verbose", verbose)) if given}
    context.default_map = {str(context.invoked_subcommand): said}
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")


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


app.command()(completion.completion)


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
    except SystemExit as error:  # typer's own way out: of a completion, or of the same, which it makes 1 of
        return _UNREAD if error.code == 1 and _COMPLETE not in os.environ else int(error.code or 0)
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
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed (`>&-`): what is written there goes nowhere
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 # to the end
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
