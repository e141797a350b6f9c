"""The vendors' tools that ``vendors.py`` compares with: for each target of edgekit the calls that make its like."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import low_bits
from edgekit import zoo
from edgekit.data import tasks

#: Test samples of every row.
SAMPLES = 8000
#: Of Core ML's, whose files edgekit's evaluator runs in NumPy, an operator at a time.
EVALUATED = 2000
#: Samples of the selection split that settings are tried on.
SELECTION = 1000

CNNS = ("resnet", "unet", "mobilenet_v2", "mobilenet_v3")
MODELS = (*CNNS, "char_llama")


def count(split: tasks.Split, target: str = "") -> int:
    """Samples that a target's files are run on."""
    if split == "test":
        return EVALUATED if target.startswith("coreml") else SAMPLES
    return SELECTION


@dataclass(frozen=True)
class Given:
    """What a call may look at: the model, and samples of its task in the layout of its framework."""

    model: str
    framework: str

    def samples(self, split: tasks.Split) -> tasks.Samples:
        """Samples of the calibration or of the selection split: as many as edgekit gets."""
        samples = low_bits.CALIBRATION if split == "calibration" else count(split)
        return low_bits._samples(self.model, split, samples, self.framework)


Call = Callable[[Path, Path, Given], None]


# ai-edge-quantizer: its algorithms by kind of operator, where the float file has such operators.


def aeq_int8(source: Path, out: Path, given: Given, algorithm: str) -> None:
    from ai_edge_quantizer import recipe

    low_bits.aeq_by(recipe.static_wi8_ai8(algorithm), source, out, given.samples("calibration").inputs)


def aeq_int4(
    source: Path,
    out: Path,
    given: Given,
    *,
    products: str,
    others: str = "min_max_uniform_quantize",
    tables: int = 4,
    granularity: str = "CHANNELWISE",
) -> None:
    """4-bit weights per channel; depthwise kernels, which have no kernel in 4 bits, in 8 as edgekit keeps them."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.recipe_manager import RecipeManager

    kinds = qtyping.TFLOperationName
    recipe = RecipeManager()
    for kind in (kinds.DEPTHWISE_CONV_2D, kinds.CONV_2D_TRANSPOSE):
        recipe.add_dynamic_config(".*", kind, 8)
    recipe.add_dynamic_config(".*", kinds.CONV_2D, 4, algorithm_key=others)
    recipe.add_dynamic_config(".*", kinds.EMBEDDING_LOOKUP, tables, algorithm_key=others)
    blocks = qtyping.QuantGranularity[granularity]
    recipe.add_dynamic_config(".*", kinds.FULLY_CONNECTED, 4, blocks, algorithm_key=products)
    low_bits.aeq_by(recipe.get_quantization_recipe(), source, out, given.samples("calibration").inputs)


# NNCF.


def nncf_static(source: Path, out: Path, given: Given, *, max_drop: float | None, transformer: bool = False) -> None:
    """Static int8; with ``max_drop`` layers stay in float until the metric of the selection split keeps to it."""
    import nncf
    import openvino as ov

    from edgekit.proof import metrics

    config = zoo.architecture(given.model).configs["tiny"]
    metric, chosen_on = metrics.metric(tasks.task(config.task).metric), given.samples("selection")
    labels = chosen_on.labels
    assert labels is not None

    def value(model: Any, some: Any) -> tuple[float, None]:
        outputs = np.concatenate([np.asarray(model(row)[0]) for row in some])
        found = metric.value(metric.score(labels, low_bits._last(given.model, outputs, given.framework)))
        return (found if metric.higher_is_better else -math.log(found)), None  # 1 % of perplexity is then .01

    model, calibration = ov.Core().read_model(source), _rows(given, "calibration")
    settings: dict[str, Any] = {
        "model_type": nncf.ModelType.TRANSFORMER if transformer else None,
        "subset_size": low_bits.CALIBRATION,
    }
    if max_drop is None:
        made = nncf.quantize(model, nncf.Dataset(calibration), **settings)
    else:
        validation = nncf.Dataset(_rows(given, "selection"))
        made = nncf.quantize_with_accuracy_control(
            model, nncf.Dataset(calibration), validation, value, max_drop=max_drop, **settings
        )
    ov.save_model(made, out, compress_to_fp16=False)


def _rows(given: Given, split: tasks.Split) -> list[list[np.ndarray]]:
    return [list(row.values()) for row in low_bits._each(given.samples(split).inputs)]


def nncf_weights(source: Path, out: Path, given: Given, **settings: Any) -> None:
    """Weights in 4 bits by blocks of 32, in all layers or in those that NNCF takes by default."""
    import nncf

    each = _rows(given, "calibration")
    data = {"dataset": nncf.Dataset(each), "subset_size": len(each)} if settings.keys() - {"all_layers"} else {}
    low_bits.nncf_weights(source, out, {}, group_size=32, **data, **settings)


# ONNX Runtime.


def ort_static(source: Path, out: Path, given: Given, method: str) -> None:
    """Static int8 by Q/DQ, weights per channel."""
    from onnxruntime.quantization import CalibrationMethod

    settings = {"per_channel": True, "calibrate_method": CalibrationMethod[method]}
    low_bits.ort_static(source, out, given.samples("calibration").inputs, **settings)


def ort_blocks(source: Path, out: Path, given: Given, algorithm: str, **settings: Any) -> None:
    """MatMulNBits in blocks of 32, by one of the algorithms."""
    from onnxruntime.quantization import matmul_nbits_quantizer

    if algorithm == "GPTQ":
        settings["calibration_data_reader"] = low_bits.ort_reader(given.samples("calibration").inputs)
    made = getattr(matmul_nbits_quantizer, f"{algorithm}WeightOnlyQuantConfig")(**settings)
    sizes = {"block_size": 32, "is_symmetric": settings.get("is_symmetric", False)}
    low_bits.ort_weights(source, out, {}, algo_config=made, **sizes)


# torchao, lowered by ExecuTorch.


def torchao(
    source: Path,
    out: Path,
    given: Given,
    *,
    mapping: str = "SYMMETRIC",
    algorithm: str = "AFFINE",
    awq: bool = False,
    tables: bool = True,
) -> None:
    """8da4w by groups of 32; tables in 8 bits, as edgekit stores them."""
    import torch
    from torchao.quantization.granularity import PerAxis, PerGroup
    from torchao.quantization.quant_api import (
        Int8DynamicActivationIntxWeightConfig,
        IntxWeightOnlyConfig,
        MappingType,
        quantize_,
    )
    from torchao.quantization.quantize_.workflows import IntxChooseQParamsAlgorithm

    module = low_bits._torch(given.model)
    each = [tuple(map(torch.from_numpy, row.values())) for row in low_bits._each(given.samples("calibration").inputs)]
    config = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int4,
        weight_granularity=PerGroup(32),
        weight_mapping_type=MappingType[mapping],
        intx_choose_qparams_algorithm=IntxChooseQParamsAlgorithm[algorithm],
    )
    if awq:
        from torchao.prototype.awq import AWQConfig

        quantize_(module, AWQConfig(config, step="prepare"))
        for sample in each:
            module(*sample)
        quantize_(module, AWQConfig(config, step="convert"))
    else:
        quantize_(module, config)
    if tables:
        table = IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0))
        quantize_(module, table, lambda layer, _: isinstance(layer, torch.nn.Embedding))
        # The kernel of such tables ends the process at indices of 32 bits.
        module.embed_tokens.register_forward_pre_hook(lambda _, taken: (taken[0].long(),))
    low_bits.lower(module, each[0], out)


# coremltools: on the float package, or on the PyTorch model before it is converted.


def coreml_blocks(source: Path, out: Path, given: Given, **settings: Any) -> None:
    """4 bits in blocks of 32 where they divide, and what is left in 8 bits per channel, as edgekit does it."""
    import coremltools as ct
    import coremltools.optimize.coreml as cto

    model = ct.models.MLModel(str(source), skip_model_load=True)
    four = cto.OpLinearQuantizerConfig(
        dtype="int4", granularity="per_block", block_size=32, weight_threshold=0, **settings
    )
    _rest_in_8_bits(cto.linear_quantize_weights(model, _of_layers(four))).save(str(out))


def _rest_in_8_bits(model: Any) -> Any:
    """Weights that are still float in int8 per channel."""
    import coremltools.optimize.coreml as cto

    eight = cto.OpLinearQuantizerConfig(dtype="int8", granularity="per_channel", weight_threshold=0)
    return cto.linear_quantize_weights(model, _of_layers(eight))


def _of_layers(config: Any) -> Any:
    """For weights of layers alone: a threshold of 0 means tables of sines and masks, too, and costs 10 % there."""
    import coremltools.optimize.coreml as cto

    kinds = ("conv", "conv_transpose", "linear", "matmul", "gather")
    return cto.OptimizationConfig(op_type_configs=dict.fromkeys(kinds, config))


def coreml_palettes(source: Path, out: Path, given: Given, int8: bool = False, **settings: Any) -> None:
    """16 numbers per palette, by k-means; ``int8``: the palettes' numbers in 8 bits."""
    import coremltools as ct
    import coremltools.optimize.coreml as cto

    model = ct.models.MLModel(str(source), skip_model_load=True)
    palettes = cto.OpPalettizerConfig(nbits=4, mode="kmeans", weight_threshold=0, **settings)
    model = cto.palettize_weights(model, _of_layers(palettes))
    if int8:
        eight = cto.OpLinearQuantizerConfig(dtype="int8", granularity="per_tensor", weight_threshold=0)
        model = cto.linear_quantize_weights(model, _of_layers(eight), joint_compression=True)
    model.save(str(out))


def coreml_gptq(source: Path, out: Path, given: Given) -> None:
    import torch
    from coremltools.optimize.torch.layerwise_compression import LayerwiseCompressor, LayerwiseCompressorConfig

    settings = {"algorithm": "gptq", "weight_dtype": "uint4", "granularity": "per_block", "block_size": 32}
    config = {"global_config": settings, "calibration_nsamples": low_bits.CALIBRATION}
    inputs, _ = _tensors(given)
    # It feeds each child the child before it; of one whole model it asks nothing more.
    made = LayerwiseCompressor(torch.nn.Sequential(_folded(given.model)), LayerwiseCompressorConfig.from_dict(config))
    _convert(made.compress(inputs, device="cpu"), inputs[0], out)


def coreml_sensitive(source: Path, out: Path, given: Given, **settings: Any) -> None:
    """Palettes by k-means that weighs each number by the loss's gradient on labelled samples."""
    import torch
    from coremltools.optimize.torch.palettization import SKMPalettizer, SKMPalettizerConfig

    inputs, labels = _tensors(given)

    def loss(model: Any, sample: Any) -> Any:
        outputs = model(sample[0])
        return torch.nn.functional.cross_entropy(outputs if outputs.ndim == 4 else outputs.flatten(0, -2), sample[1])

    def target(label: Any, shape: Sequence[int]) -> Any:
        return label if len(shape) == 4 else label.flatten()

    model = _folded(given.model)
    shape = model(inputs[0]).shape
    samples = [(one, target(label, shape)) for one, label in zip(inputs, labels, strict=True)]
    config = {"global_config": {"n_bits": 4, **settings}, "calibration_nsamples": low_bits.CALIBRATION}
    made = SKMPalettizer(model, SKMPalettizerConfig.from_dict(config))
    _convert(made.compress(samples, loss_fn=loss), inputs[0], out)


def _tensors(given: Given) -> tuple[list[Any], list[Any]]:
    """Calibration samples and their labels, one by one."""
    import torch

    samples = given.samples("calibration")
    [inputs] = samples.inputs.values()
    assert samples.labels is not None
    return list(torch.from_numpy(inputs).split(1)), list(torch.from_numpy(samples.labels).split(1))


def _folded(name: str) -> Any:
    """The model with its batch norms in the convolutions before them, where conversion cannot fold them any more."""
    import torch
    from torch.fx.experimental import optimization

    model = low_bits._torch(name)
    has_norms = any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    return optimization.fuse(model) if has_norms else model


def _convert(model: Any, example: Any, out: Path) -> None:
    """As edgekit's own float package is made, so that nothing but the tool differs."""
    import coremltools as ct
    import torch

    from edgekit.toolchains.coreml import export
    from edgekit.toolchains.coreml.vendor import torch_frontend

    traced = torch.jit.trace(model.eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
    kind = np.int32 if example.dtype == torch.int32 else np.float32
    with torch_frontend():
        converted = ct.convert(
            traced,
            inputs=[ct.TensorType(name="x", shape=example.shape, dtype=kind)],
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS18,
            compute_precision=ct.precision.FLOAT32,
            pass_pipeline=export._passes(ct),
            skip_model_load=True,
        )
    _rest_in_8_bits(converted).save(str(out))


@dataclass(frozen=True)
class Tool:
    """A vendor's tool: the float target that it starts from (None: the framework's model), and its settings."""

    name: str
    source: str | None
    ending: str
    settings: Mapping[str, Call]
    models: tuple[str, ...] = MODELS
    #: Settings that start from the framework's model.
    from_model: Mapping[str, Call] = field(default_factory=dict)

    @property
    def calls(self) -> Mapping[str, Call]:
        """All settings."""
        return {**self.settings, **self.from_model}


def _with(call: Callable[..., None], **settings: Any) -> Call:
    return functools.partial(call, **settings)


_AEQ, _NNCF, _ORT = "ai-edge-quantizer", "nncf", "onnxruntime"
_LLAMA = ("char_llama",)
_BLOCKS_BY_ORT = {
    "RTN": _with(ort_blocks, algorithm="RTN"),
    "k-quant": _with(ort_blocks, algorithm="KQuant"),
    "HQQ": _with(ort_blocks, algorithm="HQQ", block_size=32),
    "GPTQ": _with(ort_blocks, algorithm="GPTQ", block_size=32),
    "GPTQ, order of activations, MSE": _with(ort_blocks, algorithm="GPTQ", block_size=32, actorder=True, mse=True),
    "default": _with(ort_blocks, algorithm="Default", block_size=32),
    "default, symmetric": _with(ort_blocks, algorithm="Default", block_size=32, is_symmetric=True),
    "default, tables as well": _with(
        ort_blocks,
        algorithm="Default",
        block_size=32,
        op_types_to_quantize=("MatMul", "Gather"),
        quant_axes=(("MatMul", 0), ("Gather", 1)),
    ),
}
_BLOCKS_BY_NNCF = {
    f"{name}{', all layers' if all_layers else ''}": _with(nncf_weights, all_layers=all_layers, **settings)
    for all_layers in (True, False)
    for name, settings in {
        "plain": {},
        "scale estimation": {"scale_estimation": True},
        "AWQ": {"awq": True},
        "GPTQ": {"gptq": True},
        "AWQ and scale estimation": {"awq": True, "scale_estimation": True},
        "GPTQ and scale estimation": {"gptq": True, "scale_estimation": True},
    }.items()
}
_PALETTES: dict[str, dict[str, Any]] = {
    "per tensor": {},
    "per tensor, scales per channel": {"enable_per_channel_scale": True},
    "per channel": {"granularity": "per_grouped_channel", "group_size": 1},
    "per 4 channels": {"granularity": "per_grouped_channel", "group_size": 4},
}

#: The tool of each target.
TOOLS: Mapping[str, Tool] = {
    "tflite-int8": Tool(
        _AEQ,
        "tflite-fp32",
        "tflite",
        {
            "static_wi8_ai8": _with(aeq_int8, algorithm="min_max_uniform_quantize"),
            "static_wi8_ai8, OCTAV": _with(aeq_int8, algorithm="OCTAV"),
        },
    ),
    "openvino-int8": Tool(
        _NNCF,
        "openvino-fp32",
        "xml",
        {
            "accuracy control, drop .01": _with(nncf_static, max_drop=0.01),
            "accuracy control, drop .002": _with(nncf_static, max_drop=0.002),
            "accuracy control, drop .002, transformer": _with(nncf_static, max_drop=0.002, transformer=True),
            "quantize": _with(nncf_static, max_drop=None),
            "quantize, transformer": _with(nncf_static, max_drop=None, transformer=True),
        },
    ),
    "onnxruntime-int8": Tool(
        _ORT,
        "onnxruntime-fp32",
        "onnx",
        {
            "MinMax, per channel": _with(ort_static, method="MinMax"),
            "Entropy, per channel": _with(ort_static, method="Entropy"),
            "Percentile, per channel": _with(ort_static, method="Percentile"),
        },
    ),
    "tflite-int4": Tool(
        _AEQ,
        "tflite-fp32",
        "tflite",
        {
            **{
                f"{name} products": _with(aeq_int4, products=algorithm)
                for name, algorithm in {
                    "min-max": "min_max_uniform_quantize",
                    "MSE": "MSE",
                    "OCTAV": "OCTAV",
                    "GPTQ": "GPTQ",
                    "OSCAR": "OSCAR",
                    "Hadamard": "DECOMPOSED_HADAMARD_ROTATION",
                }.items()
            },
            "MSE": _with(aeq_int4, products="MSE", others="MSE"),
            "OCTAV": _with(aeq_int4, products="OCTAV", others="OCTAV"),
            "GPTQ products, OCTAV": _with(aeq_int4, products="GPTQ", others="OCTAV"),
            "GPTQ products, tables in 8 bits": _with(aeq_int4, products="GPTQ", tables=8),
            "GPTQ products in blocks of 32": _with(aeq_int4, products="GPTQ", granularity="BLOCKWISE_32"),
        },
    ),
    "openvino-int4": Tool(_NNCF, "openvino-fp32", "xml", _BLOCKS_BY_NNCF, _LLAMA),
    "onnxruntime-int4": Tool(_ORT, "onnxruntime-fp32", "onnx", _BLOCKS_BY_ORT, _LLAMA),
    "executorch-int4": Tool(
        "torchao",
        None,
        "pte",
        {},
        _LLAMA,
        {
            "affine": _with(torchao),
            "affine, float tables": _with(torchao, tables=False),
            "affine, no clipping error": _with(torchao, mapping="SYMMETRIC_NO_CLIPPING_ERR"),
            "HQQ": _with(torchao, algorithm="HQQ_SCALE_ONLY"),
            "HQQ, float tables": _with(torchao, algorithm="HQQ_SCALE_ONLY", tables=False),
            "AWQ": _with(torchao, awq=True),
        },
    ),
    "coreml-int4": Tool(
        "coremltools",
        "coreml-fp32",
        "mlpackage",
        {
            "linear, symmetric": _with(coreml_blocks, mode="linear_symmetric"),
            "linear": _with(coreml_blocks, mode="linear"),
        },
        from_model={"GPTQ": coreml_gptq},
    ),
    "coreml-lut4": Tool(
        "coremltools",
        "coreml-fp32",
        "mlpackage",
        {
            **{f"k-means, {name}": _with(coreml_palettes, **settings) for name, settings in _PALETTES.items()},
            "k-means, per channel, int8 palettes": _with(coreml_palettes, int8=True, **_PALETTES["per channel"]),
        },
        from_model={
            "sensitive k-means, per channel": _with(coreml_sensitive, **_PALETTES["per channel"]),
            "sensitive k-means, per channel, int8 palettes": _with(
                coreml_sensitive, lut_dtype="int8", **_PALETTES["per channel"]
            ),
            "sensitive k-means, per 4 channels": _with(coreml_sensitive, **_PALETTES["per 4 channels"]),
        },
    ),
}
