"""Compressed constants decoded by hand, from the examples in the MIL specification."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.mil.constexpr import (
    constexpr_affine_dequantize,
    constexpr_blockwise_shift_scale,
    constexpr_cast,
    constexpr_lut_to_dense,
    constexpr_lut_to_sparse,
    constexpr_sparse_blockwise_shift_scale,
    constexpr_sparse_to_dense,
)
from edgekit.mil.values import unpack


def test_bits_are_packed_from_the_least_significant() -> None:
    # The specification's example: 2 bits each, i0 = 00, i1 = 11, i2 = 10, i3 = 01 | i4 = 11
    packed = np.array([0b01101100, 0b00000011], np.uint8)
    assert unpack(packed, 2, 5).tolist() == [0b00, 0b11, 0b10, 0b01, 0b11]


@given(bits=st.sampled_from([1, 2, 3, 4, 6, 8]), signed=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_unpack_undoes_packing_as_one_long_number(bits: int, signed: bool, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2**bits, 13)
    number = sum(int(v) << (bits * i) for i, v in enumerate(values))
    packed = np.frombuffer(number.to_bytes(-(-13 * bits // 8), "little"), np.uint8)
    expected = [int(v) - 2**bits if signed and v >= 2 ** (bits - 1) else int(v) for v in values]
    assert unpack(packed, bits, 13, signed=signed).tolist() == expected


def test_unpack_refuses_too_few_bytes() -> None:
    with pytest.raises(ValueError, match="need 2 bytes"):
        unpack(np.zeros(1, np.uint8), 4, 3)


def test_affine_along_an_axis() -> None:
    data = np.array([[1, 2], [3, 4], [5, 6]], np.int8)
    found = constexpr_affine_dequantize(
        quantized_data=data, zero_point=np.array([1, 2], np.int8), scale=np.float32([0.5, 2]), axis=np.int32(1)
    )
    assert found.tolist() == [[0, 0], [1, 4], [2, 8]]


def test_affine_does_not_wrap_around_in_int8() -> None:
    found = constexpr_affine_dequantize(
        quantized_data=np.array([127, -128], np.int8), zero_point=np.int8(-128), scale=np.float32(1), axis=np.int32(0)
    )
    assert found.tolist() == [255, 0]


def test_blockwise() -> None:
    data = np.arange(8, dtype=np.int8).reshape(2, 4)
    found = constexpr_blockwise_shift_scale(
        data=data, scale=np.float32([[1, 10], [100, 1000]]), offset=np.array([[0, 1], [0, 0]], np.int8)
    )
    assert found.tolist() == [[0, 1, 10, 20], [400, 500, 6000, 7000]]
    with pytest.raises(ValueError, match="equal blocks"):
        constexpr_blockwise_shift_scale(data=data, scale=np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match="rank"):
        constexpr_blockwise_shift_scale(data=data, scale=np.ones(4, np.float32))


def test_tables_per_group() -> None:
    # "Case 1" of the specification
    indices = np.array([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3], np.uint8).reshape(6, 2)
    lut = np.float32([1, 5, 9, 13, 2, 10, 18, 26]).reshape(2, 1, 4, 1)
    found = constexpr_lut_to_dense(indices=indices, lut=lut)
    assert found.tolist() == [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]]


def test_tables_of_vectors() -> None:
    # "Case 2" of the specification
    indices = np.array([[[0, 0], [1, 0]], [[1, 1], [0, 0]]], np.uint8)
    lut = np.float32([0, 1, 2, 10, 11, 12]).reshape(1, 1, 1, 2, 3)
    first = constexpr_lut_to_dense(indices=indices, lut=lut, vector_axis=np.int32(1))
    assert first[0].tolist() == [[0, 0], [1, 1], [2, 2], [10, 0], [11, 1], [12, 2]]
    last = constexpr_lut_to_dense(indices=indices, lut=lut, vector_axis=np.int32(2))
    assert last[0].tolist() == [[0, 1, 2, 0, 1, 2], [10, 11, 12, 0, 1, 2]]
    with pytest.raises(ValueError, match="vector_axis"):
        constexpr_lut_to_dense(indices=indices, lut=lut)


def test_indices_beyond_the_table_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        constexpr_lut_to_dense(indices=np.array([[4]], np.uint8), lut=np.zeros((1, 1, 4, 1), np.float32))


def test_sparse() -> None:
    # the specification's mask: bits i2 and i3 are set
    found = constexpr_sparse_to_dense(
        nonzero_data=np.float32([7, 8]), mask=np.array([0b00001100], np.uint8), shape=np.array([5])
    )
    assert found.tolist() == [0, 0, 7, 8, 0]
    with pytest.raises(ValueError, match="1 ones for 2 values"):
        constexpr_sparse_to_dense(nonzero_data=np.float32([7, 8]), mask=np.array([0, 1, 0], np.uint8))


def test_sparse_and_quantized() -> None:
    mask = np.array([[1, 0], [0, 1]], np.uint8)
    same, values = constexpr_sparse_blockwise_shift_scale(
        data_mask=mask,
        nonzero_data=np.array([3, 5], np.int8),
        scale=np.float32([[2], [10]]),
        offset=np.array([[1], [1]], np.int8),
    )
    assert same is mask
    assert values.tolist() == [4, 40]
    _, looked_up = constexpr_lut_to_sparse(
        indices_mask=mask, indices_nonzero_data=np.array([1, 0], np.uint8), lut=np.float32([5, 9]).reshape(1, 1, 2, 1)
    )
    assert looked_up.tolist() == [9, 5]


def test_cast() -> None:
    assert constexpr_cast(source_val=np.float16([0.1]), output_dtype="fp32").dtype == np.float32
    with pytest.raises(ValueError, match="fp64"):
        constexpr_cast(source_val=np.float16([0.1]), output_dtype="fp64")
