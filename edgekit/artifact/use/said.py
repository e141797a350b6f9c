"""What makes a model's inputs, and what its outputs are called, a sentence each."""

from __future__ import annotations

from edgekit.data import tasks
from edgekit.result import Result
from edgekit.result.use import Preprocessing

#: Names of classes that a README lists; the manifest has all.
MOST_CLASSES = 100
_COLOURS = {"rgb": "red, green, blue", "bgr": "blue, green, red", "grey": "one channel of grey"}


def inputs(result: Result, task: tasks.Task | None) -> list[str]:
    """How inputs are made of what a person has: images, text, or numbers of which nothing more is known."""
    found = []
    if (made := result.preprocessing) is not None:
        found.append(_of_images(made))
    if result.tokenizer is not None:
        digest = next(file.sha256 for file in result.files if file.path == result.tokenizer)
        found.append(f"Token numbers are made of text by {result.tokenizer} (SHA-256 {digest}).")
    if found:
        return found
    if task is not None:
        return [f"Inputs are made as for the task above, {task.title}, by edgekit/data/tasks; golden.npz has some."]
    return ["How inputs are made is not known; golden.npz, if it is here, has some that the file was proven with."]


def _of_images(made: Preprocessing) -> str:
    cut = "the whole image" if made.crop is None else f"the centre, {made.crop:g} of the shorter side"
    height, width = made.size
    where = "behind" if made.layout == "channels_last" else "before"
    return (
        f"{made.input} is made of an image: {cut}, resized to {height}x{width} (height x width; area averages where it "
        f"shrinks, else bilinear); {_COLOURS[made.colour]}, {where} height and width; then "
        f"(pixel * {made.scale!r} - mean) / std, pixels 0 to 255, mean {_numbers(made.mean)}, std {_numbers(made.std)}."
    )


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value!r}" for value in values)


def classes(result: Result) -> list[str]:
    """What the numbers of the classes are called."""
    names = result.samples.classes
    if not names:
        return []
    more = f", and {len(names) - MOST_CLASSES} more in manifest.json" if len(names) > MOST_CLASSES else ""
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(names[:MOST_CLASSES]))
    return [f"Classes in the order of the outputs: {listed}{more}."]
