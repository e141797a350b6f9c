"""What an engineer writes by hand for Core ML and TensorRT: the vendors' calls and nothing else.

    python benchmarks/byhand_coreml.py MODEL FRAMEWORK ENVIRONMENT CALIBRATION.npz FOLDER TARGET/CALL ...

As ``byhand.py`` is for the formats that are executed here. These files are not timed: a stand-in runs them.
"""

import functools
import sys

import byhand
import numpy as np


def module_and_example(job):
    """The model as a ``torch.nn.Module``, which a Keras model is on the torch backend, and its inputs."""
    if job.framework == "torch":
        return byhand.torch_model(job)
    import torch

    return byhand.keras_model(job), tuple(torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in job.inputs)


# Core ML.


def mlmodel(job, way, half=False):
    import coremltools as ct
    import torch

    precision = ct.precision.FLOAT16 if half else ct.precision.FLOAT32
    settings = {"minimum_deployment_target": ct.target.iOS18, "compute_precision": precision, "skip_model_load": True}
    model, example = module_and_example(job)
    if way == "exported":
        return ct.convert(torch.export.export(model, example, strict=False).run_decompositions({}), **settings)
    with torch.no_grad():
        traced = torch.jit.trace(model, example)
    types = {"float32": np.float32, "int32": np.int32}
    inputs = [ct.TensorType(name=t.name, shape=t.shape, dtype=types[t.dtype]) for t in job.inputs]
    return ct.convert(traced, inputs=inputs, **settings)


def coreml_float(job, out, way, half=False):
    mlmodel(job, way, half).save(str(out))


def coreml_weights(job, out, way):
    import coremltools.optimize.coreml as cto

    settings = cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", weight_threshold=0)
    cto.linear_quantize_weights(mlmodel(job, way), cto.OptimizationConfig(global_config=settings)).save(str(out))


def coreml_static(job, out):
    """PyTorch's quantizer: coremltools' own needs macOS to find its ranges."""
    import coremltools as ct
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config

    settings = get_symmetric_quantization_config(is_per_channel=True)
    model, example = module_and_example(job)
    exported = torch.export.export(model, example, strict=False).module(check_guards=False)
    prepared = prepare_pt2e(exported, XNNPACKQuantizer().set_global(settings))
    with torch.no_grad():
        for row in job.rows():
            prepared(*(torch.from_numpy(array) for array in row.values()))
        program = torch.export.export(convert_pt2e(prepared), example, strict=False).run_decompositions({})
    ct.convert(program, minimum_deployment_target=ct.target.iOS18, compute_precision=ct.precision.FLOAT32,
               skip_model_load=True).save(str(out))  # fmt: skip


# TensorRT: ONNX for its parser.


def tensorrt_half(job, out):
    import onnx
    from onnxruntime.transformers import float16

    floats = onnx.load(byhand.onnx_float(job))
    onnx.save(float16.convert_float_to_float16(floats, keep_io_types=True), out)


def tensorrt_static(job, out):
    """ONNX Runtime's quantizer with what TensorRT asks for: symmetric, and float biases."""
    from onnxruntime.quantization import QuantType

    options = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
    types = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
    byhand.onnx_static(job, out, extra_options=options, **types, **byhand.PRODUCTS)


_WAYS = ("traced", "exported")
_COREML = {
    "coreml-fp32": {way: functools.partial(coreml_float, way=way) for way in _WAYS},
    "coreml-fp16": {way: functools.partial(coreml_float, way=way, half=True) for way in _WAYS},
    "coreml-int8-weights": {way: functools.partial(coreml_weights, way=way) for way in _WAYS},
    "coreml-int8": {"pt2e": coreml_static},
}
_QUANTIZED = {"tensorrt-fp16": {"float16 of transformers": tensorrt_half}, "tensorrt-int8": {"static": tensorrt_static}}
CALLS = {
    "torch": {**_COREML, "tensorrt-fp32": {"dynamo": byhand.onnx_torch}, **_QUANTIZED},
    "keras-torch": {**_COREML, "tensorrt-fp32": {"keras export": byhand.onnx_keras}, **_QUANTIZED},
    "keras-tensorflow": {"tensorrt-fp32": {"keras export": byhand.onnx_keras}, **_QUANTIZED},
}

if __name__ == "__main__":
    byhand.main(CALLS, *sys.argv[1:])
