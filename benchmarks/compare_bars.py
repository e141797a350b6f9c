"""False alarms and power of `edgekit compare` on a real machine.

    python benchmarks/compare_bars.py run ARTIFACT [--runs 120] [--slowdown 1.05]     appends to results/compare.jsonl
    python benchmarks/compare_bars.py report > benchmarks/COMPARE.md

A run is one fresh process, as `edgekit compare` starts them, in which three subjects are timed in turns: a file, the
same file opened again, and the same file opened a third time with more work: every 20th call is made twice, which is 5 %
more of the very work whatever the machine does (`added` = `calls`; rows with `loop` had a counted loop of Python after each
call instead, calibrated in that process before). The ratios are those of an A/A and of an A/B comparison whose truth is
known. Comparisons are made of runs that followed each other, as many as one comparison takes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgekit.bench import measuring, stamp
from edgekit.bench.compare import timing
from edgekit.jobs import wire
from edgekit.jobs.host import host
from edgekit.jobs.workers import Workers
from edgekit.proof.speed import conditions, steady
from edgekit.proof.speed.opened import Contender, open_contender

RESULTS = Path(__file__).parent / "results" / "compare.jsonl"
SECONDS = 1.0
RUNS = 12


def slower(subject: steady.Subject, slowdown: float) -> steady.Subject:
    """The same with every so many calls made twice: so much more of the very work, whatever the machine does."""
    every, made = round(1 / (slowdown - 1)), itertools.count(1)

    def invoke() -> None:
        subject.invoke()
        if next(made) % every == 0:
            subject.invoke()

    return steady.Subject(invoke, subject.prepare, subject.steps)


def child(text: str) -> None:
    """One run; prints a JSON object. It is this process that is fresh."""
    asked = json.loads(text)
    contender = wire.read(Contender, asked["contender"])
    opened = [open_contender(contender, 0).subject() for _ in range(3)]
    if asked["turned"]:
        opened.reverse()
    same, again, slowed = opened
    subjects = [same, again, slower(slowed, asked["slowdown"])]
    before = conditions.state()
    records = steady.measure(subjects, seconds=SECONDS, seed=asked["seed"])
    after = conditions.state()
    blocks = [np.asarray(steady.blocks(record).cpu_ms) for record in records]
    around = [
        conditions.between(
            before, after, wall_over_cpu=steady.wall_over_cpu(record),
            interruptions=steady.interruptions_per_s(record), lost=record.lost,
        )
        for record in records
    ]  # fmt: skip
    print(
        json.dumps(
            {
                "cpu_p50_ms": [steady.cpu(record).p50_ms for record in records],
                "ratio_aa": timing.run_ratio(blocks[0], blocks[1]),
                "ratio_ab": timing.run_ratio(blocks[0], blocks[2]),
                "rounds": min(map(len, blocks)),
                "noisy_because": sorted({because for one in around for because in one.noisy_because}),
                "wall_over_cpu": [one.wall_over_cpu for one in around],
                "interruptions_per_s": [one.interruptions_per_s for one in around],
                "load": after.load,
            }
        )
    )


def run(artifact: Path, runs: int, slowdown: float) -> None:
    """Append rows of runs."""
    with Workers() as workers:
        subject = measuring.find(artifact, measuring.Asked(), workers)
    about = {
        "file": str(subject.row.cell), "format": subject.row.made.format, "sha256": subject.row.made.sha256,
        "slowdown": slowdown, "added": "calls", "seconds": SECONDS, "code": stamp.code().model_dump(include={"edgekit", "commit", "harness"}), "processor": host().processor,
        "cores": host().cores, "fingerprint": stamp.fingerprint(),
    }  # fmt: skip
    for number in range(runs):
        contender = wire.plain(subject.contender, lambda leaf: str(leaf) if isinstance(leaf, Path) else leaf)
        asked = {"contender": contender, "slowdown": slowdown, "seed": number, "turned": number % 2 == 1}
        command = [sys.executable, __file__, "child", json.dumps(asked)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr[-2000:], file=sys.stderr)
            continue
        row = {**about, "at": stamp.now(), **json.loads(done.stdout.splitlines()[-1])}
        with RESULTS.open("a") as stream:
            stream.write(json.dumps(row, sort_keys=True) + "\n")


def groups(ratios: list[float], size: int = RUNS) -> Iterator[list[float]]:
    """Comparisons that share no run."""
    for start in range(0, len(ratios) - size + 1, size):
        yield ratios[start : start + size]


def drawn(ratios: list[float], size: int = RUNS, draws: int = 2000) -> Iterator[list[float]]:
    """Comparisons of runs that are drawn anew, without replacement in each."""
    rng = np.random.default_rng(0)
    for _ in range(draws if len(ratios) >= size else 0):
        yield list(rng.choice(ratios, size, replace=False))


def outcomes(made: Iterator[list[float]], limit: float) -> dict[str, int]:
    """How many comparisons ended how."""
    found = dict.fromkeys(("WORSE", "BETTER", "SAME", "UNDECIDED"), 0)
    for ratios in made:
        ratio = timing.of_runs(ratios)
        assert ratio is not None
        found[timing.decide(ratio, limit)] += 1
    return found


def report() -> None:
    """Print the page."""
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    print("# False alarms and power of `edgekit compare`\n")
    print("Written by `python benchmarks/compare_bars.py report` from `results/compare.jsonl`; do not edit.\n")
    print(__doc__.split("\n\n")[2].strip() + "\n")
    print(
        f"A comparison takes {RUNS} runs; the limit is the default, x 1.05. *disjoint* comparisons share no run; "
        "*drawn* ones are made of the same runs drawn anew 2000 times, which tells shares more finely and is no more "
        "evidence.\n"
    )
    print("| file | added | machine while it ran | truth | comparisons | WORSE | BETTER | SAME | UNDECIDED |")
    print("|---|---|---|---|---|---|---|---|---|")
    for file, added in sorted({(row["file"], row["added"]) for row in rows}):
        of_file = [row for row in rows if (row["file"], row["added"]) == (file, added)]
        quiet = [row for row in of_file if not row["noisy_because"]]
        for name, some in (("all runs", of_file), ("undisturbed runs", quiet)):
            for key, truth in (("ratio_aa", "x 1"), ("ratio_ab", f"x {of_file[0]['slowdown']:g}")):
                ratios = [row[key] for row in some]
                for how, made in (("disjoint", groups(ratios)), ("drawn", drawn(ratios))):
                    found = outcomes(made, 1.05)
                    total = sum(found.values())
                    if not total:
                        continue
                    shown = [f"{count / total:.1%}" if how == "drawn" else str(count) for count in found.values()]
                    print(f"| {file} | {added} | {name}, {len(some)} | {truth} | {total} {how} | {' | '.join(shown)} |")
    print(
        "\n| file | added | runs | NOISY | x of A/A: median, sd of its log | x of A/B: median, sd | sd of a run's median |"
    )
    print("|---|---|---|---|---|---|---|")
    for file, added in sorted({(row["file"], row["added"]) for row in rows}):
        of_file = [row for row in rows if (row["file"], row["added"]) == (file, added)]
        logs = {key: np.log([row[key] for row in of_file]) for key in ("ratio_aa", "ratio_ab")}
        medians = np.log([row["cpu_p50_ms"][0] for row in of_file])
        shown = [f"{np.exp(np.median(found)):.4f}, {100 * np.std(found, ddof=1):.2f} %" for found in logs.values()]
        noisy = sum(bool(row["noisy_because"]) for row in of_file)
        print(
            f"| {file} | {added} | {len(of_file)} | {noisy} | {' | '.join(shown)} | {100 * np.std(medians, ddof=1):.2f} % |"
        )


def main() -> None:
    """Dispatch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "report", "child"))
    parser.add_argument("given", nargs="?")
    parser.add_argument("--runs", type=int, default=120)
    parser.add_argument("--slowdown", type=float, default=1.05)
    arguments = parser.parse_args()
    if arguments.what == "child":
        child(arguments.given)
    elif arguments.what == "run":
        run(Path(arguments.given), arguments.runs, arguments.slowdown)
    else:
        report()


if __name__ == "__main__":
    main()
