"""A picture of what an artifact does: golden samples with its answers drawn on them.

Drawn with NumPy alone, by the parent, so that the same golden data give the same bytes. In the picture is the number of
a class; what it is called stands in the README.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.data import detection, tasks
from edgekit.errors import EdgekitError

#: Of the file in the artifact.
NAME = "samples.png"

Array = NDArray[np.generic]
Pixels = NDArray[np.uint8]

#: Golden samples that are drawn, and pixels of the longer side of each.
SAMPLES, SIDE = 4, 144
GAP = 6
#: A class's colour: unlike in hue and in lightness (Okabe and Ito, 2008), used again from the start where they run out.
COLOURS = np.array(
    [[0, 114, 178], [230, 159, 0], [0, 158, 115], [240, 228, 66], [213, 94, 0], [86, 180, 233], [204, 121, 167]],
    np.uint8,
)
INK, PAPER = np.uint8(20), np.uint8(255)
#: Least confidence of a box that is drawn.
SURE = 0.5
#: Digits of 3 x 5 dots, a row of three bits each.
DIGITS = ("75557", "26227", "71747", "71717", "55711", "74717", "74757", "71122", "75757", "75717")
#: Pixels of a dot.
DOT = 3


@dataclass(frozen=True)
class Picture:
    """A PNG file and what it shows, in words."""

    png: bytes
    says: str


def draw(golden: Path, metric: str | None, task: str | None, classes: tuple[str, ...] = ()) -> Picture | None:
    """Draw the first golden samples.

    Args:
        golden: of the artifact's only part; its inputs are the model's own, its outputs real numbers.
        metric: what the answers are scored by, which says how they are read.
        task: of the zoo, whose postprocessing makes boxes of a detector's outputs.
        classes: names of classes, where they are known.

    Returns:
        None where the inputs are no images, or answers are nothing that is drawn on one.
    """
    with np.load(golden) as found:
        sides = {side: {n.removeprefix(f"{side}/"): found[n] for n in found.files if n.startswith(f"{side}/")}
                 for side in ("in", "out", "float")}  # fmt: skip
    images = _images(sides["in"])
    if images is None or not sides["out"]:
        return None
    if metric == "top1":
        return _classes(images, sides["out"], sides["float"], classes)
    if metric == "miou":
        return _masks(images, sides["out"])
    if metric == "map" and task is not None:
        return _boxes(images, task, sides["out"])
    return None


def _images(inputs: dict[str, Array]) -> Pixels | None:
    """The only input as images ``(n, h, w, 3)``, each stretched to all levels of grey; None where it is none."""
    if len(inputs) != 1:
        return None
    [array] = inputs.values()
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3):
        array = np.moveaxis(array, 1, 3)
    if array.ndim != 4 or array.shape[3] not in (1, 3) or min(array.shape[1:3]) < 8:
        return None
    values = array[:SAMPLES].astype(np.float64)
    if not np.isfinite(values).all():
        return None
    low, high = (edge(values, axis=(1, 2, 3), keepdims=True) for edge in (np.min, np.max))
    levels = np.rint((values - low) / np.where(high > low, high - low, 1) * 255).astype(np.uint8)
    return np.repeat(levels, 3, axis=3) if levels.shape[3] == 1 else levels


def _scaled(image: Array) -> Array:
    """To about ``SIDE`` pixels by whole factors: each pixel several times, or every so many once."""
    longest = max(image.shape[:2])
    if longest > SIDE:
        step = -(-longest // SIDE)
        return image[::step, ::step]
    times = SIDE // longest
    return image.repeat(times, axis=0).repeat(times, axis=1)


def _classes(
    images: Pixels, outputs: dict[str, Array], floats: dict[str, Array], names: tuple[str, ...]
) -> Picture | None:
    """Images above the number of their class; where the float model says another, its number behind a stroke."""
    answers = [next((a.argmax(axis=1) for a in side.values() if a.ndim == 2), None) for side in (outputs, floats)]
    own, float_ = answers
    if own is None or float_ is None:
        return None
    columns, words = [], []
    for image, mine, theirs in zip(images, own, float_, strict=False):
        same = mine == theirs
        text = _text(f"{mine}" if same else f"{mine}/{theirs}")
        columns.append(_stacked([_scaled(image), text]))
        words.append(_called(int(mine), names) + ("" if same else f" (the float model: {_called(int(theirs), names)})"))
    return Picture(png(_beside(columns)), f"golden samples and the class that the artifact gives: {', '.join(words)}")


def _called(number: int, names: tuple[str, ...]) -> str:
    return f"{number} {names[number]}" if number < len(names) else str(number)


def _masks(images: Pixels, outputs: dict[str, Array]) -> Picture | None:
    """Images above the class of each pixel, as a colour."""
    scores = next((array for array in outputs.values() if array.ndim == 4), None)
    if scores is None:
        return None
    if scores.shape[1:3] != images.shape[1:3]:
        scores = np.moveaxis(scores, 1, 3)
    if scores.shape[1:3] != images.shape[1:3]:
        return None
    masks = COLOURS[scores.argmax(axis=3) % len(COLOURS)]
    columns = [_stacked([_scaled(image), _scaled(mask)]) for image, mask in zip(images, masks, strict=False)]
    return Picture(png(_beside(columns)), "golden samples, and below each the class that the artifact gives each pixel")


def _boxes(images: Pixels, task: str, outputs: dict[str, Array]) -> Picture | None:
    """Images with the boxes that are likelier than not, each in the colour of its class, with its number."""
    try:
        found = tasks.postprocess(task, outputs)
        boxes, scores = (np.asarray(found[name], np.float64) for name in ("boxes", "scores"))
    except (EdgekitError, KeyError):
        return None
    kept = detection.suppress(boxes, scores, score_min=SURE)
    columns, count = [], 0
    for image, corners, kinds, sure in zip(images, kept.boxes, kept.classes, kept.scores, strict=False):
        scaled = _scaled(image).copy()
        times = scaled.shape[0] / image.shape[0]
        for box, kind, score in zip(corners, kinds, sure, strict=True):
            if score >= SURE:
                _frame(scaled, np.rint(box * times).astype(int), int(kind))
                count += 1
        columns.append(scaled)
    number = f"{count} box" if count == 1 else f"{count} boxes"
    return Picture(png(_beside(columns)), f"golden samples with the artifact's {number}, numbered by class")


def _frame(image: Array, box: NDArray[np.int_], kind: int) -> None:
    """Draw a box of two pixels, and its class at its upper left corner, where there is room."""
    height, width = image.shape[:2]
    left, right = np.clip(box[[0, 2]], 0, width - 1)
    top, bottom = np.clip(box[[1, 3]], 0, height - 1)
    colour = COLOURS[kind % len(COLOURS)]
    for thick in range(2):
        for y in (top + thick, bottom - thick):
            image[min(max(y, 0), height - 1), left : right + 1] = colour
        for x in (left + thick, right - thick):
            image[top : bottom + 1, min(max(x, 0), width - 1)] = colour
    text = _text(str(kind), dot=2)
    y, x = min(top, height - text.shape[0]), min(left, width - text.shape[1])
    if y >= 0 and x >= 0:
        image[y : y + text.shape[0], x : x + text.shape[1]] = text


def _text(text: str, dot: int = DOT) -> Pixels:
    """Digits, and strokes between them, dark on light."""
    glyphs = []
    for character in text:
        rows = DIGITS[int(character)] if character.isdigit() else "11244"
        bits = [[int(row) >> (2 - i) & 1 for i in range(3)] for row in rows]
        glyphs.append(np.pad(np.array(bits, bool), 1))
    dots = np.concatenate(glyphs, axis=1).repeat(dot, axis=0).repeat(dot, axis=1)
    return np.where(dots[..., None], INK, PAPER).astype(np.uint8).repeat(3, axis=2)


def _stacked(images: list[Array]) -> Array:
    """Images below each other."""
    width = max(image.shape[1] for image in images)
    padded = [_to_size(image, image.shape[0] + GAP, width) for image in images]
    return np.concatenate(padded)[:-GAP]


def _beside(images: list[Array]) -> Array:
    """Images beside each other."""
    height = max(image.shape[0] for image in images)
    padded = [_to_size(image, height, image.shape[1] + GAP) for image in images]
    return np.concatenate(padded, axis=1)[:, :-GAP]


def _to_size(image: Array, height: int, width: int) -> Array:
    room = ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0))
    return np.pad(image, room, constant_values=PAPER)


def png(pixels: Array) -> bytes:
    """Pixels ``(h, w, 3)`` of 8 bits as a PNG file (W3C recommendation, third edition): one chunk, no filter."""
    height, width = pixels.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.astype(np.uint8).reshape(height, -1)], axis=1)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
