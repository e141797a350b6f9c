"""A Keras LSTM as the loop that converters make of it, and a loop of Core ML's own: ``python macs_loops.py FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import coremltools
import keras
import numpy as np
from coremltools.converters.mil import Builder

from edgekit import toolchains
from edgekit.schemes import FP32
from edgekit.signature import Signature, TensorSpec
from edgekit.toolchains import Request

ROUTES = {"litert": "export-converter", "onnx": "export-tf2onnx", "openvino": "export-saved-model"}


def main(folder: Path) -> None:
    x = keras.layers.Input((72, 4), name="x")
    native = keras.Model(x, keras.layers.Dense(3, name="logits")(keras.layers.LSTM(8)(x)))
    signature = Signature((TensorSpec("x", (1, 72, 4)),), (TensorSpec("logits", (1, 3)),))
    model = SimpleNamespace(native=native, framework="keras", kind="python", signature=signature)
    for toolchain, route in ROUTES.items():
        into = folder / toolchain
        into.mkdir()
        request = Request(into, FP32, False, None, None, ("x",), ("logits",))
        toolchains.routes(toolchain)[route].convert(model, request)
    core_ml(folder / "model.mlpackage")


def core_ml(file: Path) -> None:
    target = coremltools.target.iOS18
    inside, behind = np.ones((8, 8), np.float32), np.ones((3, 8), np.float32)

    @Builder.program(input_specs=[Builder.TensorSpec((1, 8))], opset_version=target)
    def program(x):  # type: ignore[no-untyped-def]
        def test(i, h):  # type: ignore[no-untyped-def]
            return Builder.less(x=i, y=5)

        def body(i, h):  # type: ignore[no-untyped-def]
            return Builder.add(x=i, y=1), Builder.tanh(x=Builder.linear(x=h, weight=inside))

        _, h = Builder.while_loop(_cond=test, _body=body, loop_vars=(0, x))
        return Builder.linear(x=h, weight=behind, name="y")

    settings = {"convert_to": "mlprogram", "minimum_deployment_target": target, "skip_model_load": True}
    coremltools.convert(program, compute_precision=coremltools.precision.FLOAT32, **settings).save(str(file))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
