"""`edgekit benchmark`: how fast files run here, and how much of the machine they take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.printing import EXIT, AsJson, print_json
from edgekit.errors import UsageError

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def benchmark(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Artifacts' folders, or model files; several are timed in turns.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, gpu or npu of this machine.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Of the runtime.")] = 1,
    seconds: Annotated[float, typer.Option(help="That the steady state of each is timed for.")] = 2.0,
    cpus: Annotated[str | None, typer.Option(help="Cores that the process is held to, for example 0,1.")] = None,
    inputs: Annotated[
        Path | None, typer.Option(help="npz file, an array of samples per input; else recorded or drawn ones.")
    ] = None,
    input: Annotated[
        list[str] | None, typer.Option(help="NAME=1x3x224x224:float32 where a file leaves a shape open.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="What drives the inferences: edgekit, or loadgen (MLPerf's).")
    ] = "edgekit",
    sustain: Annotated[
        str | None, typer.Option(help="Run each on for so long, for example 10m, and say how fast.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that opening and first running a file may take.")] = 1800.0,
    profile: Annotated[bool, typer.Option(help="Time operators, where the runtime can.")] = True,
    rows: Annotated[
        Path | None,
        typer.Option(help="File of rows (.jsonl) to add to; a suite's is edgekit-benchmarks/NAME.jsonl."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Convert, prove and time its cells: from `edgekit list suites`, or a TOML file.")
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="Of a suite: ray, or ray://head:port, over whose nodes it runs.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Of a suite: conversions side by side; else as many as cores.")] = 0,
    shard: Annotated[str | None, typer.Option(help="Of a suite: i/n, the i-th of n parts.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Of a suite: do cells that are done again.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Of a suite: list what would be made, and run nothing.")] = False,
    no_latency: Annotated[bool, typer.Option("--no-latency", help="Of a suite: time nothing.")] = False,
    as_json: AsJson = False,
) -> int:
    """Measure files on this machine: load, first inference, steady state, memory, precision, operators.

    With --suite: every cell converted and proven, then timed alone; stopped, it goes on where it was.
    """
    from edgekit.bench import measuring
    from edgekit.bench import rows as files
    from edgekit.cli.bench import tables
    from edgekit.cli.progress import shown
    from edgekit.jobs import interruption

    asked = measuring.Asked(
        unit=_one_of("--device", device, ("cpu", "gpu", "npu")),  # type: ignore[arg-type]
        threads=threads,
        seconds=seconds,
        cpus=_cores(cpus),
        inputs=inputs,
        shapes=tuple(input or ()),
        engine=_one_of("--engine", engine, ("edgekit", "loadgen")),  # type: ignore[arg-type]
        profile=profile,
        sustain_s=_duration(sustain),
        timeout_s=timeout,
    )
    own = {
        "--executor": executor,
        "--jobs": jobs,
        "--shard": shard,
        "--fresh": fresh,
        "--plan": plan,
        "--no-latency": no_latency,
    }
    if suite is not None:
        _refuse("--suite", {"a file": paths, "--inputs": inputs, "--input": input, "--device": device != "cpu"})
        from edgekit.cli.bench import suites

        return suites.run(
            suite, rows=rows, asked=asked, executor=executor, jobs=jobs, shard=shard, fresh=fresh, plan=plan,
            latency=not no_latency, as_json=as_json,
        )  # fmt: skip
    _refuse("a file", own)
    if not paths:
        raise UsageError("neither files nor a suite are named", hint="Give an artifact's folder, or --suite smoke.")
    asked.check()
    if rows:
        files.check(rows)
    with interruption.listening(), shown() as progress:
        found = measuring.measure(
            paths, asked, progress=progress, keep=lambda row: files.append(rows, [row]) if rows else None
        )
    ratios = measuring.ratios(found)
    worst = max((row.status for row in found), key=lambda status: EXIT[status])
    if as_json:
        reason = next((row.reason for row in found if row.status == worst), "")
        told = [asdict(ratio) for ratio in ratios]
        print_json(
            {"schema": 1, "status": worst, "reason": reason, "rows": [r.to_json() for r in found], "ratios": told}
        )
    else:
        interruption.finish()
        tables.measured(found, ratios)
    return EXIT[worst]


def _refuse(what: str, given: Mapping[str, object]) -> None:
    """Refuse options that say nothing of it."""
    if others := [name for name, value in given.items() if value]:
        raise UsageError(f"{others[0]} does not go together with {what}", hint="Leave one of them out.")


def _one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise UsageError(f"{option} {value!r} is none of {', '.join(known)}")
    return value


def _cores(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise UsageError(f"--cpus {text!r} is no list of cores", hint="--cpus 0,1")
    return tuple(sorted({int(core) for core in text.split(",")}))


def _duration(text: str | None) -> float:
    """Seconds of ``90``, ``90s``, ``10m`` or ``1h``."""
    if text is None:
        return 0.0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None or not float(match[1]):
        raise UsageError(f"--sustain {text!r} is no duration", hint="--sustain 10m")
    return float(match[1]) * _SECONDS[match[2]]
