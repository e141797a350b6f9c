"""Pruning: which weights go, whether a file still has the zeros, and what cannot be asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import api, toolchains
from edgekit.artifact.recipe import gain
from edgekit.compress import recipes
from edgekit.compress.fakequant import Grid, nearest
from edgekit.compress.gptq import rounded
from edgekit.compress.prune import masks, patterns
from edgekit.compress.prune.patterns import Pattern
from edgekit.errors import UsageError
from edgekit.proof import sparsity
from edgekit.result import Layer
from edgekit.result.recipe import EpochFacts, PrunedLayer, PruningFacts, RecipeFacts, StepFacts
from edgekit.result.speed import Gain, Latency

RNG = np.random.default_rng(0)
HALF, TWO_OF_FOUR = patterns.parse("0.5"), patterns.parse("2:4")


@pytest.mark.parametrize(
    ("text", "of", "share", "said"),
    [
        ("0.5", "weights", 0.5, "0.5"),
        (" .75", "weights", 0.75, "0.75"),
        ("50%", "weights", 0.5, "0.5"),
        ("2:4", "groups", 0.5, "2:4"),
        ("1:4", "groups", 0.75, "1:4"),
        ("channels:0.25", "channels", 0.25, "channels:0.25"),
    ],
)
def test_a_pattern_is_read(text: str, of: str, share: float, said: str) -> None:
    found = patterns.parse(text)
    assert (found.of, found.share, str(found)) == (of, share, said)
    assert patterns.parse(said) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("half", "is no share"),
        ("-0.5", "is no share"),
        ("nan", "is no share"),
        ("0", "above 0 and below 1"),
        ("1.5", "above 0 and below 1"),
        ("100%", "above 0 and below 1"),
        ("4:2", "4 of 2 weights cannot stay"),
        ("0:4", "0 of 4 weights cannot stay"),
        ("2:4:8", "there is no '2:4'"),
        ("chanels:0.5", "Did you mean 'channels'?"),
    ],
)
def test_what_is_no_pattern_is_refused_before_any_work(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        api.convert("lenet5@torch", "tflite-fp32", prune=text)
    assert says in f"{caught.value} {caught.value.hint}"
    assert f"--prune {text}" in str(caught.value) and "2:4 (two of four stay)" in caught.value.hint


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.5, 0.75, 0.9]), st.booleans())
def test_the_smallest_go_as_many_as_were_asked_for(seed: int, share: float, together: bool) -> None:
    rng = np.random.default_rng(seed)
    layers = [rng.standard_normal(shape).astype(np.float32) for shape in ((4, 8, 9), (10, 16, 1))]
    gone = masks.smallest(layers, Pattern("weights", share), share, together=together)
    pooled = [np.concatenate([layer.ravel() for layer in layers])] if together else [layer.ravel() for layer in layers]
    places = [np.concatenate([where.ravel() for where in gone])] if together else [where.ravel() for where in gone]
    for weights, where in zip(pooled, places, strict=True):
        assert where.sum() == int(share * where.size + 1e-9)
        assert np.abs(weights[where]).max() <= np.abs(weights[~where]).min()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(2, 4), (1, 4), (3, 8)]), st.sampled_from([1, 9]))
def test_of_each_group_along_the_input_channels_the_smallest_go(seed: int, of: tuple[int, int], positions: int) -> None:
    stay, group = of
    weights = np.random.default_rng(seed).standard_normal((6, 16, positions)).astype(np.float32)
    pattern = patterns.parse(f"{stay}:{group}")
    [gone] = masks.smallest([weights], pattern, pattern.share, together=True)
    for row in range(6):
        for position in range(positions):
            for first in range(0, 16, group):
                members = slice(first, first + group)
                sizes, where = np.abs(weights[row, members, position]), gone[row, members, position]
                assert where.sum() == group - stay
                assert sizes[where].max() <= sizes[~where].min()


@pytest.mark.parametrize("pattern", [HALF, TWO_OF_FOUR, patterns.parse("0.75")])
def test_what_is_gone_stays_gone_while_more_go(pattern: Pattern) -> None:
    weights = [RNG.standard_normal((8, 16, 1)).astype(np.float32) for _ in range(3)]
    before = [np.zeros(layer.shape, bool) for layer in weights]
    for share in (0.1, 0.3, pattern.share):
        now = masks.smallest(weights, pattern, share, together=True)
        assert all((there <= here).all() for there, here in zip(before, now, strict=True))
        before, weights = now, [np.where(gone, 0, layer + 0.01) for gone, layer in zip(now, weights, strict=True)]
    assert sum(gone.sum() for gone in before) == pattern.share * 3 * 128


def test_the_share_rises_by_the_cube() -> None:
    """Zhu & Gupta's equation 1, from 0 at the first step, and the final share from the last step of the ramp on."""
    shares = [masks.share_at(step, 10, 0.5) for step in range(12)]
    assert shares[0] == 0 and shares[10:] == [0.5, 0.5] and shares == sorted(shares)
    assert shares[5] == pytest.approx(0.5 * (1 - 0.5**3))
    assert masks.share_at(0, 0, 0.5) == 0.5, "without a ramp all go at once"


def test_groups_fit_channels_that_they_divide() -> None:
    assert masks.fits(TWO_OF_FOUR, 16) and not masks.fits(TWO_OF_FOUR, 3) and masks.fits(HALF, 3)


@pytest.mark.parametrize("group", [None, 8])
def test_gptq_keeps_zeros_and_makes_them_good(group: int | None) -> None:
    """The same zeros as in the weights; closer than rounding to the nearest, which keeps them as well."""
    weights = RNG.standard_normal((12, 32))
    [gone] = masks.smallest([weights[..., None]], HALF, 0.5, together=True)
    weights[gone[..., 0]] = 0
    x = RNG.standard_normal((400, 32)) @ RNG.standard_normal((32, 32))
    changed = 0.9 * x
    hessian, crossed, grid = changed.T @ changed, x.T @ changed, Grid(group=group)
    found = rounded(weights, hessian, grid, crossed)
    assert (found[weights == 0] == 0).all()
    assert np.allclose(nearest(found, grid), found, atol=1e-7), "a quantizer finds the same grid"

    def lost(changed_to: np.ndarray) -> float:
        return float(((changed @ changed_to.T - x @ weights.T) ** 2).sum())

    assert lost(found) < 0.8 * lost(nearest(weights, grid))


def layer(zeros: float | None, shape: tuple[int, ...] = (8, 16), of_4: float | None = None) -> Layer:
    return Layer(
        name="renamed", operator="FULLY_CONNECTED", kind="linear", shape=shape, weight_type="float32",
        granularity=None, zeros=zeros, zeros_2_4=of_4, macs=1, in_integers=False,
    )  # fmt: skip


def pruned(*zeros: int, weights: int = 128, pattern: str = "0.5") -> PruningFacts:
    layers = tuple(PrunedLayer(name=f"dense{i}", kind="linear", weights=weights, zeros=n) for i, n in enumerate(zeros))
    return PruningFacts(pattern=pattern, scope="global", ramp=0.5, layers=layers, left=())


@pytest.mark.parametrize(
    ("facts", "layers", "says"),
    [
        (pruned(64), [layer(0.5)], ""),
        (pruned(64), [layer(0.0), layer(0.6)], ""),  # others of the same size are not pruned
        (pruned(64), [layer(63 / 128)], "dense0 has 63 zeros of 64"),
        (pruned(64), [layer(None)], "dense0 has 0 zeros of 64"),  # what a file does not tell is not proven
        (pruned(100, 28), [layer(0.3), layer(0.7)], "dense0 has 90 zeros of 100"),
        (pruned(64, 64), [layer(0.5, (16, 16))], ""),  # a converter joined the two
        (pruned(64, 64), [layer(0.4, (16, 16))], "dense0, dense1 together have 102 zeros of 128"),
        (pruned(64, pattern="2:4"), [layer(0.5, of_4=1.0)], ""),
        (pruned(64, pattern="2:4"), [layer(0.5, of_4=0.75)], "dense0 is 2:4 in 75.0% of its groups"),
    ],
)
def test_a_file_that_has_lost_zeros_is_found(facts: PruningFacts, layers: list[Layer], says: str) -> None:
    recipe = of_steps(step(pruning=facts))
    found = sparsity.lost(recipe.pruned, recipe.grouped, layers)
    assert says in found and bool(found) == bool(says)


def step(**facts: Any) -> StepFacts:
    return StepFacts(
        kind="prune", settings={}, layers=0, without_rule=(), metric="top1", train_samples=1, train_sha256="",
        dropped=0, selection_samples=1, curve=(EpochFacts(epoch=0, loss=None, value=0.0),), kept=0, stopped="",
        activations="float", cpu_seconds=0.0, **facts,
    )  # fmt: skip


def of_steps(*steps: StepFacts) -> RecipeFacts:
    return RecipeFacts(name="x", steps=steps)


def test_a_file_is_held_to_the_zeros_of_all_steps() -> None:
    """The second step does not fit the first layer, which has lost some of its zeros since."""
    first, second = pruned(64, 100), pruned(0, 110, pattern="2:4")
    kept = first.layers[0].model_copy(update={"zeros": 60})
    then = second.model_copy(update={"layers": second.layers[1:]})
    both = of_steps(step(pruning=first), step(pruning=then, held=(kept, then.layers[0])))
    assert [(one.name, one.zeros) for one in both.pruned] == [("dense0", 60), ("dense1", 110)]
    assert both.grouped == {"dense1"}
    assert sparsity.lost(both.pruned, both.grouped, [layer(110 / 128, of_4=1.0), layer(60 / 128, of_4=0.2)]) == ""
    assert "dense0 has 0 zeros" in sparsity.lost(both.pruned, both.grouped, [layer(110 / 128, of_4=1.0), layer(0.0)])


def test_zeros_are_those_that_are_left_where_channels_went_behind_them() -> None:
    narrow = PrunedLayer(name="dense0", kind="linear", weights=32, zeros=20)
    recipe = of_steps(step(pruning=pruned(64)), step(held=(narrow,)))
    assert recipe.pruned == (narrow,)
    assert sparsity.lost(recipe.pruned, recipe.grouped, [layer(20 / 32, (4, 8))]) == ""


def gained(**changes: Any) -> list[str]:
    of = {
        "against": "target", "size_bytes": 1000, "size_bytes_without": 1000, "compressed_bytes": 600,
        "compressed_bytes_without": 900, "latency": None, "zeros": "zeros are numbers here", "words": (),
    }  # fmt: skip
    return list(gain._words(Gain(**(of | changes))))


def timed(verdict: Any, ratio: float) -> Latency:
    return Latency(
        float_cpu_ms=1, artifact_cpu_ms=ratio, ratio=ratio, ratio_ci95=(ratio - 0.02, ratio + 0.02), verdict=verdict,
        noisy=False, blocks=41, runs_per_block=(1, 1), wall_over_cpu=1,
    )  # fmt: skip


def test_no_gain_is_said_in_words() -> None:
    size, compressed, time = gained(latency=timed("SAME", 1.0))
    assert size.startswith("no room is gained") and size.endswith("zeros are numbers here")
    assert "600 bytes, 33.3% less than the file without pruning (900)" in compressed
    assert time.startswith("no time is gained: 1.00 (0.98 to 1.02)") and "computes zeros as other numbers" in time
    assert gained()[2] == "whether it is faster was not measured"


def test_a_gain_is_said_with_what_it_is_against() -> None:
    size, _, time = gained(size_bytes=600, latency=timed("FASTER", 0.7), against="float file")
    assert "40.0% less than the float file without pruning (1000)" in size
    assert time == "it takes 0.70 (0.68 to 0.72) of the time of the float file without pruning"


@pytest.mark.parametrize("name", toolchains.names())
def test_every_toolchain_declares_what_it_makes_of_zeros(name: str) -> None:
    zeros = gain.zeros_of(name)
    assert zeros.because and all(patterns.parse(pattern) for pattern in zeros.skipped)


def test_pruning_comes_first_and_training_on_the_grid_keeps_its_zeros() -> None:
    both = recipes.asked(qat=5, prune="2:4")
    assert both is not None and both.words == "prune 2:4, qat" and both.rounds and both.prunes
    assert [step.epochs for step in both.steps] == [3, 5]
    alone = recipes.asked(prune="0.75")
    assert alone is not None and alone.words == "prune 0.75" and not alone.rounds
    assert recipes.asked() is None
