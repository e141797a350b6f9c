"""How a row is said: signs, figures with units, names. Every reader (page, Markdown, pictures) says it alike."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable

from edgekit.bench.row import Row
from edgekit.errors import UsageError, printable
from edgekit.proof import metrics
from edgekit.result import Status

#: Formats in the order of tables, as people call their runtimes.
FORMATS = {
    "tflite": "LiteRT", "onnx": "ONNX Runtime", "openvino": "OpenVINO", "executorch": "ExecuTorch", "coreml": "Core ML",
    "tensorrt": "TensorRT",
}  # fmt: skip

#: Of each status its sign and what it means; signs tell them apart without colours.
STATUSES: dict[Status, tuple[str, str]] = {
    "PASS": ("✓", "the file was executed, and is as close and as accurate as it must be"),
    "FAIL_PARITY": ("✗ parity", "its outputs are too far from the float model's"),
    "FAIL_ACCURACY": ("✗ acc", "it is less accurate than it may be"),
    "FAIL_PRECISION": ("✗ prec", "it is not in the precision that it claims"),
    "FAIL_INTEGRITY": ("✗ seal", "it is not what was sealed"),
    "UNDECIDED": ("?", "too few samples to tell"),
    "FAILED": ("! failed", "a tool raised, crashed or took too long"),
    "UNSUPPORTED": ("∅", "the format or its tools cannot"),
    "NOT_RUN": ("–", "there is no such runtime or device here"),
}

#: Of each kind of proof its sign and what it means.
PROOFS = {
    "runtime": ("●", "executed in the runtime that ships it"),
    "stand-in": ("◐", "executed by something else, which is named"),
    "none": ("○", "executed by nobody"),
}

NOT_MEASURED = "not measured"
#: Characters of a file's name.
LONGEST = 120


def name(row: Row) -> str:
    """Whom a row is about beside its model: target and where it comes from."""
    cell = row.cell
    return " ".join(
        filter(None, (cell.target or "a file", cell.recipe, f"({cell.framework})" if cell.framework else ""))
    )


def model(row: Row) -> str:
    """The line of a row in a matrix."""
    return f"{row.cell.model} + {row.cell.recipe}" if row.cell.recipe else row.cell.model


def kind(row: Row) -> str:
    """The format of a row's file; an empty string where nobody knows."""
    return row.made.format or ""


def title(name: str) -> str:
    """A format as people call its runtime."""
    return FORMATS.get(name, name or "other files")


def by_format(names: Iterable[str]) -> list[str]:
    """Formats in the order of tables."""
    known = list(FORMATS)
    return sorted(set(names), key=lambda name: (known.index(name) if name in known else len(known), name))


def status(row: Row) -> str:
    """The status in full: a PASS that rests on a stand-in says so."""
    if row.status == "PASS" and row.proof.kind == "stand-in":
        return f"PASS (stand-in: {row.proof.by})"
    return row.status


def marks(row: Row) -> str:
    """The flags of a row, NOISY among them where its own measurement is."""
    own = ("NOISY",) if row.measured and row.measured.noisy else ()
    return ", ".join(dict.fromkeys((*row.flags, *own)))


def noisy(row: Row) -> bool:
    """Whether the machine was disturbed while the row was measured: it is shown, and compared with none."""
    return "NOISY" in row.flags or bool(row.measured and row.measured.noisy)


def amount(metric: str, value: float) -> str:
    """A value of a metric in its unit."""
    unit = _unit(metric)
    return f"{value:.2%}".replace("%", " %") if unit == "%" else f"{value:.4f}{unit}"


def _unit(metric: str) -> str:
    try:
        return metrics.metric(metric).unit
    except UsageError:  # of another release, or of a plug-in that is not here
        return ""


def accuracy(row: Row) -> str | None:
    """The metric of the file."""
    return None if row.accuracy is None else amount(row.accuracy.metric, row.accuracy.artifact)


def drop(row: Row) -> str | None:
    """How much worse the file is than the float model, with its interval; positive is worse."""
    a = row.accuracy
    if a is None:
        return None
    try:
        relative = metrics.metric(a.metric).family == "relative"
    except UsageError:
        relative = False
    low, high = (100 * bound for bound in a.drop_ci95)
    return f"{100 * a.drop:+.2f}{' %' if relative else ''} [{low:+.2f}, {high:+.2f}]"


def size(bytes_: int | None) -> str | None:
    """A size as a person reads it."""
    if bytes_ is None:
        return None
    if bytes_ >= 10**9:
        return f"{bytes_ / 1e9:.2f} GB"
    return f"{bytes_ / 1e6:.2f} MB" if bytes_ >= 10**6 else f"{bytes_ / 1e3:.1f} kB"


def milliseconds(value: float | None) -> str | None:
    """A time with as many digits as tell something."""
    if value is None:
        return None
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def latency(row: Row) -> str | None:
    """The median of the steady state with its interval, in milliseconds of wall time."""
    if row.measured is None:
        return None
    wall = row.measured.wall
    interval = ""
    if wall.p50_ci95_ms is not None:
        low, high = map(milliseconds, wall.p50_ci95_ms)
        interval = f" [{low}, {high}]"
    return f"{milliseconds(wall.p50_ms)} ms{interval}"


def ratio(row: Row) -> str | None:
    """CPU time beside the float twin's, with its interval."""
    if row.against_float is None:
        return None
    low, high = row.against_float.ratio_ci95
    return f"{row.against_float.ratio:.2f} [{low:.2f}, {high:.2f}]"


def file_name(title: str, taken: Collection[str]) -> str:
    """A title as the name of a file, without its ending, unlike all that are taken."""
    name = re.sub(r"[^A-Za-z0-9.+-]+", "_", title).strip("_.")[:LONGEST] or "unnamed"
    numbered = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(one for one in numbered if one not in taken)


def shown(value: str) -> str:
    """A name of others: what cannot be printed is shown as its escape."""
    return printable(value)
