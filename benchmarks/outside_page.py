"""docs/outside.md and the README's figure, from the newest rows of ``benchmarks/results/outside.jsonl``."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import outside

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "outside.md"
README = ROOT / "README.md"
START, END = "<!-- outside: written by benchmarks/outside_page.py -->", "<!-- /outside -->"
HEADS = {
    "tflite": "LiteRT", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "executorch": "ExecuTorch", "coreml": "Core ML",
    "tensorrt": "TensorRT",
}  # fmt: skip

#: Who executes the fp32 files: the runtime that ships them, or a stand-in, which is counted apart.
STAND_INS = ("coreml-fp32", "tensorrt-fp32")
OWN = tuple(name for name in outside.FLOAT if name not in STAND_INS)

Row = dict[str, Any]


def newest() -> list[Row]:
    """The newest row of each cell that the list still has, in its order."""
    found = outside.newest()
    order = [(model.name, name) for model in outside.models() for name in (*outside.FLOAT, *outside.INT8)]
    return [found[cell] for cell in order if cell in found]


def passed(rows: Sequence[Row]) -> str:
    """So many of so many."""
    return f"{sum(row['status'] == 'PASS' for row in rows)} of {len(rows)}" if rows else "-"


def _of(rows: Sequence[Row], targets: Sequence[str]) -> list[Row]:
    return [row for row in rows if row["target"] in targets]


def figure(rows: Sequence[Row]) -> str:
    """What the README says."""
    models, kinds = {row["model"] for row in rows}, {row["kind"] for row in rows}
    libraries = sorted({row["library"] for row in rows})
    parts = [(_of(rows, OWN), "of the fp32 files in their own runtimes")]
    parts += [(_of(rows, STAND_INS), "by a stand-in (Core ML, TensorRT)")]
    parts += [(_of(rows, [n for n in outside.INT8 if n != "tflite-int8"]), "of int8 on three formats")]
    parts += [(_of(rows, ["tflite-int8"]), "of full-integer LiteRT")]
    said = ", ".join(f"{passed(part)} {words}" for part, words in parts if part)
    timed = [row for row in rows if row.get("ratio") is not None]
    slower = sum("SLOWER" in row["flags"] for row in timed)
    speed = f"; {slower} of {len(timed)} int8 files that were timed are SLOWER" if timed else ""
    return textwrap.fill(
        f"{len(models)} architectures of {', '.join(libraries)} that the zoo does not have, of {len(kinds)} kinds, small and "
        f"with weights that are random or have learnt a made-up task ({len(outside.models())} are in the list): {said} PASS{speed}. Every "
        "cell, and what stops those that do not pass: [docs/outside.md](docs/outside.md).",
        120,
        break_long_words=False,
        break_on_hyphens=False,
    )


def page(rows: Sequence[Row]) -> str:
    """The whole page."""
    dates, hosts = sorted(row["date"] for row in rows), sorted({row["host"] for row in rows})
    commits = ", ".join(dict.fromkeys(row["commit"].removesuffix("-dirty") for row in rows))
    samples = sorted({row["n"] for row in rows if row.get("n")})
    lines = [
        "# Architectures of others",
        "",
        "Written by `python -m benchmarks.outside --page` from `benchmarks/results/outside.jsonl`; the models are functions in",
        "[benchmarks/outside_models](../benchmarks/outside_models), built by the libraries that people take them from: small. Those",
        "of PyTorch that see images, but for plain ViTs, and Keras's have learnt a made-up task for a few hundred steps",
        "(`taught.py` there says why), the others have random weights that behave: nothing here speaks of accuracy. A figure is",
        f"the SQNR in dB against the framework's own run (n = {' or '.join(map(str, samples))} held-out samples). Core ML and TensorRT files are executed by a stand-in.",
        f"Measured {dates[0]} to {dates[-1]} UTC on {', '.join(hosts)}, commit {commits}.",
        "",
        *_kinds(rows),
        *_cells(rows, "fp32", outside.FLOAT),
        *_cells(rows, "int8", outside.INT8),
        *_stopped(rows),
        *_slower(rows),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _kinds(rows: Sequence[Row]) -> list[str]:
    lines = [
        "## By kind",
        "",
        "| kind | models | fp32 PASS | fp32 PASS (stand-in) | int8 PASS | full-integer LiteRT PASS |",
        "|---|---|---|---|---|---|",
    ]
    apart = [name for name in outside.INT8 if name != "tflite-int8"]
    for kind in [*dict.fromkeys(row["kind"] for row in rows), "all"]:
        own = [row for row in rows if kind in (row["kind"], "all")]
        cells = (passed(_of(own, names)) for names in (OWN, STAND_INS, apart, ["tflite-int8"]))
        lines.append(f"| {kind} | {len({row['model'] for row in own})} | {' | '.join(cells)} |")
    return [*lines, ""]


def _cells(rows: Sequence[Row], title: str, targets: Sequence[str]) -> list[str]:
    found = {(row["model"], row["target"]): row for row in rows}
    heads = [HEADS[name.rpartition("-")[0]] for name in targets]
    if not _of(rows, targets):
        return []
    lines = [f"## {title}", "", f"| model | what it is | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    for model in outside.models():
        own = [found.get((model.name, name)) for name in targets]
        if any(own):
            lines.append(f"| {model.name} | {model.library}: {model.says} | {' | '.join(map(_cell, own))} |")
    return [*lines, ""]


def _cell(row: Row | None) -> str:
    if row is None:
        return "not run yet"
    said = f"{row['sqnr_db']:.0f} dB" if row["sqnr_db"] is not None else ""
    if row["status"] == "PASS":
        return f"{said}, SLOWER" if "SLOWER" in row["flags"] else said
    return f"**{row['status']}** {said}".strip()


def _stopped(rows: Sequence[Row]) -> list[str]:
    failed = [row for row in rows if row["status"] != "PASS"]
    if not failed:
        return []
    lines = ["## What does not pass", "", "| model | target | status | why | next step |", "|---|---|---|---|---|"]
    for row in failed:
        cells = (row["model"], row["target"], row["status"], _one_line(row["reason"]), _one_line(row["hint"]) or "-")
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _slower(rows: Sequence[Row]) -> list[str]:
    slower = [row for row in rows if "SLOWER" in row["flags"]]
    if not slower:
        return []
    lines = [
        "## Slower than their fp32 file",
        "",
        "| model | target | fp32, CPU ms | CPU time, int8 / fp32 | operators that cost it: the dearest by the runtime's profiler, else those left by the fast kernels (XNNPACK) or in float |",
        "|---|---|---|---|---|",
    ]
    for row in slower:
        counts = sorted((row.get("ops_left") or row["ops_float"] or {}).items(), key=lambda pair: -pair[1])
        said = ", ".join(f"{count} {name}" for name, count in counts[:8]) or "not counted in this format"
        if row.get("ops_ms"):
            said = ", ".join(f"{name} {ms:.3f} ms" for name, ms in row["ops_ms"].items())
        low, high = row["ratio_ci95"]
        ms = f"{row['float_cpu_ms']:.3f}"
        lines.append(
            f"| {row['model']} | {row['target']} | {ms} | {row['ratio']:.2f} ({low:.2f} to {high:.2f}) | {said} |"
        )
    return [*lines, ""]


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def write() -> None:
    """Write the page, and the figure into the README."""
    rows = newest()
    PAGE.write_text(page(rows), "utf-8")
    before, _, rest = README.read_text("utf-8").partition(START)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{START}\n{figure(rows)}\n{END}{after}", "utf-8")
