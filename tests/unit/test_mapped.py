"""Samples that are larger than the memory: arrays in files, and the step that reads the user's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from edgekit.data import mapped, user
from edgekit.data import plan as planning
from edgekit.data.tasks import Samples
from edgekit.errors import DamagedFileError, UsageError
from edgekit.signature import Signature, TensorSpec
from edgekit.steps import adjust

RNG = np.random.default_rng(0)
FEW, MANY = 40, 800
SHAPE = (3, 64, 64)
PREPROCESSING = 'schema = 1\nsize = [64, 64]\nlayout = "channels_first"\nscale = 0.00392156862745098\n'
FUNCTION = """
import numpy as np
def few():
    return of({few})
def many():
    return of({many})
def of(count):
    for i in range(count):
        yield {{"x": np.full((1, 3, 64, 64), i, "float32"), "y": [i % 5]}}
"""


def pixels(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None, None], (count, *SHAPE))


def given(folder: Path, kind: str) -> tuple[str, str]:
    """Few samples and many of one kind of data."""
    if kind == "function":
        (folder / "of.py").write_text(FUNCTION.format(few=FEW, many=MANY))
        return f"{folder / 'of.py'}:few", f"{folder / 'of.py'}:many"
    made = []
    for count in (FEW, MANY):
        path = folder / (str(count) if kind == "images" else f"{count}.npz")
        made.append(str(path))
        if kind == "images":
            path.mkdir()
            (path / "preprocess.toml").write_text(PREPROCESSING)
            for i in range(count):
                cv2.imwrite(str(path / f"{i}.png"), np.full((64, 64, 3), (i % 251, i // 251, 0), np.uint8))
        else:
            save = np.savez_compressed if kind == "compressed" else np.savez
            values = pixels(count).astype(np.float64) if kind == "compressed" else pixels(count)
            save(path, x=values, y=np.arange(count) % 5)
    return made[0], made[1]


def peak(folder: Path, split: str, **plan: object) -> tuple[int, int]:
    """Bytes, and how many samples were made."""
    folder.mkdir(parents=True)
    child = Path(__file__).parent / "children" / "samples_peak.py"
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, str(child), str(folder), split, json.dumps(plan)]
    done = subprocess.run(run, capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return answer["peak"], answer["count"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize("kind", ["npz", "compressed", "images", "function"])
def test_twenty_times_the_samples_take_no_more_memory(tmp_path: Path, kind: str) -> None:
    """Every resident page counts, those of mapped files as well, which the system may drop."""
    few, many = given(tmp_path, kind)
    peaks = []
    for name, data, count in (("few", few, FEW), ("many", many, MANY)):
        found, made = peak(tmp_path / name, "calibration", calibrate=data, calibration_count=count)
        assert made == round(0.75 * count)
        peaks.append(found)
    size = 4 * MANY * np.prod(SHAPE)
    assert peaks[1] <= 1.2 * peaks[0]
    assert 1.2 * peaks[0] < peaks[0] + size / 2, "half of the samples in memory would not be seen"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
def test_samples_to_compare_on_take_no_more_memory_either(tmp_path: Path) -> None:
    few, many = given(tmp_path, "npz")
    np.savez(tmp_path / "other.npz", x=pixels(MANY) + MANY)
    first, second = (peak(tmp_path / Path(data).stem / "made", "selection", evaluate=data)[0] for data in (few, many))
    assert second <= 1.2 * first
    shared = {"evaluate": many, "calibration_count": MANY}
    found, made = peak(tmp_path / "hashed", "calibration", calibrate=str(tmp_path / "other.npz"), **shared)
    assert (found <= 1.2 * first, made) == (True, MANY)


def test_samples_are_saved_with_the_bytes_of_numpy(tmp_path: Path) -> None:
    inputs = {
        "a b": RNG.normal(size=(700, 3, 128)).astype(np.float32),
        "turned": np.moveaxis(RNG.normal(size=(9, 4, 5)), -1, 1),
        "ids": RNG.integers(0, 9, (9,), np.int32),
    }
    labels = np.arange(9)
    planning.save(Samples(inputs, labels), tmp_path / "own.npz")  # type: ignore[arg-type]
    arrays = {f"x/{name}": np.ascontiguousarray(array) for name, array in inputs.items()}
    np.savez(tmp_path / "theirs.npz", **arrays, y=labels)  # type: ignore[arg-type]
    assert (tmp_path / "own.npz").read_bytes() == (tmp_path / "theirs.npz").read_bytes()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_members_of_an_archive_are_what_numpy_reads_of_them(tmp_path: Path, save: Any) -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "odd": np.arange(3, dtype=np.uint8),  # what follows it begins at any byte
        "values": RNG.normal(size=(5, 70, 1000)).astype(">f4"),
        "columns": np.asfortranarray(RNG.normal(size=(50, 7, 3))),
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 4)),
        "words": np.array(["a", "bcd"]),
    }
    save(tmp_path / "a.npz", **arrays)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        for name, array in arrays.items():
            found = mapped.member(archive, tmp_path / "a.npz", f"{name}.npy")
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)


def test_rows_below_each_other_are_what_concatenate_makes_of_them() -> None:
    parts = [np.zeros((0, 2), np.int8), np.arange(4, dtype=np.int32).reshape(2, 2), np.array([[0.5, 2**40]])]
    for order in (parts, parts[::-1]):
        made = mapped.Growing()
        for part in order:
            made.add(part)
        expected = np.concatenate(order)
        assert made.array().dtype == expected.dtype
        np.testing.assert_array_equal(made.array(), expected)
    with pytest.raises(ValueError, match=r"rows of shape \(3,\) cannot go below rows of shape \(2,\)"):
        made.add(np.zeros((1, 3)))


def test_taken_samples_are_what_indexing_gives() -> None:
    samples = Samples({"x": RNG.normal(size=(300, 5000)), "n": np.arange(300)}, np.arange(300)[::-1])
    for numbers in (np.array([4, 2, 2, 299]), np.arange(300), np.arange(0)):
        found = mapped.take(samples, numbers)
        for name, array in samples.inputs.items():
            np.testing.assert_array_equal(found.inputs[name], array[numbers])
        assert found.labels is not None
        np.testing.assert_array_equal(found.labels, np.arange(300)[::-1][numbers])


ONE = Signature((TensorSpec("image", (1, 4)),), (TensorSpec("logits", (1, 5)),))


@pytest.mark.parametrize(
    ("yielded", "said"),
    [
        ("[(np.ones((2, 4)),), (np.ones((2, 3)),)]", r"batches that do not go together: rows of shape \(3,\)"),
        ("[(np.ones((2, 4)), [0, 1]), (np.ones((2, 4)),)]", "differ in their names or in whether they have labels"),
        ("[(np.array([[1, 2, 3, None]]),)]", "'image' is object; the model takes float32"),
        ("[(np.ones((1, 4)), np.array([None]))]", "labels are object"),
    ],
)
def test_batches_that_cannot_be_written_are_refused(tmp_path: Path, yielded: str, said: str) -> None:
    (tmp_path / "d.py").write_text(f"import numpy as np\ndef f():\n    return {yielded}\n")
    with pytest.raises(UsageError, match=said):
        user.load(f"{tmp_path / 'd.py'}:f", ONE)


def test_a_function_may_yield_one_buffer_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "d.py").write_text(
        "import numpy as np\ndef f():\n    x = np.zeros((1, 4), 'float32')\n"
        "    for i in range(3):\n        x[:] = i\n        yield (x,)\n"
    )
    found = user.load(f"{tmp_path / 'd.py'}:f", ONE)
    assert found.inputs["image"][:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_array_that_ends_early_is_damaged(tmp_path: Path, packed: int) -> None:
    """Its header counts for the bytes that it lacks, as far as the archive's directory tells."""
    np.save(tmp_path / "x.npy", np.ones((6, 4), np.float32))
    with zipfile.ZipFile(tmp_path / "d.npz", "w", packed) as archive:
        archive.writestr("x.npy", (tmp_path / "x.npy").read_bytes()[:-8])
    with pytest.raises(DamagedFileError, match=r"d\.npz cannot be read: .*has 88 bytes"):
        user.load(str(tmp_path / "d.npz"), ONE)


def test_weights_are_adjusted_by_as_many_samples_as_fit_the_memory(tmp_path: Path) -> None:
    x = np.arange(2 * adjust.MOST * 3, dtype=np.float32).reshape(-1, 3)
    planning.save(Samples({"x": x, "n": x[:, 0].astype(np.int64)}, None), tmp_path / "samples.npz")  # type: ignore[arg-type]
    takes = Signature((TensorSpec("n", (1,), "int32"), TensorSpec("x", (1, 3))), ONE.outputs)
    calls = adjust._samples(SimpleNamespace(signature=takes), tmp_path / "samples.npz")  # type: ignore[arg-type]
    assert len(calls) == adjust.MOST
    for (n, values), expected in zip(calls, x[::2], strict=True):
        assert (n.dtype, n.shape, values.shape) == (np.int32, (1,), (1, 3))
        assert (n[0], values[0].tolist()) == (expected[0], expected.tolist())
