"""What an engineer writes by hand: the vendors' calls and nothing else, several for each format and precision.

    python benchmarks/byhand.py MODEL FRAMEWORK ENVIRONMENT CALIBRATION.npz FOLDER TARGET/CALL ...

Run in a process of its own by ``handmade.py``, which keeps the fastest file that is no noise as edgekit's rival. Each
call writes ``FOLDER/TARGET/CALL/model.<ending>`` and one line of JSON to standard output: CPU seconds and peak
resident bytes of this process so far, or the vendor's error. The zoo's ``build`` and weights stand for the engineer's
own model; ``CALLS`` says what is tried in which environment (the framework, and for Keras its backend).
"""

import functools
import importlib
import json
import os
import resource
import sys
from pathlib import Path

import numpy as np

from edgekit import zoo

ATTENTION = ("bert", "gpt")
ENDINGS = {"tflite": "tflite", "onnxruntime": "onnx", "openvino": "xml", "tensorrt": "onnx", "coreml": "mlpackage",
           "executorch": "pte"}  # fmt: skip


class Job:
    """The model, its calibration samples by input name, and a folder to work in."""

    def __init__(self, model, framework, calibration, folder):
        self.name, _, config = model.partition(":")
        self.config, self.folder = config or "tiny", Path(folder)
        self.framework, self.spec = framework, zoo.architecture(self.name).configs[self.config]
        self.inputs = self.spec.signature(framework).inputs
        self.weights = zoo.weights_path(self.name, self.config)
        with np.load(calibration) as stored:
            self.samples = {n.removeprefix("x/"): stored[n] for n in stored.files if n.startswith("x/")}

    def rows(self):
        count = len(next(iter(self.samples.values())))
        return [{name: array[i : i + 1] for name, array in self.samples.items()} for i in range(count)]


# The engineer's model.


@functools.cache
def keras_model(job):
    from edgekit.zoo import weights

    model = importlib.import_module(f"edgekit.zoo.{job.name}.keras").build(**job.spec.settings)
    if job.weights:
        weights.load_keras(model, weights.read(job.weights))
    return model


@functools.cache
def torch_model(job):
    import torch

    from edgekit.zoo import weights

    torch.manual_seed(0)
    model = importlib.import_module(f"edgekit.zoo.{job.name}.pytorch").build(**job.spec.settings)
    if job.weights:
        weights.load_torch(model, weights.read(job.weights))
    return model.eval(), tuple(torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in job.inputs)


def signature(job):
    import tensorflow as tf

    return [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in job.inputs]


def unrolled(model):
    """Recurrent layers with ``unroll=True``, as Keras's own guide advises for short sequences."""
    import keras

    def layer(old):
        config = old.get_config()
        for part in (config, *(config[k]["config"] for k in ("layer", "backward_layer") if config.get(k))):
            part |= {"unroll": True} if "unroll" in part else {}
        return type(old).from_config(config)

    clone = keras.models.clone_model(model, clone_function=layer)
    clone.set_weights(model.get_weights())
    return clone


@functools.cache
def saved_model(job, unroll=False):
    folder = str(job.folder / f"saved_model{'_unrolled' * unroll}")
    model = unrolled(keras_model(job)) if unroll else keras_model(job)
    model.export(folder, format="tf_saved_model", verbose=False, input_signature=signature(job))
    return folder


# LiteRT.


def tflite_keras(job, out, precision="fp32", unroll=False):
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model(job, unroll))
    if precision != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if precision in ("int8", "int16x8"):
        kernels = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        if precision == "int16x8":
            kernels = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.representative_dataset = lambda: iter(job.rows())
        converter.target_spec.supported_ops = [kernels]
        converter.inference_input_type = tf.int8 if precision == "int8" else tf.int16
        converter.inference_output_type = converter.inference_input_type
    out.write_bytes(converter.convert())


def tflite_torch(job, out):
    import litert_torch

    litert_torch.convert(*torch_model(job)).export(str(out))


@functools.cache
def tflite_float(job, unroll=False):
    out = job.folder / f"float{'_unrolled' * unroll}.tflite"
    if job.framework == "torch":
        tflite_torch(job, out)
    else:
        tflite_keras(job, out, unroll=unroll)
    return str(out)


def tflite_quantized(job, out, name, extremes=False, unroll=False):
    """ai-edge-quantizer with one of its own recipes; ``extremes``: ranges by its min/max rule, not its moving average."""
    from ai_edge_quantizer import recipe

    _quantize(job, out, tflite_float(job, unroll), getattr(recipe, name)(), extremes)


def tflite_products_unrolled(job, out):
    """int8 inputs, outputs and dense layers, the rest of the unrolled layers in float."""
    from ai_edge_quantizer import qtyping, recipe_manager

    rules = recipe_manager.RecipeManager()
    for name in ("INPUT", "OUTPUT", "GATHER", "FULLY_CONNECTED"):
        operation = getattr(qtyping.TFLOperationName, name)
        rules.add_static_config(regex=".*", operation_name=operation, activation_num_bits=8, weight_num_bits=8)
    _quantize(job, out, tflite_float(job, True), rules.get_quantization_recipe(), True)


def _quantize(job, out, source, recipe, extremes):
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import calibrator, quantizer, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    made = quantizer.Quantizer(source, recipe)
    ranges = None
    if made.need_calibration:
        (key, described), *_ = Interpreter(source).get_signature_list().items()
        names = dict(zip(job.samples, described["inputs"], strict=True))
        rows = [{names[n]: a for n, a in row.items()} for row in job.rows()]
        if extremes:
            rules = recipe_manager.RecipeManager()
            rules.load_quantization_recipe(recipe)
            observer = calibrator.Calibrator(source, 1, qsv_update_func=qsv_utils.min_max_update)
            observer.calibrate({key: rows}, rules)
            ranges = observer.get_model_qsvs()
        else:
            ranges = made.calibrate({key: rows}, num_threads=1)
    made.quantize(ranges, enable_progress_report=False).export_model(str(out), overwrite=True)


def tflite_cast(job, out, unroll=False):
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer

    made = quantizer.Quantizer(tflite_float(job, unroll))
    made.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
    )
    made.quantize(enable_progress_report=False).export_model(str(out), overwrite=True)


def tflite_pt2e(job, out, dynamic=False):
    import litert_torch
    import torch
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    model, example = torch_model(job)
    settings = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
    quantizer = PT2EQuantizer().set_global(settings)
    prepared = prepare_pt2e(torch.export.export(model, example).module(check_guards=False), quantizer)
    for row in job.rows():
        prepared(*(torch.from_numpy(array) for array in row.values()))
    converted = convert_pt2e(prepared, fold_quantize=False)
    litert_torch.convert(converted, example, quant_config=QuantConfig(pt2e_quantizer=quantizer)).export(str(out))


# ONNX Runtime.


def onnx_torch(job, out, dynamo=True):
    import torch

    model, example = torch_model(job)
    names = [t.name for t in job.inputs]
    keywords = {"dynamo": True, "external_data": False, "verbose": False} if dynamo else {"dynamo": False}
    torch.onnx.export(model, example, str(out), opset_version=20, input_names=names, **keywords)


def onnx_keras(job, out):
    """``model.export``: tf2onnx on the TensorFlow backend, torch.onnx on the torch backend."""
    import keras

    specs = [keras.InputSpec(shape=t.shape, dtype=t.dtype, name=t.name) for t in job.inputs]
    specs = signature(job) if keras.backend.backend() == "tensorflow" else specs
    keras_model(job).export(str(out), format="onnx", verbose=False, input_signature=specs)


@functools.cache
def onnx_float(job):
    out = job.folder / "float.onnx"
    (onnx_torch if job.framework == "torch" else onnx_keras)(job, out)
    return str(out)


def onnx_fused(job, out):
    """ONNX Runtime's own optimizer for transformers: fused attention, layer norms and GELU."""
    from onnxruntime.transformers import optimizer

    width, heads = job.spec.settings["width"], job.spec.settings["heads"]
    kind = "gpt2" if job.name == "gpt" else "bert"
    made = optimizer.optimize_model(onnx_float(job), kind, num_heads=heads, hidden_size=width, opt_level=1)
    made.save_model_to_file(str(out))


@functools.cache
def onnx_prepared(job):
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = str(job.folder / "prepared.onnx")
    quant_pre_process(onnx_float(job), prepared)
    return prepared


def onnx_static(job, out, source=onnx_prepared, **settings):
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    read = {i.name for i in onnx.load(source(job)).graph.input}
    names = dict(zip(job.samples, read, strict=True)) if len(read) == 1 else {n: n for n in job.samples}

    class Reader(CalibrationDataReader):
        left = iter({names[n]: a for n, a in row.items()} for row in job.rows())

        def get_next(self):
            return next(self.left, None)

    quantize_static(source(job), str(out), Reader(), per_channel=True, **settings)


def onnx_static_u8(job, out, **settings):
    from onnxruntime.quantization import QuantFormat, QuantType

    if settings.pop("operators", False):
        settings["quant_format"] = QuantFormat.QOperator
    onnx_static(job, out, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, **settings)


def onnx_dynamic(job, out, source=onnx_prepared, **settings):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    settings = {"per_channel": True, "weight_type": QuantType.QInt8} | settings
    quantize_dynamic(source(job), str(out), **settings)


@functools.cache
def onnx_dynamic_cells(job):
    out = job.folder / "cells.onnx"
    onnx_dynamic(job, out, op_types_to_quantize=["LSTM"])
    return str(out)


PRODUCTS = {"op_types_to_quantize": ["Conv", "ConvTranspose", "MatMul", "Gemm"]}


# OpenVINO.


@functools.cache
def openvino_float(job, way):
    import openvino as ov

    if way.startswith("saved-model"):
        return ov.convert_model(saved_model(job, unroll=way.endswith("unrolled")))
    import torch

    if job.framework == "keras":
        model, example = (
            keras_model(job),
            tuple(torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in job.inputs),
        )
    else:
        model, example = torch_model(job)
    if way == "traced":
        with torch.no_grad():
            converted = ov.convert_model(model, example_input=example[0] if len(example) == 1 else example)
    else:
        with torch.no_grad():  # else a Keras model's weights become inputs of the program
            program = torch.export.export(model, example, strict=False)
        converted = ov.convert_model(program)
    converted.reshape({port: list(tensor.shape) for port, tensor in zip(converted.inputs, example, strict=True)})
    for index, port in enumerate((*converted.inputs, *converted.outputs)):  # they have none, or several
        port.get_tensor().set_names({f"tensor_{index}"})
    return converted


def openvino_saved(job, out, way, fp16=False):
    import openvino as ov

    ov.save_model(openvino_float(job, way), str(out), compress_to_fp16=fp16)


def openvino_static(job, out, way, preset=None, model_type=None):
    import nncf
    import openvino as ov

    rows = [list(row.values()) for row in job.rows()]
    preset = getattr(nncf.QuantizationPreset, preset) if preset else None
    model_type = getattr(nncf.ModelType, model_type) if model_type else None
    model = openvino_float(job, way).clone()
    made = nncf.quantize(model, nncf.Dataset(rows), preset=preset, subset_size=len(rows), model_type=model_type)
    ov.save_model(made, str(out), compress_to_fp16=False)


def openvino_weights(job, out, way, mode):
    import nncf
    import openvino as ov

    made = nncf.compress_weights(openvino_float(job, way).clone(), mode=getattr(nncf.CompressWeightsMode, mode))
    ov.save_model(made, str(out), compress_to_fp16=False)


# What is tried: {environment: {target: {call: function of (job, out)}}}.


def _openvino(*ways):
    """The same calls on each way from the framework to an ``ov.Model``."""
    targets = {"openvino-fp32": {}, "openvino-fp16": {}, "openvino-int8": {}, "openvino-int8-weights": {}}
    for way in ways:
        on = functools.partial
        targets["openvino-fp32"][way] = on(openvino_saved, way=way)
        targets["openvino-fp16"][way] = on(openvino_saved, way=way, fp16=True)
        targets["openvino-int8"] |= {
            f"{way}, nncf": on(openvino_static, way=way),
            f"{way}, nncf mixed": on(openvino_static, way=way, preset="MIXED"),
            f"{way}, nncf transformer": on(openvino_static, way=way, model_type="TRANSFORMER"),
        }
        targets["openvino-int8-weights"] |= {
            f"{way}, asymmetric": on(openvino_weights, way=way, mode="INT8_ASYM"),
            f"{way}, symmetric": on(openvino_weights, way=way, mode="INT8_SYM"),
        }
    return targets


def _onnx(**exports):
    return {
        "onnxruntime-fp32": exports | {"transformers optimizer": onnx_fused},
        "onnxruntime-int8": {
            "static": onnx_static,
            "static, u8 activations": onnx_static_u8,
            "static, u8 activations, products": functools.partial(onnx_static_u8, **PRODUCTS),
            "static, u8 activations, operators": functools.partial(onnx_static_u8, operators=True),
            "static, dynamic cells": functools.partial(onnx_static_u8, source=onnx_dynamic_cells),
        },
        "onnxruntime-int8-dynamic": {
            "dynamic": onnx_dynamic,
            "dynamic, per tensor": functools.partial(onnx_dynamic, per_channel=False),
        },
    }


_QUANTIZER = {
    "tflite-fp16": {"quantizer cast": tflite_cast},
    "tflite-int8-dynamic": {
        "quantizer": functools.partial(tflite_quantized, name="dynamic_wi8_afp32"),
        "quantizer, from 1024 elements": functools.partial(tflite_quantized, name="dynamic_legacy_wi8_afp32"),
    },
    **{
        target: {
            "quantizer": functools.partial(tflite_quantized, name=name),
            "quantizer, extremes": functools.partial(tflite_quantized, name=name, extremes=True),
        }
        for target, name in (("tflite-int8", "static_wi8_ai8"), ("tflite-int16x8", "static_wi8_ai16"))
    },
}
_UNROLLED = {
    "tflite-fp16": {"quantizer cast, unrolled": functools.partial(tflite_cast, unroll=True)},
    "tflite-int8-dynamic": {
        "quantizer, unrolled": functools.partial(tflite_quantized, name="dynamic_wi8_afp32", unroll=True)
    },
    "tflite-int8": {"quantizer, products, unrolled": tflite_products_unrolled},
}


def _merged(*tables):
    merged = {}
    for table in tables:
        for target, calls in table.items():
            merged[target] = merged.get(target, {}) | calls
    return merged


_PRECISIONS = {"tflite-fp32": "fp32", "tflite-fp16": "fp16", "tflite-int8-dynamic": "dynamic", "tflite-int8": "int8",
               "tflite-int16x8": "int16x8"}  # fmt: skip
_CONVERTER = {
    target: {
        f"converter{', unrolled' * unroll}": functools.partial(tflite_keras, precision=precision, unroll=unroll)
        for unroll in (False, True)
    }
    for target, precision in _PRECISIONS.items()
}
CALLS = {
    "keras-tensorflow": _merged(
        _CONVERTER,
        _QUANTIZER,
        _UNROLLED,
        _onnx(**{"keras export": onnx_keras}),
        _openvino("saved-model", "saved-model, unrolled"),
    ),
    "keras-torch": _merged(_onnx(**{"keras export": onnx_keras}), _openvino("exported")),
    "torch": _merged(
        {"tflite-fp32": {"litert-torch": tflite_torch}},
        _QUANTIZER,
        {
            "tflite-int8": {"pt2e": tflite_pt2e},
            "tflite-int8-dynamic": {"pt2e": functools.partial(tflite_pt2e, dynamic=True)},
        },
        _onnx(dynamo=onnx_torch, torchscript=functools.partial(onnx_torch, dynamo=False)),
        _openvino("traced", "exported"),
    ),
}


def suits(model, call):
    """Whether a call makes sense for a model: unrolling needs a loop, transformer settings attention."""
    name = model.partition(":")[0]
    if "unrolled" in call or "cells" in call:
        return name == "lstm_classifier"
    return name in ATTENTION if "transformer" in call else True


def main(calls, model, framework, environment, calibration, folder, *wanted):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # vendors print what they like; standard output is for the lines of JSON
    job = Job(model, framework, calibration, folder)
    for name in wanted:
        target, _, call = name.partition("/")
        out = Path(folder) / target / call / f"model.{ENDINGS[target.partition('-')[0]]}"
        out.parent.mkdir(parents=True, exist_ok=True)
        answer = {"target": target, "call": call}
        try:
            calls[environment][target][call](job, out)
        except Exception as error:  # whatever a vendor raises is the result of this call
            answer["error"] = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:200]}"
        own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        answer["cpu_s"] = own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
        print(json.dumps(answer | {"rss": own.ru_maxrss * 1024, "file": str(out)}), file=answers, flush=True)


if __name__ == "__main__":
    main(CALLS, *sys.argv[1:])
