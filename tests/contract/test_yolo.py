"""Tiny YOLOv2: its loss against the decoding that it must agree with, and the reference's last pooling."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from edgekit import zoo
from edgekit.data import tasks
from edgekit.data.tasks import scenes
from edgekit.proof import metrics
from edgekit.zoo.yolo.pytorch import loss

GRID = 6
CELL = scenes.SIZE // GRID


def encoded(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a perfect network would say, object by object; -20 and 20 are logits of certainty."""
    boxes, scores = np.zeros((len(labels), 108, 4), np.float32), np.zeros((len(labels), 108, 4), np.float32)
    scores[..., 0] = -20
    for image, objects in enumerate(labels):
        for kind, left, top, right, bottom in objects[objects[:, 0] >= 0]:
            width, height = right - left, bottom - top
            shared = [min(width, w) * min(height, h) for w, h in scenes.ANCHORS]
            shapes = [s / (width * height + w * h - s) for s, (w, h) in zip(shared, scenes.ANCHORS, strict=True)]
            anchor = int(np.argmax(shapes))
            x, y = (left + right) / 2 / CELL, (top + bottom) / 2 / CELL
            place = (int(y) * GRID + int(x)) * 3 + anchor
            offset = np.clip([x % 1, y % 1], 1e-4, 1 - 1e-4)
            boxes[image, place, :2] = np.log(offset / (1 - offset))
            boxes[image, place, 2:] = np.log([width / scenes.ANCHORS[anchor][0], height / scenes.ANCHORS[anchor][1]])
            scores[image, place] = [20, *np.where(np.arange(3) == kind, 20, 0)]
    return boxes, scores


def value(labels: np.ndarray, outputs: tuple[np.ndarray, np.ndarray]) -> float:
    found = tasks.postprocess("scenes", dict(zip(("boxes", "scores"), outputs, strict=True)))
    chosen = metrics.metric("map")
    return float(chosen.value(chosen.contributions(labels, chosen.read(found, labels))))


def test_the_loss_is_nothing_exactly_where_decoding_gives_the_labels() -> None:
    labels = scenes.make("train", 40).labels
    assert labels is not None
    perfect = encoded(labels)
    # an object that lies deep in a larger one of its class would be suppressed: there is none
    assert value(labels, perfect) > 0.999
    at = torch.from_numpy(labels)

    def lost(boxes: np.ndarray, scores: np.ndarray) -> float:
        return float(loss((torch.from_numpy(boxes), torch.from_numpy(scores)), at))

    assert lost(*perfect) < 1e-4
    boxes, scores = perfect
    assert lost(boxes + np.float32(0.5), scores) > 0.5
    assert lost(boxes, np.roll(scores, 1, axis=1)) > 10
    assert lost(boxes, scores[..., [0, 2, 3, 1]]) > 10


def test_gradients_reach_every_parameter() -> None:
    from edgekit.zoo.yolo.pytorch import build

    samples = scenes.make("train", 8)
    torch.manual_seed(0)
    model = build(**zoo.architecture("yolo").configs["tiny"].settings)
    loss(model(torch.from_numpy(samples.inputs["image"]).movedim(-1, 1)), torch.from_numpy(samples.labels)).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_the_last_pooling_is_the_same_in_both_frameworks() -> None:
    """Only the reference has it, whose weights do not ship: here on the tiny weights."""
    code = """
import keras, numpy as np, torch
from edgekit import zoo
from edgekit.zoo import weights
from edgekit.zoo.yolo import keras as in_keras, pytorch
tensors = weights.read(zoo.weights_path("yolo", "tiny"))
settings = {**zoo.architecture("yolo").configs["tiny"].settings, "last_pool": True}
image = np.random.default_rng(0).uniform(-1, 1, (2, 48, 48, 3)).astype(np.float32)
first, second = pytorch.build(**settings).eval(), in_keras.build(**settings)
weights.load_torch(first, tensors)
weights.load_keras(second, tensors)
with torch.no_grad():
    expected = first(torch.from_numpy(image).movedim(-1, 1))
for theirs, ours in zip(second(image, training=False), expected, strict=True):
    assert theirs.shape == ours.shape == (2, 12 * 12 * 3, 4)
    assert np.ptp(ours.numpy()) > 1
    np.testing.assert_allclose(keras.ops.convert_to_numpy(theirs), ours.numpy(), rtol=0, atol=1e-4)
"""
    root = str(Path(zoo.__file__).parents[2])
    env = {**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
