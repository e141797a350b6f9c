"""The ExecuTorch toolchain on real conversions of small models, and its known traps."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("executorch")

from edgekit import toolchains
from edgekit.errors import DamagedFileError, FailedError, UnsupportedError, UsageError
from edgekit.jobs.workers import Workers
from edgekit.proof.precision import shortfall
from edgekit.schemes import SCHEMES
from edgekit.sources import source as sources
from edgekit.steps import convert as steps_convert
from edgekit.steps import describe, reference
from edgekit.toolchains.executorch import flatbuffer, program, xnnpack
from edgekit.toolchains.executorch.audit import inspect, sidecar
from edgekit.toolchains.executorch.passes import transposes

CHILD = Path(__file__).parent / "children" / "executorch_models.py"
PRECISIONS = {
    "export-xnnpack": "fp32",
    "cast-wf16-xnnpack": "fp16",
    "cast-wf16af16-xnnpack": "fp16",
    "ptq-w8a8-pt2e": "int8",
    "ptq-w8a8-pt2e-matmuls": "int8",
    "dynamic-w8a8-pt2e": "int8-dynamic",
}
READ_BACK = {"export-xnnpack": "f32", "cast-wf16-xnnpack": "f32", "cast-wf16af16-xnnpack": "f16"}
#: Model function, kind of child, route, lowest SQNR in dB, multiply-accumulates of the float network.
CASES = {
    "conv": ("conv", "torch", "export-xnnpack", 110, 64 * 16 * (27 + 9) + 16 * 32 + 32 * 5),
    "conv-int8": ("conv", "torch", "ptq-w8a8-pt2e", 25, 64 * 16 * (27 + 9) + 16 * 32 + 32 * 5),
    "conv-half-weights": ("conv", "torch", "cast-wf16-xnnpack", 60, 64 * 16 * (27 + 9) + 16 * 32 + 32 * 5),
    "shared-half-weights": ("shared", "torch", "cast-wf16-xnnpack", 60, 16 * 16 * 16),
    "tokens-half-weights": ("keras_tokens", "keras-torch", "cast-wf16-xnnpack", 60, 6 * (16 * 32 + 32 * 4)),
    "conv-half": ("conv", "torch", "cast-wf16af16-xnnpack", 45, 64 * 16 * (27 + 9) + 16 * 32 + 32 * 5),
    "after-onnx": ("after_onnx_export", "torch", "export-xnnpack", 110, 64 * 16 * (27 + 9) + 16 * 32 + 32 * 5),
    # The state before the first step is zero, and its product with the recurrent weights is not in the file.
    "cell-int8": ("cell", "torch", "ptq-w8a8-pt2e-matmuls", 30, 3 * 64 * 16 + 2 * 64 * 16 + 16 * 4),
    "cell-dynamic": ("cell", "torch", "dynamic-w8a8-pt2e", 35, 3 * 64 * 16 + 2 * 64 * 16 + 16 * 4),
    "pooled-int8": ("pooled", "torch", "ptq-w8a8-pt2e", 25, 256 * 8 * 27 + 16 * 8 * 72 + 8 * 5),
    "unevenly-int8": ("pooled_unevenly", "torch", "ptq-w8a8-pt2e", 25, 256 * 8 * 27 + 16 * 8 * 72 + 8 * 5),
    "cut-int8": ("cut", "torch", "ptq-w8a8-pt2e", 25, 6 * (16 * 16 + 8 * 8) + 5 * 12 * 5),
    "maxima-int8": ("maxima", "torch", "ptq-w8a8-pt2e", 25, 64 * 8 * 27 + 8 * 5),
    "called-int8": ("called", "torch", "ptq-w8a8-pt2e", 30, 3 * 6 * 16 * 16),
    "shortcut-dynamic": ("shortcut", "torch", "dynamic-w8a8-pt2e", 30, 64 * 8 * (27 + 8) + 16 * 16 * (72 + 8)),
    "padded-dynamic": ("padded", "torch", "dynamic-w8a8-pt2e", 30, 64 * 16 * (27 + 144) + 64 * 16 * 8 * 4 + 8 * 5),
    "image": ("keras_image", "keras-torch", "export-xnnpack", 110, 64 * 8 * (27 + 9) + 8 * 4),
    "image-int8": ("keras_image", "keras-torch", "ptq-w8a8-pt2e", 25, 64 * 8 * (27 + 9) + 8 * 4),
    "keras-int8": ("keras_tokens", "keras-torch", "ptq-w8a8-pt2e", 25, 6 * (16 * 32 + 32 * 4)),
}
SAMPLES = 16


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> dict[str, Path]:
    """Every case converted; a folder each with ``model.pte``, ``samples.npz`` and the framework's ``outputs.npz``."""
    folder = tmp_path_factory.mktemp("executorch")
    return {name: convert(workers, folder / name, *case[:3]) for name, case in CASES.items()}


def convert(workers: Workers, folder: Path, model: str, environment: str, route: str) -> Path:
    """Convert one model in a child; returns the file."""
    folder.mkdir()
    framework = "keras" if environment.startswith("keras") else "torch"
    source = sources.with_framework(sources.resolve(f"{CHILD}:{model}", trust=True), framework)
    loaded = describe.Request(source, environment, materialise=False)
    signature = workers.ask(environment, describe.run, folder, loaded).value.signature
    rng = np.random.default_rng(0)
    data = {
        f"x/{t.name}": rng.normal(size=(SAMPLES, *t.shape[1:])).astype("float32")
        if t.dtype == "float32"
        else rng.integers(0, 11, (SAMPLES, *t.shape[1:])).astype(t.dtype)
        for t in signature.inputs
    }
    np.savez(folder / "samples.npz", **data)
    samples = folder / "samples.npz"
    in_framework = reference.Request({"model": source}, environment, samples)
    workers.ask(environment, reference.run, folder, in_framework)
    request = steps_convert.Request(
        toolchain="executorch", route=route, environment=environment, source=source, scheme=SCHEMES[PRECISIONS[route]],
        integer_io=False, signature=signature, calibration=samples, float_file=None, traits=frozenset(),
        minimum_deployment_target=None,
    )  # fmt: skip
    made = workers.ask(environment, steps_convert.run, folder, request).value
    return folder / made.file


def ran(workers: Workers, file: Path) -> dict[str, Any]:
    """What a session in the runtime's own child says and gives."""
    arguments = {"file": str(file), "inputs": str(file.parent / "samples.npz")}
    found: dict[str, Any] = workers.call("runtime", "tests.contract.children.executorch_models:run", arguments).value
    return found


def sqnr(file: Path, outputs: dict[str, Any]) -> float:
    with np.load(file.parent / "outputs.npz") as stored:
        (name,) = stored.files
        wanted = stored[name].astype(np.float64)
    noise = wanted - np.asarray(outputs[name.removeprefix("out/")]).reshape(wanted.shape)
    return float(10 * np.log10(np.square(wanted).sum() / max(np.square(noise).sum(), 1e-300)))


@pytest.mark.nightly  # half a minute
def test_gates_of_unrolled_cells_cost_several_db_in_int8(workers: Workers, tmp_path: Path) -> None:
    """Which is why the target passes over the route that quantizes them."""
    found = {}
    for route in ("ptq-w8a8-pt2e", "ptq-w8a8-pt2e-matmuls"):
        file = convert(workers, tmp_path / route, "cell", "torch", route)
        found[route] = sqnr(file, ran(workers, file)["outputs"])
    assert found["ptq-w8a8-pt2e-matmuls"] > found["ptq-w8a8-pt2e"] + 3


@pytest.mark.parametrize("case", CASES)
def test_file_is_close_and_is_what_it_claims(files: dict[str, Path], workers: Workers, case: str) -> None:
    _, _, route, least, macs = CASES[case]
    audit = toolchains.audit("executorch", files[case])
    assert shortfall(SCHEMES[PRECISIONS[route]], audit) == ""
    assert audit.macs_total == macs
    assert audit.findings == ()
    inside, total = inspect(files[case]).macs()
    assert inside == total == macs, "every product is inside the delegate"
    found = ran(workers, files[case])
    assert sqnr(files[case], found["outputs"]) >= least
    assert found["ops_delegated"] == audit.ops_delegated > 0
    assert found["by"].startswith("executorch 1.") and found["by"].endswith(" XNNPACK")
    assert found["threads"] == 1
    assert found["precision"] == READ_BACK.get(route, "int8")
    with np.load(files[case].parent / "samples.npz") as stored:
        assert [f"x/{t.name}" for t in audit.inputs] == stored.files


@pytest.mark.parametrize("case", CASES)
def test_a_file_holds_no_tensor_that_nothing_reads(files: dict[str, Path], case: str) -> None:
    read = program.read(files[case])
    used = {place for call in read.calls for place in call.arguments}
    unread = [v for i, v in enumerate(read.values) if v is not None and v.constant and i not in used]
    assert unread == []


def test_gates_of_recurrent_layers_are_quantized(files: dict[str, Path]) -> None:
    audit = toolchains.audit("executorch", files["cell-dynamic"])
    assert audit.macs_quantized == audit.macs_total
    assert audit.float_ops == ("aten::embedding.out:0",)
    assert audit.weight_elements["int8"] == 2 * 64 * 16 + 16 * 4, "shared by the steps, so counted once"


def test_operators_that_compute_in_float_are_counted_by_type(files: dict[str, Path]) -> None:
    assert {"Conv2d", "FullyConnected"} <= set(toolchains.audit("executorch", files["conv"]).ops_float or {})
    integers = toolchains.audit("executorch", files["conv-int8"])
    assert (integers.ops_float, integers.float_ops) == ({"Gelu": 1}, ()), "which is no layer with weights"


@pytest.mark.parametrize("case", ["image", "image-int8"])
def test_an_image_that_is_channels_last_is_not_transposed(files: dict[str, Path], case: str) -> None:
    assert toolchains.audit("executorch", files[case]).transposes == 1  # of the pooled features, for the dense layer


def transpose(given: int, made: int, *order: int) -> Any:
    from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema

    return schema.XNNStaticTranspose(num_dims=len(order), perm=list(order), input_id=given, output_id=made, flags=0)


def merged(outputs: list[int], *unions: Any) -> list[Any]:
    from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema

    nodes = [schema.XNode(xnode_union=union, debug_handle=0) for union in unions]
    graph = schema.XNNGraph("0", nodes, [], 2, [0], outputs, [])
    transposes.merge_transposes(graph)
    return [node.xnode_union for node in graph.xnodes]


def test_transposes_that_follow_each_other_are_merged() -> None:
    from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema

    first, back = transpose(0, 1, 0, 3, 1, 2), transpose(1, 2, 0, 2, 3, 1)
    assert merged([3], first, back, schema.XNNAbs(2, 3, 0)) == [schema.XNNAbs(0, 3, 0)]
    convert = [transpose(0, 1, 0, 3, 1, 2), schema.XNNConvert(1, 2, 0), transpose(2, 3, 0, 2, 3, 1)]
    assert merged([4], *convert, schema.XNNAbs(3, 4, 0)) == [schema.XNNConvert(0, 3, 0), schema.XNNAbs(3, 4, 0)]
    twice = [transpose(0, 1, 0, 3, 1, 2), transpose(1, 2, 0, 3, 1, 2)]
    assert merged([2], *twice) == [transpose(0, 2, 0, 2, 3, 1)]


def test_transposes_whose_values_are_read_elsewhere_stay() -> None:
    from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema

    first, back = transpose(0, 1, 0, 3, 1, 2), transpose(1, 2, 0, 2, 3, 1)
    assert merged([1, 3], first, back, schema.XNNAbs(2, 3, 0)) == [transpose(0, 1, 0, 3, 1, 2), schema.XNNAbs(0, 3, 0)]
    assert merged([2], first, back) == [transpose(0, 2, 0, 1, 2, 3)]  # an output of its own
    convert = schema.XNNConvert(1, 2, 0)
    rest = [transpose(2, 3, 0, 2, 3, 1), schema.XNNAbs(3, 4, 0)]
    assert len(merged([2, 4], transpose(0, 1, 0, 3, 1, 2), convert, *rest)) == 4


def test_inputs_and_outputs_of_a_half_file_stay_float32(files: dict[str, Path]) -> None:
    audit = toolchains.audit("executorch", files["conv-half"])
    assert {t.dtype for t in (*audit.inputs, *audit.outputs)} == {"float32"}
    convolutions = 16 * 27 + 16 * 9 + 2 * 16
    # ExecuTorch 1.4 stores the weights and biases of convolutions in float32 all the same (op_conv2d.py).
    assert audit.weight_elements == {"float16": 16 * 32 + 32 + 32 * 5 + 5, "float32": convolutions}


def test_weights_of_every_layer_are_float16(files: dict[str, Path]) -> None:
    convolutions, linear = 16 * 27 + 16 * 9 + 2 * 16, 16 * 32 + 32 + 32 * 5 + 5
    assert toolchains.audit("executorch", files["conv-half-weights"]).weight_elements == {
        "float16": convolutions + linear
    }
    shared = toolchains.audit("executorch", files["shared-half-weights"]).weight_elements
    assert shared == {"float16": 16 * 16 + 16, "float32": 16 * 16}, "what is no weight keeps its type"
    tokens = toolchains.audit("executorch", files["tokens-half-weights"]).weight_elements
    assert tokens == {"float16": 11 * 16 + 16 * 32 + 32 + 32 * 4 + 4}, "the embedding's table too"


def test_a_weight_beyond_float16_is_refused(workers: Workers, tmp_path: Path) -> None:
    for route in ("cast-wf16-xnnpack", "cast-wf16af16-xnnpack"):
        with pytest.raises(UnsupportedError, match=r"1e\+05; float16 ends at 65504"):
            convert(workers, tmp_path / route, "steep", "torch", route)


def test_a_kernel_that_the_runtime_lacks_is_named(workers: Workers, tmp_path: Path) -> None:
    file = convert(workers, tmp_path / "uneven", "uneven_maxima", "torch", "export-xnnpack")
    with pytest.raises(DamagedFileError, match="it has no kernel for aten::adaptive_max_pool2d"):
        ran(workers, file)


def test_paddings_go_into_convolutions_and_poolings(files: dict[str, Path]) -> None:
    (nodes,) = inspect(files["pooled-int8"]).nodes
    assert not [node.type for node in nodes if node.type == "StaticConstantPad"]


def test_dynamic_convolutions_are_int8_behind_a_padding_and_before_a_relu(files: dict[str, Path]) -> None:
    audit = toolchains.audit("executorch", files["padded-dynamic"])
    assert audit.macs_quantized == audit.macs_total and audit.float_ops == ()
    assert audit.weight_elements["int8"] == 16 * 27 + 16 * 144 + 16 * 8 * 4 + 8 * 5


def test_a_second_process_writes_the_same_bytes(files: dict[str, Path], tmp_path: Path) -> None:
    with Workers() as others:
        again = convert(others, tmp_path / "again", *CASES["conv-int8"][:3])
    for first in (files["conv-int8"], sidecar(files["conv-int8"])):
        assert digest(first) == digest(again.parent / first.name)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("case", ["conv-int8", "cell-dynamic"])
def test_the_program_reads_as_executorch_reads_it(files: dict[str, Path], case: str) -> None:
    from executorch.exir._serialize._flatbuffer_program import _flatbuffer_to_program

    content = files[case].read_bytes()
    (plan,) = _flatbuffer_to_program(content).execution_plan
    read = program.parse(content)
    assert read.inputs == tuple(plan.inputs) and read.outputs == tuple(plan.outputs)
    assert [d.id for d in read.delegates] == [d.id for d in plan.delegates]
    theirs = []
    for instruction in plan.chains[0].instructions:
        call = instruction.instr_args
        if type(call).__name__ == "KernelCall":
            operator = plan.operators[call.op_index]
            name = f"{operator.name}.{operator.overload}" if operator.overload else operator.name
            theirs.append((name, None, tuple(call.args)))
        elif type(call).__name__ == "DelegateCall":
            theirs.append(("", call.delegate_index, tuple(call.args)))
    assert [(c.kernel, c.delegate, c.arguments) for c in read.calls] == theirs
    shapes = [tuple(v.val.sizes) if type(v.val).__name__ == "Tensor" else None for v in plan.values]
    assert [None if v is None else v.shape for v in read.values] == shapes


@pytest.mark.parametrize("case", ["conv", "conv-int8", "conv-half", "cell-dynamic"])
def test_payloads_read_as_flatc_reads_them(files: dict[str, Path], tmp_path: Path, case: str) -> None:
    import executorch

    root = Path(executorch.__path__[0])
    schema = root / "backends/xnnpack/serialization/runtime_schema.fbs"
    read = program.read(files[case])
    for i, delegate in enumerate(read.delegates):
        start, size = (int.from_bytes(delegate.payload[at : at + 4], "little") for at in (10, 14))
        flat = tmp_path / f"payload_{i}.bin"
        flat.write_bytes(delegate.payload[start : start + size])
        command = [root / "data/bin/flatc", "--json", "--strict-json", "--raw-binary", "--defaults-json"]
        subprocess.run([*command, "-o", tmp_path, schema, "--", flat], check=True, capture_output=True)
        text = flat.with_suffix(".json").read_text()
        told = json.loads(re.sub(r"\binf\b", "Infinity", text))  # flatc writes an open bound of a ReLU so
        nodes = xnnpack.parse(delegate.payload, read.named)
        assert [f"XNN{n.type}" for n in nodes] == [n["xnode_union_type"] for n in told["xnodes"]]
        values = {}
        for value in told["xvalues"]:
            tensor = value["xvalue_union"].get("tensor_value", value["xvalue_union"])
            values[tensor["id_out"]] = tensor
        for node, theirs in zip(nodes, told["xnodes"], strict=True):
            output = values[theirs["xnode_union"]["output_id"]]
            assert node.output.shape == tuple(output["dims"])
            assert output["datatype"] in DATATYPES[node.output.type]


DATATYPES = {
    "float32": ("xnn_datatype_fp32",),
    "float16": ("xnn_datatype_fp16",),
    "int8": ("xnn_datatype_qint8", "xnn_datatype_qdint8"),
}


def test_names_lie_beside_the_file_and_must_fit_it(files: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "model.pte"
    shutil.copy(files["conv"], copy)
    assert [t.name for t in toolchains.audit("executorch", copy).inputs] == ["input_0"], (
        "no names without the file beside it"
    )
    shutil.copy(sidecar(files["cell-dynamic"]), sidecar(copy))
    with pytest.raises(DamagedFileError, match="inputs are not those"):
        toolchains.audit("executorch", copy)
    for text in ("", "{", "[]", '{"schema": 1}', '{"inputs": 3}'):
        sidecar(copy).write_text(text)
        with pytest.raises(DamagedFileError, match="names"):
            toolchains.audit("executorch", copy)


def test_wrong_inputs_are_refused(files: dict[str, Path], workers: Workers, tmp_path: Path) -> None:
    for change, message in (({"x/picture": np.zeros((1, 3, 8, 8), "f4")}, "picture"), ({}, "shape")):
        folder = tmp_path / message
        shutil.copytree(files["conv"].parent, folder)
        np.savez(folder / "samples.npz", **(change or {"x/image": np.zeros((1, 3, 9, 9), "f4")}))
        with pytest.raises(UsageError, match=message):
            ran(workers, folder / "model.pte")


@pytest.mark.parametrize("case", ["conv-int8", "cell-dynamic"])
def test_every_truncated_file_is_refused_without_running_it(files: dict[str, Path], tmp_path: Path, case: str) -> None:
    content, cut = files[case].read_bytes(), tmp_path / "cut.pte"
    for size in [*range(64), *np.linspace(64, len(content) - 1, 60, dtype=int).tolist()]:
        cut.write_bytes(content[:size])
        with pytest.raises(DamagedFileError):
            toolchains.audit("executorch", cut)


@pytest.mark.parametrize("case", ["conv-int8", "cell-dynamic"])
def test_the_audit_of_500_damaged_files_ends_in_a_count_or_a_typed_error(
    files: dict[str, Path], tmp_path: Path, case: str
) -> None:
    sys.path.insert(0, str(CHILD.parent))
    from executorch_models import mutant

    content, file, refused = files[case].read_bytes(), tmp_path / "mutant.pte", 0
    for seed in range(500):
        file.write_bytes(mutant(content, seed))
        try:
            toolchains.audit("executorch", file).model_dump_json()
        except DamagedFileError:
            refused += 1
    assert 50 < refused < 500


def test_500_damaged_files_in_the_runtime_leave_the_parent_unharmed(
    files: dict[str, Path], workers: Workers, tmp_path: Path
) -> None:
    arguments = {"file": str(files["conv-int8"]), "scratch": str(tmp_path), "count": 500}
    found = workers.call("runtime", "tests.contract.children.executorch_models:fuzz", arguments).value
    assert found["odd"] == {}, "an error that is not ours"
    assert found["ran"] + found["refused"] + len(found["killed"]) == 500
    assert found["refused"] > 50
    assert len(found["killed"]) <= 10, "reading the structure first keeps most of what kills the runtime from it"


def test_a_file_that_kills_the_runtime_is_one_failure_and_the_next_request_is_served(
    files: dict[str, Path], workers: Workers, tmp_path: Path
) -> None:
    sys.path.insert(0, str(CHILD.parent))
    from executorch_models import mutant

    module = "tests.contract.children.executorch_models"
    arguments = {"file": str(files["conv"]), "scratch": str(tmp_path), "count": 80, "unread": True}
    killed = workers.call("runtime", f"{module}:fuzz", arguments).value["killed"]
    assert killed, "the runtime itself survives damaged files now: reading them first may have become needless"
    bad = tmp_path / "bad.pte"
    bad.write_bytes(mutant(files["conv"].read_bytes(), killed[0]))
    with pytest.raises(FailedError, match="ended its process"):
        workers.call("runtime", f"{module}:run_unread", {"file": str(bad)})
    assert ran(workers, files["conv"])["precision"] == "f32"


def test_a_table_that_points_outside_is_an_error_of_its_own() -> None:
    with pytest.raises(flatbuffer.BadBytesError):
        flatbuffer.root(b"\xff\xff\xff\x7fET12" + bytes(56), b"ET12").tables(1)
