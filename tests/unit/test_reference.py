"""The reference layers: analytic gradients against central differences, and cases worked out by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from edgekit.reference import activation, attention, conv, linear, norm, pool, recurrent
from edgekit.reference.recurrent import GRUWeights, LSTMWeights

STEP = 1e-5
quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10_000)
sizes = st.integers(1, 4)
strides = st.tuples(st.integers(1, 3), st.integers(1, 3))
borders = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)


def check_gradients(forward: Callable[..., Any], vjp: Callable[..., Any], *arrays: np.ndarray, seed: int = 0) -> None:
    """Hold ``vjp`` against the central difference of ``sum(grad * forward)`` along a random direction per array.

    The error of a central difference is about STEP^2 times the third derivative, plus 1e-16 / STEP of rounding.
    """
    rng = np.random.default_rng(seed)
    grad = rng.normal(size=forward(*arrays).shape)
    found = vjp(grad, *arrays)
    found = found if isinstance(found, tuple) else (found,)
    assert len(found) == len(arrays)
    for index, (array, gradient) in enumerate(zip(arrays, found, strict=True)):
        assert gradient.shape == array.shape
        for _ in range(2):
            direction = rng.normal(size=array.shape)

            def along(step: float, index: int = index, direction: np.ndarray = direction) -> float:
                moved = list(arrays)
                moved[index] = arrays[index] + step * direction
                return float((grad * forward(*moved)).sum())

            numeric = (along(STEP) - along(-STEP)) / (2 * STEP)
            assert (gradient * direction).sum() == pytest.approx(numeric, rel=1e-6, abs=1e-7)


@quick
@given(seeds, sizes, st.integers(1, 3), st.integers(1, 2), strides, borders, strides, st.integers(1, 3))
def test_conv2d_gradients(
    seed: int,
    k: int,
    per_group: int,
    out_per_group: int,
    stride: conv.Pair,
    padding: conv.Padding,
    dilation: conv.Pair,
    groups: int,
) -> None:
    rng = np.random.default_rng(seed)
    reach = [(k - 1) * d + 1 for d in dilation]
    x = rng.normal(size=(2, reach[0] + 3, reach[1] + 2, per_group * groups))
    kernel, bias = rng.normal(size=(k, k, per_group, out_per_group * groups)), rng.normal(size=out_per_group * groups)
    how: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    check_gradients(
        lambda *a: conv.conv2d(*a, **how), lambda g, x, w, _: conv.conv2d_vjp(g, x, w, **how), x, kernel, bias
    )


@quick
@given(
    seeds, st.integers(2, 4), sizes, sizes, strides, st.tuples(*[st.tuples(st.integers(0, 1), st.integers(0, 1))] * 2)
)
def test_conv_transpose2d_gradients(
    seed: int, k: int, c_in: int, c_out: int, stride: conv.Pair, cropping: conv.Padding
) -> None:
    rng = np.random.default_rng(seed)
    x, kernel, bias = rng.normal(size=(2, 3, 4, c_in)), rng.normal(size=(k, k, c_in, c_out)), rng.normal(size=c_out)
    how: Any = {"stride": stride, "cropping": cropping}
    check_gradients(
        lambda *a: conv.conv_transpose2d(*a, **how),
        lambda g, x, w, _: conv.conv_transpose2d_vjp(g, x, w, **how),
        x,
        kernel,
        bias,
    )


def test_conv2d_equals_scipys_correlation() -> None:
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 7, 9, 3)), rng.normal(size=(3, 4, 3, 2))
    expected = [
        sum(signal.correlate2d(x[0, :, :, c], kernel[:, :, c, o], mode="valid") for c in range(3)) for o in range(2)
    ]
    np.testing.assert_allclose(conv.conv2d(x, kernel)[0], np.stack(expected, -1), atol=1e-12)


@quick
@given(seeds, st.integers(1, 4), strides, borders)
def test_transposed_convolution_is_the_adjoint_of_convolution(
    seed: int, k: int, stride: conv.Pair, padding: conv.Padding
) -> None:
    rng = np.random.default_rng(seed)
    y, kernel = rng.normal(size=(1, 3, 4, 2)), rng.normal(size=(k, k, 3, 2))
    size = [(y.shape[1 + a] - 1) * stride[a] + k - sum(padding[a]) for a in (0, 1)]
    if min(size) < 1:
        return
    x = rng.normal(size=(1, *size, 3))
    forward = (conv.conv2d(x, kernel, stride=stride, padding=padding) * y).sum()
    back = (conv.conv_transpose2d(y, kernel.swapaxes(2, 3), stride=stride, cropping=padding) * x).sum()
    assert forward == pytest.approx(back)


def test_depthwise_convolves_each_channel_alone() -> None:
    rng = np.random.default_rng(0)
    x, kernel, bias = rng.normal(size=(2, 5, 5, 3)), rng.normal(size=(3, 3, 3, 2)), rng.normal(size=6)
    out = conv.depthwise_conv2d(x, kernel, bias, stride=(2, 2), padding=((1, 1), (1, 1)))
    alone = [
        conv.conv2d(x[..., c : c + 1], kernel[:, :, c : c + 1], stride=(2, 2), padding=((1, 1), (1, 1)))
        for c in range(3)
    ]
    np.testing.assert_allclose(out, np.concatenate(alone, -1) + bias)


def test_dilation_is_a_kernel_with_zeros_between() -> None:
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 9, 9, 2)), rng.normal(size=(3, 3, 2, 2))
    stuffed = np.zeros((5, 7, 2, 2))
    stuffed[::2, ::3] = kernel
    np.testing.assert_allclose(conv.conv2d(x, kernel, dilation=(2, 3)), conv.conv2d(x, stuffed))


def test_same_padding_is_tensorflows() -> None:
    assert conv.same_padding((224, 224), (3, 3), (2, 2)) == ((0, 1), (0, 1))
    assert conv.same_padding((7, 8), (3, 5)) == ((1, 1), (2, 2))
    assert conv.same_padding((4, 4), (1, 1), (2, 2)) == ((0, 0), (0, 0))


@quick
@given(seeds, st.integers(1, 3), strides, st.booleans())
def test_pooling_gradients(seed: int, window: int, stride: conv.Pair, count_padding: bool) -> None:
    rng = np.random.default_rng(seed)
    # Distinct values a hundredth apart: no maximum changes hands within a finite difference.
    x = rng.permutation(2 * 5 * 6 * 2).reshape(2, 5, 6, 2) / 100.0
    padding = ((window // 2, 0), (0, window // 2))
    how: Any = {"stride": stride, "padding": padding}
    shape = (window, window)
    check_gradients(lambda x: pool.max_pool2d(x, shape, **how), lambda g, x: pool.max_pool2d_vjp(g, x, shape, **how), x)
    how["count_padding"] = count_padding
    check_gradients(
        lambda x: pool.average_pool2d(x, shape, **how), lambda g, x: pool.average_pool2d_vjp(g, x, shape, **how), x
    )
    check_gradients(pool.global_average_pool2d, pool.global_average_pool2d_vjp, x)


def test_pooling_at_the_border() -> None:
    x = -np.ones((1, 2, 2, 1))
    how: Any = {"stride": (2, 2), "padding": ((1, 1), (1, 1))}
    assert (pool.max_pool2d(x, (2, 2), **how) == -1).all()
    assert (pool.average_pool2d(x, (2, 2), **how) == -1).all()
    assert (pool.average_pool2d(x, (2, 2), **how, count_padding=True) == -0.25).all()


@quick
@given(seeds, sizes, st.integers(2, 5), st.sampled_from([1e-12, 1e-5, 1e-3]))
def test_norm_gradients(seed: int, n: int, c: int, epsilon: float) -> None:
    rng = np.random.default_rng(seed)
    gamma, beta, mean = rng.normal(size=(3, c))
    # At least 0.8 apart: layer norm of nearly equal values is steep, and a finite difference too coarse for it.
    x = rng.permuted(np.tile(np.arange(float(c)), (n, 3, 1)), axis=2) + rng.uniform(0, 0.2, size=(n, 3, c))
    variance = rng.uniform(0.1, 2, size=c)
    check_gradients(
        lambda x, g, b: norm.batch_norm(x, g, b, mean, variance, epsilon=epsilon),
        lambda d, x, g, _: norm.batch_norm_vjp(d, x, g, mean, variance, epsilon=epsilon),
        x,
        gamma,
        beta,
    )
    check_gradients(
        lambda x, g, b: norm.layer_norm(x, g, b, epsilon=epsilon),
        lambda d, x, g, _: norm.layer_norm_vjp(d, x, g, epsilon=epsilon),
        x,
        gamma,
        beta,
    )


def test_norms_add_epsilon_to_the_variance() -> None:
    one, zero = np.ones(2), np.zeros(2)
    x = np.array([[-1.0, 1.0]])  # variance 1, and 1 / sqrt(1 + 3) = 0.5
    np.testing.assert_allclose(norm.layer_norm(x, one, zero, epsilon=3.0), x / 2)
    np.testing.assert_allclose(norm.batch_norm(x, 4 * one, one, one, one, epsilon=3.0), [[-3.0, 1.0]])


def test_layer_norm_has_mean_zero_and_variance_one() -> None:
    x = np.random.default_rng(0).normal(3, 5, size=(4, 50))
    y = norm.layer_norm(x, np.ones(50), np.zeros(50), epsilon=0.0)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(-1), 1)


@pytest.mark.parametrize("name", ["relu", "relu6", "sigmoid", "tanh", "silu", "softplus", "gelu", "gelu_tanh"])
def test_activation_gradients(name: str) -> None:
    x = np.linspace(-8, 8, 400)  # no value within a step of the kinks at 0 and 6
    assert min(np.abs(x).min(), np.abs(x - 6).min()) > 10 * STEP
    slope = getattr(activation, f"{name}_slope")
    check_gradients(getattr(activation, name), lambda grad, x: grad * slope(x), x)


def test_activation_values() -> None:
    at = np.array([-1.0, 0.0, 1.0])
    np.testing.assert_allclose(activation.gelu(at), [-0.15865525393145707, 0, 0.8413447460685429])
    assert (
        1e-5
        < np.abs(activation.gelu(np.linspace(-4, 4, 99)) - activation.gelu_tanh(np.linspace(-4, 4, 99))).max()
        < 1e-3
    )
    np.testing.assert_allclose(activation.sigmoid(np.array([-1000.0, 0, 1000])), [0, 0.5, 1])
    np.testing.assert_allclose(activation.softplus(np.array([-1000.0, 0, 1000])), [0, np.log(2), 1000])
    np.testing.assert_allclose(activation.softmax(np.array([1000.0, 1000.0 + np.log(3)])), [0.25, 0.75])
    np.testing.assert_allclose(activation.relu6(np.array([-1.0, 3, 9])), [0, 3, 6])
    np.testing.assert_allclose(activation.silu(at), at / (1 + np.exp(-at)))


@quick
@given(seeds, st.integers(0, 2))
def test_softmax_gradients(seed: int, axis: int) -> None:
    x = np.random.default_rng(seed).normal(size=(2, 3, 4))
    for name in ("softmax", "log_softmax"):
        forward, vjp = getattr(activation, name), getattr(activation, f"{name}_vjp")
        check_gradients(lambda x, f=forward: f(x, axis=axis), lambda g, x, f=vjp: f(g, x, axis=axis), x)


@quick
@given(seeds, sizes, sizes)
def test_linear_and_embedding_gradients(seed: int, c_in: int, c_out: int) -> None:
    rng = np.random.default_rng(seed)
    x, kernel, bias = rng.normal(size=(2, 3, c_in)), rng.normal(size=(c_in, c_out)), rng.normal(size=c_out)
    check_gradients(linear.linear, lambda g, x, w, _: linear.linear_vjp(g, x, w), x, kernel, bias)
    indices = rng.integers(0, c_in, size=(2, 3))
    check_gradients(
        lambda table: linear.embedding(table, indices), lambda g, table: linear.embedding_vjp(g, table, indices), kernel
    )


@quick
@given(seeds, sizes, sizes, sizes)
def test_attention_gradients(seed: int, t: int, s: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    query, key, value = rng.normal(size=(2, t, d)), rng.normal(size=(2, s, d)), rng.normal(size=(2, s, 3))
    mask = np.where(rng.random((t, s)) < 0.3, -60.0, 0.0)
    check_gradients(
        lambda q, k, v: attention.scaled_dot_product_attention(q, k, v, mask),
        lambda g, q, k, v: attention.scaled_dot_product_attention_vjp(g, q, k, v, mask),
        query,
        key,
        value,
    )


@quick
@given(seeds, st.sampled_from([1, 2, 4]))
def test_multi_head_attention_gradients(seed: int, heads: int) -> None:
    rng = np.random.default_rng(seed)
    weights = attention.Projections._make(rng.normal(size=(4, 4) if i % 2 == 0 else 4) for i in range(8))
    query, memory = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 4))

    def vjp(grad: np.ndarray, query: np.ndarray, memory: np.ndarray, *parts: np.ndarray) -> tuple[np.ndarray, ...]:
        d_query, d_memory, d_weights = attention.multi_head_attention_vjp(
            grad, query, memory, attention.Projections(*parts), heads=heads
        )
        return d_query, d_memory, *d_weights

    check_gradients(
        lambda q, m, *parts: attention.multi_head_attention(q, m, attention.Projections(*parts), heads=heads),
        vjp,
        query,
        memory,
        *weights,
    )


def test_attention_ignores_what_a_mask_of_minus_sixty_hides() -> None:
    rng = np.random.default_rng(0)
    query, key, value = rng.normal(size=(3, 1, 6, 8))
    mask = np.triu(np.full((6, 6), -60.0), 1)
    whole = attention.scaled_dot_product_attention(query, key, value, mask)
    for t in range(6):
        first = attention.scaled_dot_product_attention(query[:, t : t + 1], key[:, : t + 1], value[:, : t + 1])
        np.testing.assert_allclose(whole[:, t : t + 1], first, atol=1e-12)


def _weights(rng: np.random.Generator, c: int, u: int, gates: int) -> list[np.ndarray]:
    return [rng.normal(size=(c, gates * u)), rng.normal(size=(u, gates * u)), rng.normal(size=gates * u)]


@quick
@given(seeds, sizes, sizes, st.booleans())
def test_lstm_gradients(seed: int, c: int, u: int, reverse: bool) -> None:
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(size=(2, 4, c)), _weights(rng, c, u, 4)

    def vjp(grad: np.ndarray, x: np.ndarray, *parts: np.ndarray) -> tuple[np.ndarray, ...]:
        d_x, d_weights = recurrent.lstm_vjp(grad, x, LSTMWeights(*parts), reverse=reverse)
        return d_x, *d_weights

    check_gradients(lambda x, *w: recurrent.lstm(x, LSTMWeights(*w), reverse=reverse), vjp, x, *weights)


@quick
@given(seeds, sizes, sizes)
def test_lstm_cell_gradients_of_both_states(seed: int, c: int, u: int) -> None:
    rng = np.random.default_rng(seed)

    def vjp(grad: np.ndarray, *a: np.ndarray) -> tuple[np.ndarray, ...]:
        d_x, d_hidden, d_cell, d_weights = recurrent.lstm_cell_vjp(
            (grad[0], grad[1]), a[0], a[1], a[2], LSTMWeights(*a[3:])
        )
        return d_x, d_hidden, d_cell, *d_weights

    check_gradients(
        lambda x, h, c, *w: np.stack(recurrent.lstm_cell(x, h, c, LSTMWeights(*w))),
        vjp,
        rng.normal(size=(2, c)),
        *rng.normal(size=(2, 2, u)),
        *_weights(rng, c, u, 4),
    )


@quick
@given(seeds, sizes, sizes, st.booleans())
def test_gru_gradients(seed: int, c: int, u: int, reverse: bool) -> None:
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(size=(2, 4, c)), [*_weights(rng, c, u, 3), rng.normal(size=3 * u)]

    def vjp(grad: np.ndarray, x: np.ndarray, *parts: np.ndarray) -> tuple[np.ndarray, ...]:
        d_x, d_weights = recurrent.gru_vjp(grad, x, GRUWeights(*parts), reverse=reverse)
        return d_x, *d_weights

    check_gradients(lambda x, *w: recurrent.gru(x, GRUWeights(*w), reverse=reverse), vjp, x, *weights)


def test_reverse_is_forward_on_the_mirrored_sequence() -> None:
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(2, 5, 3)), LSTMWeights(*_weights(rng, 3, 2, 4))
    mirrored = recurrent.lstm(x[:, ::-1], weights)[:, ::-1]
    np.testing.assert_array_equal(recurrent.lstm(x, weights, reverse=True), mirrored)
    both = recurrent.bidirectional_lstm(x, weights, weights)
    np.testing.assert_array_equal(both, np.concatenate([recurrent.lstm(x, weights), mirrored], -1))


def test_float32_arrays_are_computed_in_float64() -> None:
    rng = np.random.default_rng(0)
    image, kernel = rng.normal(size=(1, 5, 5, 4)), rng.normal(size=(3, 3, 4, 4))
    rows, matrix, vector = rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 4)), rng.uniform(1, 2, size=4)
    gates, triple = rng.normal(size=(4, 16)), rng.normal(size=(4, 12))
    cases: list[tuple[Callable[..., np.ndarray], tuple[np.ndarray, ...]]] = [
        (conv.conv2d, (image, kernel, vector)),
        (conv.conv_transpose2d, (image, kernel, vector)),
        (lambda x: pool.average_pool2d(x, (3, 3), stride=(2, 2)), (image,)),
        (pool.global_average_pool2d, (image,)),
        (lambda *a: norm.batch_norm(*a, epsilon=1e-3), (image, vector, vector, vector, vector)),
        (lambda *a: norm.layer_norm(*a, epsilon=1e-3), (rows, vector, vector)),
        (linear.linear, (rows, matrix, vector)),
        (attention.scaled_dot_product_attention, (rows, rows, rows)),
        (lambda x, k, r, b: recurrent.lstm(x, LSTMWeights(k, r, b)), (rows, gates, gates, gates[0])),
        (lambda x, k, b: recurrent.gru(x, GRUWeights(k, k, b, b)), (rows, triple, triple[0])),
        *[
            (getattr(activation, name), (rows,))
            for name in ("relu", "relu6", "sigmoid", "tanh", "silu", "softplus", "gelu", "gelu_tanh", "softmax")
        ],
    ]
    for forward, arrays in cases:
        single = [a.astype(np.float32) for a in arrays]
        out = forward(*single)
        assert out.dtype == np.float64
        np.testing.assert_array_max_ulp(out, forward(*(a.astype(np.float64) for a in single)), maxulp=4)
