"""Samples that a program hands in become files; nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit import handed
from edgekit.ci import parity
from edgekit.data import user
from edgekit.errors import UsageError, WrongTypeError
from edgekit.handed import samples
from edgekit.signature import Signature, TensorSpec

X, Y = np.arange(6, dtype=np.float32).reshape(3, 2), [0, 1, 1]
ONE = Signature((TensorSpec("a", (1, 2)),), (TensorSpec("y", (1, 2)),))
TWO = Signature((TensorSpec("a", (1, 2)), TensorSpec("b", (1, 2))), (TensorSpec("y", (1, 2)),))


class Tensor:
    """Looks like one of PyTorch."""

    dtype = "torch.float32"

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    def cpu(self):
        return self

    def __array__(self, *_, **__):
        return self.array


@pytest.mark.parametrize(
    "data",
    [
        X,
        X.tolist(),
        Tensor(X),
        {"a": X},
        (X, Y),
        ({"a": X}, Y),
        {"a": X, "y": Y},
        iter([X[:2], X[2:]]),
        iter([(X[:2], Y[:2]), (X[2:], Y[2:])]),
        iter([[Tensor(X[:1]), np.array(Y[:1])], [Tensor(X[1:]), np.array(Y[1:])]]),
        iter([{"a": X[:1], "y": Y[:1]}, {"a": X[1:], "y": Y[1:]}]),
    ],
)
def test_every_form_comes_out_as_the_same_samples(data, tmp_path: Path) -> None:
    samples.write(data, tmp_path / "x.npz", "calibrate")
    found = user.load(str(tmp_path / "x.npz"), ONE)
    wanted = X if found.inputs["a"].dtype == np.float32 else X.astype(np.float64)
    np.testing.assert_array_equal(found.inputs["a"], wanted)
    if found.labels is not None:
        assert found.labels.tolist() == Y


def test_arrays_without_names_are_the_inputs_in_their_order_and_then_labels(tmp_path: Path) -> None:
    samples.write((X, X + 1, Y), tmp_path / "x.npz", "evaluate")
    found = user.load(str(tmp_path / "x.npz"), TWO, labels=True)
    np.testing.assert_array_equal(found.inputs["b"], X + 1)
    assert found.labels is not None and found.labels.tolist() == Y
    np.savez(tmp_path / "own.npz", X, X + 1)
    assert user.load(str(tmp_path / "own.npz"), TWO).labels is None
    for nested in (((X, X + 1), Y), ([X, X + 1], Y), iter([((X, X + 1), Y)])):  # as model.fit takes it
        samples.write(nested, tmp_path / "nested.npz", "evaluate")
        assert (tmp_path / "nested.npz").read_bytes() == (tmp_path / "x.npz").read_bytes()
    with pytest.raises(UsageError, match="has 3 arrays without names; the model takes a, then labels"):
        user.load(str(tmp_path / "x.npz"), ONE)


def test_equal_samples_are_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        samples.write(iter([X[:1], X[1:]]), tmp_path / name, "calibrate")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (object(), "calibrate: an object of type object holds no samples"),
        (3, "calibrate: an object of type int holds no samples"),
        (b"bytes", "calibrate: an object of type bytes holds no samples"),
        (([[1], [1, 2]], [0]), "calibrate: array 0 is no array of samples"),
        (["a", "b"], "calibrate: array 0, of type list, holds <U1"),
        ({"a": None}, "calibrate: a, of type NoneType, is one value"),
        ({}, "calibrate: a dict without arrays"),
        (iter([]), "calibrate: it has no batch"),
        (iter([X, X[:, :1]]), "calibrate: its batches do not go together"),
        (iter([X, (X, Y)]), "calibrate: its batches differ"),
    ],
)
def test_what_is_no_data_is_told(data: object, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        samples.write(data, tmp_path / "x.npz", "calibrate")
    assert says in str(raised.value)
    assert raised.value.hint


def test_a_data_set_of_single_samples_and_one_without_end(tmp_path: Path) -> None:
    class Single:
        def __len__(self):
            return 1

        def __getitem__(self, place):
            return X[place]

    class Endless:
        def as_numpy_iterator(self):
            raise AssertionError("never asked")

        def cardinality(self):
            return -1

    Single.__iter__ = None  # type: ignore[attr-defined]
    with pytest.raises(WrongTypeError) as raised:
        samples.write(Single(), tmp_path / "x.npz", "calibrate")
    assert "DataLoader" in raised.value.hint
    with pytest.raises(UsageError, match="never ends"):
        samples.write(Endless(), tmp_path / "x.npz", "calibrate")


def test_text_stays_text_and_files_go_when_the_call_ends() -> None:
    with handed.given("lenet5@torch", calibrate=Path("a.npz"), evaluate=None, train="photos/") as files:
        assert (files.source, files.called, files.arrays) == ("lenet5@torch", None, ())
        assert files.data == {"calibrate": "a.npz", "train": "photos/"}
    with handed.given("lenet5@torch", calibrate=X) as files:
        assert Path(files.data["calibrate"]).is_file()
    assert not Path(files.data["calibrate"]).parent.exists()


def test_errors_do_not_name_files_that_nobody_knows() -> None:
    says = r"^calibrate\.npz: input 'a' has shape \(3, 2\)"
    with pytest.raises(UsageError, match=says), handed.given("lenet5@torch", calibrate={"a": X}) as files:
        raise UsageError(f"{files.data['calibrate']}: input 'a' has shape (3, 2)")


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(WrongTypeError, match="an object of type dict is no model"), handed.given({}):
        pass
    says = r"example_inputs are for a torch\.nn\.Module"
    with pytest.raises(UsageError, match=says), handed.given("lenet5", example_inputs=X):
        pass


def test_importing_edgekit_and_its_plug_in_is_light() -> None:
    code = (
        "import sys, edgekit, edgekit.ci.plugin\n"
        "heavy = {'torch', 'keras', 'tensorflow', 'numpy', 'scipy', 'pydantic', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert 'assert_parity' in edgekit.__all__\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_is_public() -> None:
    assert edgekit.assert_parity is parity.assert_parity
