"""Writes one good model into every kind of file, beside a copy of this one, for ``test_bad_input.py`` to damage."""

from pathlib import Path

HERE = Path(__file__).parent


def torch_files():
    import torch
    from bad_torch import good

    model, example = good().eval(), torch.zeros(2, 3, 8, 8)
    with torch.no_grad():
        program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("n")},), strict=False)
        torch.export.save(program, HERE / "good.pt2")
        torch.jit.trace(model, example).save(str(HERE / "good.pt"))


def keras_files():
    import keras
    import numpy as np

    def build(**shape):
        x = inputs = keras.Input(**shape, name="x")
        x = keras.layers.Conv2D(8, 3, activation="relu")(x)
        return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))

    keras.utils.set_random_seed(0)
    model = build(shape=(3, 8, 8))
    model.save(HERE / "good.keras")
    model.save(HERE / "good.h5")
    model.export(HERE / "saved_model", verbose=False)
    build(batch_shape=(4, 3, 8, 8)).save(HERE / "batch4.keras")
    kernel = model.layers[-1].kernel
    kernel.assign(np.full(kernel.shape, np.nan, "float32"))
    model.save(HERE / "nan.keras")
