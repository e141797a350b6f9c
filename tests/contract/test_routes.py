"""Every route of every toolchain on six small graphs: it converts, or says why not, and its file answers as the
framework does. A new route is tested for free; one that makes no file of a graph is listed here.
"""

from __future__ import annotations

from typing import Any

import pytest

from edgekit import toolchains
from tests.contract.conftest import FEW, GRAPHS, by_graphs, graphs_in_every_run

CELLS = frozenset(("lstm",))
#: Decibels that tell a file whose graph is right: far below what the eight samples give, far above noise.
LEAST = {"export": 100, "cast": 50, "dynamic": 25, "weights": 25, "ptq": 20}
#: The same of weights of 4 bits: rounding of weights that are spread evenly gives 23 dB, a few layers of it less.
LEAST_4 = 13
ALL = frozenset(GRAPHS)
NO_CELL = ALL - CELLS
TOKENS = frozenset(("lookup", "llama"))
#: Graphs of which a route gives no file, by toolchain, kind of child and route. ``unsupported``: it says so before it
#: starts or the vendor has no such operator. ``failed``: the vendor's own code or runtime ends on it.
NONE: dict[tuple[str, str, str], dict[str, frozenset[str]]] = {
    ("litert", "keras-tensorflow", "ptq-w8a16-converter"): {
        "unsupported": TOKENS,  # its inputs must be floats
        "failed": frozenset(("attention",)),  # TFLiteConverter: no 16x8 form of NEG
    },
    ("litert", "keras-tensorflow", "ptq-w8a8-quantizer-unrolled"): {"unsupported": NO_CELL},
    ("litert", "keras-tensorflow", "ptq-w8a16-quantizer-unrolled"): {"unsupported": NO_CELL},
    ("onnx", "torch", "export-torch-script"): {"unsupported": ALL},  # it takes a ScriptModule
    ("onnx", "torch", "ptq-w8a8-qdq-dynamic-cells"): {"unsupported": NO_CELL},
    ("onnx", "torch", "ptq-w8a8-qdq-unrolled"): {"unsupported": NO_CELL},
    # Grouped convolutions come in a call of their own, and an exact GELU as Erfc.
    ("onnx", "keras-tensorflow", "export-tf2onnx"): {"unsupported": frozenset(("cnn", "attention"))},
    ("tensorrt", "torch", "export-torch-script"): {"unsupported": ALL},
    ("tensorrt", "torch", "ptq-w8a8-qdq-unrolled"): {"unsupported": NO_CELL},
    ("tensorrt", "keras-tensorflow", "export-tf2onnx"): {"unsupported": frozenset(("cnn", "attention"))},
    ("coreml", "torch", "ptq-w8a8-coremltools"): {"unsupported": CELLS},
    ("coreml", "torch", "ptq-w8a8-coremltools-matmuls"): {"unsupported": CELLS},
    ("coreml", "keras-tensorflow", "export-tf-concrete"): {
        "unsupported": frozenset(("cnn", "attention")),
        "failed": CELLS,  # coremltools: IndexError
    },
}


#: Kinds of child that routes start in; those that quantize a file come with PyTorch's. From Keras on PyTorch they start
#: from the same kind of graph as from PyTorch itself.
CASES = [
    *by_graphs("torch"),
    *(pytest.param(name, "keras-tensorflow", FEW, id=f"{name}-keras-tensorflow-two")
      for name in toolchains.names()),
    *(pytest.param(name, "keras-tensorflow", (), id=f"{name}-keras-tensorflow", marks=pytest.mark.nightly)
      for name in toolchains.names()),
    *(pytest.param(name, "keras-torch", (), id=f"{name}-keras-torch", marks=pytest.mark.nightly)
      for name in toolchains.names()),
]  # fmt: skip


@pytest.mark.parametrize(("toolchain", "environment", "graphs"), CASES)
def test_each_route_keeps_each_graph_or_says_why_not(
    outcomes: Any, toolchain: str, environment: str, graphs: tuple[str, ...]
) -> None:
    rows = outcomes(toolchain, *graphs, environment=environment)
    tried = set(graphs or GRAPHS)
    assert {model for model, _ in rows} == (tried if rows else set())
    without: dict[str, dict[str, frozenset[str]]] = {}
    for (model, route), row in rows.items():
        assert "raised" not in row, (model, route, row["raised"][-2000:])
        if why := next((kind for kind in ("unsupported", "failed") if kind in row), None):
            assert len(row[why]) > 20, (model, route)
            of_route = without.setdefault(route, {})
            of_route[why] = of_route.get(why, frozenset()) | {model}
        elif row["sqnr_db"] is not None:
            method, numbers = route.split("-")[:2]
            least = LEAST_4 if numbers.startswith(("w4", "lut4")) else LEAST[method]
            assert row["sqnr_db"] >= least, (model, route)
    wanted = {
        route: {why: models & tried for why, models in kinds.items() if models & tried}
        for (name, start, route), kinds in NONE.items()
        if (name, start) == (toolchain, environment)
    }
    assert without == {route: kinds for route, kinds in wanted.items() if kinds}


@pytest.mark.parametrize("toolchain", toolchains.names())
def test_every_route_was_tried(outcomes: Any, toolchain: str) -> None:
    tried = {route for _, route in outcomes(toolchain, *graphs_in_every_run(toolchain))}
    tried |= {route for _, route in outcomes(toolchain, *FEW, environment="keras-tensorflow")}
    # Those that start from an ONNX file are tried by ``test_onnx_source.py``.
    routes = toolchains.routes(toolchain)
    assert tried == {name for name, route in routes.items() if set(route.environments) != {"onnx"}}
