"""Does the ranking of `edgekit sensitivity` hold the loss? The costliest third is kept in float, and the rest measured.

    python -m benchmarks.sensitivity [--sources resnet@torch ...] [--again] [--greedy]

A row per cell in ``benchmarks/results/sensitivity.jsonl``: the noise (power of the error against that of the answers'
variation) and the drop of all layers quantized, of the costliest third in float, and of as many others in float, drawn
by lot. *Expected* is the share that the costliest third has in the noises of all layers, each measured alone: costs of
layers add up in them, so that no other third can be expected to hold more. ``--greedy`` also searches a third by making
a file for every layer that could be kept next, and keeping the best. Everything is measured on selection samples: this
is what chooses.
"""

from __future__ import annotations

import argparse
import datetime
import glob
import json
import random
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import api
from edgekit import target as targets
from edgekit.conversion import sensitivity, trying
from edgekit.conversion.candidate import Candidate
from edgekit.conversion.order import Order
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.pipeline import prepare
from edgekit.scheme import Rule
from edgekit.sources import source as sources

RESULTS = Path(__file__).parent / "results" / "sensitivity.jsonl"
#: Source and target; in 4 bits weights are rounded to the nearest here, so that there is a loss.
CELLS = (
    ("resnet@torch", "tflite-int4"),
    ("mobilenet_v2@torch", "tflite-int4"),
    ("unet@torch", "tflite-int4"),
    ("mobilenet_v3@torch", "tflite-int4"),
    ("char_llama@torch", "tflite-int4"),
    ("char_llama@torch", "onnxruntime-int4"),
    ("char_llama@torch", "onnxruntime-int8"),
    ("mobilenet_v2@torch", "onnxruntime-int8"),
)


def measured(source: str, name: str, workers: Workers, store: Store, *, greedy: bool) -> dict[str, Any]:
    """One cell: costs of layers, and what keeping a third of them in float leaves."""
    found, target = sources.resolve(source), targets.load(name)
    rounding = "nearest" if target.scheme.weights == "int4" else None
    order = Order(found, target, api.plan_for(found, None, None, "top1"), latency=False, rounding=rounding)
    with store.lease() as lease:
        run = Run(workers, lease, lambda event, label: None)
        trial = prepare(run, order)
        planned = trying.plan(run, trial)
        costs = sensitivity.measure(run, trial, planned)
        route = next(r for r in planned.routes if r.name == costs.route and not r.passed_over)
        third = max(1, len(costs.layers) // 3)
        drawn = random.Random(0).sample(costs.layers[third:], third)

        def kept(layers: list[sensitivity.Cost]) -> sensitivity.Cost:
            rules = tuple(Rule(name=glob.escape(cost.names[0]), becomes="float") for cost in layers)
            asked = replace(trial, order=replace(order, rules=rules))
            part = trying.make_part(run, asked, "model", planned.of_part("model"), route)
            candidate = Candidate(route.name, "PASS", parts={"model": part})
            return sensitivity.cost(run, asked, candidate)

        top, others = kept(list(costs.layers[:third])), kept(drawn)
        searched: list[sensitivity.Cost] = []
        for _ in range(third if greedy else 0):
            left = [layer for layer in costs.layers if layer not in searched]
            searched.append(min(left, key=lambda layer: kept([*searched, layer]).noise))
        found_by_search = kept(searched).noise if searched else None
    whole = costs.whole
    lost = whole.noise - costs.rest.noise
    alone = [max(0.0, cost.noise - costs.rest.noise) for cost in costs.layers]
    return {
        "source": source, "target": name, "route": costs.route, "metric": costs.metric, "n": costs.samples,
        "layers": len(costs.layers), "third": third,
        "drop": {"whole": whole.drop, "third_in_float": top.drop, "others_in_float": others.drop},
        "noise": {"whole": whole.noise, "third_in_float": top.noise, "others_in_float": others.noise},
        "noise_held": 1 - (top.noise - costs.rest.noise) / lost,
        "noise_held_by_search": None if found_by_search is None else 1 - (found_by_search - costs.rest.noise) / lost,
        "noise_expected": sum(sorted(alone)[-third:]) / sum(alone),
        "drop_held": 1 - (top.drop or 0) / whole.drop if whole.drop and whole.drop > 0 else None,
        "costliest": [cost.called for cost in costs.layers[:third]],
    }  # fmt: skip


def main() -> None:
    """Measure the cells that have no row of this commit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--again", action="store_true", help="also those that have a row")
    parser.add_argument("--sources", nargs="+", default=[source for source, _ in CELLS], help="all by default")
    parser.add_argument("--greedy", action="store_true", help="search a third, too: a file per layer and step")
    given = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    done = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    with Workers() as workers:
        for source, target in CELLS:
            if source not in given.sources:
                continue
            if not given.again and any((row["source"], row["target"]) == (source, target) for row in done):
                continue
            row = measured(source, target, workers, Store(), greedy=given.greedy)
            row |= {"commit": commit, "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")}
            with RESULTS.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(json.dumps(row))


if __name__ == "__main__":
    main()
