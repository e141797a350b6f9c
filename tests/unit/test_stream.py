"""Models called step by step: states are fed back, each sequence starts fresh, wrong wiring and drift are seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekit.errors import UnsupportedError, UsageError
from edgekit.proof import execution, parity, stream
from edgekit.proof.execution import Ran
from edgekit.signature import WHOLE, Signature, State, TensorSpec

STEPS = 120
SIGNATURE = Signature(
    inputs=(TensorSpec("x", (1, 2)), TensorSpec("fast", (1, 2)), TensorSpec("slow", (1, 2))),
    outputs=(TensorSpec("y", (1, 2)), TensorSpec("next_fast", (1, 2)), TensorSpec("next_slow", (1, 2))),
    state=(State("next_fast", "fast"), State("next_slow", "slow", initial=1.0)),
)
SWAPPED = replace(SIGNATURE, state=(State("next_slow", "fast"), State("next_fast", "slow", initial=1.0)))


def step(inputs, *, forget=0.0, wrong=0.0):
    """Two leaky sums of different memory; ``wrong`` is a constant error of the slow one."""
    fast = (0.5 - forget) * inputs["fast"] + inputs["x"]
    slow = 0.99 * inputs["slow"] + 0.1 * inputs["x"] + wrong
    return {"y": fast * slow, "next_fast": fast, "next_slow": slow}


class Toy:
    """A session of the toy part."""

    by, precision, ops_delegated, stand_in = "NumPy", "f32", None, False

    def __init__(self, **options):
        self.options = options
        self.resets = 0

    def run(self, inputs):
        return {name: array.reshape(-1) for name, array in step(inputs, **self.options).items()}  # drops the batch

    def reset(self):
        self.resets += 1


def sequences(count=6):
    return {"part/x": np.random.default_rng(0).normal(size=(count, STEPS, 2)).astype(np.float32)}


def floats(inputs, signature=SIGNATURE):
    return Ran(*stream.run(stream.apart, {"part": signature}, {"part": step}, inputs, execution.SEQUENCES))


def in_session(inputs, signature=SIGNATURE, **options):
    return execution.in_sequences({"part": Toy(**options)}, {"part": signature}, inputs, None)


def closeness_of(expected, measured):
    return execution.compare_sequences(expected.steps["part"], measured.steps["part"])


def test_states_are_fed_back_from_the_initial_value() -> None:
    inputs = sequences(2)
    outputs, steps = stream.run(stream.apart, {"part": SIGNATURE}, {"part": step}, inputs, 2)
    assert outputs == {}
    found = steps["part"]
    assert found["in/x"].shape == (2, STEPS, 2)
    np.testing.assert_array_equal(found["in/slow"][:, 0], 1.0)
    np.testing.assert_array_equal(found["in/fast"][:, 0], 0.0)
    np.testing.assert_array_equal(found["in/slow"][:, 1:], found["out/next_slow"][:, :-1])
    expected = np.float32(0)
    for x in inputs["part/x"][0, :, 0]:
        expected = 0.5 * expected + x
    assert found["out/next_fast"][0, -1, 0] == pytest.approx(expected)


def test_one_by_one_is_the_same_as_side_by_side_and_every_sequence_starts_fresh() -> None:
    inputs, session = sequences(), Toy()
    found = execution.in_sequences({"part": session}, {"part": SIGNATURE}, inputs, None)
    assert session.resets == 6
    closeness = closeness_of(floats(inputs), found)
    assert closeness.sqnr_db > 120
    assert closeness.samples == 6
    assert closeness.drift is not None and closeness.drift.steps == STEPS


def test_swapped_states_are_caught() -> None:
    inputs = sequences()
    assert closeness_of(floats(inputs), in_session(inputs, SWAPPED)).sqnr_db < 10


def test_a_state_that_is_not_carried_is_caught() -> None:
    inputs = sequences()
    fresh = replace(SIGNATURE, state=(State("next_fast", "fast"), State("slow", "slow", initial=1.0)))
    with pytest.raises(KeyError):
        in_session(inputs, fresh)
    assert closeness_of(floats(inputs), in_session(inputs, forget=0.5)).sqnr_db < 15


def test_an_error_that_adds_up_shows_as_drift_and_one_that_does_not_does_not() -> None:
    inputs = {"part/x": np.ones((4, STEPS, 2), np.float32)}
    growing = closeness_of(floats(inputs), in_session(inputs, wrong=0.01)).drift
    steady = closeness_of(floats(inputs), in_session(inputs, forget=0.01)).drift
    assert growing is not None and steady is not None
    assert growing.last20_db < growing.first20_db - 3
    assert abs(steady.last20_db - steady.first20_db) < 3


def test_drift_needs_enough_steps_to_tell_both_ends_apart() -> None:
    short = {"y": np.ones((3, 2 * parity.DRIFT_STEPS - 1, 2))}
    assert parity.compare_steps(short, short).drift is None
    found = parity.compare_steps({"y": np.ones((3, 40, 2))}, {"y": np.ones((3, 40, 2))})
    drift = found.drift
    assert drift is not None
    assert (drift.steps, drift.first20_db, drift.last20_db) == (40, parity.SQNR_CAP_DB, parity.SQNR_CAP_DB)


def test_what_was_recorded_is_read_back_and_replayed(tmp_path) -> None:
    inputs = sequences()
    ran = in_session(inputs)
    ran.save(tmp_path)
    again = execution.steps_of(tmp_path, "part")
    np.testing.assert_array_equal(again["out/y"], ran.steps["part"]["out/y"])
    shapes = {t.name: t.shape for t in SIGNATURE.inputs}
    golden = execution.Golden.load(tmp_path / "part.npz", True, SIGNATURE.state, shapes)
    assert golden.replay(Toy()).sqnr_db == parity.SQNR_CAP_DB
    assert golden.replay(Toy(wrong=0.01)).sqnr_db < 40
    assert execution.Golden.load(tmp_path / "part.npz", True, SWAPPED.state, shapes).replay(Toy()).sqnr_db < 10


def test_states_that_begin_with_their_layers_are_fed_back_as_they_are(tmp_path) -> None:
    """2x1x3: two layers, and no batch that several sequences could share."""
    state, x = TensorSpec("state", (2, 1, 3)), TensorSpec("x", (1, 3))
    signature = Signature((x, state), (TensorSpec("y", (1, 3)), replace(state, name="next")), (State("next", "state"),))

    def layers(inputs):
        assert inputs["state"].shape == (2, 1, 3) and inputs["x"].shape == (1, 3)
        after = 0.5 * inputs["state"] + np.stack([inputs["x"], -inputs["state"][0]])
        return {"y": after[1], "next": after}

    class Layers(Toy):
        def run(self, inputs):
            return layers(inputs)

    given = {"part/x": np.random.default_rng(0).normal(size=(3, 9, 3)).astype(np.float32)}
    found = execution.in_sequences({"part": Layers()}, {"part": signature}, given, None)
    assert {name: array.shape for name, array in found.steps["part"].items()} == {
        "in/x": (3, 9, 3), "in/state": (3, 9, 2, 1, 3), "out/y": (3, 9, 3), "out/next": (3, 9, 2, 1, 3),
    }  # fmt: skip
    np.testing.assert_array_equal(found.steps["part"]["in/state"][:, 1:], found.steps["part"]["out/next"][:, :-1])
    assert np.abs(found.steps["part"]["out/y"][:, 2:]).min() > 0
    found.save(tmp_path)
    shapes = {t.name: t.shape for t in signature.inputs}
    golden = execution.Golden.load(tmp_path / "part.npz", True, signature.state, shapes)
    assert golden.replay(Layers()).sqnr_db == parity.SQNR_CAP_DB


def test_rows_are_drawn_over_all_sequences_and_steps() -> None:
    steps = {"in/x": np.arange(50.0).reshape(5, 10, 1), "out/y": np.zeros((5, 10, 1))}
    drawn = stream.rows(steps, 7)
    assert list(drawn) == ["x"]
    assert drawn["x"][:, 0].tolist() == [0, 8, 16, 24, 33, 41, 49]
    assert len(stream.rows(steps, 1000)["x"]) == 50


def test_what_streams_and_what_does_not() -> None:
    plain = Signature(SIGNATURE.inputs, SIGNATURE.outputs)
    assert not stream.streams({WHOLE: plain})
    assert stream.streams({WHOLE: SIGNATURE})
    assert stream.streams({"a": plain, "b": plain})
    assert [t.name for t in SIGNATURE.given] == ["x"]


def test_a_missing_output_and_a_task_without_stream_are_named() -> None:
    more = replace(SIGNATURE, outputs=(*SIGNATURE.outputs, TensorSpec("z", (1, 2))))
    with pytest.raises(UnsupportedError, match=r"lacks the outputs \['z'\]"):
        in_session(sequences(), more)
    with pytest.raises(UsageError, match="digits does not say"):
        stream.host("digits")
