"""Targets of 4 bits: what the vendor's own reader finds in a file, what stays higher, what lies on a grid already.

The graph is ``four_bits.py``'s: linear layers of 64 -> 128 -> 48 -> 64 -> 10, of which the first two lie on a grid.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit import target, toolchains
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from tests.contract.conftest import inside, parameters

#: An artifact that lies where another one would go.
EARLIER = Path(__file__).parent / "artifacts" / "0.1.0" / "onnxruntime-int8"
FIRST, SECOND, THIRD, LAST = 128 * 64, 48 * 128, 64 * 48, 10 * 64
#: By toolchain and route: how the audit calls the elements, and whether the third layer has them: blocks do not divide
#: its 48 channels, a palette for each of 48 weights pays.
ROUTES = {
    ("executorch", "dynamic-w4a8-pt2e"): ("int4", False),
    ("coreml", "weights-w4-coremltools"): ("int4", False),
    ("coreml", "weights-lut4-coremltools"): ("lut4", True),
    ("tensorrt", "weights-w4-onnx"): ("int4", False),
}
#: Its programs take longest; cells of the matrix in 4 bits are lowered to ExecuTorch in every run.
CASES = parameters(ROUTES, lambda route: route[0] == "executorch")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> Any:
    """By ``ROUTE REQUEST`` what ``four_bits.py`` found."""
    found: dict[str, dict[str, Any]] = {}

    def of(toolchain: str) -> dict[str, Any]:
        if toolchain not in found:
            folder: Path = tmp_path_factory.mktemp(toolchain)
            inside(workers, "four_bits.py", toolchain, str(folder), environment="torch")
            found[toolchain] = json.loads((folder / "outcome.json").read_text())
        if "missing" in found[toolchain]:
            pytest.skip(f"{found[toolchain]['missing']} is not installed")
        return found[toolchain]

    return of


@pytest.mark.parametrize(("toolchain", "route"), CASES)
def test_elements_of_4_bits_are_those_that_the_vendor_reads(rows: Any, toolchain: str, route: str) -> None:
    kind, all_of_it = ROUTES[toolchain, route]
    row = rows(toolchain)[f"{route} plain"]
    assert row["read"] == row["elements"][kind] == FIRST + SECOND + LAST + THIRD * all_of_it
    assert row["elements"].get("int8", 0) == THIRD * (not all_of_it), (
        "what does not divide is int8, and tables are none"
    )
    assert row["findings"] == [] and row["kept"] == []
    shapes, types, granularity, zeros, integers = zip(*row["layers"], strict=True)
    assert [tuple(shape) for shape in shapes] == [(128, 64), (48, 128), (64, 48), (10, 64)]
    assert types == (kind, kind, kind if all_of_it else "int8", kind)
    assert zeros[:2] == pytest.approx(row["zeros"]), "of the grids; others have those that rounding makes"
    assert set(integers) == {"a8" in route}
    block = f"block:{row['group']}" if row["group"] in (32, 64) else "channel"
    expected = [block if row["group"] != shape[1] else "channel" for shape in shapes]
    assert list(granularity) == [
        one if type_ == kind else "channel" for one, type_ in zip(expected, types, strict=True)
    ]
    assert row["sqnr_db"] >= 25


@pytest.mark.parametrize(("toolchain", "route"), CASES)
def test_weights_on_a_grid_come_out_as_they_are(rows: Any, toolchain: str, route: str) -> None:
    """Better rounding starts from such weights. Blocks that do not reach the end of their channel's grid keep it."""
    for name, worst in rows(toolchain)[f"{route} plain"]["missed"].items():
        assert worst is not None and worst <= 1e-5, name


@pytest.mark.parametrize(("toolchain", "route"), CASES)
def test_one_layer_stays_in_float_and_one_becomes_int8(rows: Any, toolchain: str, route: str) -> None:
    kind, all_of_it = ROUTES[toolchain, route]
    row = rows(toolchain)[f"{route} ruled"]
    assert [types for _, types, *_ in row["layers"]] == [kind, "float32", kind if all_of_it else "int8", "int8"]
    assert row["read"] == row["elements"][kind] == FIRST + THIRD * all_of_it
    (names, macs), *others = row["kept"]
    assert len(others) == 1, "what has 8 bits by a rule is told as well"
    assert (names[0], macs) == ("second", SECOND)
    assert [macs for *_, macs in row["layers"]][1] is False
    assert row["sqnr_db"] > rows(toolchain)[f"{route} plain"]["sqnr_db"]


def test_every_route_of_4_bits_is_here() -> None:
    names = {(t.toolchain, r.name) for t in target.whole() if t.scheme.below_8_bits for r in t.routes}
    assert {key for key in names if key[0] in {toolchain for toolchain, _ in ROUTES}} == set(ROUTES)
    assert all(name in toolchains.routes(toolchain) for toolchain, name in ROUTES)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("executorch-int4", "88%: executorch has no int4 conv (XNNPACK has 4-bit kernels for linear layers alone"),
        ("tensorrt-int4", "88%: tensorrt has no int4 conv (it multiplies by int4 matrices alone"),
        ("coreml-int4", "78%: blocks of 32 do not divide its 16 input channels"),
    ],
)
def test_a_cnn_that_has_no_kernels_is_unsupported_by_name(
    tmp_path: Path, name: str, reason: str, workers: Workers, store: Store
) -> None:
    place = shutil.copytree(EARLIER, tmp_path / "artifact")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    result = edgekit.convert("lenet5@torch", name, output=place, latency=False, workers=workers, store=store)
    assert result.status == "UNSUPPORTED"
    assert "which hold 9% of this model's weights; needed: 50%" in result.reason and reason in result.reason
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before, "nothing is lost"
