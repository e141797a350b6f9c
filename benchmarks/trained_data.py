"""Samples for the trained models of ``benchmarks/trained.py``: real ones where there are any."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np

#: Characters that a line of text is made of.
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def keywords() -> Any:
    """MLCommons Tiny's spoken keywords, 600 of them, with labels."""
    with np.load(Path(os.environ["EDGEKIT_TEST_DATA"]) / "kws_dscnn" / "mfcc_600.npz") as stored:
        x = ((stored["x"].astype("float32") - stored["zero_point"]) * stored["scale"]).astype("float32")
        order = np.random.default_rng(0).permutation(len(x))
        return x[order], stored["y"][order]


def keywords_calibrate() -> Any:
    """The first hundred."""
    yield keywords()[0][:100]


def keywords_evaluate() -> Any:
    """The others, labelled."""
    x, y = keywords()
    yield x[100:], y[100:]


def hum() -> Any:
    """Log-mel features of machine-like sounds: the data folder has none of the detector's own."""
    rng = np.random.default_rng(0)
    for _ in range(4):
        level = rng.uniform(-60, 0, (50, 1, 1)) + 10 * np.sin(np.arange(128) / rng.uniform(5, 30, (50, 1, 1)))
        yield (level + rng.standard_normal((50, 5, 128)) * 3).reshape(50, 640).astype("float32")


def files() -> Any:
    """Real files: the first and last 1024 bytes of sources and libraries of Python's own installation, 256 for none."""
    root = Path(sysconfig.get_path("stdlib"))
    found = [p for p in sorted(root.rglob("*")) if p.is_file() and p.stat().st_size > 16][::37][:160]
    rows = np.full((len(found), 2048), 256, np.int32)
    for row, path in zip(rows, found, strict=True):
        content = path.read_bytes().strip()
        first, last = content[:1024], content[-1024:]
        row[: len(first)], row[2048 - len(last) :] = list(first), list(last)
    yield rows


def speech() -> Any:
    """Windows of 576 values at 16 kHz in which tones come and go, and states as the model leaves them."""
    rng = np.random.default_rng(0)
    time = np.arange(576) / 16000
    for _ in range(4):
        tones = np.sin(2 * np.pi * rng.uniform(90, 2000, (40, 4, 1)) * time) * rng.uniform(0, 0.3, (40, 4, 1))
        waves = tones.sum(1) + 0.01 * rng.standard_normal((40, 576))
        yield {
            "input": waves.astype("float32"),
            "state": (0.3 * rng.standard_normal((40, 2, 1, 128))).astype("float32"),
        }


def _line(rng: np.random.Generator, width: int, height: int) -> Any:
    """A line of text as a grey image with values around zero."""
    import cv2

    image = np.full((height, width), rng.integers(180, 255), np.uint8)
    text = "".join(rng.choice(list(_LETTERS), rng.integers(4, 9)))
    ink, size = int(rng.integers(0, 90)), float(rng.uniform(0.8, 1.2)) * height / 48
    cv2.putText(image, text, (6, int(height * 0.7)), int(rng.integers(0, 4)), size, ink, 2, cv2.LINE_AA)
    noisy = image + rng.normal(0, 4, image.shape)
    return np.repeat(((noisy / 255 - 0.5) / 0.5)[None], 3, 0).astype("float32")


def _directions(count: int, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    turned = rng.integers(0, 2, count)
    images = [_line(rng, 192, 48)[:, :: -1 if t else 1, :: -1 if t else 1] for t in turned]
    return np.stack(images), turned


def directions_calibrate() -> Any:
    """Lines of text, upright and upside down."""
    yield _directions(100, 0)[0]


def directions_evaluate() -> Any:
    """Others, with their labels."""
    yield _directions(400, 1)


def pages() -> Any:
    """Images with three lines of text."""
    rng = np.random.default_rng(0)
    whole = [np.concatenate([_line(rng, 160, h) for h in (48, 64, 48)], 1) for _ in range(128)]
    yield np.stack([np.roll(one, rng.integers(0, 160, 2), (1, 2)) for one in whole])  # text lies anywhere
