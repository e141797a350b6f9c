"""Intervals: published figures, an independent solution, and their coverage."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from edgekit.errors import UsageError
from edgekit.proof import intervals
from edgekit.proof.intervals import OfMeans, bca_interval, ratio_interval, tango_interval


def test_tango_equals_published_interval() -> None:
    # Airway hyper-responsiveness before and after transplantation (Bentur 2009), as in M. W. Fagerland, S. Lydersen,
    # P. Laake (2014), Statistics in Medicine 33:2850-2875: -0.286 with Tango interval -0.517 to -0.026.
    assert tango_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_tango_is_not_empty_where_nothing_flips() -> None:
    z2 = stats.norm.ppf(0.975) ** 2
    for n in (1, 50, 1000):
        assert tango_interval(0, 0, n) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)))


def _score_by_numerical_likelihood(b: int, c: int, n: int, d: float) -> float:
    """Tango's statistic with the constrained likelihood maximised numerically instead of by his formula."""

    def negative(q: float) -> float:
        cells = ((b, q + d), (c, q), (n - b - c, 1 - 2 * q - d))
        return -sum(k * math.log(max(p, 1e-300)) for k, p in cells if k)

    q = optimize.minimize_scalar(
        negative, bounds=(max(0.0, -d), (1 - d) / 2), method="bounded", options={"xatol": 1e-12}
    ).x
    return float((b - c - n * d) / math.sqrt(n * (2 * q + d - d * d)))


@pytest.mark.parametrize(("b", "c", "n"), [(1, 7, 21), (5, 2, 60), (12, 12, 100), (30, 3, 500)])
def test_tango_bounds_solve_the_score_equation(b: int, c: int, n: int) -> None:
    low, high = tango_interval(b, c, n)
    z = stats.norm.ppf(0.975)
    assert _score_by_numerical_likelihood(b, c, n, low) == pytest.approx(z, abs=1e-3)
    assert _score_by_numerical_likelihood(b, c, n, high) == pytest.approx(-z, abs=1e-3)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 500))
def test_tango_contains_the_estimate_is_antisymmetric_and_narrows_with_confirming_samples(
    b: int, c: int, same: int
) -> None:
    n = b + c + same + 1
    low, high = tango_interval(b, c, n)
    assert -1 <= low <= (b - c) / n <= high <= 1
    assert tango_interval(c, b, n) == pytest.approx((-high, -low))
    assert tango_interval(b + 1, c, n + 1)[1] >= high - 1e-9
    wide = tango_interval(2 * b, 2 * c, 2 * n)
    assert wide[1] - wide[0] < high - low


def test_tango_agrees_with_exact_bound_where_only_one_direction_flips() -> None:
    # With c = 0 the difference is a plain proportion, which has an exact (Clopper-Pearson) upper bound. A score
    # bound lies below that conservative one, and not below the exact bound for one flip fewer.
    for b, n in [(1, 200), (5, 200), (20, 1000)]:
        high = tango_interval(b, 0, n)[1]
        exact = stats.binomtest(b, n).proportion_ci(0.95, method="exact").high
        assert stats.binomtest(b - 1, n).proportion_ci(0.95, method="exact").high < high <= exact * 1.05


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_tango_refuses_impossible_counts(counts: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="allowed"):
        tango_interval(*counts)


@pytest.mark.parametrize(
    ("p_b", "p_c", "n"), [(0.02, 0.02, 300), (0.02, 0.005, 300), (0.1, 0.05, 100), (0.01, 0.001, 100)]
)
def test_tango_coverage_is_near_nominal(p_b: float, p_c: float, n: int) -> None:
    # Not simulated: the exact sum over every outcome with a probability that matters. 0.94 allows for the
    # discreteness of small counts. Wald's interval covers 0.67 in the last case: it is [0, 0] where nothing flips.
    covered = total = 0.0
    cells = stats.multinomial(n, [p_b, p_c, 1 - p_b - p_c])
    reach = range(int(n * max(p_b, p_c) + 8 * math.sqrt(n * max(p_b, p_c))) + 3)
    for b, c in itertools.product(reach, reach):
        if b + c <= n and (p := float(cells.pmf([b, c, n - b - c]))) > 1e-7:
            low, high = tango_interval(b, c, n)
            covered, total = covered + p * (low <= p_b - p_c <= high), total + p
    assert total > 0.999
    assert covered >= 0.94


def _first(means: np.ndarray) -> np.ndarray:
    return means[..., 0]


def test_bca_equals_scipys_on_a_skewed_mean() -> None:
    # scipy.stats.bootstrap is an independent implementation; 20000 replicates leave a Monte Carlo error of a bound
    # of about 0.02 standard errors, and the tolerance is five of those.
    values = np.random.default_rng(0).lognormal(sigma=1.0, size=60)
    ours = bca_interval(OfMeans(values[:, None], _first), replicates=20000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20000, rng=np.random.default_rng(1)).confidence_interval
    assert ours == pytest.approx(tuple(theirs), abs=0.1 * values.std() / math.sqrt(60))


def test_bca_equals_scipys_on_a_biased_statistic() -> None:
    # The variance of few skewed values is biased low: both corrections matter, and the plain percentiles are far off.
    # The upper bound lies far out (the 99.9 % quantile): 100000 replicates leave an error of 0.03 standard errors in
    # each of the two, and the tolerance is five of their difference.
    values = np.random.default_rng(3).exponential(size=25)
    moments = np.stack([values, values**2], axis=1)
    ours = bca_interval(OfMeans(moments, lambda means: means[..., 1] - means[..., 0] ** 2), replicates=100_000)
    chosen = np.random.default_rng(1)
    bootstrap = stats.bootstrap((values,), np.var, n_resamples=100_000, rng=chosen)
    tolerance = 0.2 * bootstrap.standard_error
    assert ours == pytest.approx(tuple(bootstrap.confidence_interval), abs=tolerance)
    percentiles = np.quantile(bootstrap.bootstrap_distribution, [0.025, 0.975])
    assert percentiles[1] < ours[1] - 3 * tolerance


def test_bca_is_seeded_and_paired() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(200, 1))
    pair = np.concatenate([base, base + 0.01 * rng.normal(size=(200, 1))], axis=1)

    def difference(means: np.ndarray) -> np.ndarray:
        change: np.ndarray = means[..., 0] - means[..., 1]
        return change

    low, high = bca_interval(OfMeans(pair, difference))
    assert (low, high) == bca_interval(OfMeans(pair, difference))
    assert (low, high) != bca_interval(OfMeans(pair, difference), seed=1)
    # The two columns share nearly all their spread: unpaired, the width would be about 0.4.
    assert high - low < 0.005


def test_resamples_that_are_kept_are_those_that_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    statistics = [OfMeans(rng.exponential(size=(n, 1)), lambda means: means[..., 0]) for n in (300, 40, 300)]
    kept = [bca_interval(statistic) for statistic in statistics]
    monkeypatch.setattr(intervals, "_KEPT", 0)
    assert [bca_interval(statistic) for statistic in statistics] == kept


def test_bca_has_no_width_where_no_resample_differs() -> None:
    assert bca_interval(OfMeans(np.full((50, 1), 0.1), _first)) == pytest.approx((0.1, 0.1))
    assert bca_interval(OfMeans(np.array([[3.0]]), _first)) == (3.0, 3.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(0, 1000))
def test_bca_stays_inside_the_data_on_tiny_samples(n: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(n, 1))
    low, high = bca_interval(OfMeans(values, _first), replicates=200)
    assert values.min() - 1e-9 <= low <= high <= values.max() + 1e-9


def test_bca_coverage_on_a_skewed_mean() -> None:
    # 600 trials: the literature's coverage of about 0.92 for this skewness and n has a standard error of 0.011.
    trials, n, truth = 600, 100, math.exp(0.5)
    data = np.random.default_rng(0).lognormal(sigma=1.0, size=(trials, n, 1))
    hits = 0
    for trial in range(trials):
        low, high = bca_interval(OfMeans(data[trial], _first), replicates=400, seed=trial)
        hits += low <= truth <= high
    assert 0.92 - 4 * 0.011 <= hits / trials <= 0.98


@pytest.mark.parametrize("outliers", [0.0, 0.2])
@pytest.mark.parametrize("n", [6, 11, 41])
def test_ratio_interval_coverage_on_noisy_blocks(n: int, outliers: float) -> None:
    # The order statistics hold the median with exactly 1 - 2 P(B < k), B binomial (n, 1/2): 0.969 for n = 6 (k = 1),
    # 0.988 for 11 (k = 2), 0.972 for 41 (k = 14). 2000 trials: the standard error is at most 0.004.
    trials, truth = 2000, 1.25
    rng = np.random.default_rng(n)
    rank = {6: 1, 11: 2, 41: 14}[n]
    exact = 1 - 2 * stats.binom.cdf(rank - 1, n, 0.5)
    hits = 0
    for _ in range(trials):
        shared = rng.gamma(50, size=n)  # the machine's slow moments strike both of a pair
        noise = rng.lognormal(sigma=0.05, size=(2, n)) * (1 + (rng.random((2, n)) < outliers))
        _, low, high = ratio_interval(truth * shared * noise[0], shared * noise[1])
        hits += low <= truth <= high
    assert hits / trials == pytest.approx(exact, abs=4 * 0.004)
    assert exact >= 0.95


def test_ratio_interval_ignores_what_both_of_a_pair_share() -> None:
    rng = np.random.default_rng(0)
    own = rng.lognormal(sigma=0.01, size=(2, 41))
    quiet = ratio_interval(own[0], own[1])
    shared = rng.gamma(2, size=41)
    assert ratio_interval(shared * own[0], shared * own[1]) == pytest.approx(quiet)


def test_ratio_interval_of_equal_and_of_scaled_times() -> None:
    times = np.random.default_rng(0).gamma(100, size=20)
    assert ratio_interval(times, times) == (1.0, 1.0, 1.0)
    assert ratio_interval(3 * times, times) == pytest.approx((3.0, 3.0, 3.0))


def test_ratio_interval_refuses_too_few_or_impossible_times() -> None:
    with pytest.raises(UsageError, match="at least 6"):
        ratio_interval(np.ones(5), np.ones(5))
    with pytest.raises(UsageError, match="equal length"):
        ratio_interval(np.ones(6), np.ones(7))
    with pytest.raises(UsageError, match="not positive"):
        ratio_interval(np.ones(6), np.zeros(6))
