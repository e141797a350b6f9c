"""Weights that lie elsewhere, and more than four megabytes of them: every reader of every format sees all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import toolchains
from edgekit.errors import DamagedFileError
from edgekit.jobs.workers import Workers
from edgekit.proof.precision import describe, shortfall
from edgekit.result import Inspected
from edgekit.schemes import SCHEMES
from tests.contract.conftest import inside

PARAMETERS = 1024 * 1024 + 1024 + 1024 * 40 + 40
LARGE = 1024 * 1024 + 1024 * 40


def _sees_everything(audit: Inspected, kind: str) -> None:
    assert audit.weight_elements[kind] >= (PARAMETERS if kind.startswith("float") else LARGE)
    assert sum(audit.weight_elements.values()) == pytest.approx(PARAMETERS, abs=8)
    assert audit.weight_bytes[kind] >= audit.weight_elements[kind] * (4 if kind == "float32" else 1)
    assert audit.macs_total == LARGE


#: The routes that make a file of it here, by toolchain, and the type that its weights are stored as.
LARGE_ONES = {
    "litert": {
        "export-litert-torch": "float32",
        "dynamic-w8a8-quantizer-nodepthwise": "int8",
        "ptq-w8a8-quantizer": "int8",
    },
    "onnx": {
        "export-torch-dynamo": "float32",
        "ptq-w8a8-qdq-matmuls": "int8",
        "dynamic-w8a8-ort-noconv-per-tensor": "int8",
    },
    "tensorrt": {"export-torch-dynamo": "float32", "ptq-w8a8-qdq": "int8"},
    "openvino": {"export-torch-trace": "float32", "weights-w8-nncf-symmetric": "int8"},
    "coreml": {"export-torch-trace": "float32", "weights-w8-coremltools": "int8"},
    "executorch": {"export-xnnpack": "float32", "dynamic-w8a8-pt2e": "int8"},
}


@pytest.fixture
def large(made: Any) -> Callable[[str], dict[str, Path]]:
    """Files of a large layer by the routes of a toolchain that are looked at here."""

    def files(toolchain: str) -> dict[str, Path]:
        return {route: file for (_, route), file in made(toolchain, "large", *LARGE_ONES[toolchain]).items()}

    return files


@pytest.mark.parametrize("toolchain", LARGE_ONES)
def test_more_than_four_megabytes_of_weights_are_seen(large: Any, toolchain: str) -> None:
    files = large(toolchain)
    for route, kind in LARGE_ONES[toolchain].items():
        _sees_everything(toolchains.audit(toolchain, files[route]), kind)


def test_weights_behind_a_flatbuffer_are_checked(large: Any, tmp_path: Path) -> None:
    from edgekit.toolchains.litert.schema import packed_model

    file = large("litert")["dynamic-w8a8-quantizer-nodepthwise"]
    content = bytearray(file.read_bytes())
    packed = packed_model(content, file)
    outside = [b for b in map(packed.Buffers, range(packed.BuffersLength())) if b.Offset() > 1]
    assert sum(buffer.Size() for buffer in outside) >= LARGE, "ai-edge-quantizer keeps them apart"
    audit = toolchains.audit("litert", file)
    assert shortfall(SCHEMES["int8-dynamic"], audit) == "" and describe(SCHEMES["int8-dynamic"], audit).startswith(
        "int8-dynamic (99% of weights int8, 100% of MACs in integers"
    )
    biases = next(b for b in outside if b.Size() == 4 * 1024)
    content[biases.Offset() : biases.Offset() + 4] = np.float32(np.nan).tobytes()
    (tmp_path / "nan.tflite").write_bytes(content)
    assert any("NaN" in finding for finding in toolchains.audit("litert", tmp_path / "nan.tflite").findings)
    (tmp_path / "cut.tflite").write_bytes(file.read_bytes()[: -LARGE // 2])
    with pytest.raises(DamagedFileError):
        toolchains.audit("litert", tmp_path / "cut.tflite")


def test_weights_beside_an_onnx_file_are_seen(large: Any, tmp_path: Path) -> None:
    import onnx

    inside = large("onnx")["ptq-w8a8-qdq-matmuls"]
    file = tmp_path / "model.onnx"
    onnx.save(onnx.load(inside), file, save_as_external_data=True, location="model.data", size_threshold=0)
    assert (tmp_path / "model.data").stat().st_size > LARGE > file.stat().st_size
    seen, whole = toolchains.audit("onnx", file), toolchains.audit("onnx", inside)
    assert seen.alone() == whole.alone()
    assert (seen.beside, whole.beside) == (("model.data",), ())


@pytest.mark.parametrize(
    ("toolchain", "route", "beside"),
    [("openvino", "export-torch-trace", "model.bin"), ("coreml", "export-torch-trace", "weight.bin")],
)
def test_weights_beside_other_files_are_seen(large: Any, toolchain: str, route: str, beside: str) -> None:
    file = large(toolchain)[route]
    (weights,) = file.parent.rglob(beside)
    assert weights.stat().st_size >= 4 * LARGE
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[: len(content) // 2])
        with pytest.raises(DamagedFileError):
            toolchains.audit(toolchain, file)
    finally:
        weights.write_bytes(content)


def test_weights_beside_an_executorch_program_are_seen(tmp_path: Path, workers: Workers) -> None:
    pytest.importorskip("executorch")
    inside(workers, "large_executorch.py", str(tmp_path), environment="torch")
    for name in ("delegate", "kernels"):
        file = tmp_path / name / "model.pte"
        (beside,) = file.parent.glob("*.ptd")
        assert beside.stat().st_size > 4 * LARGE > file.stat().st_size
        audit = toolchains.audit("executorch", file)
        _sees_everything(audit, "float32")
        assert audit.macs_quantized == audit.macs_between_activations == 0
        content = beside.read_bytes()
        for damaged in (content[: len(content) // 2], content[:8] + b"XX" + content[10:], b""):
            beside.write_bytes(damaged)
            with pytest.raises(DamagedFileError):
                toolchains.audit("executorch", file)
        beside.unlink()
        with pytest.raises(DamagedFileError, match="ptd"):
            toolchains.audit("executorch", file)
