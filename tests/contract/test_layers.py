"""Layers: the same six graphs have the same layers in every format, as written here by hand, and zeros are counted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgekit import cli, toolchains
from edgekit.result import Audit, Layer
from tests.contract.test_macs import DEPTHWISE, GROUPED, HEAD, LAST, POINTWISE, STEM, UP

ARTIFACTS = Path(__file__).parent / "artifacts" / "0.1.0"


def linear(outputs: int, inputs: int, rows: int = 1) -> tuple[str, tuple[int, ...], int]:
    return "linear", (outputs, inputs), rows * outputs * inputs


#: Kind, shape of the weights and multiply-accumulates of every layer, in the order of the graph.
LAYERS: dict[str, list[tuple[str, tuple[int, ...], int]]] = {
    "cnn": [
        ("conv", (8, 3, 3, 3), STEM),
        ("conv", (16, 2, 3, 3), GROUPED),
        ("depthwise-conv", (16, 1, 3, 3), DEPTHWISE),
        ("conv", (12, 16, 1, 1), POINTWISE),
        ("transposed-conv", (6, 12, 2, 2), UP),
        ("linear", (5, 6), HEAD),
    ],
    "mlp": [linear(32, 24), linear(10, 32)],
    "attention": [linear(96, 32, 12), linear(32, 32, 12), linear(64, 32, 12), linear(32, 64, 12)],
    "lstm": [("recurrent", (64, 24), 6 * 64 * 24), ("linear", (4, 16), LAST)],
    "lookup": [("embedding", (40, 16), 0), linear(24, 16, 6)],
    "llama": [
        ("embedding", (40, 32), 0),
        *(linear(outputs, 32, 8) for outputs in (32, 16, 16, 32, 48, 48)),
        linear(32, 48, 8),
        linear(40, 32, 8),
    ],
}
#: A recurrent layer taken apart: the products of its state step by step, those of its input so as well, or all at once.
UNROLLED = [
    [*inputs, *[linear(64, 16)] * 6, linear(4, 16)] for inputs in ([linear(64, 8, 6)], [linear(64, 8)] * 6)
]  # fmt: skip


@pytest.mark.parametrize("toolchain", toolchains.names())
def test_six_graphs_have_the_layers_written_by_hand(made: Any, toolchain: str) -> None:
    files = made(toolchain)
    assert {model for model, _ in files} == set(LAYERS)
    for (model, route), file in files.items():
        audit = toolchains.audit(toolchain, file)
        found = Counter((layer.kind, layer.shape, layer.macs) for layer in audit.layers)
        wanted = [LAYERS[model], *(UNROLLED if model == "lstm" else ())]
        assert found in [Counter(layers) for layers in wanted], (model, route)
        assert audit.macs_total == sum(layer.macs for layer in audit.layers)
        assert audit.macs_quantized == sum(layer.macs for layer in audit.layers if layer.in_integers)
        for layer in audit.layers:
            assert (layer.granularity is None) == ("float" in layer.weight_type), (model, route, layer)
            assert layer.zeros is not None and layer.zeros < 0.05, "weights of the example are dense"
        names = [(layer.operator, layer.name) for layer in audit.layers]
        assert len(set(names)) == len(names), (model, route)


@pytest.mark.parametrize("toolchain", toolchains.names())
def test_zeros_are_counted_as_stored(made: Any, toolchain: str) -> None:
    """Whatever type weights have and wherever their zero lies; a sum's axis is the same in all layouts."""
    files = made(toolchain, "sparse")
    types = set()
    for (_, route), file in files.items():
        layers = toolchains.audit(toolchain, file).layers
        assert [(layer.zeros, layer.zeros_2_4) for layer in layers] == [(0.5, 1.0), (0.5, 1.0), (0.5, 0.5)], route
        types |= {layer.weight_type for layer in layers}
    assert "float32" in types and types & {"int8", "uint8"}


@pytest.mark.parametrize("name", ["onnxruntime-int8", "tflite-fp16"])
def test_manifests_without_layers_still_read(name: str) -> None:
    manifest = json.loads((ARTIFACTS / name / "manifest.json").read_text())
    for document in (manifest["audit"], *(part["audit"] for part in manifest["parts"].values())):
        audit = Audit.model_validate(document)
        assert audit.layers == () and audit.macs_total == 6464


def test_inspect_lists_layers_where_it_is_asked_to(capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(ARTIFACTS / "onnxruntime-int8")
    assert cli.run(["inspect", folder]) == 0
    assert "computed in" not in capsys.readouterr().out
    assert cli.run(["inspect", folder, "--json"]) == 0
    layers = [Layer.model_validate(row) for row in json.loads(capsys.readouterr().out)["layers"]]
    assert sum(layer.macs for layer in layers) == 6464
    assert cli.run(["inspect", folder, "--layers"]) == 0
    heading, *rows = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert heading.split("  ")[0] == "kind" and len(rows) == len(layers)
    for row, layer in zip(rows, layers, strict=True):
        assert row.startswith(layer.kind) and row.endswith(f"{layer.operator}:{layer.name}")
        assert "x".join(map(str, layer.shape)) in row and f"{layer.macs:,}" in row
