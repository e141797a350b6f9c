"""Every zoo model x framework x target: convert, prove, and write one row per cell.

    python benchmarks/matrix.py [--write-readme] [--whole] [--only gpt bert] [--jobs 2]

Rows go to ``benchmarks/results/matrix.jsonl`` (appended; the README shows the newest run). No cell vanishes: an error
is a row with its reason.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import edgekit
from edgekit import packaging, target, zoo
from edgekit.errors import EdgekitError
from edgekit.jobs import Workers
from edgekit.store import Store

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "matrix.jsonl"
START, END = "<!-- matrix: written by `make matrix` -->", "<!-- /matrix -->"
FRAMEWORKS = ("keras", "torch")
#: Without --whole, the cells that tests/matrix runs each time: these formats for all models, the others for the small
#: ones (lowering to ExecuTorch and evaluating ML Programs take minutes per model).
EVERY_RUN = ("tflite", "onnx", "openvino")
SHORT = ("mlp", "lenet5")


def cell(model: str, framework: str, name: str, workers: Workers, store: Store, folder: Path) -> dict[str, Any]:
    """Run one cell and return its row."""
    row: dict[str, Any] = {"model": model, "framework": framework, "target": name}
    try:
        result = edgekit.convert(f"{model}@{framework}", name, output=folder, workers=workers, store=store)
    except EdgekitError as error:
        return row | {"status": error.code.upper(), "reason": str(error), "proof": "none"}
    row |= {"status": result.status, "reason": result.reason, "proof": result.proof.kind, "by": result.proof.by}
    row |= {"flags": list(result.flags), "route": result.route, "size_bytes": result.size_bytes}
    row |= {"float_size_bytes": result.float_size_bytes, "cpu_seconds": sum(result.cpu_seconds.values())}
    if result.parity:
        row |= {"sqnr_db": round(result.parity.sqnr_db, 2)}
    if a := result.accuracy:
        row |= {"metric": a.metric, "samples": a.samples, "float": a.float_, "artifact": a.artifact, "drop": a.drop}
        row |= {"drop_ci95": list(a.drop_ci95), "agreement": a.agreement}
    if t := result.latency:
        row |= {"latency_ratio": t.ratio, "latency_ci95": list(t.ratio_ci95), "verdict": t.verdict}
    return row


def group(model: str, framework: str, whole: bool) -> None:
    """Run all targets of one model and framework in one set of children; one JSON row per line on stdout."""
    with tempfile.TemporaryDirectory() as scratch, Workers() as workers:
        for name in target.names():
            if not (whole or target.load(name).format in EVERY_RUN or model in SHORT):
                continue
            row = cell(model, framework, name, workers, Store(), Path(scratch) / name)
            print(json.dumps(row), flush=True)


def run(models: list[str], jobs: int, whole: bool) -> list[dict[str, Any]]:
    """Run all groups, ``jobs`` at a time, each in a process of its own."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    stamp = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit.stdout.strip(),
        "host": packaging.host().processor,
    }

    def one(kind: tuple[str, str]) -> list[dict[str, Any]]:
        process = subprocess.Popen(
            [sys.executable, __file__, *(["--whole"] if whole else []), "--group", *kind],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        rows = []
        for line in process.stdout or ():
            row = stamp | json.loads(line)
            rows.append(row)
            sqnr = f"{row['sqnr_db']:6.1f} dB" if "sqnr_db" in row else " " * 9
            print(
                f"{row['model']:16} {row['framework']:6} {row['target']:26} {row['status']:16} {sqnr} {row['reason'][:150]}",
                flush=True,
            )
        if process.wait():
            raise RuntimeError(f"{kind} ended with exit code {process.returncode}: cells are missing")
        return rows

    kinds = [(model, framework) for model in models for framework in FRAMEWORKS]
    with ThreadPoolExecutor(jobs) as pool:
        return [row for rows in pool.map(one, kinds) for row in rows]


def table(rows: list[dict[str, Any]]) -> str:
    """The README's table: one line per model and framework, one column per target."""
    targets = sorted({row["target"] for row in rows}, key=lambda name: (target.load(name).format, name))
    cells = {(r["model"], r["framework"], r["target"]): r for r in rows}
    kinds = sorted({(r["model"], r["framework"]) for r in rows})
    counts = Counter((r["proof"] if r["status"] == "PASS" else r["status"]) for r in rows)
    first = rows[0]
    samples = [r["samples"] for r in rows if "samples" in r]
    lines = [
        f"{len(rows)} cells on {first['date']} UTC, {first['host']}, commit {first['commit']}: "
        + ", ".join(f"{counts[k]} {'PASS, proof ' + k if k in ('runtime', 'stand-in') else k}" for k in sorted(counts))
        + f". Each cell: SQNR in dB against the framework's own run; n = {min(samples)} to {max(samples)} test samples "
        "for accuracy. An empty cell was not run.",
        "",
        "| model | " + " | ".join(targets) + " |",
        "|---|" + "---|" * len(targets),
    ]
    for model, framework in kinds:
        line = [f"{model} ({framework})"]
        for name in targets:
            row = cells.get((model, framework, name))
            if row is None:
                line.append("")
                continue
            value = f"{row['sqnr_db']:.0f}" if "sqnr_db" in row else "-"
            line.append(value if row["status"] == "PASS" else f"**{row['status']}** {value}")
        lines.append("| " + " | ".join(line) + " |")
    failing = [r for r in rows if r["status"] != "PASS"]
    if failing:
        lines += ["", "Cells that do not pass, and why:", ""]
        lines += [f"- {r['model']} ({r['framework']}) to {r['target']}: {r['status']}. {r['reason']}" for r in failing]
    return "\n".join([*lines, "", *drops(rows)])


def drops(rows: list[dict[str, Any]]) -> list[str]:
    """Accuracy of the static int8 targets, where quantization can cost most."""
    static = [r for r in rows if target.load(r["target"]).precision == "int8" and "drop" in r]
    lines = ["Static int8, drop on the test split (positive is worse):", ""]
    lines += [
        "| model | target | metric | float | artifact | drop | 95 % interval | n | agreement |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in static:
        unit = "%" if r["metric"] == "perplexity" else "points"
        low, high = (100 * bound for bound in r["drop_ci95"])
        lines.append(
            f"| {r['model']} ({r['framework']}) | {r['target']} | {r['metric']} | {r['float']:.4f} | {r['artifact']:.4f} | "
            f"{100 * r['drop']:+.2f} {unit} | {low:+.2f} to {high:+.2f} | {r['samples']} | {r['agreement']:.3f} |"
        )
    return lines


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write-readme", action="store_true")
    parser.add_argument("--only", nargs="*", help="models; rows are then printed, not kept")
    parser.add_argument("--whole", action="store_true", help="every cell, the slow ones too")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--group", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.group:
        group(*arguments.group, arguments.whole)
        return
    rows = run(arguments.only or zoo.names(), arguments.jobs, arguments.whole)
    if arguments.only:
        return
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("a") as stream:
        stream.writelines(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    if arguments.write_readme:
        readme = ROOT / "README.md"
        before, _, rest = readme.read_text().partition(START)
        after = rest.partition(END)[2]
        readme.write_text(f"{before}{START}\n{table(rows)}\n{END}{after}")


if __name__ == "__main__":
    main()
