"""Files of two models, encoder and decoder, by the vendors' own means: ``python two_entries.py KIND FOLDER``."""

import sys
from pathlib import Path

import numpy as np

#: What both compute: ``code = tanh(x A)`` and ``y = code B``.
A, B = (np.random.default_rng(i).normal(size=shape).astype(np.float32) for i, shape in enumerate(((8, 4), (4, 3))))


def litert(folder):
    import tensorflow as tf

    class Pair(tf.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = tf.Variable(A), tf.Variable(B)

        @tf.function(input_signature=[tf.TensorSpec((1, 8), tf.float32, name="x")])
        def encode(self, x):
            return {"code": tf.tanh(x @ self.a)}

        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="code")])
        def decode(self, code):
            return {"y": code @ self.b}

    pair = Pair()
    tf.saved_model.save(pair, str(folder / "saved"), signatures={"encode": pair.encode, "decode": pair.decode})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"), signature_keys=["encode", "decode"])
    (folder / "model.tflite").write_bytes(converter.convert())


def _torch():
    import torch

    layers = [torch.nn.Linear(*kernel.shape, bias=False) for kernel in (A, B)]
    with torch.no_grad():
        for layer, kernel in zip(layers, (A, B), strict=True):
            layer.weight.copy_(torch.from_numpy(kernel.T))
    encode = torch.nn.Sequential(layers[0], torch.nn.Tanh())
    return {"encode": (encode.eval(), torch.zeros(1, 8)), "decode": (layers[1].eval(), torch.zeros(1, 4))}


def executorch(folder):
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from edgekit.toolchains.executorch.audit import write_sidecar

    programs = {name: torch.export.export(model, (example,)) for name, (model, example) in _torch().items()}
    lowered = to_edge_transform_and_lower(programs, partitioner={name: [XnnpackPartitioner()] for name in programs})
    file = folder / "model.pte"
    with file.open("wb") as stream:
        lowered.to_executorch().write_to_file(stream)
    write_sidecar(file, ("x",), ("code",), "encode")
    write_sidecar(file, ("code",), ("y",), "decode")


def coreml(folder):
    import coremltools as ct
    import torch
    from coremltools.models.utils import MultiFunctionDescriptor, save_multifunction

    described = MultiFunctionDescriptor()
    for (name, (model, example)), (given, made) in zip(_torch().items(), (("x", "code"), ("code", "y")), strict=True):
        package = str(folder / f"{name}.mlpackage")
        ct.convert(
            torch.jit.trace(model, example),
            inputs=[ct.TensorType(name=given, shape=example.shape)],
            outputs=[ct.TensorType(name=made)],
            minimum_deployment_target=ct.target.iOS18,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        ).save(package)
        described.add_function(package, src_function_name="main", target_function_name=name)
    described.default_function_name = "encode"
    save_multifunction(described, str(folder / "model.mlpackage"))


if __name__ == "__main__":
    kind, folder = sys.argv[1:]
    globals()[kind](Path(folder))
