"""The user's own data: what ``--calibrate`` and ``--evaluate`` take.

``file.npz``, a folder of images in class folders (``edgekit/data/images.py``), or ``file.py:function``. Samples come
out in the model's own layout; where a zoo model takes channels first, data with the channels last are taken too. No
framework is needed here; a Python function may import one, so that this runs in a child process.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
import tokenize
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit import user_code
from edgekit.data import archives, coco, images, mapped, rows
from edgekit.data.mapped import take
from edgekit.data.tasks import Samples
from edgekit.errors import DamagedFileError, UsageError, did_you_mean, with_article
from edgekit.signature import READ, SCORES, Signature, TensorSpec

Array = NDArray[np.generic]

ALLOWED = "file.npz, a folder of images in class folders, file.py:function"


def load(text: str, signature: Signature, *, labels: bool = False, limit: int | None = None, seed: int = 0) -> Samples:
    """Read and check samples for a model.

    Args:
        text: what the user typed.
        signature: of the model.
        labels: whether labels are wanted (``--evaluate``); class folders are then held against the model's outputs.
        limit: at most this many samples: drawn with ``seed`` from a file or folder (which may be sorted by class),
            the first ones of a Python function (which may never end).
        seed: of that draw.

    Raises:
        UsageError: missing, empty, or unlike the signature; NaN; counts that differ; class folders that do not match.
        DamagedFileError: a file that cannot be read, by name.
        UnsafeInputError: an npz with pickled objects.
    """
    path = Path(text)
    function = re.fullmatch(r"(?P<path>.+\.py):(?P<function>\w+)", text)
    if function:
        found = _python(text, _existing(Path(function["path"])), function["function"], signature, limit)
    elif _existing(path).is_dir():
        found = _images(path, signature, limit, seed, labels=labels)
    elif path.suffix == ".npz":
        found = _npz(path, signature)
    else:
        raise UsageError(f"{text} has the extension {path.suffix!r}; data are {ALLOWED}")
    checked = check(found, signature, text)
    if limit is None or len(next(iter(checked.inputs.values()))) <= limit:
        return checked
    return take(checked, drawn(len(next(iter(checked.inputs.values()))), limit, seed))


def shapes(text: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of one sample of each array that the user hands in, by its name, or its place: ``arr_0``.

    Of a folder of images ``x``, as its ``preprocess.toml`` says; of a Python function those of its first batch.

    Raises:
        UsageError, DamagedFileError, UnsafeInputError: as of ``load``.
    """
    path = Path(text)
    if function := re.fullmatch(r"(?P<path>.+\.py):(?P<function>\w+)", text):
        made = user_code.call(str(_existing(Path(function["path"]))), function["function"])
        with user_code.blame(function["path"], function["function"]):
            batch = made if isinstance(made, Mapping | tuple) else next(iter(_iterable(made, text)), ())
        parts = batch if isinstance(batch, tuple | list) else [batch]
        found = batch if isinstance(batch, Mapping) else {f"arr_{place}": part for place, part in enumerate(parts)}
        arrays = {str(name): _array(value) for name, value in found.items()}
    elif path.is_dir():
        arrays = {"x": np.broadcast_to(np.float32(0), (1, *images.preprocessing(path).shape))}
    else:
        arrays = _arrays(_existing(path))
    return {name: (array.shape[1:], array.dtype.name) for name, array in arrays.items() if array.ndim}


def split(samples: Samples, seed: int, share: float = 0.3) -> tuple[Samples, Samples]:
    """Split into selection (a share, at least one sample) and test (the rest), by a recorded seed.

    Raises:
        UsageError: fewer than two samples.
    """
    count = len(next(iter(samples.inputs.values())))
    if count < 2:
        raise UsageError(f"{count} sample cannot be split into selection and test", hint="Give at least two.")
    order = np.random.default_rng(seed).permutation(count)
    cut = max(1, round(share * count))
    return take(samples, np.sort(order[:cut])), take(samples, np.sort(order[cut:]))


def digest(samples: Samples) -> str:
    """SHA-256 of names, types, shapes and values of inputs and labels."""
    found = hashlib.sha256()
    arrays = {f"input {name}": samples.inputs[name] for name in sorted(samples.inputs)}
    if samples.labels is not None:
        arrays["labels"] = samples.labels
    for name, array in arrays.items():
        found.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        for block in mapped.blocks(array):
            found.update(block.tobytes())
    return found.hexdigest()


#: Calibration samples that may be among the evaluation samples, as a share: a few copies are left out and counted,
#: more mean that both are one and the same set.
MOST_SHARED = 0.05


def apart(samples: Samples, others: Samples, where: str) -> NDArray[np.int64]:
    """Numbers of the samples that are not among others, by the hash of their inputs.

    Raises:
        UsageError: more than ``MOST_SHARED`` of them are.
    """
    theirs, ours = set(hashes(others)), hashes(samples)
    kept = np.flatnonzero([own not in theirs for own in ours])
    shared = len(ours) - len(kept)
    if shared > MOST_SHARED * len(ours):
        raise UsageError(
            f"{shared} of {len(ours)} samples of {where} are among the evaluation samples, too: what is measured on "
            "samples that the file was fitted to proves nothing",
            hint="Calibrate with other samples, such as those of the training set; train on no sample that scores.",
        )
    return kept


def hashes(samples: Samples) -> list[bytes]:
    """A hash of each sample's inputs."""
    columns = (mapped.each(samples.inputs[name]) for name in sorted(samples.inputs))
    return [hashlib.sha256(b"".join(value.tobytes() for value in row)).digest() for row in zip(*columns, strict=True)]


def drawn(count: int, limit: int, seed: int) -> NDArray[np.int64]:
    """Numbers of ``limit`` of ``count`` samples, drawn without replacement, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:limit]).astype(np.int64)


def check(samples: Samples, signature: Signature, where: str) -> Samples:
    """Check samples against a signature; returns them in its dtypes and layout.

    Raises:
        UsageError: names, shapes, dtypes, counts, NaN: the first fault, with the sample's number. Whether labels fit
            the outputs is the metric's to say.
    """
    names = [spec.name for spec in signature.inputs]
    missing = [name for name in names if name not in samples.inputs]
    extra = sorted(set(samples.inputs) - set(names))
    if missing and extra and all(name.startswith("arr_") for name in samples.inputs):
        raise UsageError(
            f"{where} has {len(samples.inputs)} arrays without names; the model takes {', '.join(names)}, then labels",
            hint="One array for each input in their order, then one of labels if there are any; or give them names.",
        )
    if missing or extra:
        raise UsageError(
            f"{where} has {', '.join(samples.inputs) or 'no inputs'}; the model's inputs are {', '.join(names)}",
            hint=f"{did_you_mean(extra[0], missing) if extra and missing else ''}Name the arrays as the inputs (one "
            "input may be called x), and the labels y."
            + (f" Leave {', '.join(extra)} out, or make it an input of the model." if not missing else ""),
        )
    inputs = {spec.name: _input(samples.inputs[spec.name], spec, where) for spec in signature.inputs}
    counts = {name: len(array) for name, array in inputs.items()}
    if samples.labels is not None:
        counts["labels"] = len(samples.labels)
    if len(set(counts.values())) > 1:
        raise UsageError(f"{where} has different numbers of samples: {counts}")
    return replace(samples, inputs=inputs, labels=_labels(samples.labels, where))


def _input(array: Array, spec: TensorSpec, where: str) -> Array:
    if array.ndim and len(array) == 0:
        raise UsageError(f"{where} is empty: input {spec.name!r} has no samples")
    if spec.layout == "channels_first" and array.shape[1:] == (*spec.shape[2:], spec.shape[1]) != spec.row:
        array = np.moveaxis(array, -1, 1)
    if array.ndim == 0 or array.shape[1:] != spec.row:
        raise _unlike(array, spec, where)
    wanted = np.dtype(spec.dtype)
    if wanted.kind != array.dtype.kind and not (wanted.kind in "iu" and array.dtype.kind in "iu"):
        raise UsageError(
            f"{where}: input {spec.name!r} is {array.dtype}; the model takes {spec.dtype}",
            hint="Store the values that the model takes: scaled and normalised floats, or token numbers.",
        )
    _check_values(array, wanted, f"{where}: input {spec.name!r}")
    if array.dtype == wanted and array.flags.c_contiguous:
        return array
    return mapped.written(np.ascontiguousarray(block, dtype=wanted) for block in mapped.blocks(array))


def _check_values(array: Array, wanted: np.dtype[Any], name: str) -> None:
    """Refuse what is no number, and numbers that become others in the type that the model takes."""
    if wanted.kind == "f":
        whole = [np.isfinite(block.reshape(len(block), -1)).all(axis=1) for block in mapped.blocks(array)]
        if len(bad := np.flatnonzero(~np.concatenate(whole))):
            raise UsageError(
                f"{name} has NaN or infinity in sample {bad[0]} ({len(bad)} in all)",
                hint="Leave these samples out, or find out what made them so.",
            )
    start = 0
    for block in mapped.blocks(array):
        with np.errstate(over="ignore", invalid="ignore"):
            made = block.astype(wanted)
        changed = ~np.isfinite(made) if wanted.kind == "f" else made != block
        if changed.any():
            at = tuple(np.argwhere(changed)[0])
            limits = np.finfo(wanted) if wanted.kind == "f" else np.iinfo(wanted)
            raise UsageError(
                f"{name} has {block[at]} in sample {start + at[0]}; {wanted} holds {limits.min} to {limits.max}",
                hint="Store the values as the model takes them: scaled, or numbers of rows that its tables have.",
            )
        start += len(block)


def _unlike(array: Array, spec: TensorSpec, where: str) -> UsageError:
    needed = f"({', '.join(map(str, ('samples', *spec.row)))})"
    if spec.row == spec.shape:
        needed += f", or {spec.shape} for one sample"
    one = "x".join(map(str, (1, *spec.shape[1:])))
    rows = array.ndim > 1 and array.shape[1:] == spec.shape[1:]
    return UsageError(
        f"{where}: input {spec.name!r} has shape {array.shape}; needed: {needed}",
        hint=f"--input {spec.name}={one}:{spec.dtype} declares the first axis to be a batch." if rows else "",
    )


def _rows(samples: Samples, signature: Signature) -> Samples:
    """Whole tensors as rows: samples that have their batch of 1, or a single one of a tensor without a batch.

    What is neither stays as it is, for ``check`` to say so.
    """
    inputs, alone = dict(samples.inputs), False
    for spec in signature.inputs:
        if (array := inputs.get(spec.name)) is None or array.shape[1:] == spec.row:
            continue
        if array.shape[1:] == spec.shape:
            inputs[spec.name] = array.reshape(len(array), *spec.row)
        elif array.shape == spec.shape:
            inputs[spec.name], alone = array[None], True
    labels = samples.labels
    if alone and labels is not None and len(labels) != 1:  # they belong to the one sample
        labels = labels[None]
    return replace(samples, inputs=inputs, labels=labels)


def _labels(labels: Array | None, where: str) -> Array | None:
    """Labels as numbers; class numbers that come as a column are one per sample."""
    if labels is None:
        return None
    if labels.dtype.kind not in "iubf":
        raise UsageError(f"{where}: labels are {labels.dtype}", hint="Store class numbers or quantities.")
    if labels.dtype.kind == "f" and not all(np.isfinite(block).all() for block in mapped.blocks(labels)):
        raise UsageError(f"{where}: the labels have NaN or infinity")
    return labels[:, 0] if labels.dtype.kind in "iub" and labels.ndim == 2 and labels.shape[1] == 1 else labels


def class_count(signature: Signature) -> int:
    """How many classes a model tells apart, for class folders.

    As many as the output that is said to be scored, or to hold classes or scores, has, or else its first one; one unit
    tells two.
    """
    by_role = {t.role: t for t in signature.outputs[::-1]}
    spec = next((by_role[role] for role in (*READ, *SCORES) if role in by_role), None)
    *_, found = (1, *(spec or signature.outputs[0]).shape)
    return 2 if found == 1 else found


def _npz(path: Path, signature: Signature) -> Samples:
    return _named(_arrays(path), signature)


def _arrays(path: Path) -> dict[str, Array]:
    """All arrays of an npz file, mapped."""
    try:
        with archives.open_zip(path, str(path)) as opened:
            for member in opened.infolist():
                _check_header(opened, member, path)
            return {name.removesuffix(".npy"): mapped.member(opened, path, name) for name in opened.namelist()}
    except (*archives.ZIP_ERRORS, *_HEADER_ERRORS) as error:
        if "allow_pickle" in str(error):
            raise archives.pickled(path) from error
        raise DamagedFileError(f"{path} cannot be read: {error}", hint="Fetch or save it again.") from error


#: What NumPy raises on a header, which it reads as a Python literal, beside what zips raise.
_HEADER_ERRORS = (SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError, struct.error)


def _check_header(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """An array that says to be larger than what is there is told before anything is unpacked."""
    with opened.open(member) as stored:
        shape, _, dtype = rows.header(stored)
    said = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and said > member.file_size:
        raise DamagedFileError(f"{path}: {member.filename!r} says to be {shape} {dtype} in {member.file_size} bytes")


def _named(arrays: Mapping[str, Any], signature: Signature) -> Samples:
    """Inputs and labels by name; ``x`` stands for the one input of a model."""
    names = [spec.name for spec in signature.inputs]
    found = _in_order({name: np.asarray(array) for name, array in arrays.items()}, names)
    labels = np.atleast_1d(found.pop("y")) if "y" in found and "y" not in names else None
    if len(names) == 1 and names[0] not in found and "x" in found:
        found[names[0]] = found.pop("x")
    return _rows(Samples(found, labels), signature)


def _in_order(arrays: dict[str, Array], names: list[str]) -> dict[str, Array]:
    """Arrays that ``numpy.savez`` was given without names: the inputs in their order, then labels, if any."""
    places = [f"arr_{place}" for place in range(len(arrays))]
    if (
        not arrays
        or set(arrays) != set(places)
        or set(places) & set(names)
        or len(places) not in (n := len(names), n + 1)
    ):
        return arrays
    return {name: arrays[place] for name, place in zip([*names, "y"], places, strict=False)}


def _images(path: Path, signature: Signature, limit: int | None, seed: int, *, labels: bool) -> Samples:
    if len(signature.inputs) != 1:
        raise UsageError(f"{path} is a folder of images, and the model has {len(signature.inputs)} inputs")
    name = signature.inputs[0].name
    if (listed := coco.find(path)) is not None:
        return _objects(listed, name, signature, _preprocessing(path, signature))
    files, folders = images.listing(path)
    settings = _preprocessing(path, signature)
    numbers: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    if folders is not None and labels:
        classes = images.order_of(path, set(folders), settings, class_count(signature))
        numbers = np.asarray([classes.index(folder) for folder in folders], np.int64)
    if limit is not None and limit < len(files):
        rows = drawn(len(files), limit, seed)
        files, numbers = [files[i] for i in rows], None if numbers is None else numbers[rows]
    return Samples({name: images.read(files, settings)}, numbers, classes, preprocessing=settings.of(name))


def _preprocessing(path: Path, signature: Signature) -> images.Preprocessing:
    """The folder's own, which makes what the model takes: a size that it says is not made room for before that."""
    settings = images.preprocessing(path, signature.inputs[0].row)
    _input(np.broadcast_to(np.float32(0), (1, *settings.shape)), signature.inputs[0], str(path / images.FILE))
    return settings


def _objects(listed: Path, name: str, signature: Signature, settings: images.Preprocessing) -> Samples:
    """Images with the objects that a COCO file lists."""
    found = coco.read(listed)
    pixels, boxes = images.read_with_boxes(found.files, settings, found.boxes)
    notes = (f"{found.crowds} annotations of crowds were left out",) if found.crowds else ()
    scores = [t for t in signature.outputs if t.role.startswith("scores")]
    if scores and len(found.classes) not in scores[0].shape[1:]:
        raise UsageError(
            f"{listed} lists {len(found.classes)} categories; output {scores[0].name!r} has shape {scores[0].shape}",
            hint="List every class of the model, in the order of its scores.",
        )
    made = settings.of(name)
    return Samples({name: pixels}, coco.labels(boxes, settings.size), found.classes, notes=notes, preprocessing=made)


def _python(text: str, path: Path, function: str, signature: Signature, limit: int | None) -> Samples:
    made = user_code.call(str(path), function)
    grown: dict[str, mapped.Growing] | None = None
    count = 0
    stream = iter([made] if isinstance(made, Mapping | tuple) else _iterable(made, text))
    while limit is None or count < limit:
        with user_code.blame(str(path), function):  # a generator runs the user's code here
            yielded = next(stream, None)
        if yielded is None:
            break
        batch = _batch(yielded, signature, text)
        arrays = {f"x/{name}": array for name, array in batch.inputs.items()}
        if batch.labels is not None:
            arrays["y"] = batch.labels
        if any(array.dtype.hasobject for array in arrays.values()):
            check(batch, signature, text)  # which refuses them: no file could hold them
        grown = grown or {name: mapped.Growing() for name in arrays}
        if tuple(arrays) != tuple(grown):
            raise UsageError(f"{text} yields batches that differ in their names or in whether they have labels")
        try:
            for name, array in arrays.items():
                grown[name].add(array)
        except ValueError as error:
            raise UsageError(f"{text} yields batches that do not go together: {error}") from error
        count += max((len(array) for array in batch.inputs.values()), default=0)
    if grown is None or count == 0:
        raise UsageError(f"{text} is empty: it yielded no samples")
    found = {name: own.array()[:limit] for name, own in grown.items()}
    labels = found.pop("y", None)
    return Samples({name.removeprefix("x/"): array for name, array in found.items()}, labels)


def _iterable(made: Any, text: str) -> Iterable[Any]:
    if isinstance(made, np.ndarray) or not isinstance(made, Iterable):
        raise UsageError(
            f"{text} returned {with_article(type(made).__name__)}",
            hint="Yield batches: a dict of arrays by input name (labels y), or a tuple of inputs and labels.",
        )
    return made


def _batch(batch: Any, signature: Signature, text: str) -> Samples:
    if isinstance(batch, Mapping):
        return _named({str(name): _array(value) for name, value in batch.items()}, signature)
    parts = parts_of(batch)
    names = [spec.name for spec in signature.inputs]
    if len(parts) not in (len(names), len(names) + 1):
        raise UsageError(
            f"{text} yields {len(parts)} arrays; needed: {len(names)} inputs ({', '.join(names)}), then labels if any"
        )
    inputs = {name: _array(part) for name, part in zip(names, parts, strict=False)}
    return _rows(Samples(inputs, _array(parts[-1]) if len(parts) > len(names) else None), signature)


def parts_of(batch: Any) -> list[Any]:
    """The arrays of a batch in their order: ``((image, vector), labels)``, as Keras takes it, like a flat tuple."""
    if not isinstance(batch, tuple):
        return list(batch) if isinstance(batch, list) else [batch]

    def several(part: Any) -> bool:
        return isinstance(part, tuple) or (isinstance(part, list) and all(hasattr(one, "__array__") for one in part))

    return [leaf for part in batch for leaf in (parts_of(part) if several(part) else [part])]


def _array(value: Any) -> Array:
    """An array of a tensor of any framework."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    found: Array = np.atleast_1d(np.asarray(value.numpy() if hasattr(value, "numpy") else value))
    return found


def _existing(path: Path) -> Path:
    if not path.exists():
        raise UsageError(f"no such file or folder: {path}", hint=f"Data are {ALLOWED}.")
    return path
