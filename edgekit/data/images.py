"""Folders of images: class folders in sorted order, decoded with OpenCV, preprocessed as ``preprocess.toml`` says."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from edgekit import catalogue
from edgekit.data import mapped
from edgekit.errors import DamagedFileError, MissingDependencyError, UsageError
from edgekit.result.use import Preprocessing as Facts

#: Distributions whose versions change what is done here.
PACKAGES = ("opencv-python-headless", "pydantic")

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FILE = "preprocess.toml"


def example(row: Sequence[int] = (3, 224, 224)) -> str:
    """A ``preprocess.toml`` for an input of one shape, normalised as for ImageNet, to be pasted and corrected."""
    first = len(row) == 3 and row[0] in (1, 3) and row[2] not in (1, 3)
    *size, channels = (*row[1:], row[0]) if first else row
    if len(size) != 2:
        size, channels = [224, 224], 3
    normalised = "mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]" if channels == 3 else 'colour = "grey"'
    layout = "channels_first" if first else "channels_last"
    return (
        f'schema = 1\nsize = {list(size)}\nlayout = "{layout}"\n'
        f"scale = 0.00392156862745098  # 1/255; 1.0 for a model that takes 0..255\n{normalised}\n"
    )


#: A number by itself is that of all channels.
_ONE_OR_MORE = BeforeValidator(lambda said: (said,) if isinstance(said, int | float) else said)


class Preprocessing(BaseModel):
    """What makes a model's input of an image: ``(pixel * scale - mean) / std``, pixels from 0 to 255.

    Attributes:
        size: height and width that the model takes.
        crop: share of the shorter side that the centre crop keeps (timm's ``crop_pct``); without it the whole image
            is resized to ``size``, whatever its aspect.
        scale: multiplies the pixels first: 1/255 for a model that takes 0..1, 1 for one that takes 0..255. It has no
            default: a model that takes the one answers by chance on the other, without an error.
        mean: subtracted after scaling, one number or one per channel.
        std: divides then, likewise.
        layout: where the channels are.
        colour: order of the channels, or one channel of grey (``gray`` is taken, too).
        classes: names of the class folders in the order of the model's outputs; without it they are sorted by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal[1] = Field(alias="schema")
    size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    layout: Literal["channels_last", "channels_first"]
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    scale: Annotated[float, Field(gt=0)]
    mean: Annotated[tuple[float, ...], _ONE_OR_MORE] = (0.0,)
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], _ONE_OR_MORE] = (1.0,)
    colour: Annotated[
        Literal["rgb", "bgr", "grey"], BeforeValidator(lambda said: "grey" if said == "gray" else said)
    ] = "rgb"
    classes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """How many it makes."""
        return 1 if self.colour == "grey" else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the input that it makes of one image."""
        return (self.channels, *self.size) if self.layout == "channels_first" else (*self.size, self.channels)

    def of(self, name: str) -> Facts:
        """The same for whoever uses the model, with the name of its input."""
        return Facts(input=name, **self.model_dump(include=Facts.model_fields.keys() - {"input"}))


def preprocessing(folder: Path, row: Sequence[int] = (3, 224, 224)) -> Preprocessing:
    """Read the folder's ``preprocess.toml``.

    There is no default on purpose: a wrong normalisation gives no error, only a worse model.

    Args:
        folder: of images.
        row: shape of what the model takes, for the example that an error gives.

    Raises:
        UsageError: it is missing, not TOML, or has a key or value that is not allowed.
    """
    path = folder / FILE
    if not path.is_file():
        raise UsageError(
            f"{folder} has no {FILE}, so that the preprocessing is unknown",
            hint=f"Write what the model was trained with, for example:\n{example(row)}",
        )
    try:
        settings = Preprocessing.model_validate(catalogue.toml(path))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError(f"{path}: {faults}", hint=f"For example:\n{example(row)}") from error
    if len(set(settings.classes)) < len(settings.classes):
        raise UsageError(f"{path}: classes names one twice: {', '.join(settings.classes)}")
    channels = settings.channels
    for key, values in (("mean", settings.mean), ("std", settings.std)):
        if len(values) not in (1, channels):
            raise UsageError(f"{path}: {key} has {len(values)} values; allowed: 1 or {channels}")
    return settings


def listing(folder: Path) -> tuple[list[Path], list[str] | None]:
    """Images of a folder and the class folder of each; no classes where all lie in the folder itself.

    Raises:
        UsageError: no image, a class folder without one, or images both inside and outside of class folders.
    """
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX")))
    loose = _images_in(folder)
    if loose and classes:
        raise UsageError(f"{folder} has images beside the class folders {', '.join(p.name for p in classes[:5])}")
    if not classes:
        if not loose:
            raise UsageError(f"{folder} is empty: no images ({', '.join(EXTENSIONS)})")
        return loose, None
    files: list[Path] = []
    names: list[str] = []
    for path in classes:
        found = _images_in(path)
        if not found:
            raise UsageError(f"class folder {path} has no images ({', '.join(EXTENSIONS)})")
        files += found
        names += [path.name] * len(found)
    return files, names


def _images_in(folder: Path) -> list[Path]:
    """Images of one folder; not what macOS puts beside them in archives."""
    found = (p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS and not p.name.startswith("._"))
    return sorted(p for p in found if p.is_file())


def order_of(folder: Path, found: Collection[str], settings: Preprocessing, outputs: int) -> tuple[str, ...]:
    """Names of the classes in the order of the model's outputs.

    Args:
        folder: for messages.
        found: names of the class folders.
        settings: whose ``classes`` give the order; without them the names are sorted, as frameworks do.
        outputs: how many classes the model tells apart.

    Raises:
        UsageError: folders and outputs do not match, so that labels would slip, or the order of numbers is open.
    """
    if settings.classes:
        if len(settings.classes) != outputs:
            raise UsageError(
                f"{folder / FILE} lists {len(settings.classes)} classes, and the model has {outputs}",
                hint="List every class of the model in the order of its outputs.",
            )
        if unknown := sorted(set(found) - set(settings.classes)):
            raise UsageError(f"{folder} has the class folder {unknown[0]}, which {FILE} does not list")
        return settings.classes
    names = sorted(found)
    if len(names) != outputs:
        some = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        raise UsageError(
            f"class folders and outputs do not match: {folder} has {len(names)} ({some}), and the model has {outputs} "
            "classes",
            hint=f"List all of them in {FILE}, in the order of the outputs: classes = [...]; folders may be missing.",
        )
    if all(name.isdecimal() for name in names) and sorted(names, key=int) != names:
        raise UsageError(
            f"the class folders of {folder} are numbers, whose order by name ({', '.join(names[:4])} ...) is not their "
            "own",
            hint=f"Say in {FILE} which one the model was trained with: classes = [...].",
        )
    return tuple(names)


def read(files: Sequence[Path], settings: Preprocessing) -> NDArray[np.generic]:
    """Decode and preprocess: float32, ``(n, height, width, channels)`` or ``(n, channels, height, width)``, mapped.

    Raises:
        DamagedFileError: OpenCV cannot decode a file; it is named.
    """
    return mapped.written(_prepared(decoded(path, settings), settings)[None] for path in files)


def read_with_boxes(
    files: Sequence[Path], settings: Preprocessing, boxes: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.generic], list[NDArray[np.float64]]]:
    """As ``read``, with boxes ``(objects, 5)`` (class, then corners in pixels) moved along into the model's input."""
    images, moved = mapped.Growing(), []
    for path, own in zip(files, boxes, strict=True):
        image = decoded(path, settings)
        (top, left), (rows, columns) = window(image.shape[:2], settings)
        scale = settings.size[1] / columns, settings.size[0] / rows
        corners = (own[:, 1:] - [left, top, left, top]) * [*scale, *scale]
        moved.append(np.concatenate([own[:, :1], corners], axis=1))
        images.add(_prepared(image, settings)[None])
    return images.array(), moved


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            "images are decoded with OpenCV, which is not installed", hint="pip install 'edgekit[data]'"
        ) from error
    return cv2


def decoded(path: Path, settings: Preprocessing) -> NDArray[np.uint8]:
    """Decode one image, in its own size and in the order of colours that the model takes."""
    cv2 = _opencv()
    grey = settings.colour == "grey"
    data = np.fromfile(path, np.uint8)
    try:
        image: Any = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR) if data.size else None
    except cv2.error as error:  # larger than OpenCV decodes
        raise DamagedFileError(f"{path} cannot be decoded: {error.err}") from error
    if image is None:
        raise DamagedFileError(f"{path} is not a whole image")
    found: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if settings.colour == "rgb" else image
    return found


def _prepared(image: NDArray[np.uint8], settings: Preprocessing) -> NDArray[np.float32]:
    made: Any = resized(image, settings)
    made = made.reshape(*made.shape[:2], -1).astype(np.float32) * np.float32(settings.scale)
    made = (made - np.array(settings.mean, np.float32)) / np.array(settings.std, np.float32)
    if settings.layout == "channels_first":
        made = np.moveaxis(made, -1, 0)
    done: NDArray[np.float32] = np.ascontiguousarray(made, dtype=np.float32)
    return done


def window(shape: tuple[int, ...], settings: Preprocessing) -> tuple[tuple[int, int], tuple[int, int]]:
    """The part of an image that is resized: its upper left corner (row, column), and its rows and columns."""
    rows, columns = shape
    if settings.crop is None:
        return (0, 0), (rows, columns)
    height, width = settings.size
    ratio = max(height / rows, width / columns) / settings.crop
    cut_rows, cut_columns = min(rows, round(height / ratio)), min(columns, round(width / ratio))
    return ((rows - cut_rows) // 2, (columns - cut_columns) // 2), (cut_rows, cut_columns)


def resized(image: NDArray[np.uint8], settings: Preprocessing) -> Any:
    """Resize (area average when shrinking, bilinear when enlarging), and cut the centre out where ``crop`` says so."""
    cv2 = _opencv()
    height, width = settings.size
    (top, left), (rows, columns) = window(image.shape[:2], settings)
    shrinks = height * width < rows * columns
    part = image[top : top + rows, left : left + columns]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
