"""From the committed rows to what is read: the matrix in README.md, and all figures with the bars in RESULTS.md.

    python benchmarks/pages.py

Every figure comes from ``results/matrix.jsonl``, which `make matrix` appends to; the last row of a cell counts.
``tests/contract/test_pages.py`` looks at their form alone: a model that is added has no rows yet.
"""

from __future__ import annotations

import functools
import json
import statistics
from pathlib import Path
from typing import Any

from edgekit import target, zoo
from edgekit.bench import rows as files
from edgekit.bench.row import Row
from edgekit.bench.suite import FRAMEWORKS
from edgekit.report import markdown
from edgekit.report.said import FORMATS
from edgekit.result import Accuracy
from edgekit.schemes import SCHEMES

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "benchmarks" / "results" / "matrix.jsonl"
EVALUATOR = ROOT / "benchmarks" / "results" / "evaluator.jsonl"
TWINS = ROOT / "benchmarks" / "results" / "executorch_twins.jsonl"
README = ROOT / "README.md"
PAGE = ROOT / "benchmarks" / "RESULTS.md"
START, END = "<!-- matrix: written by benchmarks/results_page.py -->", "<!-- /matrix -->"

#: The formats of the first matrix bar, and the least share of cells that must PASS for each bar.
SPINE = ("tflite", "onnx", "openvino")
SHARES = {"executorch": 0.90, "coreml": 0.85, "tensorrt": 0.85}
#: Where quantization can cost most.
STATIC = SCHEMES["int8"]
#: Trained on the 32x32 colour-and-texture task.
TEXTURE_MODELS = ("mobilenet_v2", "resnet", "unet")


def newest(path: Path = ROWS) -> list[Row]:
    """The newest row of each cell that still exists, in the order of the tables."""
    cells = {_cell_of(row): row for row in files.read(path)}
    known = [(m, f, t) for m in zoo.names() for t in targets() for f in FRAMEWORKS]
    return [cells[cell] for cell in known if cell in cells]


def _cell_of(row: Row) -> tuple[str, str | None, str | None]:
    return row.cell.model, row.cell.framework, row.cell.target


def targets() -> list[str]:
    """All targets, by format, from the gentlest precision on as the file names sort."""
    formats = {name: _load(name).format for name in target.names()}
    return sorted(formats, key=lambda name: (list(FORMATS).index(formats[name]), name))


def readme_block(rows: list[Row]) -> str:
    """What the README shows of the matrix: how many cells of each format ended how."""
    return "\n".join([*measured_when(rows), "", *markdown.by_format(rows)])


def measured_when(rows: list[Row]) -> list[str]:
    """One sentence: how many cells, when, where, from which commits."""
    dates, hosts = sorted({_date(r) for r in rows}), sorted({str(r.processor) for r in rows})
    commits = list(dict.fromkeys(str(r.code.commit) for r in sorted(rows, key=lambda r: r.at)))
    samples = [r.accuracy.samples for r in rows if r.accuracy]
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return [
        f"{len(rows)} cells (model x framework x target), measured {when} UTC on {', '.join(hosts)}, commit "
        f"{', '.join(commits)}; n = {min(samples)} to {max(samples)} test samples for accuracy."
    ]


def _date(row: Row) -> str:
    return row.at[:16].replace("T", " ")


def matrix(rows: list[Row]) -> list[str]:
    """One line per target, one column per model: SQNR in dB from Keras / from PyTorch."""
    cells = {_cell_of(r): r for r in rows}
    models = [name for name in zoo.names() if any(r.cell.model == name for r in rows)]
    lines = [
        "SQNR in dB against the framework's own run, from Keras / from PyTorch. In bold what does not pass, with its "
        "reason below; `-` was not run.",
        "",
        "| target | " + " | ".join(models) + " |",
        "|---|" + "---|" * len(models),
    ]
    for name in targets():
        found = [" / ".join(_cell(cells.get((m, f, name))) for f in FRAMEWORKS) for m in models]
        lines.append(f"| {name} | {' | '.join(found)} |")
    return lines


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    value = f"{row.parity.sqnr_db:.0f}" if row.parity else ""
    return value if row.status == "PASS" else f"**{row.status}{' ' if value else ''}{value}**"


def bars(rows: list[Row]) -> list[str]:
    """The bars that the matrix decides, each with what was measured."""
    lines = ["| bar | asked | measured | holds |", "|---|---|---|---|"]
    for text, asked, measured, holds in [
        *_share_bars(rows),
        *_fidelity_bars(rows),
        *_int8_bars(rows),
        *_twin_bars(),
        *_evaluator_bar(),
    ]:
        lines.append(f"| {text} | {asked} | {measured} | {'yes' if holds else '**no**'} |")
    return lines


Bar = tuple[str, str, str, bool]


_load = functools.cache(target.load)


def _target(row: Row) -> target.Target:
    return _load(str(row.cell.target))


def _format(row: Row) -> str:
    return _target(row).format


def _share_bars(rows: list[Row]) -> list[Bar]:
    bars_: list[Bar] = []
    groups = [("LiteRT, ONNX Runtime, OpenVINO", SPINE, 0.92)]
    groups += [(FORMATS[kind], (kind,), share) for kind, share in SHARES.items()]
    for title, kinds, share in groups:
        own = [r for r in rows if _format(r) in kinds]
        served = [_load(name) for name in targets() if _load(name).format in kinds]
        total = len(served) * len(zoo.names()) * len(FRAMEWORKS)
        wanted = {found.proof for found in served}
        passed = sum(r.status == "PASS" and r.proof.kind in wanted for r in own)
        measured = f"{passed} of {total}" + (f", {total - len(own)} not run" if len(own) < total else "")
        text = f"{title}: cells that PASS (proof {' or '.join(sorted(wanted))})"
        bars_.append((text, f">= {share:.0%}", measured, passed >= share * total))
    return bars_


def _fidelity_bars(rows: list[Row]) -> list[Bar]:
    found = []
    for precision, least in (("fp32", 95.0), ("fp16", 55.0)):
        own = [
            (r.parity.sqnr_db, r) for r in rows if _target(r).precision == precision and r.status == "PASS" and r.parity
        ]
        if own:
            worst, row = min(own, key=lambda one: one[0])
            value = f"{worst:.0f} dB: {row.cell.model} ({row.cell.framework}) to {row.cell.target}"
            found.append((f"{precision}: least SQNR of all that PASS", f">= {least:.0f} dB", value, worst >= least))
    return found


def _static(rows: list[Row]) -> list[tuple[Row, Accuracy]]:
    return [(r, r.accuracy) for r in rows if _target(r).scheme == STATIC and r.accuracy]


def _int8_bars(rows: list[Row]) -> list[Bar]:
    found = []
    for model in TEXTURE_MODELS:
        own = [(r, a) for r, a in _static(rows) if r.cell.model == model]
        if not own:
            continue
        row, worst = max(own, key=lambda one: one[1].drop)
        said = f"{_points(worst)}: {row.cell.framework} to {row.cell.target}, n = {worst.samples}"
        found.append((f"{model}: worst drop of a {STATIC.words} file", "<= 1 point", said, worst.drop <= 0.01))
        row, best = max(own, key=lambda one: one[1].artifact)
        gap = best.artifact - min(a.artifact for _, a in own)
        value = f"{100 * gap:.2f} points below {row.cell.target}"
        found.append((f"{model}: worst {STATIC.words} format against the best", "<= 1 point", value, gap <= 0.01))
    for model in ("bert", "gpt"):
        # Perplexity's drop is relative already; top1's is in points of the float model's own.
        relative = [
            (a.drop if a.metric == "perplexity" else a.drop / a.float_, r)
            for r, a in _static(rows)
            if r.cell.model == model
        ]
        if relative:
            loss, row = max(relative, key=lambda one: one[0])
            value = f"{100 * loss:+.2f} %: {row.cell.framework} to {row.cell.target}"
            found.append((f"{model}: worst relative loss of a {STATIC.words} file", "<= 2 %", value, loss <= 0.02))
    return found


def _twin_bars(path: Path = TWINS) -> list[Bar]:
    """The same model in ExecuTorch from Keras and from PyTorch: all repeats of the newest commit that was timed."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    found: list[Bar] = []
    for model in sorted({r["model"] for r in rows}):
        own = [r for r in rows if r["model"] == model]
        own = [r for r in own if r["commit"] == max(own, key=lambda r: r["date"])["commit"]]
        share = min(r["macs_delegated_keras"] for r in own)
        name = f"{model}, Keras to {own[0]['target']}"
        found.append((f"{name}: MACs in the delegate", ">= 95%", f"{share:.0%}", share >= 0.95))
        ratio = statistics.median(r["ratio"] for r in own)
        worst = max(r["ratio_ci95"][1] for r in own)
        value = f"{ratio:.2f}, median of {len(own)} repeats, highest upper end {worst:.2f}"
        found.append((f"{name}: CPU time to that from PyTorch", "<= 1.1", value, ratio <= 1.1))
    return found


def _evaluator_bar(path: Path = EVALUATOR) -> list[Bar]:
    """The slowest of the Core ML files of tiny ``mobilenet_v2`` in the evaluator, at its newest measurement."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    newest = {(r["source"], r["target"]): r for r in rows if r["source"].startswith("mobilenet_v2@")}
    if not newest:
        return []
    worst = max(newest.values(), key=lambda r: r["wall_ms"])
    value = f"{worst['wall_ms']:.1f} ms wall: {worst['source']} to {worst['target']}"
    return [("ML Program evaluator, tiny mobilenet_v2: one sample", "<= 50 ms", value, worst["wall_ms"] <= 50)]


def _points(accuracy: Accuracy) -> str:
    return f"{100 * accuracy.drop:+.2f} points"


def page(rows: list[Row]) -> str:
    """RESULTS.md whole."""
    lines = [
        "# Results",
        "",
        "Written by `benchmarks/results_page.py` from [results/matrix.jsonl](results/matrix.jsonl); the bars against",
        "hand-written vendor calls are in [HANDMADE.md](HANDMADE.md).",
        "",
        *measured_when(rows),
        "",
        *markdown.by_format(rows),
        "",
        *matrix(rows),
        "",
        *bars(rows),
        "",
        "## Cells that do not pass, and why",
        "",
        markdown.reasons(rows) or "None.",
        "",
        f"## {STATIC.words.capitalize()}: drop on the test split (positive is worse)",
        "",
        *drops(rows),
        "",
        "## Every cell",
        "",
        *_every(rows),
    ]
    return "\n".join(lines) + "\n"


def _source(row: Row) -> str:
    return f"{row.cell.model} ({row.cell.framework})"


def drops(rows: list[Row]) -> list[str]:
    """Accuracy of the static int8 targets."""
    lines = [
        "| model | target | metric | float | artifact | drop | 95 % interval | n | agreement |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r, a in _static(rows):
        unit, scale = _UNITS.get(a.metric, ("points", 100.0))
        low, high = (scale * bound for bound in a.drop_ci95)
        agreement = "" if a.agreement is None else f"{a.agreement:.3f}"
        lines.append(
            f"| {_source(r)} | {r.cell.target} | {a.metric} | {a.float_:.4f} | {a.artifact:.4f} | "
            f"{scale * a.drop:+.2f} {unit} | {low:+.2f} to {high:+.2f} | {a.samples} | {agreement} |"
        )
    return lines


#: How a metric's drop is printed: unit and factor. Points (percent of the metric's range) for all others.
_UNITS = {"perplexity": ("%", 100.0), "si_sdr": ("%", 100.0)}


def _every(rows: list[Row]) -> list[str]:
    lines = [
        "| model | target | status | proof | route | SQNR dB | bytes | float bytes | CPU ratio to float twin, 95 % interval "
        "| flags |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        ratio = ""
        if against := r.against_float:
            ratio = f"{against.ratio:.2f}, {against.ratio_ci95[0]:.2f} to {against.ratio_ci95[1]:.2f}"
        values = [
            _source(r), r.cell.target, r.status, r.proof.kind, r.made.route,
            f"{r.parity.sqnr_db:.1f}" if r.parity else None, r.made.size_bytes, r.made.float_size_bytes, ratio,
            ", ".join(r.flags),
        ]  # fmt: skip
        lines.append("| " + " | ".join("" if v is None else str(v) for v in values) + " |")
    return lines


def passed(rows: list[Row]) -> dict[str, tuple[int, int]]:
    """Of each model, how many of its cells passed, of how many."""
    models = sorted({row.cell.model for row in rows})
    cells = {model: [row.status == "PASS" for row in rows if row.cell.model == model] for model in models}
    return {model: (sum(these), len(these)) for model, these in cells.items()}


def write() -> None:
    """Write both pages, and what `edgekit list models` says of the cells."""
    rows = newest()
    zoo.PASSED.write_text(json.dumps(passed(rows), indent=1) + "\n")
    before, _, rest = README.read_text().partition(START)
    README.write_text(f"{before}{START}\n{readme_block(rows)}\n{END}{rest.partition(END)[2]}")
    PAGE.write_text(page(rows))
