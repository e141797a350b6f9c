"""What an engineer writes by hand: the vendors' calls and nothing else, one function per format and precision.

    python benchmarks/byhand.py MODEL FRAMEWORK TARGET CALIBRATION.npz OUT

Run in a process of its own by ``handmade.py``, which compares its cost, bytes and latency with ``edgekit convert``.
The zoo's ``build`` and weights stand for the engineer's own model.
"""

import importlib
import sys
from pathlib import Path

import numpy as np

from edgekit import zoo


def keras_saved_model(model, config, folder):
    import tensorflow as tf

    spec = zoo.architecture(model).configs[config]
    built = importlib.import_module(f"edgekit.zoo.{model}.keras").build(**spec.settings)
    if zoo.weights_path(model, config):
        from edgekit.zoo import weights

        weights.load_keras(built, weights.read(zoo.weights_path(model, config)))
    signature = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in built.inputs]
    signature = [tf.TensorSpec((1, *s.shape[1:]), s.dtype, name=s.name) for s in signature]
    built.export(folder, format="tf_saved_model", verbose=False, input_signature=signature)
    return folder


def torch_module(model, config):
    import torch

    spec = zoo.architecture(model).configs[config]
    torch.manual_seed(0)
    built = importlib.import_module(f"edgekit.zoo.{model}.pytorch").build(**spec.settings)
    if zoo.weights_path(model, config):
        from edgekit.zoo import weights

        weights.load_torch(built, weights.read(zoo.weights_path(model, config)))
    shapes = spec.signature("torch").inputs
    return built.eval(), tuple(torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in shapes)


def tflite_keras(model, config, target, samples, out):
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(keras_saved_model(model, config, f"{out}.saved"))
    if target == "tflite-int8":
        [(_, array)] = samples.items()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row[None]] for row in array)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(out).write_bytes(converter.convert())


def tflite_torch(model, config, target, samples, out):
    import litert_torch

    built, example = torch_module(model, config)
    floats = f"{out}.float" if target != "tflite-fp32" else out
    litert_torch.convert(built, example).export(floats)
    if target == "tflite-int8":
        from ai_edge_quantizer import quantizer, recipe

        [(_, array)] = samples.items()
        made = quantizer.Quantizer(floats, recipe.static_wi8_ai8())
        ranges = made.calibrate({"serving_default": [{"args_0": row[None]} for row in array]}, num_threads=1)
        made.quantize(ranges, enable_progress_report=False).export_model(out, overwrite=True)


def onnxruntime_torch(model, config, target, samples, out):
    import torch

    built, example = torch_module(model, config)
    names = [t.name for t in zoo.architecture(model).configs[config].inputs]
    floats = f"{out}.float.onnx" if target != "onnxruntime-fp32" else out
    torch.onnx.export(
        built, example, floats, dynamo=True, opset_version=20, input_names=names, external_data=False, verbose=False
    )
    if target == "onnxruntime-int8":
        from onnxruntime.quantization import CalibrationDataReader, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        class Reader(CalibrationDataReader):
            def __init__(self):
                self.rows = iter(range(len(next(iter(samples.values())))))

            def get_next(self):
                row = next(self.rows, None)
                return None if row is None else {name: array[row : row + 1] for name, array in samples.items()}

        quant_pre_process(floats, f"{out}.pre.onnx")
        quantize_static(f"{out}.pre.onnx", out, Reader(), per_channel=True)


def openvino(model, config, target, samples, out, framework):
    import openvino as ov

    if framework == "torch":
        import torch

        built, example = torch_module(model, config)
        converted = ov.convert_model(torch.export.export(built, example))
        converted.reshape({port: list(tensor.shape) for port, tensor in zip(converted.inputs, example, strict=True)})
    else:
        converted = ov.convert_model(keras_saved_model(model, config, f"{out}.saved"))
    if target == "openvino-int8":
        import nncf

        count = len(next(iter(samples.values())))
        rows = nncf.Dataset([[array[i : i + 1] for array in samples.values()] for i in range(count)])
        converted = nncf.quantize(converted, rows, subset_size=count)
    ov.save_model(converted, out, compress_to_fp16=target == "openvino-fp16")


def main(model, framework, target, calibration, out):
    model, _, config = model.partition(":")
    with np.load(calibration) as stored:
        samples = {name.removeprefix("x/"): stored[name] for name in stored.files if name.startswith("x/")}
    format_ = target.partition("-")[0]
    if format_ == "openvino":
        openvino(model, config or "tiny", target, samples, out, framework)
    else:
        globals()[f"{format_}_{framework}"](model, config or "tiny", target, samples, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
