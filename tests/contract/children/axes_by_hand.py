"""Files run as whoever receives them runs them: by the vendor's own API, on the model's own example."""

import json
import sys
from pathlib import Path

import axes_models
import numpy as np


def onnx(file, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))


def openvino(file, inputs):
    import openvino

    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(inputs)
    return {port.any_name: found[port] for port in compiled.outputs}


def litert(file, inputs):
    from ai_edge_litert.interpreter import Interpreter

    signature = Interpreter(file).get_signature_runner()
    stored = {}
    for name, tensor in signature.get_input_details().items():
        array, (scale, zero) = inputs[name], tensor["quantization"]
        assert tuple(tensor["shape"]) == array.shape
        stored[name] = np.clip(np.rint(array / scale) + zero, -128, 127).astype(np.int8) if scale else array
    details, found = signature.get_output_details(), signature(**stored)
    return {name: _real(array, *details[name]["quantization"]) for name, array in found.items()}


def _real(stored, scale, zero):
    return (stored.astype(np.float32) - zero) * scale if scale else stored


def executorch(file, inputs):
    import torch
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(file).load_method("forward")
    found = method.execute([torch.from_numpy(array) for array in inputs.values()])
    return {str(place): tensor.numpy() for place, tensor in enumerate(found)}


def coreml(file, inputs):
    from edgekit import mil

    program = mil.load(Path(file))
    return program.run(inputs)


def main(asked):
    """Of every file, the share of its error in the answer, for each output; the answers are those of PyTorch."""
    found = {}
    for name, (function, runtime, file) in asked.items():
        inputs, expected = axes_models.answers(function)
        outputs = globals()[runtime](file, inputs)
        assert len(outputs) == len(expected)
        found[name] = {}
        for place, (key, answer) in enumerate(expected.items()):
            made = outputs[key] if key in outputs else outputs[str(place)]
            assert made.size == answer.size, (name, key, made.shape, answer.shape)
            error = np.linalg.norm(made.reshape(answer.shape) - answer) / np.linalg.norm(answer)
            found[name][key] = float(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
