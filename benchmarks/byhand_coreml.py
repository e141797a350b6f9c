"""What an engineer writes by hand for Core ML and TensorRT: the vendors' calls and nothing else.

    python benchmarks/byhand_coreml.py MODEL FRAMEWORK TARGET CALIBRATION.npz OUT

Run in a process of its own, with ``KERAS_BACKEND=torch`` for Core ML from Keras, as ``byhand.py`` is for the other
formats. The zoo's ``build`` and weights stand for the engineer's own model. The files are not timed: what executes them
here is a stand-in.
"""

import functools
import importlib
import sys
from pathlib import Path

import numpy as np

from edgekit import zoo


class Job:
    """The model, its calibration samples by input name, and a folder to work in."""

    def __init__(self, model, framework, calibration, folder):
        self.name, _, config = model.partition(":")
        self.config, self.framework, self.folder = config or "tiny", framework, Path(folder)
        self.spec = zoo.architecture(self.name).configs[self.config]
        self.inputs = self.spec.signature(framework).inputs
        with np.load(calibration) as stored:
            self.samples = {n.removeprefix("x/"): stored[n] for n in stored.files if n.startswith("x/")}

    def rows(self):
        count = len(next(iter(self.samples.values())))
        return [{name: array[i : i + 1] for name, array in self.samples.items()} for i in range(count)]


def model_of(job):
    """The engineer's model, with its weights."""
    from edgekit.zoo import weights

    kind = "pytorch" if job.framework == "torch" else "keras"
    if kind == "pytorch":
        import torch

        torch.manual_seed(0)
    built = importlib.import_module(f"edgekit.zoo.{job.name}.{kind}").build(**job.spec.settings)
    if path := zoo.weights_path(job.name, job.config):
        (weights.load_torch if kind == "pytorch" else weights.load_keras)(built, weights.read(path))
    return built.eval() if kind == "pytorch" else built


def example_of(job):
    import torch

    return tuple(torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in job.inputs)


# Core ML.


def mlmodel(job, half=False):
    import coremltools as ct
    import torch

    with torch.no_grad():
        traced = torch.jit.trace(model_of(job), example_of(job))
    types = {"float32": np.float32, "int32": np.int32}
    inputs = [ct.TensorType(name=t.name, shape=t.shape, dtype=types[t.dtype]) for t in job.inputs]
    precision = ct.precision.FLOAT16 if half else ct.precision.FLOAT32
    return ct.convert(
        traced, inputs=inputs, minimum_deployment_target=ct.target.iOS18, compute_precision=precision,
        skip_model_load=True,
    )  # fmt: skip


def coreml_float(job, out, half=False):
    mlmodel(job, half).save(str(out))


def coreml_weights(job, out):
    import coremltools.optimize.coreml as cto

    settings = cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", weight_threshold=0)
    cto.linear_quantize_weights(mlmodel(job), cto.OptimizationConfig(global_config=settings)).save(str(out))


def coreml_static(job, out):
    """PyTorch's quantizer: coremltools' own needs macOS to find its ranges."""
    import coremltools as ct
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config

    settings = get_symmetric_quantization_config(is_per_channel=True)
    exported = torch.export.export(model_of(job), example_of(job), strict=False).module(check_guards=False)
    prepared = prepare_pt2e(exported, XNNPACKQuantizer().set_global(settings))
    with torch.no_grad():
        for row in job.rows():
            prepared(*(torch.from_numpy(array) for array in row.values()))
        program = torch.export.export(convert_pt2e(prepared), example_of(job), strict=False).run_decompositions({})
    ct.convert(program, minimum_deployment_target=ct.target.iOS18, compute_precision=ct.precision.FLOAT32,
               skip_model_load=True).save(str(out))  # fmt: skip


# TensorRT: ONNX for its parser.


def onnx_float(job, out):
    if job.framework == "torch":
        import torch

        names = [t.name for t in job.inputs]
        torch.onnx.export(
            model_of(job), example_of(job), str(out), dynamo=True, opset_version=20, input_names=names,
            external_data=False, verbose=False,
        )  # fmt: skip
    else:
        import tensorflow as tf

        specs = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in job.inputs]
        model_of(job).export(str(out), format="onnx", verbose=False, input_signature=specs)


def tensorrt_half(job, out):
    import onnx
    from onnxruntime.transformers import float16

    floats = job.folder / "float.onnx"
    onnx_float(job, floats)
    onnx.save(float16.convert_float_to_float16(onnx.load(floats), keep_io_types=True), out)


def tensorrt_static(job, out):
    """ONNX Runtime's quantizer with the options that NVIDIA's documentation asks for: symmetric, float biases."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    floats, prepared = job.folder / "float.onnx", job.folder / "prepared.onnx"
    onnx_float(job, floats)
    quant_pre_process(floats, prepared)
    names = [i.name for i in onnx.load(prepared).graph.input]

    class Reader(CalibrationDataReader):
        left = iter(dict(zip(names, row.values(), strict=True)) for row in job.rows())

        def get_next(self):
            return next(self.left, None)

    quantize_static(
        prepared, out, Reader(), per_channel=True, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", "ConvTranspose", "MatMul", "Gemm"],
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )  # fmt: skip


CALLS = {
    "coreml-fp32": coreml_float,
    "coreml-fp16": functools.partial(coreml_float, half=True),
    "coreml-int8-weights": coreml_weights,
    "coreml-int8": coreml_static,
    "tensorrt-fp32": onnx_float,
    "tensorrt-fp16": tensorrt_half,
    "tensorrt-int8": tensorrt_static,
}


def main(model, framework, target, calibration, out):
    out = Path(out)
    CALLS[target](Job(model, framework, calibration, out.parent), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
