"""Objects of a folder of images in the JSON of COCO (Lin et al. 2014, arXiv 1405.0312; cocodataset.org/#format-data).

What is read: ``images`` (``id``, ``file_name``), ``annotations`` (``image_id``, ``category_id``, ``bbox`` as left, top,
width, height in pixels of the image as it lies there, ``iscrowd``) and ``categories`` (``id``, ``name``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit.errors import DamagedFileError, UsageError

#: Distributions whose versions change what is done here.
PACKAGES = ("pydantic",)


class _Image(BaseModel):
    id: int
    file_name: str


class _Category(BaseModel):
    id: int
    name: str


class _Annotation(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0


class _Document(BaseModel):
    images: list[_Image] = Field(min_length=1)
    annotations: list[_Annotation]
    categories: list[_Category] = Field(min_length=1)


@dataclass(frozen=True)
class Objects:
    """The objects of each image.

    Attributes:
        files: the images, as they are listed.
        classes: names of the categories in the order of their numbers: class 0 is the first.
        boxes: per image ``(objects, 5)``: class, left, top, right, bottom in pixels of the stored image.
        crowds: annotations of crowds, which were left out: one box stands for many objects there.
    """

    files: list[Path]
    classes: tuple[str, ...]
    boxes: list[NDArray[np.float64]]
    crowds: int


def find(folder: Path) -> Path | None:
    """The JSON file of a folder of images; None where there is none.

    Raises:
        UsageError: there are several.
    """
    found = sorted(folder.glob("*.json"))
    if len(found) > 1:
        raise UsageError(f"{folder} has several JSON files ({', '.join(p.name for p in found)}); leave one there")
    return found[0] if found else None


def read(path: Path) -> Objects:
    """Read the objects of all images beside a file.

    Raises:
        DamagedFileError: it is not COCO's JSON.
        UsageError: an annotation names an image or a category that is not listed, an image is missing or outside.
    """
    try:
        document = _Document.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedFileError(f"{path} is not COCO's JSON: {where}: {first['msg']}") from error
    categories = sorted(document.categories, key=lambda category: category.id)
    number = {category.id: i for i, category in enumerate(categories)}
    rows: dict[int, list[list[float]]] = {image.id: [] for image in document.images}
    for one in document.annotations:
        if one.image_id not in rows or one.category_id not in number:
            raise UsageError(
                f"{path}: an annotation names image {one.image_id} and category {one.category_id}; not both are listed"
            )
        left, top, width, height = one.bbox
        if not one.iscrowd:
            rows[one.image_id].append([number[one.category_id], left, top, left + width, top + height])
    files = [_beside(path, image.file_name) for image in document.images]
    boxes = [np.asarray(rows[image.id], np.float64).reshape(-1, 5) for image in document.images]
    crowds = sum(1 for one in document.annotations if one.iscrowd)
    return Objects(files, tuple(category.name for category in categories), boxes, crowds)


def _beside(path: Path, name: str) -> Path:
    """An image in the file's own folder, or in ``images`` below it."""
    root = path.parent.resolve()
    for candidate in (root / name, root / "images" / name):
        if candidate.is_file() and candidate.resolve().is_relative_to(root):
            return candidate
    raise UsageError(f"{path} lists the image {name!r}, which is not in its folder")


def labels(boxes: Sequence[NDArray[np.float64]], size: tuple[int, int]) -> NDArray[np.float64]:
    """Boxes in pixels of the model's input as labels of ``map``: ``(images, most, 5)``, rows of -1 fill up.

    They are cut at the input's edges; what lies outside of it is left out.
    """
    height, width = size
    kept = []
    for own in boxes:
        cut = own.copy()
        cut[:, 1:] = np.clip(own[:, 1:], 0, [width, height, width, height])
        kept.append(cut[(cut[:, 3] > cut[:, 1]) & (cut[:, 4] > cut[:, 2])])
    found = np.full((len(kept), max(1, max(len(own) for own in kept)), 5), -1.0)
    for row, own in zip(found, kept, strict=True):
        row[: len(own)] = own
    return found
