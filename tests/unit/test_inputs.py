"""What may be fed into a file, by whichever runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.toolchains._shared.inputs import checked, narrowed

TAKES: Any = {"image": ((1, 2, 3), np.dtype("float32")), "tokens": ((1, 4), np.dtype("int64"))}
IMAGE, TOKENS = np.ones((1, 2, 3)), np.ones((1, 4), np.int32)


def test_inputs_come_in_the_files_order_and_types() -> None:
    turned = np.asfortranarray(np.arange(6.0).reshape(1, 2, 3))
    found = checked({"tokens": TOKENS, "image": turned}, TAKES)
    assert list(found) == ["image", "tokens"]
    assert {name: array.dtype.name for name, array in found.items()} == {"image": "float32", "tokens": "int64"}
    assert all(array.flags.c_contiguous for array in found.values())
    np.testing.assert_array_equal(found["image"], turned)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"image": IMAGE}, "inputs are image; the file takes image, tokens"),
        ({"image": IMAGE, "tokens": TOKENS, "mask": TOKENS}, "inputs are image, mask, tokens; the file takes"),
        ({"image": IMAGE[0], "tokens": TOKENS}, r"input 'image' has shape \(2, 3\); the file takes \(1, 2, 3\)"),
        ({"image": IMAGE, "tokens": TOKENS.astype(float)}, "input 'tokens' is float64; the file takes int64"),
    ],
)
def test_what_does_not_fit_is_named(inputs: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        checked(inputs, TAKES)


def test_integers_beyond_the_files_type_are_refused() -> None:
    tokens = np.array([[1, 2**31]])
    assert narrowed("tokens", tokens[:, :1], "int32").dtype == np.int32
    assert narrowed("image", np.ones(2), "float32").dtype == np.float32
    with pytest.raises(UsageError, match="input 'tokens' holds 2147483648; the file takes int32, from -2147483648 to"):
        narrowed("tokens", tokens, "int32")
