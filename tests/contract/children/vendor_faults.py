"""What vendors do without the workarounds: each function reproduces one fault and returns what it saw."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.schemes import SCHEMES


def lower(folder: str) -> dict[str, Any]:
    """A float16 convolution behind a permute, lowered by ExecuTorch alone."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
    from executorch.exir.backend import utils

    from edgekit.toolchains.executorch.audit import audit, inspect

    class Image(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.first(x.permute(0, 3, 1, 2))

    example = (torch.zeros(1, 8, 8, 3, dtype=torch.float16),)
    edge = to_edge_transform_and_lower(
        torch.export.export(Image().half().eval(), example),
        partitioner=[XnnpackPartitioner()],
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    file = Path(folder) / "model.pte"
    with file.open("wb") as stream:
        edge.to_executorch().write_to_file(stream)
    types = [node.type for nodes in inspect(file).nodes for node in nodes]
    weights = audit(file).weight_elements
    return {"types": types, "weights": weights, "kept": utils.is_same_node.cache_info().currsize}


def history() -> bool:
    """Whether a node that is made of another shares the chain that this one came from."""
    import torch
    from torch.fx.traceback import NodeSource

    node = torch.fx.Graph().placeholder("x")
    node.meta["from_node"] = [NodeSource(None)]
    return NodeSource(node).from_node[0] is node.meta["from_node"][0]


def asked(mended: bool) -> dict[str, int]:
    """How often the exporter asks for a list of operators for one program, and how many types it makes of one."""
    from contextlib import nullcontext

    import torch
    from torch._export import utils

    from edgekit.toolchains._shared.torch_graph import unrepeated

    registrations, lists = torch._C._dispatch_get_registrations_for_dispatch_key, 0

    class Name(str):
        __slots__ = ()

        def split(self, *given: Any) -> Any:  # of the first operator: once for each time that all are looked up
            nonlocal lists
            lists += 1
            return super().split(*given)

    def watched(key: str) -> Any:
        first, *others = registrations(key)
        return [Name(first), *others]

    with unrepeated() if mended else nullcontext():
        torch._C._dispatch_get_registrations_for_dispatch_key = watched
        try:
            utils._collect_all_valid_cia_ops()
        finally:
            torch._C._dispatch_get_registrations_for_dispatch_key = registrations
        types = {id(made) for made in [torch._ops.Callable[[int], int] for _ in range(2)]}
    return {"lists": lists, "types": len(types)}


def patterns(mended: bool) -> int:
    """How many patterns XNNPACK's quantizer exports for a graph of one convolution."""
    import torch
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer, xnnpack_quantizer_utils
    from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

    from edgekit.toolchains.executorch.vendor import quantizer

    export, exported = xnnpack_quantizer_utils._get_aten_graph_module_for_pattern, 0

    def watched(*given: Any) -> Any:
        nonlocal exported
        exported += 1
        return export(*given)

    xnnpack_quantizer_utils._get_aten_graph_module_for_pattern = watched
    graph = torch.export.export(torch.nn.Conv2d(1, 2, 3).eval(), (torch.zeros(1, 1, 4, 4),)).module()
    chosen = quantizer() if mended else xnnpack_quantizer.XNNPACKQuantizer()
    chosen.set_global(xnnpack_quantizer.get_symmetric_quantization_config(is_per_channel=True))
    assert "HistogramObserver" in str(prepare_pt2e(graph, chosen))
    xnnpack_quantizer_utils._get_aten_graph_module_for_pattern = export
    return exported


def core_ml(which: str) -> str:
    """What coremltools raises on a size read by ``int``, or on an operator's second name; empty where it converts."""
    import torch

    from edgekit.toolchains.coreml.vendor import coremltools

    class Sized(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(x.shape[0], x.shape[1], int(x.shape[2] * x.shape[3]))

    class Named(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.subtract(x, 1.0)

    ct, example = coremltools(), torch.zeros(1, 2, 4, 4)
    options: dict[str, Any] = {}
    if which == "int":
        model, options["inputs"] = torch.jit.trace(Sized().eval(), example), [ct.TensorType("x", example.shape)]
    else:
        model = torch.export.export(Named(), (example,)).run_decompositions({})
    try:
        ct.convert(model, convert_to="mlprogram", skip_model_load=True, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def eager() -> bool:
    """Whether an import of coremltools brings PyTorch; the larger packages are out of its reach."""
    hidden = ("tensorflow", "torchvision", "torchaudio", "torchao", "executorch", "transformers", "sklearn")
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    import coremltools

    assert coremltools.__version__
    return "torch" in sys.modules


def open_vino(folder: str) -> dict[str, Any]:
    """What a conversion hands to OpenVINO's sender of usage data, which is stopped here, and writes into the home."""
    os.environ.pop("CI", None)
    os.environ["HOME"] = folder
    from openvino_telemetry.utils.sender import TelemetrySender

    sent: list[str] = []
    TelemetrySender.send = lambda self, backend, message: sent.append(str(message))
    import openvino as ov

    file = Path(folder) / "model.onnx"
    file.write_bytes(_norm("Add", 4, 8))
    ov.convert_model(str(file))
    home = Path(folder)
    return {"sent": len(sent), "written": [str(p.relative_to(home)) for p in home.rglob("*") if p.is_file()]}


def onnx_runtime_names_its_switch() -> bool:
    """Whether the release knows the variable that stops its telemetry; nothing is sent to find out."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return b"ORT_DISABLE_TELEMETRY" in Path(state.__file__).read_bytes()


def open_session(folder: str) -> list[str]:
    """Files in the home folder after a session was opened there by our own toolchain."""
    from edgekit import toolchains

    home, file = Path(folder) / "home", Path(folder) / "model.onnx"
    home.mkdir()
    os.environ |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    os.environ.pop("CI", None)
    file.write_bytes(_norm("Add", 4, 8))
    session = toolchains.open_session("onnx", file, toolchains.Options(SCHEMES["fp32"]))
    session.run({name: np.zeros((1, 4, 8), np.float32) for name in "ab"})
    return [str(p.relative_to(home)) for p in home.rglob("*") if p.is_file()]


def norms() -> dict[str, float]:
    """Least CPU seconds of a sum and the layer norm behind it, fused (``Add``) and apart (``Sum``)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {
        kind: onnxruntime.InferenceSession(_norm(kind, 128, 768), options, providers=["CPUExecutionProvider"])
        for kind in ("Add", "Sum")
    }
    given = {name: np.random.default_rng(0).normal(size=(1, 128, 768)).astype(np.float32) for name in "ab"}
    best = dict.fromkeys(sessions, float("inf"))
    for _ in range(10):
        for kind, session in sessions.items():
            start = time.process_time()
            for _ in range(50):
                session.run(None, given)
            best[kind] = min(best[kind], (time.process_time() - start) / 50)
    return best


def _norm(kind: str, rows: int, width: int) -> bytes:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node(kind, ["a", "b"], ["s"]), helper.make_node("LayerNormalization", ["s", "scale"], ["y"])]
    a, b, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, rows, width]) for n in "aby")
    scale = numpy_helper.from_array(np.ones(width, np.float32), "scale")
    graph = helper.make_graph(nodes, "graph", [a, b], [y], [scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def epsilons() -> dict[str, list[str]]:
    """Operators that are left of a sum, a product and a difference with almost nothing, with and without the guard.

    A sum with 0 and a product with 1 are in it, too, and go in both.
    """
    import contextlib

    import torch

    from edgekit.toolchains.onnx import vendor

    class Almost(torch.nn.Module):
        def forward(self, x):
            return ((x + 1e-10) * 1.000005 - 1e-9 + 0.0) * 1.0

    program = torch.export.export(Almost(), (torch.zeros(1, 4),))
    found = {}
    for name, guard in (("as it comes", contextlib.nullcontext), ("exact", vendor.exact_constants)):
        with guard():
            made = torch.onnx.export(program, (), dynamo=True, opset_version=20, verbose=False, optimize=True)
        found[name] = sorted(node.op_type for node in made.model_proto.graph.node if node.op_type != "Identity")
    return found


def constant_group(folder: str, of: str = "group") -> dict[str, float]:
    """Shares of NaN on a constant signal, as it comes and mended, and the error of the second on another."""
    import torch
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

    from edgekit.toolchains.executorch import vendor

    torch.manual_seed(0)
    layer = torch.nn.GroupNorm(8, 8) if of == "group" else torch.nn.InstanceNorm1d(8, affine=True)
    model = torch.nn.Sequential(torch.nn.Conv1d(1, 8, 4), layer).eval()
    silence, noise = torch.full((1, 1, 3200), -50.0), torch.randn(1, 1, 3200)
    norm, mended = getattr(torch.ops.aten, f"{of}_norm").default, getattr(vendor, f"two_pass_{of}_norm")
    found = {}
    for name, table in (("as it comes", {}), ("mended", {norm: mended})):
        program = torch.export.export(model, (noise,)).run_decompositions(table)
        file = Path(folder) / f"{name}.pte"
        with file.open("wb") as stream:
            to_edge_transform_and_lower(program).to_executorch().write_to_file(stream)
        opened = Runtime.get().load_program(file)
        method = opened.load_method("forward")
        found[name] = float(method.execute([silence])[0].isnan().float().mean())
        with torch.no_grad():
            found["error"] = float((method.execute([noise])[0] - model(noise)).abs().max())
    return found


def knotted_parts() -> dict[str, bool]:
    """Whether parts of a small graph need each other's results, as they come and untied."""
    import graphlib

    import torch
    from executorch.exir.backend.canonical_partitioners.group_partitioner import GroupBasedPartitioner
    from torch.fx.passes.operator_support import OperatorSupportBase

    from edgekit.toolchains.executorch import vendor

    class Sums(OperatorSupportBase):  # type: ignore[misc]
        def is_node_supported(self, submodules: Any, node: Any) -> bool:
            return node.target is torch.add

    graph = torch.fx.Graph()
    product = graph.call_function(torch.mul, (graph.placeholder("x"), 2))
    first, second = (graph.call_function(torch.add, (product, product)) for _ in range(2))
    third = graph.call_function(torch.add, (second, first))
    fourth = graph.call_function(torch.add, (second, second))
    graph.output((fourth, graph.call_function(torch.add, (first, third))))
    module, groups = torch.fx.GraphModule({}, graph), [[first, fourth]]
    groups = [[node for node in module.graph.nodes if node.name in {n.name for n in group}] for group in groups]
    parts = GroupBasedPartitioner(module, Sums(), True, node_groups=groups).propose_partitions()
    found = {}
    for name, chosen in (("as it comes", parts), ("mended", vendor.untied(module.graph, parts, groups))):
        part_of = {node: number for number, part in enumerate(chosen) for node in part.nodes}
        try:
            vendor.in_order(module.graph, {node: part_of.get(node, node) for node in module.graph.nodes})
            found[name] = False
        except graphlib.CycleError:
            found[name] = True
    return found


def marks(folder: str, of: str) -> dict[str, Any]:
    """How a session ends on a small quantized model, as it comes and then mended: its error, or its lowest SQNR in dB.

    ``of``: a slice and a padding in int8 (``moved``), or two convolutions of one input, quantized at run time
    (``shared``).
    """
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    from edgekit.errors import DamagedFileError
    from edgekit.toolchains.executorch.passes.integers import agree
    from edgekit.toolchains.executorch.session import ExecuTorchSession

    class Moved(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(16, 16), torch.nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found = self.first(x)
            return self.second(found[..., :8]), torch.nn.functional.pad(found, (1, 2))

    class Shared(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.first(x), self.second(x)

    torch.manual_seed(0)
    model = (Moved if of == "moved" else Shared)().eval()
    samples = [torch.randn((1, 8, 16) if of == "moved" else (1, 8, 6, 6)) for _ in range(8)]
    quantizer = xnnpack_quantizer.XNNPACKQuantizer()
    settings = {"is_per_channel": True, "is_dynamic": of == "shared"}
    quantizer.set_global(xnnpack_quantizer.get_symmetric_quantization_config(**settings))
    prepared = prepare_pt2e(torch.export.export(model, (samples[0],)).module(), quantizer)
    for sample in samples:
        prepared(sample)
    graph, found = convert_pt2e(prepared), dict[str, Any]()
    for name, mend in (("as it comes", lambda graph: None), ("mended", agree)):
        mend(graph)
        program = torch.export.export(graph, (samples[0],))
        edge = to_edge_transform_and_lower(
            program, partitioner=[XnnpackPartitioner()], compile_config=EdgeCompileConfig(_check_ir_validity=False)
        )
        file = Path(folder) / f"{of}.pte"
        with file.open("wb") as stream:
            edge.to_executorch().write_to_file(stream)
        try:
            outputs = ExecuTorchSession(file, 1).run({"input_0": samples[0].numpy()})
        except DamagedFileError as error:
            found[name] = str(error)
        else:
            with torch.no_grad():
                wanted = [t.numpy() for t in model(samples[0])]
            pairs = zip(wanted, outputs.values(), strict=True)
            noise = max(np.square(w - o).sum() / np.square(w).sum() for w, o in pairs)
            found[name] = float(-10 * np.log10(noise))
    return found


def trained_mask() -> dict[str, Any]:
    """Whether torch.onnx ends at attention with a trained mask, as in T5, and how far off what edgekit exports is."""
    import onnxruntime
    import torch

    from edgekit.toolchains.onnx.export import _dynamo

    class Biased(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.randn(1, 3, 16, 16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q = x.view(1, 16, 3, 16).transpose(1, 2)
            found = torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=self.bias * 1.5)
            return found.transpose(1, 2).contiguous().reshape(1, 16, -1) * 2

    torch.manual_seed(0)
    model, x = Biased().eval(), torch.randn(1, 16, 48)
    with torch.no_grad():
        program, expected = torch.export.export(model, (x,), strict=False), model(x)
    try:
        torch.onnx.export(program, (), dynamo=True, opset_version=20, verbose=False)
        ended = ""
    except torch.onnx.errors.OnnxExporterError as error:
        ended = str(error.__cause__ or error)
    session = onnxruntime.InferenceSession(_dynamo(program).SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return {"ended": ended, "error": float(np.abs(found - expected.numpy()).max())}


def packed_constant() -> dict[str, str]:
    """What ai-edge-quantizer says of a constant that is packed with a tensor, as it comes and mended."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import recipe
    from ai_edge_quantizer.quantizer import Quantizer

    from edgekit.toolchains.litert.vendor import fitting_ranks

    rng = np.random.default_rng(0)
    constant, weights = (tf.constant(rng.standard_normal(s), tf.float32) for s in ((1, 4, 8), (8, 8)))

    @tf.function(input_signature=[tf.TensorSpec((1, 4, 8))])  # type: ignore[untyped-decorator]
    def model(x: Any) -> Any:
        return tf.stack([x @ weights, constant], 1) @ weights

    held = tf.Module()
    held.model = model
    file = tf.lite.TFLiteConverter.from_concrete_functions([model.get_concrete_function()], held).convert()
    (key, described), *_ = Interpreter(model_content=file).get_signature_list().items()
    sample = {described["inputs"][0]: rng.standard_normal((1, 4, 8)).astype(np.float32)}

    def said(quantizer: Any) -> str:
        try:
            quantizer.quantize(quantizer.calibrate({key: [sample]}), enable_progress_bar=False)
        except ValueError as error:
            return str(error)
        return ""

    comes = said(Quantizer(bytearray(file), recipe.static_wi8_ai8()))
    with fitting_ranks():
        return {"as it comes": comes, "mended": said(Quantizer(bytearray(file), recipe.static_wi8_ai8()))}
