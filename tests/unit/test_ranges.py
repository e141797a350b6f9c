"""Estimators of ranges against references of others: NumPy, SciPy, PyTorch, ONNX Runtime, and plain loops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from edgekit import catalogue, target
from edgekit.errors import UnsupportedError, UsageError
from edgekit.ranges import plans
from edgekit.ranges.estimator import MINMAX, SETTINGS, TOOL, Estimator
from edgekit.ranges.histogram import Histogram
from edgekit.ranges.observers import least_divergence, observer

BINS = 2048
PERCENTILE = Estimator(name="p", method="percentile", percentile=99.9, bins=BINS)
ENTROPY = Estimator(name="e", method="entropy", bins=BINS)
MSE = Estimator(name="m", method="mse", bins=BINS)
AVERAGE = Estimator(name="a", method="moving-average", momentum=0.9)
OURS = (MINMAX, AVERAGE, PERCENTILE, ENTROPY, MSE)


def draw(kind: str, count: int = 40_000) -> np.ndarray:
    """Values as activations have them: bell-shaped, with heavy tails, of one sign with many zeros, off the middle."""
    generator = np.random.default_rng(7)
    drawn = {
        "normal": lambda: generator.standard_normal(count),
        "heavy": lambda: generator.standard_t(3, count),
        "relu": lambda: np.maximum(generator.standard_normal(count), 0),
        "shifted": lambda: generator.gamma(2.0, 1.0, count) - 0.5,
    }
    return drawn[kind]().astype(np.float32)


KINDS = ("normal", "heavy", "relu", "shifted")


def ends(estimator: Estimator, values: np.ndarray, *, parts: int = 10, **integers) -> tuple[float, float]:
    """What an estimator says of values that came in several samples."""
    seen = observer(estimator, **integers)
    for part in np.array_split(values, parts):
        seen.update(part)
    return seen.range()


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60), st.integers(1, 5))
@settings(deadline=None, max_examples=200)
def test_a_histogram_counts_what_numpy_counts_whatever_the_order(values: list[float], parts: int) -> None:
    array = np.array(values, np.float32)
    made = []
    for order in (array, array[::-1]):
        seen = Histogram(BINS)
        for part in np.array_split(order, parts):
            seen.add(part)
        made.append(seen)
    first, second = made
    assert first.zeros == (array == 0).sum() and first.total == len(array)
    assert (first.low, first.high) == (min(0.0, array.min()), max(0.0, array.max()))
    negative, positive = first.sides()
    assert len(negative) + len(positive) < 2 * BINS + 1
    edges = first.width * np.arange(-len(negative), len(positive) + 1)
    counted = np.histogram(array[array != 0].astype(np.float64), edges)[0]
    assert (np.concatenate([negative[::-1], positive]) == counted).all()
    assert first.width == second.width and all(
        (a == b).all() for a, b in zip(first.sides(), second.sides(), strict=True)
    )


def test_a_histogram_has_bins_enough() -> None:
    for scale in (1e-30, 1e-3, 1.0, 1e5, 1e30):
        seen = Histogram(BINS)
        seen.add(np.linspace(-0.3, 1, 100, dtype=np.float32) * np.float32(scale))
        assert BINS <= sum(map(len, seen.sides())) <= 2 * BINS


@pytest.mark.parametrize("kind", KINDS)
def test_extremes(kind: str) -> None:
    values = draw(kind)
    assert ends(MINMAX, values) == (min(0, values.min()), values.max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_moving_average_is_pytorchs(kind: str) -> None:
    torch = pytest.importorskip("torch")
    from torch.ao.quantization import MovingAverageMinMaxObserver

    values = draw(kind)
    theirs = MovingAverageMinMaxObserver(averaging_constant=1 - AVERAGE.momentum)
    for part in np.array_split(values, 10):
        theirs(torch.from_numpy(part))
    expected = min(0.0, theirs.min_val.item()), max(0.0, theirs.max_val.item())
    assert ends(AVERAGE, values) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_percentiles_are_numpys(kind: str, percentile: float) -> None:
    values, plan = draw(kind), replace(PERCENTILE, percentile=percentile)
    wide = 2 * float(np.ptp(values)) / BINS

    def reached(found: float, of: np.ndarray, share: float) -> bool:
        """Whether so many values lie below, but for a bin: any place in the gap between two values will do."""
        least, most = (np.percentile(of, share, method=method) for method in ("lower", "higher"))
        return least - wide <= found <= most + wide

    low, high = ends(plan, values)
    assert reached(high, values, (100 + percentile) / 2)
    assert reached(low, np.minimum(values, 0), (100 - percentile) / 2)
    low, high = ends(plan, values, symmetric=True)
    assert low == -high and reached(high, np.abs(values), percentile)


def test_percentiles_are_those_of_onnx_runtime() -> None:
    calibrate = pytest.importorskip("onnxruntime.quantization.calibrate")
    values = draw("heavy")
    theirs = calibrate.HistogramCollector("percentile", symmetric=False, num_bins=BINS, num_quantized_bins=128,
                                          percentile=99.9, scenario="same")  # fmt: skip
    theirs.collect({"tensor": [values]})
    inside = [((low <= values) & (values <= high)).sum() for low, high in
              (theirs.compute_percentile()["tensor"][:2], ends(PERCENTILE, values))]  # fmt: skip
    assert abs(inside[0] - inside[1]) <= 3 and inside[1] == pytest.approx(0.999 * len(values), abs=2)


def plain_divergence(counts: np.ndarray, levels: int) -> int:
    """The end of least divergence by the loops of Migacz's slides, with SciPy's entropy, every end tried."""
    scored = {}
    for end in range(levels + 1, len(counts) + 1):
        reference = counts[:end].astype(float)
        reference[-1] += counts[end:].sum()
        candidate = np.zeros(end)
        for group in range(levels):
            bins = [i for i in range(group * end // levels, (group + 1) * end // levels) if counts[i]]
            for i in bins:
                candidate[i] = sum(counts[j] for j in bins) / len(bins)
        scored[end] = entropy(reference, candidate)
    best = min(scored.values())
    return max(end for end, score in scored.items() if score == best)


@pytest.mark.parametrize("seed", range(6))
def test_the_divergence_is_that_of_plain_loops(seed: int) -> None:
    generator = np.random.default_rng(seed)
    counts = np.bincount((np.abs(generator.standard_t(2 + seed, 3000)) * 12).astype(int))[:300]
    counts = np.trim_zeros(counts, "b")
    assert len(counts) > 40
    assert least_divergence(counts, 16) == plain_divergence(counts, 16) < len(counts) + 1


def test_few_bins_are_not_cut() -> None:
    assert least_divergence(np.arange(1, 17), 16) == 16


def error(values: np.ndarray, low: float, high: float, bits: int) -> float:
    """Mean square error of really quantizing values with a zero point."""
    step = (high - low) / (2**bits - 1)
    zero = round(-low / step)
    integers = np.clip(np.round(values / step) + zero, 0, 2**bits - 1)
    return float(((values - (integers - zero) * step) ** 2).mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [4, 8])
def test_no_range_has_a_clearly_smaller_square_error(kind: str, bits: int) -> None:
    values = draw(kind)
    low, high = ends(MSE, values, bits=bits)
    extremes = min(0.0, float(values.min())), float(values.max())
    tried = [
        error(values, extremes[0] * a, extremes[1] * b, bits)
        for a in np.linspace(0.1, 1, 31)
        for b in np.linspace(0.1, 1, 31)
    ]
    assert error(values, low, high, bits) <= 1.05 * min(tried)
    assert error(values, low, high, bits) <= error(values, *extremes, bits)


def test_the_least_square_range_without_a_zero_point() -> None:
    values = draw("heavy")
    low, high = ends(MSE, values, symmetric=True)
    assert low == -high

    def cost(end: float) -> float:
        step = end / 127
        return float(((values - np.clip(np.round(values / step), -127, 127) * step) ** 2).mean())

    assert cost(high) <= 1.05 * min(cost(np.abs(values).max() * a) for a in np.linspace(0.05, 1, 96))


def test_sixteen_bits_are_not_cut() -> None:
    values = draw("normal")
    for estimator in (ENTROPY, MSE):
        low, high = ends(estimator, values, bits=16, symmetric=True)
        assert high == pytest.approx(np.abs(values).max()) and low == -high


@pytest.mark.parametrize("estimator", OURS, ids=lambda one: one.method)
@pytest.mark.parametrize("symmetric", [False, True])
def test_whatever_is_seen_a_range_holds_zero_and_lies_within_the_extremes(
    estimator: Estimator, symmetric: bool
) -> None:
    for values in (np.zeros(5), np.array([]), np.array([3.0, 4.0]), np.array([-3.0, -4.0]), draw("shifted") + 9):
        values = np.asarray(values, np.float32)
        low, high = ends(estimator, values, parts=1, symmetric=symmetric)
        most = float(np.abs(values).max(initial=0))
        assert -most * 1.001 <= low <= 0 <= high <= most * 1.001
        if not symmetric:
            assert low >= min(0.0, values.min(initial=0)) and high <= max(0.0, values.max(initial=0))


@pytest.mark.parametrize("estimator", OURS, ids=lambda one: one.method)
def test_masks_are_left_out_and_what_is_no_number_is_refused(estimator: Estimator) -> None:
    values = draw("normal")
    masked = np.concatenate([values, [-np.inf, np.inf]]).astype(np.float32)
    assert ends(estimator, masked, parts=1) == ends(estimator, values, parts=1)
    with pytest.raises(UnsupportedError, match="NaN"):
        ends(estimator, np.array([1.0, np.nan], np.float32), parts=1)


def test_an_observer_keeps_no_sample() -> None:
    import tracemalloc

    sample = draw("heavy", 200_000)
    for estimator in OURS:
        seen = observer(estimator)
        seen.update(sample)
        tracemalloc.start()
        for _ in range(20):
            seen.update(sample)
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert kept < sample.nbytes / 4, estimator.method


# Plans.


def test_packaged_plans_are_what_their_names_say() -> None:
    assert {"tool", "minmax", "moving-average", "percentile-99.99", "entropy", "mse"} <= set(plans.names())
    for name in plans.names():
        plan = plans.load(name)
        assert plan.name == name and name.startswith(plan.method)
        assert plan.percentile is None or name == f"percentile-{plan.percentile}"
    assert plans.load("tool") == TOOL and plans.load("minmax") == MINMAX


def test_every_target_names_a_plan_that_there_is() -> None:
    for found in target.whole():
        assert found.ranges in plans.names()
        assert found.ranges == TOOL.name or found.needs_calibration


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("percentil = 99", r"unknown key 'percentil'; did you mean 'percentile'\?"),
        ("name = 'x'", r"unknown key 'name'"),
        ("bins = 2048", r"bins: the method minmax does not take it"),
        ("method = 'percentile'", r"percentile: the method percentile needs it"),
        (
            "method = 'percentile'\npercentile = 100\nbins = 2048",
            r"percentile: 100 does not lie above 50 and below",
        ),
        ("method = 'median'", r"method: 'median' is none of tool, minmax"),
        ("draw = 'last'", r"draw: 'last' is none of random, even, first"),
        ("samples = 0", r"samples: 0 does not lie above 0"),
        ("samples = 'all'", r"samples: 'all' is no number"),
        ("samples = true", r"samples: True is no number"),
        ("samples = 10\nleast = 11", r"least: 11 does not lie above 0 and below 11"),
        ("method = 'mse'\nbins = 4", r"bins: 4 does not lie above 511"),
    ],
)
def test_a_plan_that_is_wrong_says_where(tmp_path: Path, text: str, said: str) -> None:
    lines = dict(line.split(" = ") for line in ("title = 'x'", "method = 'minmax'", *text.splitlines()))
    path = tmp_path / "mine.toml"
    path.write_text("schema = 1\n" + "\n".join(f"{key} = {value}" for key, value in lines.items()))
    with pytest.raises(UsageError, match=said) as caught:
        plans.load(str(path))
    assert str(caught.value).startswith("mine.toml: ") and "edgekit list ranges" in caught.value.hint


def test_a_plan_of_ones_own_and_an_unknown_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calibration").mkdir()
    text = (catalogue.find("calibration", "percentile-99.99")).read_text().replace("99.99", "99.5")
    (tmp_path / "calibration" / "mine.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert plans.load("mine").percentile == 99.5
    with pytest.raises(UsageError, match="unknown range 'entopy'") as caught:
        plans.load("entopy")
    assert "Did you mean 'entropy'? See `edgekit list ranges`" in caught.value.hint


def test_too_few_samples_are_refused_with_what_is_needed() -> None:
    plan = plans.load("entropy")
    plan.check(plan.least)
    with pytest.raises(UsageError, match=rf"--ranges entropy needs {plan.least} calibration samples or more, .* are 3"):
        plan.check(3)
    assert all(plans.load(name).least == 1 for name in ("tool", "minmax"))


def test_each_method_says_which_settings_it_takes() -> None:
    for method, wanted in SETTINGS.items():
        values = {"percentile": 99.0, "momentum": 0.9, "bins": BINS}
        Estimator(name="x", method=method, **{key: values[key] for key in wanted})
        if wanted:
            with pytest.raises(ValueError, match="needs it"):
                Estimator(name="x", method=method)


def test_what_is_bounded_is_not_cut_off(tmp_path: Path) -> None:
    from edgekit.schemes import SCHEMES
    from edgekit.toolchains import Request
    from edgekit.toolchains._shared.calibration import observers

    request = Request(tmp_path, SCHEMES["int8"], False, None, None, (), (), estimator=plans.load("percentile-99.9"))
    seen = observers(request, ("probabilities", "others"), bounded=("probabilities",))
    for one in seen.values():
        one.update(draw("heavy"))
    assert seen["probabilities"].range() == (draw("heavy").min(), draw("heavy").max())
    assert seen["others"].range()[1] < 0.9 * draw("heavy").max()
