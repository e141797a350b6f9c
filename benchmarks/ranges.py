"""How many calibration samples are enough, by which estimator: fixed cells, judged on selection.

    python -m benchmarks.ranges            measures what has no row yet; stopped, it goes on where it was
    python -m benchmarks.ranges --table    prints the tables of calibration/README.md from the rows

Cells are ``CELLS`` x ``PLANS`` x ``COUNTS``: one route each, always the same, so that nothing but ranges differs. The
samples are the first of the task's calibration split; figures are of the whole selection split, and the test split is
not made. A plan is taken as packaged, but for its number of samples and its least one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import rows
from edgekit import api, pipeline, target
from edgekit.conversion import loading, trying
from edgekit.conversion.order import Order
from edgekit.conversion.trying import Trial
from edgekit.errors import EdgekitError
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.ranges import plans
from edgekit.sources import source as sources

RESULTS = rows.RESULTS / "ranges.jsonl"
COUNTS = (8, 32, 128, 256)
PLANS = ("minmax", "percentile-99.99", "entropy", "mse")
#: Target -> route by model, where one differs from the first. The denoiser's samples are steps of sequences.
ROUTES = {
    "onnxruntime-int8": {"": "ptq-w8a8-qdq", "gpt": "ptq-w8a8-qdq-matmuls", "denoiser_rnn": "ptq-w8a8-qdq-matmuls"},
    "tflite-int8": {"": "ptq-w8a8-quantizer", "gpt": "ptq-w8a8-quantizer-matmuls"},
    "openvino-int8": {"": "ptq-w8a8-nncf"},
}
CELLS = [
    (model, name, routes.get(model, routes[""]))
    for model in ("resnet", "gpt", "mobilenet_v2", "denoiser_rnn")
    for name, routes in ROUTES.items()
]


def measured(model: str, name: str, route: str, workers: Workers) -> Iterator[dict[str, Any]]:
    """A row for each plan and count that has none."""
    found = sources.resolve(f"{model}@torch")
    known = {key(json.loads(line)) for line in RESULTS.read_text().splitlines()} if RESULTS.exists() else set()
    with Store().lease() as lease:
        run = Run(workers, lease, lambda _event, _label: None)
        for count in COUNTS:
            for plan in PLANS:
                row: dict[str, Any] = {"model": model, "target": name, "route": route, "plan": plan, "count": count}
                if key(row) in known:
                    continue
                estimator = replace(plans.load(plan), samples=count, least=1)
                data = replace(api.plan_for(found, None, None, "top1"), calibration_count=count)
                order = Order(found, target.load(name), data, latency=False, allow_mixed=True, ranges=estimator)
                try:
                    yield row | figures(run, order, route) | rows.stamp()
                except EdgekitError as error:
                    yield row | {"status": "ERROR", "reason": str(error)} | rows.stamp()


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("model", "target", "route", "plan", "count"))


def figures(run: Run, order: Order, route: str) -> dict[str, Any]:
    """What one route's file is worth on selection."""
    checkpoint = loading.load(run, order)
    calibration, selection = pipeline.gather(run, order, checkpoint)
    trial = Trial(order, checkpoint, calibration, selection)
    trial = replace(trial, twin=pipeline.float_twin(run, trial))
    planned = trying.plan(run, trial)
    made = trying.try_route(run, trial, planned, next(one for one in planned.routes if one.name == route))
    found: dict[str, Any] = {"status": made.status, "reason": made.reason}
    if made.evidence is not None:
        parity, accuracy = made.evidence.parity, made.evidence.accuracy
        found |= {
            "sqnr_db": round(parity.sqnr_db, 2),
            "variation_db": parity.variation_db and round(parity.variation_db, 2),
        }
        if accuracy is not None:
            found |= {"metric": accuracy.metric, "samples": accuracy.samples, "float": accuracy.float_}
            found |= {"artifact": accuracy.artifact, "drop": accuracy.drop, "drop_ci95": list(accuracy.drop_ci95)}
    return found


def table() -> None:
    """SQNR in dB and drop of the metric, one table per target."""
    known = {key(row): row for row in map(json.loads, RESULTS.read_text().splitlines())}
    for name in ROUTES:
        print(f"\n### {name}\n\n| model, metric (n) | plan | " + " | ".join(map(str, COUNTS)) + " |")
        print("|---|---|" + "---|" * len(COUNTS))
        for model, target_name, route in CELLS:
            if target_name != name:
                continue
            for plan in PLANS:
                here = [known.get((model, name, route, plan, count)) for count in COUNTS]
                if said := next((row for row in here if row and "metric" in row), None):
                    title = f"{model}, {said['metric']} ({said['samples']})" if plan == PLANS[0] else ""
                    print(f"| {title} | {plan} | " + " | ".join(map(shown, here)) + " |")


def shown(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    if "sqnr_db" not in row:
        return str(row["status"])
    return f"{row['sqnr_db']:.1f} dB, {100 * row['drop']:+.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true")
    if parser.parse_args().table:
        table()
        return
    with Workers() as workers, Path(RESULTS).open("a") as stream:
        for cell in CELLS:
            for row in measured(*cell, workers):
                stream.write(json.dumps(row, sort_keys=True) + "\n")
                stream.flush()
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
