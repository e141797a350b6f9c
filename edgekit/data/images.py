"""Folders of images: class folders in sorted order, decoded with OpenCV, preprocessed as ``preprocess.toml`` says."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit.errors import DamagedFileError, MissingDependencyError, UsageError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FILE = "preprocess.toml"
EXAMPLE = (
    "schema = 1; size = [224, 224]; crop = 0.875; scale = 0.00392156862745098; mean = [0.485, 0.456, 0.406]; "
    'std = [0.229, 0.224, 0.225]; layout = "channels_first"; colour = "rgb"'
)


class Preprocessing(BaseModel):
    """What makes a model's input of an image: ``(pixel * scale - mean) / std``, pixels from 0 to 255.

    Attributes:
        size: height and width that the model takes.
        crop: share of the shorter side that the centre crop keeps (timm's ``crop_pct``); without it the whole image
            is resized to ``size``, whatever its aspect.
        scale: multiplies the pixels first.
        mean: subtracted after scaling, one number or one per channel.
        std: divides then, likewise.
        layout: where the channels are.
        colour: order of the channels, or one channel of grey.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal[1] = Field(alias="schema")
    size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    layout: Literal["channels_last", "channels_first"]
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    scale: Annotated[float, Field(gt=0)] = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)
    colour: Literal["rgb", "bgr", "grey"] = "rgb"


def preprocessing(folder: Path) -> Preprocessing:
    """Read the folder's ``preprocess.toml``.

    There is no default on purpose: a wrong normalisation gives no error, only a worse model.

    Raises:
        UsageError: it is missing, not TOML, or has a key or value that is not allowed.
    """
    path = folder / FILE
    if not path.is_file():
        raise UsageError(
            f"{folder} has no {FILE}, so that the preprocessing is unknown", hint=f"For example: {EXAMPLE}"
        )
    try:
        settings = Preprocessing.model_validate(tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError(f"{path}: {faults}", hint=f"For example: {EXAMPLE}") from error
    channels = 1 if settings.colour == "grey" else 3
    for key, values in (("mean", settings.mean), ("std", settings.std)):
        if len(values) not in (1, channels):
            raise UsageError(f"{path}: {key} has {len(values)} values; allowed: 1 or {channels}")
    return settings


def listing(folder: Path) -> tuple[list[Path], NDArray[np.int64] | None]:
    """Images of a folder and their labels: the number of the class folder in sorted order.

    Images that lie in the folder itself have no labels (enough to calibrate).

    Raises:
        UsageError: no image, a class folder without one, or images both inside and outside of class folders.
    """
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    loose = _images_in(folder)
    if loose and classes:
        raise UsageError(f"{folder} has images beside the class folders {', '.join(p.name for p in classes[:5])}")
    if not classes:
        if not loose:
            raise UsageError(f"{folder} is empty: no images ({', '.join(EXTENSIONS)})")
        return loose, None
    files: list[Path] = []
    labels: list[int] = []
    for label, path in enumerate(classes):
        found = _images_in(path)
        if not found:
            raise UsageError(f"class folder {path} has no images ({', '.join(EXTENSIONS)})")
        files += found
        labels += [label] * len(found)
    return files, np.asarray(labels, dtype=np.int64)


def _images_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS and p.is_file())


def read(files: Sequence[Path], settings: Preprocessing) -> NDArray[np.float32]:
    """Decode and preprocess: float32, ``(n, height, width, channels)`` or ``(n, channels, height, width)``.

    Raises:
        DamagedFileError: OpenCV cannot decode a file; it is named.
    """
    return np.stack([_one(path, settings) for path in files])


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            "images are decoded with OpenCV, which is not installed", hint="pip install 'edgekit[data]'"
        ) from error
    return cv2


def _one(path: Path, settings: Preprocessing) -> NDArray[np.float32]:
    cv2 = _opencv()
    grey = settings.colour == "grey"
    data = np.fromfile(path, np.uint8)
    image: Any = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise DamagedFileError(f"{path} is not a whole image")
    if settings.colour == "rgb":
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    image = resized(image, settings)
    image = image.reshape(*image.shape[:2], -1).astype(np.float32) * np.float32(settings.scale)
    image = (image - np.array(settings.mean, np.float32)) / np.array(settings.std, np.float32)
    if settings.layout == "channels_first":
        image = np.moveaxis(image, -1, 0)
    done: NDArray[np.float32] = np.ascontiguousarray(image, dtype=np.float32)
    return done


def resized(image: NDArray[np.uint8], settings: Preprocessing) -> Any:
    """Resize (area average when shrinking, bilinear when enlarging), and cut the centre out where ``crop`` says so."""
    cv2 = _opencv()
    height, width = settings.size
    rows, columns = image.shape[:2]
    if settings.crop is not None:
        ratio = max(height / rows, width / columns) / settings.crop
        cut_rows, cut_columns = min(rows, round(height / ratio)), min(columns, round(width / ratio))
        top, left = (rows - cut_rows) // 2, (columns - cut_columns) // 2
        image = image[top : top + cut_rows, left : left + cut_columns]
    shrinks = height * width < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
