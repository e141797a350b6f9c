"""Peak memory of calibrating on 100 and on 5,000 samples: how much of the samples a conversion holds.

    python benchmarks/calibration_memory.py [--json] [TOOLCHAIN ...] [KIND OF DATA ...]

One static route per toolchain and plan, on one network of two convolutions, whose inputs of 3 x 96 x 96 take 110 KB
each: 11 MB against 553 MB. Then the step that reads the user's own samples, checks them and draws from them, for each
kind of data: inputs of 3 x 64 x 64, 49 KB each, of which every one is kept that the plan allows.

Each cell is a fresh process. Its peak is the kernel's own count (``VmHWM``, Linux): all resident pages, those of mapped
files as well as anonymous ones, the framework, the runtime and the model included. The bar is 1.2 times.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import toolchains
from edgekit.data import rows
from edgekit.ranges import plans
from edgekit.schemes import FP32, SCHEMES
from edgekit.sources.source import Source
from edgekit.toolchains import Request

ROOT = Path(__file__).parents[1]
BAR = 1.2
COUNTS = (100, 5000)
SHAPE = (1, 3, 96, 96)
PLANS = ("tool", "entropy")
#: Toolchain -> the route that writes its float file, and the one that is measured.
ROUTES = {
    "litert": ("export-litert-torch", "ptq-w8a8-quantizer"),
    "onnx": ("export-torch-dynamo", "ptq-w8a8-qdq"),
    "openvino": ("export-torch-export", "ptq-w8a8-nncf"),
    "executorch": ("export-xnnpack", "ptq-w8a8-pt2e"),
    "tensorrt": ("export-torch-dynamo", "ptq-w8a8-qdq"),
    "coreml": ("export-torch-export", "ptq-w8a8-pt2e"),
}
#: Kind of the user's data -> the name that ``--calibrate`` gets.
DATA = {"npz": "{}.npz", "npz-compressed": "{}-small.npz", "images": "{}", "function": "samples.py:of_{}"}
SIDE = 64
FUNCTION = f"""
import numpy as np

def of(count):
    generator = np.random.default_rng(0)
    for _ in range(0, count, 10):
        yield {{"x": generator.standard_normal((10, 3, {SIDE}, {SIDE})).astype(np.float32)}}
"""
PREPROCESSING = f'schema = 1\nsize = [{SIDE}, {SIDE}]\nlayout = "channels_first"\nscale = 0.00392156862745098\n'
MODEL = """
from torch import nn

def model():
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5))
    return nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(), head).eval()
"""


def samples(file: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    rows.write(
        file, "x/", ({"input": generator.standard_normal((1, *SHAPE[1:])).astype(np.float32)} for _ in range(count))
    )


def convert(toolchain: str, route: str, folder: Path, plan: str, count: int) -> Path:
    """Convert by one route, in this process."""
    from edgekit.signature import TensorSpec

    chosen = toolchains.routes(toolchain)[route]
    floats = route.startswith("export-")
    loaded = None
    if not chosen.quantizes_file:
        from edgekit.frameworks import torch

        spec = (TensorSpec("input", SHAPE, "float32"),)
        loaded = torch.load(
            Source("two", "python", "torch", "two", "0" * 64, folder / "two.py", function="model", inputs=spec)
        )
    calibration = None
    if not floats:
        calibration = {"input": rows.stored(folder / f"{count}.npz", "x/")["input"].of_shape(SHAPE)}
    into = folder / toolchain / f"{route}-{plan}-{count}"
    into.mkdir(parents=True)
    float_file = next((file for file in (folder / toolchain / "float").glob("*") if file.suffix != ".bin"), None)
    request = Request(
        into, FP32 if floats else SCHEMES["int8"], False, calibration, float_file, ("input",), ("output",), "iOS18",
        estimator=plans.load(plan),
    )  # fmt: skip
    return toolchains.convert(chosen, loaded, request).file


def data(folder: Path, kind: str, count: int) -> Path:
    """Make the user's data; a sample is ``(3, SIDE, SIDE)``, float32 or pixels."""
    generator = np.random.default_rng(0)
    path = folder / DATA[kind].format(count)
    if kind == "images":
        import cv2

        path.mkdir()
        (path / "preprocess.toml").write_text(PREPROCESSING)
        for number in range(count):
            cv2.imwrite(str(path / f"{number}.png"), generator.integers(0, 255, (SIDE, SIDE, 3), np.uint8))
    elif kind == "function":
        with Path(str(path).partition(":")[0]).open("a") as file:
            file.write("" if file.tell() else FUNCTION)
            file.write(f"def of_{count}():\n    return of({count})\n")
    else:
        save = np.savez_compressed if kind == "npz-compressed" else np.savez
        save(path, x=generator.standard_normal((count, 3, SIDE, SIDE)).astype(np.float32))
    return path


def read(given: str, folder: Path, most: int) -> None:
    """Make the calibration samples of what was handed in, in this process."""
    from edgekit.data.plan import DataPlan
    from edgekit.signature import WHOLE, Signature, TensorSpec
    from edgekit.steps import samples

    takes = Signature((TensorSpec("x", (1, 3, SIDE, SIDE)),), (TensorSpec("y", (1, 5)),))
    folder.mkdir()
    samples.run(
        folder, samples.Request(DataPlan(calibrate=given, calibration_count=most), "calibration", {WHOLE: takes})
    )


def peak(arguments: list[str]) -> int:
    """Peak bytes of a process of its own."""
    variables = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_BACKEND": "torch",
    }
    done = subprocess.run(
        [sys.executable, __file__, "--one", *arguments], env=variables, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return int(done.stdout.splitlines()[-1])


def measured(toolchain: str, folder: Path, counts: tuple[int, int] = COUNTS) -> list[dict[str, Any]]:
    """One row per plan."""
    export, route = ROUTES[toolchain]
    peak([toolchain, export, str(folder), "tool", "0"])
    (folder / toolchain / f"{export}-tool-0").rename(folder / toolchain / "float")
    found = []
    for plan in PLANS:
        few, many = (peak([toolchain, route, str(folder), plan, str(count)]) for count in counts)
        row = {"toolchain": toolchain, "route": route, "plan": plan, "few": counts[0], "many": counts[1]}
        found.append(
            {**row, "few_bytes": few, "many_bytes": many, "ratio": round(many / few, 3), "holds": many / few <= BAR}
        )
    return found


def measured_data(kind: str, folder: Path, counts: tuple[int, int] = COUNTS) -> dict[str, Any]:
    """The row of one kind of data."""
    folder.mkdir()
    given = [data(folder, kind, count) for count in counts]
    few, many = (peak([kind, "", str(folder), str(path), str(counts[-1])]) for path in given)
    row = {"step": "samples", "data": kind, "few": counts[0], "many": counts[1]}
    return {**row, "few_bytes": few, "many_bytes": many, "ratio": round(many / few, 3), "holds": many / few <= BAR}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="*", default=[*ROUTES, *DATA])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        cell, route, folder, given, count = arguments.one
        if cell in DATA:
            read(given, Path(folder) / "made", int(count))
            shutil.rmtree(Path(folder) / "made")
        else:
            convert(cell, route, Path(folder), given, int(count))
        # Not ``ru_maxrss``: a process takes over that of the one that started it.
        print(1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "two.py").write_text(MODEL)
        if set(arguments.cells) & set(ROUTES):
            for count in COUNTS:
                samples(folder / f"{count}.npz", count)
        for cell in arguments.cells:
            for row in [measured_data(cell, folder / cell)] if cell in DATA else measured(cell, folder):
                shown = "{:14} {:20} {:8} {few_bytes:>12} {many_bytes:>12} {ratio:6}".format(
                    cell, row.get("route", "samples"), row.get("plan", ""), **row
                )
                print(
                    json.dumps(row) if arguments.json else f"{shown} {'' if row['holds'] else 'above the bar'}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
