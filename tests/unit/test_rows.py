"""Arrays in files, some rows at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.data import rows
from edgekit.errors import UsageError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("count", [1, rows.ROWS, rows.ROWS + 3])
def test_what_numpy_saved_comes_back_in_parts_and_numpy_reads_what_is_written(tmp_path: Path, count: int) -> None:
    given = {"a b": RNG.normal(size=(count, 3, 2)).astype(np.float32), "c": RNG.integers(0, 9, (count,), np.int32)}
    np.savez(tmp_path / "given.npz", y=np.zeros(count), **{f"x/{name}": array for name, array in given.items()})  # type: ignore[arg-type]
    parts = list(rows.read(tmp_path / "given.npz", "x/"))
    assert [len(part["c"]) for part in parts] == [min(rows.ROWS, count)] + [3] * (count > rows.ROWS)
    for name in ("first.npz", "second.npz"):
        rows.write(tmp_path / name, "out/", parts)
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()
    with np.load(tmp_path / "first.npz") as found:
        assert found.files == ["out/a b", "out/c"]
        for name, array in given.items():
            assert found[f"out/{name}"].dtype == array.dtype
            np.testing.assert_array_equal(found[f"out/{name}"], array)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first.npz", "given.npz", "second.npz"]


def test_files_are_read_side_by_side_in_parts_that_fit_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide, narrow = RNG.normal(size=(10, 100)), np.arange(10)
    np.savez(tmp_path / "wide.npz", **{"out/a": wide})  # type: ignore[arg-type]
    np.savez(tmp_path / "narrow.npz", y=narrow)
    monkeypatch.setattr(rows, "BYTES", 4 * (wide[0].nbytes + narrow[:1].nbytes))
    parts = list(rows.side_by_side((tmp_path / "wide.npz", "out/"), (tmp_path / "narrow.npz", "y")))
    assert [len(a["a"]) for a, _ in parts] == [len(y[""]) for _, y in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([a["a"] for a, _ in parts]), wide)
    np.testing.assert_array_equal(np.concatenate([y[""] for _, y in parts]), narrow)
    monkeypatch.setattr(rows, "BYTES", 1)
    assert len(list(rows.read(tmp_path / "wide.npz", "out/"))) == 10
    np.savez(tmp_path / "narrow.npz", y=narrow[1:])
    with pytest.raises(UsageError, match=r"same number of samples.*\[9, 10\]"):
        next(rows.side_by_side((tmp_path / "wide.npz", "out/"), (tmp_path / "narrow.npz", "y")))


@pytest.mark.parametrize("counts", [(4, 3), (0, 0)])
def test_arrays_of_different_lengths_or_none_are_refused(tmp_path: Path, counts: tuple[int, int]) -> None:
    np.savez(tmp_path / "uneven.npz", **{f"x/{i}": np.zeros((n, 2)) for i, n in enumerate(counts)})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="same number of samples"):
        list(rows.read(tmp_path / "uneven.npz", "x/"))


def test_columns_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "columns.npz", **{"x/a": np.asfortranarray(RNG.normal(size=(4, 3)))})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="row after row"):
        list(rows.read(tmp_path / "columns.npz", "x/"))


def test_single_rows_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    given = {"a b": RNG.normal(size=(9, 3, 2)).astype(np.float32), "c": RNG.integers(0, 9, (9, 2), np.int32)}
    np.savez(tmp_path / "given.npz", y=np.zeros(4), **{f"x/{name}": array for name, array in given.items()})  # type: ignore[arg-type]
    found = rows.stored(tmp_path / "given.npz", "x/")
    assert set(found) == set(given)
    for name, array in given.items():
        assert len(found[name]) == 9
        for i in (8, 0, 3):
            np.testing.assert_array_equal(found[name][i], array[i])
            assert found[name][i].dtype == array.dtype
        np.testing.assert_array_equal(np.asarray(found[name]), array)
        turned = found[name].of_shape((1, *reversed(array.shape[1:])))
        np.testing.assert_array_equal(turned[2], array.reshape(-1, 1, *reversed(array.shape[1:]))[2])
        with pytest.raises(IndexError):
            found[name][9]
    one = found["a b"][0]
    one[:] = 0  # a fresh array each time
    np.testing.assert_array_equal(found["a b"][0], given["a b"][0])


def test_single_rows_of_what_is_compressed_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "small.npz", **{"x/a": np.zeros((4, 3))})
    with pytest.raises(UsageError, match=r"'a' of small\.npz is compressed"):
        rows.stored(tmp_path / "small.npz", "x/")


def test_reading_rows_keeps_none_of_them(tmp_path: Path) -> None:
    import tracemalloc

    np.savez(tmp_path / "many.npz", **{"x/a": np.zeros((500, 4096), np.float32)})
    tracemalloc.start()
    found = rows.stored(tmp_path / "many.npz", "x/")["a"]
    assert sum(float(found[i].sum()) for i in range(len(found))) == 0
    assert tracemalloc.get_traced_memory()[1] < 8 * 4096 * 4 + (1 << 18)
    tracemalloc.stop()
