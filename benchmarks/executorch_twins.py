"""The same model from Keras and from PyTorch in ExecuTorch: share of the delegate, and latency against each other.

    python benchmarks/executorch_twins.py [--models mobilenet_v2 unet] [--targets executorch-fp32] [--repeats 5]

Both are converted and proven by ``edgekit.convert``, then timed in turns in one child, in CPU time, on one thread.
One row per repeat is appended to ``benchmarks/results/executorch_twins.jsonl``; the bars are at least 95 % of the
multiply-accumulates inside the delegate and a latency within 1.1 times of the twin's from PyTorch.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import edgekit
from edgekit.jobs.host import host
from edgekit.jobs.workers import Workers
from edgekit.schemes import SCHEMES

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "executorch_twins.jsonl"


def timed(torch_file: str, keras_file: str, precision: str) -> dict[str, Any]:
    """Runs in the runtime's child: what is delegated in each file, and the one's latency against the other's."""
    import numpy as np

    from edgekit import toolchains
    from edgekit.proof import latency
    from edgekit.toolchains.executorch.audit import inspect

    bound, shares = [], []
    for file in (Path(torch_file), Path(keras_file)):
        inside, total = inspect(file).macs()
        shares.append(inside / total)
        session: Any = toolchains.open_session("executorch", file, toolchains.Options(SCHEMES[precision]))  # type: ignore[arg-type]
        rng = np.random.default_rng(0)
        inputs = toolchains.audit("executorch", file).inputs
        bound.append(session.bind({t.name: rng.random(t.shape).astype(t.dtype) for t in inputs}))
    found = asdict(latency.measure(*bound))
    return {
        "macs_delegated_torch": shares[0],
        "macs_delegated_keras": shares[1],
        "torch_cpu_ms": found["float_cpu_ms"],
        "keras_cpu_ms": found["artifact_cpu_ms"],
        "ratio": found["ratio"],
        "ratio_ci95": list(found["ratio_ci95"]),
        "noisy": found["noisy"],
        "blocks": found["blocks"],
        "wall_over_cpu": found["wall_over_cpu"],
    }


def main() -> None:
    """Convert, time, append."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=["mobilenet_v2", "unet"])
    parser.add_argument("--targets", nargs="*", default=["executorch-fp32"])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    stamp = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit.stdout.strip(),
        "host": host().processor,
    }
    for model in arguments.models:
        for name in arguments.targets:
            with tempfile.TemporaryDirectory() as scratch:
                files, precision = {}, ""
                with Workers() as workers:
                    for framework in ("torch", "keras"):
                        folder = Path(scratch) / framework
                        result = edgekit.convert(f"{model}@{framework}", name, output=folder, workers=workers)
                        if result.status != "PASS":
                            raise SystemExit(f"{model} from {framework} to {name}: {result.status} {result.reason}")
                        files[f"{framework}_file"] = str(folder / next(iter(result.parts.values())).file)
                        precision = result.precision
                for repeat in range(arguments.repeats):
                    with Workers() as workers:  # a fresh process each time: memory lies differently
                        request = {**files, "precision": precision}
                        measured = workers.call("runtime", "benchmarks.executorch_twins:timed", request).value
                    row = stamp | {"model": model, "target": name, "repeat": repeat} | measured
                    print(json.dumps(row), flush=True)
                    with RESULTS.open("a") as stream:
                        stream.write(json.dumps(row, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
