"""Writes one model into every kind of file, beside a copy of this one; each function runs in its framework's child.

The network is trained on scikit-learn's digits for about two seconds, so that a drop of accuracy means something.
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def digits():
    """The 1797 digits as 8x8 images with three channels of different brightness, and their labels."""
    from sklearn.datasets import load_digits

    grey, labels = load_digits(return_X_y=True)
    images = (grey.reshape(-1, 8, 8, 1) / 16 * np.array([1.0, 0.7, 0.4])).astype("float32")
    order = np.random.default_rng(0).permutation(len(images))
    return images[order], labels[order]


def data():
    """300 samples to calibrate with and the other 1497 to evaluate on, in both layouts."""
    images, labels = digits()
    for layout, arrays in (("last", images), ("first", images.transpose(0, 3, 1, 2).copy())):
        np.savez(HERE / f"calibrate_{layout}.npz", x=arrays[:300])
        np.savez(HERE / f"evaluate_{layout}.npz", x=arrays[300:], y=labels[300:])


def torch_files():
    import torch
    from user_torch import Net, model

    torch.manual_seed(0)
    images, labels = digits()
    x, y = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels)
    net = Net().train()
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(12):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    np.savez(HERE / "weights.npz", **{name: tensor.numpy() for name, tensor in net.state_dict().items()})
    trained = model()
    with torch.no_grad():
        torch.export.save(torch.export.export(trained, (x[:1],), strict=False), HERE / "model.pt2")
        torch.jit.trace(trained, x[:1]).save(str(HERE / "model.pt"))
        return float((trained(x).argmax(1) == y).float().mean())


def keras_files():
    import tensorflow as tf
    from user_keras import model

    made = model()
    made.save(HERE / "model.keras")
    made.save(HERE / "model.h5")
    made.export(HERE / "keras3", verbose=False)
    plain = tf.Module()
    plain.variables_ = [v.value for v in made.variables]

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32, "x")])
    def score(x):
        return {"logits": made(x, training=False)}

    tf.saved_model.save(plain, HERE / "tensorflow", signatures={"score": score})


def keras2_files():
    import tf_keras
    from user_keras import build

    made = build(tf_keras)
    made.save(HERE / "keras2.h5")
    made.save(HERE / "keras2")
