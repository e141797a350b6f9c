"""One small good model in every kind of file, written by the frameworks themselves in a child of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def keras_files(folder: str) -> None:
    import keras
    import tensorflow as tf

    where = Path(folder)
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3), name="x")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, keras.layers.Dense(4, name="head")(x))
    model.save(where / "good.keras")
    model.save(where / "good.h5")

    variable = tf.Variable(tf.random.stateless_normal((192, 4), (0, 0)), name="kernel")
    module = tf.Module()
    module.kernel = variable

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32, name="x")])
    def serve(x: Any) -> Any:
        return {"y": tf.nn.relu(tf.matmul(tf.reshape(x, (1, 192)), module.kernel))}

    tf.saved_model.save(module, str(where / "saved_model"), signatures={"serving_default": serve})


def keras_2_files(folder: str) -> None:
    import tf_keras

    x = inputs = tf_keras.Input((8, 8, 3), name="x")
    x = tf_keras.layers.SeparableConv2D(4, 3, activation="relu", name="conv")(x)
    x = tf_keras.layers.GlobalAveragePooling2D(name="pool")(x)
    tf_keras.Model(inputs, tf_keras.layers.Dense(4, name="head")(x)).save(Path(folder) / "good_2.h5")


def torch_files(folder: str) -> None:
    import torch

    torch.manual_seed(0)
    layers = torch.nn
    model = layers.Sequential(
        layers.Conv2d(3, 4, 3), layers.ReLU(), layers.AdaptiveAvgPool2d(1), layers.Flatten(), layers.Linear(4, 4)
    ).eval()
    example = torch.zeros(2, 3, 8, 8)
    with torch.no_grad():
        dynamic = ({0: torch.export.Dim("n")},)
        torch.export.save(torch.export.export(model, (example,), dynamic_shapes=dynamic), Path(folder) / "good.pt2")
        torch.jit.trace(model, example).save(str(Path(folder) / "good.pt"))


def data_files(folder: str) -> None:
    import cv2
    import numpy as np

    where, chance = Path(folder), np.random.default_rng(0)
    np.savez(where / "good.npz", x=chance.standard_normal((40, 3, 8, 8)).astype("float32"), y=np.arange(40) % 4)
    for number in range(8):
        path = where / "images" / "abcd"[number % 4] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), chance.integers(0, 255, (8, 8, 3), np.uint8))
    (where / "images" / "preprocess.toml").write_text(
        "schema = 1\nsize = [8, 8]\nscale = 0.00392\nmean = [0.5, 0.5, 0.5]\nstd = [0.5]\n"
        'layout = "channels_first"\ncolour = "rgb"\ncrop = 0.9\nclasses = ["a", "b", "c", "d"]\n'
    )


def load_and_run(folder: str, source: dict[str, Any], environment: str) -> None:
    """Load a model as edgekit does, and run it on zeros."""
    import numpy as np

    from edgekit.frameworks.once import load

    loaded = load(source, environment)
    loaded.run({spec.name: np.zeros(spec.shape, spec.dtype) for spec in loaded.signature.inputs})
