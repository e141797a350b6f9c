"""What a loaded model may hold."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import NoShapeError, UsageError
from edgekit.frameworks.loaded import UNNAMED, Found, check_finite, merge_inputs
from edgekit.signature import TensorSpec

MASK = np.triu(np.full((4, 4), -np.inf, np.float32), 1)


def test_a_mask_of_minus_infinity_is_no_diverged_weight() -> None:
    check_finite([("mask", MASK, False), ("counter", np.arange(3), True), ("weight", np.ones(3), True)])


@pytest.mark.parametrize(
    ("value", "trained"), [(MASK, True), (np.array([1, np.nan]), True), (np.array([1, np.nan]), False)]
)
def test_infinity_in_what_was_trained_is_refused_and_nan_everywhere(value: np.ndarray, trained: bool) -> None:
    with pytest.raises(UsageError, match="weight 'mine' has"):
        check_finite([("mine", value, trained)])


def test_an_input_is_declared_by_its_name_and_not_by_its_place() -> None:
    given = TensorSpec("y", (1, 4), "float32")
    for name in ("x", "input"):
        with pytest.raises(UsageError, match=f"--input 'y': the model's inputs are {name}") as raised:
            merge_inputs([None], [name], [given])
        assert f"Write --input {name}=" in raised.value.hint
    (found,), _ = merge_inputs([None], [UNNAMED], [given])
    assert found == given, "forward(*args) names none"


def test_the_shape_that_a_hint_shows_agrees_with_what_is_known() -> None:
    with pytest.raises(NoShapeError) as raised:
        merge_inputs([Found("image", (None, None, None, 3), "float32")], ["image"], [])
    assert raised.value.hint.startswith("--input image=1x224x224x3:float32 ")
    with pytest.raises(NoShapeError) as raised:
        merge_inputs([Found("ids", (None, None), "int64")], ["ids"], [])
    assert raised.value.hint.startswith("--input ids=1x16:int64 ")


def test_an_input_of_which_no_sample_can_be_made_is_named():
    with pytest.raises(
        UsageError, match=r"'x' has the shape \(1, 1099511627776\): one sample of float32 takes 4096 GiB"
    ):
        merge_inputs([Found("x", (1, 2**40), "float32")], ["x"], [])
    with pytest.raises(UsageError, match="at most 4 GiB are allowed"):
        merge_inputs([None], ["x"], [TensorSpec("x", (1, 2**40))])
