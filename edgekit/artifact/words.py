"""A result in words and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgekit.proof import metrics
from edgekit.proof.judge import SMALLEST_FLOAT_MS
from edgekit.proof.parity import FEWEST, FEWEST_PER_CHANNEL
from edgekit.result import Accuracy, Result
from edgekit.result.parity import Parity
from edgekit.schemes import FP32


def _bytes(size: int | None) -> str:
    if size is None:
        return "not measured"
    return f"{size / 1e6:.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def facts(result: Result) -> list[tuple[str, str]]:
    """The rows of the table: what was measured, in words; what was not says so. Without a file there is none of it."""
    asked = [
        ("target", f"{result.target} ({result.format})"),
        *(("target file", f"{t.path} (SHA-256 {t.sha256[:16]}...)") for t in result.target_files if t.path),
    ]
    if not result.parts and result.precision_reached is None:
        return [*asked, ("file", "none: no route made one")]
    return [
        *asked,
        ("precision reached", result.precision_reached or "not measured"),
        ("proof", f"{result.proof.kind}: {result.proof.by}" if result.proof.by else "none"),
        ("parity", _parity(result)),
        *([("second opinion", f"{result.source.second.words}")] if result.source.second else []),
        ("accuracy", _accuracy(result)),
        ("agreement", _agreement(result)),
        ("size", f"{_bytes(result.float_size_bytes)} -> {_bytes(result.size_bytes)}"),
        ("latency", _latency(result)),
        ("ops delegated", _delegated(result)),
        *(("pruning", said) for said in (result.gain.words if result.gain else ())),
    ]


def status(result: Result) -> str:
    """The status as it is printed: a PASS that rests on a stand-in says so."""
    if result.status == "PASS" and result.proof.kind == "stand-in":
        return f"PASS (stand-in: {result.proof.by})"
    return result.status


def _parity(result: Result) -> str:
    p = result.parity
    if p is None:
        return "not measured"
    on = "generated inputs (no data given)" if p.inputs == "generated" else "sequences" if p.drift else "samples"
    of = {name: one for name, one in p.per_output.items() if one.equal is None} or p.per_output
    several = len(p.per_output) > 1
    worst = min(of, key=lambda name: of[name].sqnr_db, default="")
    figures = f"SQNR {p.sqnr_db:.1f} dB{f' (output {worst}, the worst of {len(p.per_output)})' if several else ''}"
    figures += f", cosine {p.cosine:.5f}"
    if p.variation_db is not None:
        figures += f", variation {p.variation_db:.1f} dB{_output(p, 'variation') if several else ''}"
    elif p.samples < FEWEST:
        figures += f", variation not measured (fewer than {FEWEST} samples)"
    if p.channel_db is not None:
        figures += f" (worst channel {p.channel_db:.1f} dB{_output(p, 'channel') if several else ''})"
    elif FEWEST <= p.samples < FEWEST_PER_CHANNEL:
        figures += f", channels hardly judged (fewer than {FEWEST_PER_CHANNEL} samples)"
    text = f"{figures} against {p.reference}, {p.samples} {on}"
    if (d := p.drift) is None:
        return text
    return f"{text} of {d.steps} steps each; first 20 steps {d.first20_db:.1f} dB, last 20 {d.last20_db:.1f} dB"


def _output(p: Parity, figure: Literal["variation", "channel"]) -> str:
    """The output that the worst of a figure is of."""
    told: dict[str, float] = {}
    for name, one in p.per_output.items():
        value = one.variation_db if figure == "variation" else one.channel.db if one.channel else None
        if value is not None:
            told[name] = value
    return f" of output {min(told, key=lambda name: told[name])}" if told else ""


def _read(result: Result, outputs: Sequence[str]) -> str:
    """Which outputs were read, of a model that has several."""
    count = sum(len(part.outputs) for part in result.parts.values())
    return f" of output {', '.join(outputs)}" if outputs and count > 1 else ""


def _accuracy(result: Result) -> str:
    a = result.accuracy
    if a is None:
        if result.status in ("FAIL_PARITY", "UNDECIDED"):
            return "not measured: parity comes first"
        unlabelled = "no labelled samples; the status rests on parity alone"
        return f"not measured: {unlabelled}" if result.parity else "not measured"
    low, high = (100 * bound for bound in a.drop_ci95)
    interval = f"95 % interval {low:+.2f} to {high:+.2f}"
    # An answer that does not look at the samples:
    trivial = "" if a.trivial is None else f"; trivial {_value(a.metric, a.trivial)}"
    values = f"{_value(a.metric, a.float_)} -> {_value(a.metric, a.artifact)}"
    split = "" if a.split == "test" else f" of {a.split}"
    scored = f"{a.metric}{_read(result, a.outputs)} {values}"
    return f"{scored}, drop {drop(a)} ({interval}, n = {a.samples}{split}{trivial})"


def drop(accuracy: Accuracy) -> str:
    """What the file loses, in the unit that the limit has."""
    unit = "%" if metrics.metric(accuracy.metric).family == "relative" else " points"
    return f"{100 * accuracy.drop:+.2f}{unit}"


def _value(metric: str, value: float) -> str:
    unit = metrics.metric(metric).unit
    return f"{value:.2%}" if unit == "%" else f"{value:.4f}{unit}"


def _agreement(result: Result) -> str:
    a = result.accuracy
    if a is not None and a.agreement is not None:
        return f"{a.agreement:.2%} with the float model{' before its training' if result.recipe else ''}"
    if (same := result.agreement) is None:
        return "not measured"
    of = _read(result, [same.output] if same.output else [])
    return f"{same.share:.2%}{of} with the float model on {same.samples} samples without labels"


def _latency(result: Result) -> str:
    t = result.latency
    if t is None:
        return "is the float twin" if result.precision == FP32.name else f"not measured: {_untimed(result)}"
    words = {
        "FASTER": "faster than its float twin",
        "SLOWER": "SLOWER than its float twin",
        "SAME": "as fast as its float twin",
        "TOO_SMALL_TO_TELL": f"not judged: below {SMALLEST_FLOAT_MS:g} ms the float twin's time is mostly the call",
    }
    low, high = t.ratio_ci95
    return (
        f"{_ms(t.float_cpu_ms)} -> {_ms(t.artifact_cpu_ms)} CPU ms, ratio {t.ratio:.2f} "
        f"(95 % interval {low:.2f} to {high:.2f}), {words.get(t.verdict or '', 'not judged')}"
    )


def _ms(value: float) -> str:
    """Three digits that count, also of a time far below a millisecond."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _untimed(result: Result) -> str:
    """Why there is no latency."""
    if result.proof.kind == "none":
        return "nothing here executed it"
    if result.proof.kind == "stand-in":
        return f"the time of a stand-in ({result.proof.by}) says nothing about the runtime"
    return "only what may be handed out is timed"


def _delegated(result: Result) -> str:
    if result.audit is None:
        return "not measured"
    if result.audit.ops_delegated is None:
        return f"this runtime has no delegate ({result.audit.ops_total} ops)"
    return f"{result.audit.ops_delegated}/{result.audit.ops_total}"


_FLAGS = {
    "SLOWER": "slower than its float twin",
    "LARGER": "larger than its float twin",
    "WEAK_SOURCE": "the float model beats no trivial answer on these samples: its accuracy proves nothing",
    "NOISY": "the machine was too noisy to time it well",
    "ESTIMATE": "parity on generated inputs only; pass --calibrate and --evaluate for proof on real data",
    "CUSTOM_GATE": "judged by limits of your own, looser than the packaged ones",
    "CUSTOM_TARGET": "a file of your own stands in for a packaged target of the same name",
}


def flags(result: Result) -> list[tuple[str, str]]:
    """Each flag with what it means."""
    meanings = {**_FLAGS, "REUSED": _reused(result)}
    return [(flag, meanings[flag]) for flag in result.flags]


def _reused(result: Result) -> str:
    """What of a result comes from the store, measurements first: they are of their day."""
    t = result.latency
    if t is None:
        return "nothing was run again: all results come from the store"
    if t.reused:
        at = f"{t.measured_at[:16].replace('T', ' ')} UTC" if t.measured_at else "at an unknown time"
        return f"the latency was not measured again: it is from the store, measured {at}"
    return "the latency of other routes was not measured again; `measured_at` of `routes_tried` says when it was"
