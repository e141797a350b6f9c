"""Rows as benchmarks write them, made by hand."""

from __future__ import annotations

from typing import Any

from edgekit.bench.row import Cell, Code, Made, ParityFigures, Row
from edgekit.proof.speed.measurement import Blocks, Conditions, Measured, Operator, Spread
from edgekit.result import Accuracy, Proof

FORMATS = {
    "tflite-int8": "tflite",
    "tflite-fp32": "tflite",
    "onnxruntime-int8": "onnx",
    "coreml-int8": "coreml",
    "tensorrt-int8": "tensorrt",
}
QUIET: dict[str, Any] = dict.fromkeys(Conditions.model_fields) | {
    "interruptions_per_s": 0.0,
    "clock_drift": 0.0,
    "noisy_because": (),
}


def accuracy(artifact: float = 0.9, metric: str = "top1", *, higher: bool = True, **more: Any) -> Accuracy:
    facts: dict[str, Any] = {
        "metric": metric,
        "higher_is_better": higher,
        "samples": 2000,
        "float": 0.91,
        "checkpoint": 0.91,
        "artifact": artifact,
        "drop": 0.91 - artifact,
        "drop_ci95": (-0.01, 0.02),
        "agreement": 0.99,
    }
    return Accuracy(**facts | more)


def measured(ms: float = 1.0, *, noisy: str = "", operators: int = 0, threads: int = 1) -> Measured:
    blocks = tuple(ms * (1 + i / 100) for i in range(20))
    spread = Spread(
        n=400, min_ms=ms, p50_ms=1.1 * ms, p90_ms=1.2 * ms, p99_ms=None, mean_ms=1.1 * ms, mad_ms=0.01 * ms,
        p50_ci95_ms=(1.09 * ms, 1.11 * ms),
    )  # fmt: skip
    return Measured(
        by="ai-edge-litert 2.3.0 XNNPACK",
        unit="cpu",
        threads=threads,
        pinned_cpus=(0,),
        precision="int8",
        ops_delegated=3,
        ops_total=4,
        import_ms=None,
        load_ms=2.0,
        first_ms=3.0,
        wall=spread,
        cpu=spread,
        blocks=Blocks(calls=20, cpu_ms=blocks, wall_ms=blocks),
        peak_rss_bytes=123_456_789,
        model_rss_bytes=None,
        operators=tuple(Operator(name=f"conv_{i}", kind="CONV_2D", ms=ms / (i + 1)) for i in range(operators)),
        conditions=Conditions(**QUIET | {"noisy_because": (noisy,) if noisy else ()}),
        inputs="golden",
    )


def row(
    model: str = "lenet5", target: str | None = "tflite-int8", framework: str | None = "keras", *, proof: str = "",
    size: int | None = 1000, at: str = "2026-11-29T00:00:00Z", recipe: str | None = None, **more: Any,
) -> Row:  # fmt: skip
    kind = proof or ("stand-in" if target and target.startswith(("coreml", "tensorrt")) else "runtime")
    facts: dict[str, Any] = {
        "cell": Cell(model=model, framework=framework, recipe=recipe, target=target),
        "status": "PASS",
        "proof": Proof(kind=kind, by=None if kind == "none" else "somebody 1.0"),
        "made": Made(format=FORMATS.get(target or ""), route="ptq", size_bytes=size, float_size_bytes=4000),
        "parity": ParityFigures(sqnr_db=30.0),
        "accuracy": accuracy(),
        "code": Code(edgekit="0.1.0", commit="abc1234"),
        "processor": "a processor",
        "fingerprint": "f" * 64,
        "at": at,
    }
    return Row(**facts | more)
