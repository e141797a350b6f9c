"""LiteRT in integers throughout: what takes all the steps of others, what is computed in float, what shares a range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_quantizer")

import edgekit
from edgekit import toolchains
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.scheme import Range
from edgekit.schemes import SCHEMES
from edgekit.toolchains import Request
from edgekit.toolchains.litert import quantize
from edgekit.toolchains.litert.graph import read_subgraphs
from edgekit.toolchains.litert.schema import packed_model

MODELS = Path(__file__).parent / "children" / "integer_models.py"


@pytest.fixture
def convert(workers: Workers, store: Store, tmp_path: Path) -> Any:
    def made(function: str, target: str, **more: Any) -> edgekit.Result:
        return edgekit.convert(
            f"{MODELS}:{function}", target, output=tmp_path / "out", latency=False, workers=workers, store=store, **more
        )

    return made


def test_tokens_of_64_bits_calibrate_a_file_that_takes_32(convert: Any) -> None:
    result = convert("counted_tokens", "tflite-int8", calibrate=f"{MODELS}:sentences")
    assert result.status == "PASS", result.reason
    assert result.parity.sqnr_db > 30


@pytest.mark.parametrize(
    ("function", "data"),
    [
        ("masked_by_infinity", "sentences"),
        ("masked_by_thousands", "sentences"),
        ("padded_norm", "sentences"),
        ("response_norm", "noise"),
    ],
)
def test_masks_padding_and_norms_leave_values_their_steps(convert: Any, function: str, data: str) -> None:
    result = convert(function, "tflite-int8", calibrate=f"{MODELS}:{data}")
    assert result.status == "PASS", result.reason
    assert result.parity.sqnr_db > 25


def test_sines_of_constants_are_none_of_an_integer_files_work(convert: Any) -> None:
    result = convert("sine_positions", "tflite-int8", calibrate=f"{MODELS}:noise")
    assert result.status == "PASS", result.reason
    assert not {"SIN", "POW", "CUMSUM"} & set(result.audit.ops_float or ())


@pytest.mark.parametrize(("function", "by"), [("counted_tokens", "RESHAPE"), ("counted_tokens_keras", "GATHER")])
def test_what_is_moved_has_the_range_that_it_is_given(convert: Any, tmp_path: Path, function: str, by: str) -> None:
    """It shares the steps of what it is moved from, or looked up in, which was given none."""
    assert convert(function, "tflite-fp32").status == "PASS"
    file = tmp_path / "out" / "model.tflite"
    (graph, *_) = read_subgraphs(packed_model(file.read_bytes(), file))
    made = [op.outputs[0] for op in graph.operators if op.type == by]
    moved = Range(next(tensor.name for tensor in made if tensor.type == "float32"), -3.0, 2.0)
    ids = np.random.default_rng(0).integers(1, 40, (8, 1, 8))
    request = Request(
        tmp_path, SCHEMES["int8"], True, {"ids": ids}, file, ("ids",), tuple(t.name for t in graph.outputs),
        ranges=(moved,),
    )  # fmt: skip
    written = quantize.static_int8(None, request).file
    found = {one.tensor: one.scale for one in toolchains.ranges_of("litert", written)}
    assert found[moved.tensor] == pytest.approx(moved.scale)
