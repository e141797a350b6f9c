"""Commands that read a file or an artifact: `edgekit verify`, `build`, `inspect`, `run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgekit.cli import columns, completion
from edgekit.cli.options import Timeout
from edgekit.cli.printing import EXIT, AsJson, print_json, print_line, say
from edgekit.errors import printable
from edgekit.jobs import interruption

Toolchain = Annotated[str | None, typer.Option("--toolchain", help="Toolchain, where the file's ending does not tell.")]
Entry = Annotated[
    str | None, typer.Option("--entry", help="One of the signatures, methods or functions of a file that has several.")
]


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


def build(
    artifact: Annotated[Path, typer.Argument(help="An artifact's folder.")],
    device: Annotated[
        str,
        typer.Option(help="Name from `edgekit list devices`, or a TOML file.", autocompletion=completion.devices),
    ],
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


def inspect(
    path: Annotated[Path, typer.Argument(help="An artifact's folder or a model file.")],
    toolchain: Toolchain = None,
    entry: Entry = None,
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


def run_file(
    model: Annotated[Path, typer.Argument(help="A model file of any format, or an artifact's folder.")],
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--inputs",
            "--input",
            help="npz file, an array per input, one sample or many; npy of the only input; else drawn numbers.",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="npz file for the outputs.")] = None,
    shape: Annotated[
        list[str] | None, typer.Option(help="NAME=1x3x224x224:float32 where the file leaves a shape open.")
    ] = None,
    toolchain: Toolchain = None,
    entry: Entry = None,
    timeout: Timeout = 1800.0,
    as_json: AsJson = False,
) -> int:
    """Execute a model file in its runtime, and say what went in and what came out."""
    from edgekit import api

    found = api.run_file(model, inputs, output, toolchain=toolchain, entry=entry, shapes=shape or (), timeout=timeout)
    for note in found["notes"]:
        say(f"note: {note}")
    if as_json:
        print_json({"status": "PASS", "reason": "", **found})
        return 0
    interruption.finish()
    drawn = ", drawn from a seed (no --inputs)" if found["source"] == "generated" else ""
    stand_in = ", a stand-in for the runtime that it ships to" if found["stand_in"] else ""
    left_out = ", ".join(f"{printable(name)}{' (labels)' * (name == 'y')}" for name in found["left_out"])
    columns.write(
        columns.pairs(
            [
                ("file", printable(found["file"])),
                ("runs in", f"{printable(found['by'])}{stand_in}; computes in {found['precision']}"),
                ("samples", f"{found['samples']}{drawn}"),
                *([("left out", left_out)] if left_out else []),
            ]
        )
    )
    rows = [(side, row) for side in ("input", "output") for row in found[f"{side}s"]]
    columns.write("\n" + columns.columns([_array(side, row) for side, row in rows]))
    if output is not None:
        say(f"wrote {output}")
    return 0


def _array(side: str, row: dict[str, Any]) -> dict[str, Any]:
    numbers = {key: "" if row[key] is None else f"{row[key]:.6g}" for key in ("min", "max", "mean")}
    return {"": side, "name": row["name"], "shape": "x".join(map(str, row["shape"])), "type": row["dtype"], **numbers}
