"""What converted models see, beside what the float models see: ``docs/gallery.md`` and its pictures.

    python -m benchmarks.gallery             # or only some of them: python -m benchmarks.gallery stylized

Each picture shows the first samples of the model's test split, which nobody chose: what goes in, what the float model
makes of it in its framework, and what the file that edgekit hands out makes of it in its runtime. The figures below a
picture are of the whole split.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit import api, pipeline, zoo
from edgekit.checkpoint import Checkpoint
from edgekit.data import detection, rows, tasks
from edgekit.errors import FailedError
from edgekit.handed import Handed
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.proof import execution
from edgekit.report import said
from edgekit.signature import WHOLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Outputs = Mapping[str, NDArray[Any]]

PAGE = Path(__file__).parents[1] / "docs" / "gallery.md"
PICTURES_AT = PAGE.with_suffix("")
HEAD = """# Gallery

    python -m benchmarks.gallery

What converted models see, beside what the float models see. Each picture shows the first samples of the test split, which
nobody chose: the sample, what the float model makes of it in its framework, and what the file that edgekit hands out makes
of it in its runtime. The table below a picture is of the whole split. The data are generated; the models are the zoo's tiny
ones.
"""
TABLE = (
    "| model | target | run by | metric, float to file | SQNR of the worst part | status |\n|---|---|---|---|---|---|"
)
#: Samples of a picture, and side of each in inches.
SHOWN, SIDE = 6, 1.3
#: Confidence from which on a detection is drawn.
SURE = 0.5
#: Colour-blind safe (Okabe and Ito), a class each.
COLOURS = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73")


def boxes(ax: Axes, outputs: Outputs, i: int) -> None:
    """Detections behind suppression."""
    from matplotlib.patches import Rectangle

    one = {name: value[i : i + 1].astype(np.float64) for name, value in outputs.items()}
    found = detection.suppress(one["boxes"], one["scores"], score_min=SURE, most=20)
    for (left, top, right, bottom), kind, score in zip(found.boxes[0], found.classes[0], found.scores[0], strict=True):
        if score > 0:
            colour = COLOURS[kind % len(COLOURS)]
            ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=colour, linewidth=1.5))


def instances(ax: Axes, outputs: Outputs, i: int) -> None:
    """Masks of sure detections."""
    scores, masks = outputs["scores"][i], outputs["masks"][i]
    for score, mask in zip(scores, masks, strict=True):
        if score.max() >= SURE:
            _shade(ax, mask > 0.5, COLOURS[int(score.argmax()) % len(COLOURS)])


def areas(ax: Axes, outputs: Outputs, i: int) -> None:
    """The class of each pixel, but the first."""
    found = outputs["logits"][i].argmax(axis=-1)
    for kind in range(1, int(found.max()) + 1):
        _shade(ax, found == kind, COLOURS[(kind - 1) % len(COLOURS)])


def activations(ax: Axes, outputs: Outputs, i: int) -> None:
    """The map of the class that was chosen, brightest where it speaks most for it."""
    chosen = outputs["map"][i][..., int(outputs["logits"][i].argmax())]
    left, right, bottom, top = ax.get_images()[0].get_extent()
    ax.imshow(chosen, cmap="inferno", alpha=0.6, extent=(left, right, bottom, top), interpolation="bilinear")


def pixels(ax: Axes, outputs: Outputs, i: int) -> None:
    """The picture that the model makes."""
    side = int(np.sqrt(outputs["pixels"].shape[-1]))
    ax.imshow(detection.sigmoid(outputs["pixels"][i].astype(np.float64)).reshape(side, side), cmap="gray")


def painted(ax: Axes, outputs: Outputs, i: int) -> None:
    """The picture that the model makes, in colour."""
    ax.imshow((outputs["stylized"][i] + 1) / 2)


def _shade(ax: Axes, where: NDArray[np.bool_], colour: str) -> None:
    from matplotlib.colors import to_rgba

    ax.imshow(where[..., None] * np.array(to_rgba(colour, 0.6)))


@dataclass(frozen=True)
class Picture:
    """A model and a target, and how what comes out is drawn over what goes in."""

    title: str
    model: str
    target: str
    draw: Callable[[Axes, Outputs, int], None]
    drawn: str


PICTURES = {
    "instances": Picture(
        "Instance masks", "faster_rcnn@torch", "openvino-int8", instances,
        "Three files, `proposals`, `box_head` and `mask_head`, with the host's choice of regions between them.",
    ),
    "detections": Picture(
        "Detections", "ssd@keras", "tflite-int8", boxes,
        f"Boxes behind suppression, of confidence {SURE:g} and more.",
    ),
    "areas": Picture(
        "Drivable area and obstacles", "unet:street@keras", "onnxruntime-int8", areas, "The class of each pixel.",
    ),
    "dilated": Picture(
        "The same by dilated convolutions", "fcn@torch", "executorch-int8", areas, "The class of each pixel.",
    ),
    "activations": Picture(
        "Class activation maps", "medical_cnn@keras", "tflite-int8", activations,
        "The second output: what each place says for the class that was chosen.",
    ),
    "variational": Picture(
        "A variational autoencoder's glyphs", "vae@torch", "coreml-int8-weights", pixels,
        "What the model makes of ten numbers that it keeps of each glyph.",
    ),
    "stylized": Picture(
        "Faces in the style of a painting", "style_transfer@torch", "onnxruntime-int8", painted,
        "The model has seen one painting, generated as the faces are; its instance norms are computed for each image.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """What was found of a picture: what the shown samples gave in float and in the file, and figures of the split."""

    images: NDArray[Any]
    in_float: Outputs
    in_file: Outputs
    row: str


def made(picture: Picture, workers: Workers, store: Store) -> Made:
    """Convert a model, and take from the proof what it gave for the samples that are shown."""
    name, _, config = picture.model.partition("@")[0].partition(":")
    task = zoo.architecture(name).configs[config or "tiny"].task
    assert task is not None
    files = Handed(picture.model, None, {}, ())
    order = dataclasses.replace(api._order(files, picture.target, None, "top1", (), (), trust=False), latency=False)
    with store.lease() as lease:
        outcome = pipeline.explore(Run(workers, lease, lambda event, label: None), order)
        chosen, test = outcome.tested, outcome.samples[-1]
        if chosen is None or chosen.execution is None or chosen.evidence is None:
            raise FailedError(f"{picture.model} has no file for {picture.target}", hint="See `edgekit convert`.")
        read = [_first(folder, outcome.checkpoint, task) for folder in (Path(test.outputs), chosen.execution.file(""))]
    evidence, accuracy = chosen.evidence, chosen.evidence.accuracy
    assert accuracy is not None
    float_, file = (said.amount(accuracy.metric, value) for value in (accuracy.float_, accuracy.artifact))
    runs = f"{evidence.by}, a stand-in" if evidence.stand_in else evidence.by
    row = (
        f"| {picture.model} | `{picture.target}` | {runs} | {accuracy.metric} {float_} to {file} (n = {accuracy.samples}) "
        f"| {evidence.parity.sqnr_db:.1f} dB | {chosen.status} |"
    )
    [images] = tasks.load(task, "test", SHOWN).inputs.values()
    return Made(images, *read, row)


def _first(folder: Path, checkpoint: Checkpoint, task: str) -> Outputs:
    """What a run gave for the samples that are shown, as the task's metric reads it, maps channels last."""
    outputs = next(rows.read(folder / execution.OUTPUTS, execution.PREFIX))
    if (whole := checkpoint.signatures.get(WHOLE)) is not None:
        first = {spec.name for spec in whole.outputs if spec.layout == "channels_first"}
        outputs = {name: np.moveaxis(value, 1, -1) if name in first else value for name, value in outputs.items()}
    return execution.answers({name: value[:SHOWN] for name, value in outputs.items()}, checkpoint.signatures, task)


def draw(picture: Picture, found: Made, file: Path) -> None:
    """A column for each sample; what goes in, what comes out in float, what comes out of the file."""
    from matplotlib.figure import Figure

    sides = {"sample": None, "float": found.in_float, picture.target: found.in_file}
    figure = Figure(figsize=(SHOWN * SIDE, len(sides) * SIDE + 0.1), layout="constrained")
    low, high = found.images.min(), found.images.max()
    places = figure.subplots(len(sides), SHOWN, squeeze=False)
    for line, (label, outputs) in zip(places, sides.items(), strict=True):
        line[0].set_ylabel(label, fontsize=7)
        for i, ax in enumerate(line):
            ax.set_xticks([])
            ax.set_yticks([])
            ax.imshow((found.images[i] - low) / (high - low), cmap="gray", vmin=0, vmax=1)
            if outputs is not None:
                picture.draw(ax, outputs, i)
    figure.savefig(file, dpi=75)


def page(rows_of: Mapping[str, str]) -> str:
    """The page of the pictures whose rows there are."""
    parts = [HEAD]
    for name, row in rows_of.items():
        picture = PICTURES[name]
        parts.append(
            f"## {picture.title}\n\n![{picture.title}: the sample, the float model, the file](gallery/{name}.png)\n\n"
            f"{picture.drawn}\n\n{TABLE}\n{row}\n"
        )
    return "\n".join(parts)


def rows_in(text: str) -> dict[str, str]:
    """The rows of a page's pictures, by name."""
    found = {}
    for part in text.split("\n## ")[1:]:
        title, *lines = part.strip().splitlines()
        names = [name for name, picture in PICTURES.items() if picture.title == title]
        found.update(dict.fromkeys(names, lines[-1]))
    return found


def main() -> None:
    """Make pictures, and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=PICTURES, help="only these; rows of the others stay as they are")
    chosen = parser.parse_args().names or list(PICTURES)
    PICTURES_AT.mkdir(exist_ok=True)
    lines = rows_in(PAGE.read_text("utf-8")) if PAGE.is_file() else {}
    with Workers() as workers:
        for name in chosen:
            found = made(PICTURES[name], workers, Store())
            draw(PICTURES[name], found, PICTURES_AT / f"{name}.png")
            lines[name] = found.row
            print(found.row, flush=True)
    PAGE.write_text(page({name: lines[name] for name in PICTURES if name in lines}), "utf-8")


if __name__ == "__main__":
    main()
