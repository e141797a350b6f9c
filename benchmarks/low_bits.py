"""What the vendors' tools cost in 4 bits by default, and in static int8 where that is hard: the hard set's figures.

    python benchmarks/low_bits.py measure [--models resnet ...] [--tools nncf ...] [--again]
    python benchmarks/low_bits.py page          rewrite LOW_BITS.md from the newest rows

A cell of ``CELLS`` is a model of the zoo, a tool and one of its settings. Tools that quantize a file get the fp32 file
that edgekit made of the same model, torchao gets the model itself. What comes out is run on test samples of the model's
task, the same for all tools, in the runtime that ships it (Core ML: edgekit's own evaluator), and compared sample by
sample with PyTorch's float run. Each cell has children of its own: a tool that ends its process is an error in one row.
Rows are appended to ``benchmarks/results/low_bits.jsonl``.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgekit
from benchmarks import rows
from edgekit import target as targets
from edgekit import zoo
from edgekit.data import tasks
from edgekit.errors import EdgekitError, FailedError
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers

RESULTS = rows.RESULTS / "low_bits.jsonl"
PAGE = Path(__file__).parent / "LOW_BITS.md"
#: Test samples of every row.
SAMPLES = 2000
CALIBRATION = 256

MODELS = ("resnet", "unet", "mobilenet_v2", "mobilenet_v3", "char_llama", "bert", "gpt", "lstm_classifier")
#: What is hard in static int8, by its structure.
INT8 = ("char_llama", "mobilenet_v3")

Samples = dict[str, np.ndarray]


# The vendors' calls. Each writes a file of its float file and, where it needs ranges, of calibration samples.


def aeq(source: Path, out: Path, calibration: Samples, recipe: str) -> None:
    from ai_edge_quantizer import recipe as recipes

    aeq_by(getattr(recipes, recipe)(), source, out, calibration)


def aeq_by(recipe: Any, source: Path, out: Path, calibration: Samples) -> None:
    """Any recipe."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer

    made, ranges = quantizer.Quantizer(str(source), recipe), None
    if made.need_calibration:
        (key, described), *_ = Interpreter(str(source)).get_signature_list().items()
        names = dict(zip(calibration, described["inputs"], strict=True))
        ranges = made.calibrate({key: [{names[n]: a for n, a in row.items()} for row in _each(calibration)]})
    made.quantize(ranges).export_model(str(out), overwrite=True)


def nncf_weights(source: Path, out: Path, calibration: Samples, **settings: Any) -> None:
    import nncf
    import openvino as ov

    made = nncf.compress_weights(ov.Core().read_model(source), mode=nncf.CompressWeightsMode.INT4_SYM, **settings)
    ov.save_model(made, out, compress_to_fp16=False)


def nncf_static(source: Path, out: Path, calibration: Samples) -> None:
    import nncf
    import openvino as ov

    made = nncf.quantize(ov.Core().read_model(source), nncf.Dataset([list(r.values()) for r in _each(calibration)]))
    ov.save_model(made, out, compress_to_fp16=False)


def ort_weights(source: Path, out: Path, calibration: Samples, **settings: Any) -> None:
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    made = MatMulNBitsQuantizer(str(source), **settings)
    made.process()
    model = made.model.model
    if "com.microsoft" not in {known.domain for known in model.opset_import}:
        model.opset_import.add(domain="com.microsoft", version=1)  # which RTN, k-quant and GPTQ forget
    onnx.save(model, out)


def ort_static(source: Path, out: Path, calibration: Samples, **settings: Any) -> None:
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = out.with_name("prepared.onnx")
    quant_pre_process(str(source), str(prepared))
    quantize_static(str(prepared), str(out), ort_reader(calibration), **settings)


def ort_reader(calibration: Samples) -> Any:
    """Samples as ONNX Runtime's tools read them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        left = _each(calibration)

        def get_next(self) -> Samples | None:
            return next(self.left, None)

    return Reader()


def coreml_linear(source: Path, out: Path, calibration: Samples) -> None:
    import coremltools as ct
    import coremltools.optimize.coreml as cto

    settings = cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int4", granularity="per_block")
    model = ct.models.MLModel(str(source), skip_model_load=True)
    cto.linear_quantize_weights(model, cto.OptimizationConfig(global_config=settings)).save(str(out))


def coreml_palette(source: Path, out: Path, calibration: Samples) -> None:
    import coremltools as ct
    import coremltools.optimize.coreml as cto

    model = ct.models.MLModel(str(source), skip_model_load=True)
    settings = cto.OpPalettizerConfig(nbits=4)
    cto.palettize_weights(model, cto.OptimizationConfig(global_config=settings)).save(str(out))


def torchao_8da4w(model: str, out: Path, calibration: Samples) -> None:
    """As ExecuTorch's page on XNNPACK has it."""
    import torch
    from torchao.quantization.granularity import PerGroup
    from torchao.quantization.quant_api import Int8DynamicActivationIntxWeightConfig, quantize_

    module = _torch(model)
    quantize_(module, Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=PerGroup(32)))
    lower(module, tuple(map(torch.from_numpy, next(_each(calibration)).values())), out)


def lower(module: Any, example: tuple[Any, ...], out: Path) -> None:
    """A module's ExecuTorch program for XNNPACK."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
    from executorch.exir.passes.quant_fusion_pass import quant_fusion_and_const_prop_pass

    lowered = to_edge_transform_and_lower(
        torch.export.export(module, example),
        partitioner=[XnnpackPartitioner()],
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    quant_fusion_and_const_prop_pass(lowered.exported_program())  # tables of integers, where there are any
    out.write_bytes(lowered.to_executorch().buffer)


def _each(samples: Samples) -> Iterator[Samples]:
    """Samples one by one, each in a batch of 1."""
    for i in range(len(next(iter(samples.values())))):
        yield {name: array[i : i + 1] for name, array in samples.items()}


@dataclass(frozen=True)
class Setting:
    """One setting of a tool: the float target that it starts from (None: the framework's model), and the call."""

    source: str | None
    toolchain: str
    ending: str
    call: Callable[[Any, Path, Samples], None]
    #: Of the zoo's two implementations: the one that the target takes by itself.
    framework: str = "torch"
    models: tuple[str, ...] = MODELS


_LITERT = functools.partial(Setting, "tflite-fp32", "litert", "tflite", framework="keras")
_OPENVINO = functools.partial(Setting, "openvino-fp32", "openvino", "xml")
_ONNX = functools.partial(Setting, "onnxruntime-fp32", "onnx", "onnx")
_COREML = functools.partial(Setting, "coreml-fp32", "coreml", "mlpackage")

#: {tool: {setting: how}}.
TOOLS: Mapping[str, Mapping[str, Setting]] = {
    "ai-edge-quantizer": {
        "dynamic_wi4_afp32": _LITERT(functools.partial(aeq, recipe="dynamic_wi4_afp32")),
        "static_wi8_ai8": _LITERT(functools.partial(aeq, recipe="static_wi8_ai8"), models=INT8),
    },
    "nncf": {
        "INT4_SYM": _OPENVINO(nncf_weights),
        "INT4_SYM, per channel": _OPENVINO(functools.partial(nncf_weights, group_size=-1)),
        "quantize": _OPENVINO(nncf_static, models=INT8),
    },
    "onnxruntime": {
        "MatMulNBits": _ONNX(ort_weights),
        "MatMulNBits, block 32": _ONNX(functools.partial(ort_weights, block_size=32)),
        "quantize_static": _ONNX(ort_static, models=INT8),
    },
    "torchao": {"8da4w, group 32": Setting(None, "executorch", "pte", torchao_8da4w)},
    "coremltools": {
        "linear int4, per block": _COREML(coreml_linear),
        "palettize, 4 bits": _COREML(coreml_palette),
    },
}
#: Targets of edgekit that stand in the same table: {target: models}.
OURS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("tflite-int8", "onnxruntime-int8", "openvino-int8"), INT8),
    **dict.fromkeys(("tflite-int4", "onnxruntime-int4", "openvino-int4", "executorch-int4"), MODELS),
    **dict.fromkeys(("coreml-int4", "coreml-lut4"), MODELS),
}

#: Model, tool, setting: what ``measure`` does.
CELLS = [
    *((m, tool, name) for m in MODELS for tool, known in TOOLS.items() for name, s in known.items() if m in s.models),
    *((model, "edgekit", name) for name, models in OURS.items() for model in models),
]


# What runs in children.


def _torch(model: str) -> Any:
    import importlib

    from edgekit.zoo import weights

    module = importlib.import_module(f"edgekit.zoo.{model}.pytorch").build(
        **zoo.architecture(model).configs["tiny"].settings
    )
    weights.load_torch(module, weights.read(zoo.weights_path(model, "tiny")))
    return module.eval()


def _samples(model: str, split: tasks.Split, count: int, framework: str) -> tasks.Samples:
    """Samples of the model's task, in the layout of a framework."""
    config = zoo.architecture(model).configs["tiny"]
    found = tasks.load(config.task, split, count)
    inputs = {
        t.name: np.ascontiguousarray(np.moveaxis(found.inputs[t.name], -1, 1))
        if t.layout == "channels_last" and framework == "torch"
        else found.inputs[t.name]
        for t in config.inputs
    }
    return tasks.Samples(inputs, found.labels)


def reference(folder: str, model: str, split: tasks.Split = "test", count: int = SAMPLES) -> None:
    """Float outputs on samples of a split, channels last."""
    import torch

    module, samples, parts = _torch(model), _samples(model, split, count, "torch").inputs, []
    with torch.no_grad():
        for start in range(0, count, 250):
            some = (torch.from_numpy(array[start : start + 250]) for array in samples.values())
            parts.append(_last(model, module(*some).numpy(), "torch"))
    np.savez(Path(folder) / f"{model}.npz", outputs=np.concatenate(parts))


def quantize(model: str, tool: str, setting: str, source: str, out: str) -> None:
    """One vendor's call."""
    how = TOOLS[tool][setting]
    calibration = _samples(model, "calibration", CALIBRATION, how.framework).inputs
    how.call(Path(source) if how.source else model, Path(out), calibration)


def score(model: str, toolchain: str, framework: str, file: str, floats: str) -> dict[str, Any]:
    """Run a file on the test samples, and compare it with the float run."""
    outputs, by = executed(model, toolchain, framework, file)
    with np.load(floats) as stored:
        return {**compared(model, stored["outputs"], outputs), **contents(toolchain, file), "by": by}


def executed(
    model: str, toolchain: str, framework: str, file: str, split: tasks.Split = "test", count: int = SAMPLES
) -> tuple[np.ndarray, str]:
    """Run a file on samples of a split: outputs, channels last, and who ran it."""
    from edgekit import toolchains
    from edgekit.schemes import SCHEMES

    session = toolchains.open_session(toolchain, Path(file), toolchains.Options(SCHEMES["fp32"]))
    names = [t.name for t in toolchains.audit(toolchain, Path(file)).inputs]
    called = dict(zip(names, _samples(model, split, count, framework).inputs.values(), strict=True))
    ran = [next(iter(session.run(row).values())) for row in _each(called)]
    return _last(model, np.concatenate(ran), framework), session.by


def compared(
    model: str, before: np.ndarray, after: np.ndarray, split: tasks.Split = "test", count: int = SAMPLES
) -> dict[str, Any]:
    """What a model loses from one side to the other, on the same samples of a split."""
    from edgekit.proof.accuracy import measure_accuracy

    task = zoo.architecture(model).configs["tiny"].task
    metric = tasks.task(task).metric
    found = measure_accuracy(metric, [(tasks.load(task, split, count).labels, before, after)])
    return {
        "metric": metric,
        "samples": found.samples,
        "float": found.float_,
        "quantized": found.artifact,
        "drop": found.drop,
        "drop_ci95": list(found.drop_ci95),
    }


def contents(toolchain: str, file: str) -> dict[str, Any]:
    """Weights of layers in a file: elements by type, and the share of those in 4 bits."""
    from edgekit import toolchains

    elements: dict[str, int] = {}
    layers = toolchains.audit(toolchain, Path(file)).layers
    for layer in layers:
        elements[layer.weight_type] = elements.get(layer.weight_type, 0) + math.prod(layer.shape)
    if toolchain == "onnx" and not any(layer.operator == "MatMulNBits" for layer in layers):
        for kind, count in _in_blocks(file).items():
            elements[kind] = elements.get(kind, 0) + count
    four = sum(n for kind, n in elements.items() if "4" in kind.split("+")[0])
    return {"weights": elements, "share_4_bits": four / sum(elements.values())}


def _in_blocks(file: str) -> dict[str, int]:
    """Weights of ONNX Runtime's MatMulNBits, which the audit does not list: elements by type."""
    import onnx

    found: dict[str, int] = {}
    for node in onnx.load(file).graph.node:
        if node.op_type == "MatMulNBits":
            about = {a.name: a.i for a in node.attribute}
            kind = f"uint{about['bits']}"
            found[kind] = found.get(kind, 0) + about["K"] * about["N"]
    return found


def _last(model: str, array: np.ndarray, framework: str) -> np.ndarray:
    """Outputs channels last."""
    [output] = zoo.architecture(model).configs["tiny"].outputs
    return np.moveaxis(array, 1, -1) if output.layout == "channels_last" and framework == "torch" else array


# The parent.


def measured(cell: tuple[str, str, str], scratch: Path, workers: Workers) -> dict[str, Any]:
    """The row of one cell."""
    model, tool, setting = cell
    floats = scratch / f"{model}.npz"
    if not floats.exists():
        workers.call("torch", "benchmarks.low_bits:reference", {"folder": str(scratch), "model": model})
    try:
        if tool == "edgekit":
            target = targets.load(setting)
            toolchain, framework, file = (
                target.toolchain,
                target.default_framework,
                ours(model, setting, scratch, workers),
            )
        else:
            how = TOOLS[tool][setting]
            toolchain, framework = how.toolchain, how.framework
            source = ours(model, how.source, scratch, workers) if how.source else ""
            file = Path(tempfile.mkdtemp(dir=scratch)) / f"model.{how.ending}"
            arguments = {"model": model, "tool": tool, "setting": setting, "source": str(source), "out": str(file)}
            workers.call("runtime" if how.source else "torch", "benchmarks.low_bits:quantize", arguments)
        arguments = {
            "model": model,
            "toolchain": toolchain,
            "framework": framework,
            "file": str(file),
            "floats": str(floats),
        }
        return dict(workers.call("runtime", "benchmarks.low_bits:score", arguments).value)  # type: ignore[arg-type]
    except EdgekitError as error:
        return {"error": " ".join(str(error).split()).removeprefix("benchmarks.low_bits:quantize raised ")[:300]}


def ours(model: str, name: str, scratch: Path, workers: Workers, **options: Any) -> Path:
    """The file of one of edgekit's own targets."""
    folder = scratch / f"{model}-{name}"
    if not folder.exists():
        source = f"{model}@{targets.load(name).default_framework}"
        made = edgekit.convert(source, name, output=folder, workers=workers, store=Store(), latency=False, **options)
        if made.status != "PASS":
            raise FailedError(f"{made.status}: {made.reason}")
    [part] = json.loads((folder / "manifest.json").read_text())["parts"].values()
    return folder / part["file"]


def newest() -> dict[tuple[str, str, str], dict[str, Any]]:
    """The last row of each cell."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else ()
    return {(row["model"], row["tool"], row["setting"]): row for row in map(json.loads, lines)}


def measure(models: list[str], tools: list[str], *, again: bool) -> None:
    """Measure cells, each in children of its own, and keep the rows as they come."""
    known = {} if again else newest()
    with tempfile.TemporaryDirectory() as scratch:
        for cell in CELLS:
            if cell in known or (models and cell[0] not in models) or (tools and cell[1] not in tools):
                continue
            with Workers() as workers:
                row = dict(zip(("model", "tool", "setting"), cell, strict=True)) | measured(
                    cell, Path(scratch), workers
                )
            row |= rows.stamp()
            with RESULTS.open("a") as stream:
                stream.write(json.dumps(row, sort_keys=True) + "\n")
            print(*cell, row.get("error") or f"{row['float']:.4f} -> {row['quantized']:.4f}", flush=True)


# The page.


def page() -> str:
    """The tables of the newest rows."""
    found = newest()
    hosts = sorted({row["host"] for row in found.values()})
    lines = [
        "# Low bits: what the vendors' defaults cost",
        "",
        f"Written by `benchmarks/low_bits.py` from `results/low_bits.jsonl`, measured on {', '.join(hosts)}.",
        "Loss is in points of the metric, of perplexity in per cent, with the 95 % interval of the paired difference;",
        "positive is worse. The last column is the share of the weights of layers that the file stores in 4 bits.",
    ]
    for model in MODELS:
        lines += ["", f"## {model}", "", "| tool | setting | n | float | quantized | loss | 4 bits |"]
        lines += ["|---|---|---|---|---|---|---|"]
        lines += [_line(found[cell]) for cell in CELLS if cell[0] == model and cell in found]
    return "\n".join(lines) + "\n"


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")


def _line(row: Mapping[str, Any]) -> str:
    if "error" in row:
        return f"| {row['tool']} | {row['setting']} | | | | {row['error'].replace('|', '/')} | |"
    relative = row["metric"] == "perplexity"
    shown = "{:.3f}" if relative else "{:.2%}"
    low, high = (100 * bound for bound in row["drop_ci95"])
    loss = f"{100 * row['drop']:+.2f}{' %' if relative else ''} [{low:+.2f}, {high:+.2f}]"
    values = f"{shown.format(row['float'])} | {shown.format(row['quantized'])} | {loss} | {row['share_4_bits']:.0%}"
    return f"| {row['tool']} | {row['setting']} | {row['samples']} | {values} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("measure", "page"))
    parser.add_argument("--models", nargs="*", default=[], help="all by default")
    parser.add_argument("--tools", nargs="*", default=[], help="all by default")
    parser.add_argument("--again", action="store_true", help="also cells that have a row")
    arguments = parser.parse_args()
    if arguments.stage == "measure":
        measure(arguments.models, arguments.tools, again=arguments.again)
    write()


if __name__ == "__main__":
    main()
