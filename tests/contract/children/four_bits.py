"""Four linear layers in 4 bits by every such route: ``python four_bits.py TOOLCHAIN FOLDER``.

The weights of the first two lie on a grid from -7 to 7 already, one scale to a channel, which bfloat16 has; blocks do
not divide the 48 channels of the third, and those of the last they do. Writes FOLDER/ROUTE/REQUEST/ with what the route
makes of a request without rules, and of one that keeps the second layer in float and gives the last int8, and
FOLDER/outcome.json: by ``ROUTE REQUEST`` the layers by the audit, what was kept, how far its answers are from the
framework's, and what the vendor's own reader finds in the file: 4-bit elements, and weights that miss the grid.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from six_graphs import distance, routes_here, scheme_of

from edgekit import toolchains
from edgekit.frameworks.torch import load
from edgekit.scheme import Rule
from edgekit.schemes import FP32, SCHEMES
from edgekit.signature import TensorSpec
from edgekit.sources.source import Source
from edgekit.toolchains import Request

SAMPLES = 8
#: Layers on a grid: output and input channels.
GRIDS = {"first": (128, 64), "second": (48, 128)}
#: 4-bit elements of the last layer.
LAST = 10 * 64


class Linears(torch.nn.Module):
    """64 -> 128 -> 48 -> 64 -> 10, ReLU between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(64, 128), torch.nn.Linear(128, 48)
        self.third, self.last = torch.nn.Linear(48, 64), torch.nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The usual."""
        for layer in (self.first, self.second, self.third):
            x = torch.relu(layer(x))
        return self.last(x)


def make_linears() -> torch.nn.Module:
    """The same weights in every process."""
    torch.manual_seed(3)
    model = Linears().eval()
    for name in GRIDS:
        numbers, scales = grid(name)
        model.get_submodule(name).weight.data = torch.from_numpy((numbers * scales).astype(np.float32))
    return model


def grid(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers from -7 to 7, each channel with both ends, which some of its blocks do not reach; scales of few bits."""
    shape = GRIDS[name]
    rng = np.random.default_rng(shape[0])
    numbers = np.rint(rng.normal(0, 2, shape)).clip(-4, 4).astype(np.int8)
    numbers[:, 5], numbers[:, 9] = 7, -7
    return numbers, to_bfloat16((rng.integers(128, 256, (shape[0], 1)) / 2048 / np.sqrt(shape[1])).astype(np.float32))


def to_bfloat16(scales: np.ndarray) -> np.ndarray:
    """The nearest numbers of 8 significant bits."""
    return torch.from_numpy(scales).to(torch.bfloat16).float().numpy()


def read_tensorrt(file: Path) -> tuple[int, list[np.ndarray]]:
    """By onnx: int4 elements, and the matrices that are dequantized from them."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(file).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    found = [tensor for tensor in stored.values() if tensor.data_type == onnx.TensorProto.INT4]
    matrices = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and stored[node.input[0]] in found:
            given = {a.name: a.i for a in node.attribute}
            numbers, scale = (numpy_helper.to_array(stored[name]) for name in node.input[:2])
            matrix = numbers.astype(np.float32) * np.repeat(scale, given["block_size"], given["axis"])
            matrices.append(matrix if given["axis"] else matrix.T)
    assert all(len(tensor.raw_data) * 2 == np.prod(tensor.dims) for tensor in found if tensor.raw_data)
    return sum(int(np.prod(tensor.dims)) for tensor in found), matrices


def read_coreml(file: Path) -> tuple[int, list[np.ndarray]]:
    """By coremltools: elements of 4 bits in the protobuf, and what its own decoder makes of them."""
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load as load_program
    from coremltools.proto import MIL_pb2 as mil

    model = ct.models.MLModel(str(file), skip_model_load=True)
    four, elements = (mil.INT4, mil.UINT4), 0
    for function in model.get_spec().mlProgram.functions.values():
        for block in function.block_specializations.values():
            for operation in block.operations:
                for argument in operation.inputs.values():
                    held = argument.arguments[0].value.type.tensorType
                    if held.dataType in four:
                        elements += int(np.prod([d.constant.size for d in held.dimensions]))
    program = load_program(model.get_spec(), model.get_spec().specificationVersion, model.weights_dir)
    decoded = []
    for operation in program.functions["main"].operations:
        if operation.op_type == "constexpr_blockwise_shift_scale":
            decoded.append(operation.materialized_val_inference())
        elif operation.op_type == "constexpr_lut_to_dense":
            tables = operation.lut.op.materialized_val_inference()[:, 0, :, 0]
            decoded.append(np.take_along_axis(tables, operation.indices.val.astype(int), 1))
    return elements, [array for array in decoded if array.ndim == 2]


def read_executorch(file: Path) -> tuple[int, list[np.ndarray]]:
    """By ExecuTorch's own reader: constants as XNNPACK lays them out, two numbers from 0 to 15 in a byte."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    data = deserialize_pte_binary(file.read_bytes()).named_data
    assert data is not None
    blobs, elements, matrices = [bytes(blob) for blob in data.buffers], 0, []
    for name in GRIDS:
        numbers, scales = grid(name)
        low, high = (numbers + 8).reshape(-1, 2).astype(np.uint8).T
        if (low | high << 4).tobytes() not in blobs:
            continue
        upper_halves = np.repeat(scales, numbers.shape[1] // 32, axis=1).view(np.uint32) >> 16
        assert upper_halves.astype("<u2").tobytes() in blobs, "bfloat16 scales, one to a block"
        elements += numbers.size
        matrices.append(numbers * scales)
    return elements + LAST * any(2 * len(blob) == LAST for blob in blobs), matrices


def main(toolchain: str, folder: Path) -> None:
    torch.set_num_threads(1)
    try:
        here = routes_here(toolchain, "torch", "torch")
    except ModuleNotFoundError as error:
        (folder / "outcome.json").write_text(json.dumps({"missing": error.name}))
        return
    where = {"path": Path(__file__), "function": "make_linears"}
    loaded = load(
        Source("four", "python", "torch", "four", "0" * 64, inputs=(TensorSpec("x", (1, 64), "float32"),), **where)
    )
    samples = {"x": np.random.default_rng(7).normal(size=(SAMPLES, 64)).astype(np.float32)}
    expected = loaded.run(samples)
    float_file, outcome = None, {}
    for name, route in here.items():
        scheme = scheme_of(toolchain, name)
        if not scheme.below_8_bits and (scheme != FP32 or float_file is not None):
            continue
        eight = SCHEMES["int8-weights" if scheme.weights_only else "int8-dynamic"]
        asked: dict[str, tuple[Rule, ...]] = {"plain": ()}
        if scheme.below_8_bits:
            asked["ruled"] = (Rule(name="second", becomes="float"), Rule(name="last", becomes=eight))
        for what, layers in asked.items():
            into = folder / name / what
            into.mkdir(parents=True)
            request = Request(into, scheme, False, None, float_file, tuple(samples), tuple(expected), "iOS18")
            made = toolchains.convert(route, None if route.quantizes_file else loaded, replace(request, layers=layers))
            if scheme == FP32:
                float_file = made.file
                continue
            audit = toolchains.audit(toolchain, made.file)
            elements, matrices = globals()[f"read_{toolchain}"](made.file)
            outcome[f"{name} {what}"] = {
                "group": scheme.group,
                "layers": [
                    [one.shape, one.weight_type, one.granularity, one.zeros, one.in_integers] for one in audit.layers
                ],
                "elements": audit.weight_elements,
                "findings": audit.findings,
                "read": elements,
                "zeros": [float(np.mean(grid(name)[0] == 0)) for name in GRIDS],
                "missed": {name: missed(name, matrices) for name in GRIDS},
                "kept": [[kept.names, kept.macs] for kept in made.kept],
                "sqnr_db": distance(toolchain, made.file, scheme, samples, expected),
            }
    (folder / "outcome.json").write_text(json.dumps(outcome, indent=1))


def missed(name: str, matrices: list[np.ndarray]) -> float | None:
    """By how much of its scale the worst weight of a layer misses its grid; None where no matrix is the layer's."""
    numbers, scales = grid(name)
    return min(
        (float((np.abs(m - numbers * scales) / scales).max()) for m in matrices if m.shape == numbers.shape),
        default=None,
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
