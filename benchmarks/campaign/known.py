"""Public reports of wrong results, rebuilt and converted: whether edgekit's verdict is true is found by hand.

By hand means: the file in the vendor's own runtime, on samples that edgekit has not seen, against the PyTorch module;
an ML Program in the evaluator, since nothing here ships Core ML.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from campaign.mutants import by_command
from edgekit.target import load

REPORTS = Path(__file__).parent / "reports.py"
BY_HAND = REPORTS.with_name("by_hand.py")
#: name in ``reports.py``: the report, its month, the targets that are tried.
KNOWN: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "rms_norm": ("apple/coremltools#2821", "2026-08", ("coreml-fp32", "onnxruntime-fp32")),
    "odd_conv": ("apple/coremltools#2515", "2025-05", ("coreml-fp32",)),
    "large_between": ("apple/coremltools#2603", "2025-10", ("coreml-fp16", "openvino-fp16")),
    "strided_constant": ("google-ai-edge/litert-torch#1238", "2026-09", ("tflite-fp32",)),
    "add_alpha": ("pytorch/executorch#11683", "2025-06", ("executorch-fp32",)),
    "sub_alpha": ("pytorch/executorch#11684", "2025-06", ("executorch-fp32",)),
    "same_padding": ("pytorch/executorch#20517", "2026-06", ("executorch-int8",)),
    "halves": ("pytorch/executorch#21831", "2026-08", ("executorch-int8",)),
    "product": ("pytorch/executorch#8138", "2025-02", ("executorch-int8",)),
    "windows": ("roboflow/rf-detr#1233", "2026-07", ("executorch-fp32",)),
    "residual": ("pytorch/pytorch#169178", "2025-11", ("onnxruntime-fp32",)),
    "named_as_its_operator": ("pytorch/pytorch#158094", "2025-07", ("onnxruntime-fp32",)),
    "padded_pool": ("microsoft/onnxruntime#22177", "2024-09", ("onnxruntime-fp32",)),
    "pool_and_add": ("microsoft/onnxruntime#32132", "2026-08", ("onnxruntime-int8",)),
    "transposed": ("openvinotoolkit/openvino#33397", "2025-12", ("openvino-fp32",)),
    "softsign": ("openvinotoolkit/openvino#31252", "2025-07", ("openvino-fp32",)),
    "first_of_equal": ("openvinotoolkit/openvino#30666", "2025-05", ("openvino-fp32",)),
    "cross_attention": ("google-ai-edge/LiteRT#7092", "2026-04", ("tflite-int8",)),
    "deformable": ("roboflow/rf-detr#515", "2025-12", ("openvino-fp32",)),
}  # fmt: skip
#: What a file of each precision has to reach by hand, as ``variation_db`` over all of an output.
ENOUGH_DB = {"fp32": 60.0, "fp16": 30.0, "int8": 15.0}


def rows(wanted: list[str]) -> Iterator[dict[str, Any]]:
    """One row per report and target; a verdict that is not true is a fault."""
    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
        folder = Path(scratch)
        for name, (report, month, targets) in KNOWN.items():
            for target in targets if not wanted or name in wanted else ():
                yield {"part": "reports", "report": report, "month": month, "model": name, "target": target} | _verdict(
                    folder, name, target
                )


def _verdict(folder: Path, name: str, target: str) -> dict[str, Any]:
    out = folder / f"{name}-{target}"
    given = f"{REPORTS}:{name}_data"
    arguments = ["convert", f"{REPORTS}:{name}", "--target", target, "-o", str(out), "--evaluate", given]
    if load(target).needs_calibration:
        arguments = [*arguments[:-2], "--calibrate", given]
    ended = by_command(arguments, folder, seconds=600)
    document = ended.document
    kept = document.get("artifact") or document.get("rejected")
    found = {
        "status": document.get("status"), "route": document.get("route"), "said": ended.said[:200],
        "seconds": ended.seconds, "variation_db": (document.get("parity") or {}).get("variation_db"),
    }  # fmt: skip
    if not kept:
        return found | {"by_hand_db": None, "true": document.get("status") in ("UNSUPPORTED", "FAILED") or "none kept"}
    files = [part["file"] for part in document["parts"].values()]
    command = [sys.executable, str(BY_HAND), name, target, str(Path(kept) / files[0])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return found | {"by_hand_db": None, "true": f"by hand: {done.stderr[-300:]}"}
    least = min(json.loads(done.stdout.splitlines()[-1]).values())
    right = least >= ENOUGH_DB[target.rpartition("-")[2]]
    return found | {"by_hand_db": round(least, 1), "true": right == (document["status"] == "PASS")}
