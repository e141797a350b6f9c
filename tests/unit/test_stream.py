"""Models called step by step: states are fed back, each sequence starts fresh, wrong wiring and drift are seen."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.data import plan as planning
from edgekit.data.tasks import Samples
from edgekit.errors import UnsupportedError, UsageError
from edgekit.proof import execution, parity, stream
from edgekit.proof.execution import Ran
from edgekit.signature import WHOLE, Signature, State, TensorSpec
from edgekit.steps import golden

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
        "in/x": (3, 9, 3), "in/state": (3, 9, 2, 1, 3), "out/y": (3, 9, 3), "out/next": (3, 9, 2, 1, 3), "step": (3, 9),
    }  # fmt: skip
    np.testing.assert_array_equal(found.steps["part"]["in/state"][:, 1:], found.steps["part"]["out/next"][:, :-1])
    assert np.abs(found.steps["part"]["out/y"][:, 2:]).min() > 0
    found.save(tmp_path)
    shapes = {t.name: t.shape for t in signature.inputs}
    golden = execution.Golden.load(tmp_path / "part.npz", True, signature.state, shapes)
    assert golden.replay(Layers()).sqnr_db == parity.SQNR_CAP_DB


@pytest.mark.parametrize("shape", [(1, 3), (2, 1, 3), (4, 3)], ids=str)
def test_a_state_may_begin_with_a_value_for_each_element(shape, tmp_path) -> None:
    """In the framework's run, the file's and the golden data's; and a number is one for all of them."""
    spec, x = TensorSpec("state", shape), TensorSpec("x", (1, 1))
    values = np.arange(1.0, 1 + np.prod(shape)).reshape(spec.row)
    state = State("next", "state", tuple(values.ravel().tolist()))
    signature = Signature((x, spec), (replace(spec, name="next"),), (state,))

    def call(inputs):
        shift = inputs["x"].reshape(-1, *[1] * len(spec.row))
        return {"next": 0.5 * inputs["state"] + shift}

    class Halves(Toy):
        def run(self, inputs):
            assert inputs["state"].shape == shape
            return {"next": 0.5 * inputs["state"] + inputs["x"].ravel()}

    given = {"part/x": np.random.default_rng(0).normal(size=(3, 120, 1)).astype(np.float32)}
    _, floats = stream.run(stream.apart, {"part": signature}, {"part": call}, given, 3)
    ran = execution.in_sequences({"part": Halves()}, {"part": signature}, given, None)
    for found in (floats["part"], ran.steps["part"]):
        np.testing.assert_array_equal(found["in/state"][:, 0], np.broadcast_to(values, (3, *spec.row)))
        np.testing.assert_array_equal(found["in/state"][:, 1:], found["out/next"][:, :-1])
    assert execution.compare_sequences(floats["part"], ran.steps["part"]).sqnr_db > 120
    ran.save(tmp_path)
    for other, right in ((state, True), (replace(state, initial=0.0), False)):
        golden = execution.Golden.load(tmp_path / "part.npz", True, (other,), {t.name: t.shape for t in (x, spec)})
        assert (golden.replay(Halves()).sqnr_db == parity.SQNR_CAP_DB) == right
    with pytest.raises(UsageError, match="begins with 2 values"):
        stream.initial(replace(state, initial=(1.0, 2.0)), spec, 1)


def kept(steps: int) -> list[int]:
    """The numbers of the steps that are kept of so many."""
    chosen = stream.Chosen()
    for number in range(steps):
        chosen.add({"out/y": np.full((1, 1), float(number))})
    found = chosen.stacked()
    assert found["out/y"][0, :, 0].tolist() == found[stream.NUMBERS][0].tolist(), "each with its own number"
    return found[stream.NUMBERS][0].tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6000))
def test_kept_steps_are_the_first_the_last_and_evenly_between(steps: int) -> None:
    numbers = kept(steps)
    assert numbers == sorted(set(numbers))
    assert numbers[: stream.FIRST] == list(range(min(steps, stream.FIRST)))
    assert numbers[-stream.LAST :] == list(range(max(0, steps - stream.LAST), steps))
    assert len(numbers) == min(steps, len(numbers)) <= stream.FIRST + stream.BETWEEN + stream.LAST
    between = numbers[stream.FIRST : -stream.LAST]
    assert len(set(np.diff(between))) <= 1
    if steps > stream.FIRST + stream.BETWEEN + stream.LAST:
        assert len(between) >= stream.BETWEEN // 2
        assert between[0] == stream.FIRST and steps - stream.LAST - between[-1] <= 2 * np.diff(between)[0]


def test_a_sequence_that_is_kept_whole_is_compared_whole() -> None:
    assert kept(STEPS) == list(range(STEPS)), "the sequences of the zoo and generated ones are no longer"
    assert stream.FIRST >= planning.GENERATED_STEPS >= 100


@pytest.mark.parametrize("run", ["framework", "session"])
def test_memory_does_not_grow_with_the_steps_that_are_not_kept(run: str) -> None:
    """Ten times as many steps of 80 kB each, 120 MB of them, take as much memory at their peak, within a few steps."""
    wide = 10_000
    state, x = TensorSpec("state", (1, wide), "float32"), TensorSpec("x", (1, 1))
    signature = Signature((x, state), (replace(state, name="next"),), (State("next", "state"),))

    def call(inputs):
        return {"next": 0.9 * inputs["state"] + inputs["x"]}

    class Wide(Toy):
        def run(self, inputs):
            return call(inputs)

    def peak(steps: int) -> int:
        given = {"part/x": np.ones((1, steps, 1), np.float32)}
        tracemalloc.start()
        try:
            if run == "framework":
                stream.run(stream.apart, {"part": signature}, {"part": call}, given, 1)
            else:
                execution.in_sequences({"part": Wide()}, {"part": signature}, given, None)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    most = stream.FIRST + stream.BETWEEN + stream.LAST
    short, long = peak(most), peak(10 * most)
    assert short > most * 2 * 4 * wide, "what is kept of a state: once as an input, once as an output"
    assert long < short + 10 * 4 * wide


def test_steps_of_the_first_sequences_do_not_keep_the_others() -> None:
    """All sequences run side by side in the framework; a view of the first few would hold them all."""
    inputs, calls = sequences(2000), {"part": step}
    tracemalloc.start()
    stream.run(stream.apart, {"part": SIGNATURE}, calls, inputs, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < STEPS * inputs["part/x"][:, 0].nbytes, "one of the six arrays of all steps of all sequences"


def test_the_drift_of_a_long_sequence_is_that_of_its_last_steps(tmp_path) -> None:
    """An error that begins at step 900 of 1000 shows; the golden data are the beginning, and are run again."""
    steps, late = 1000, 900
    inputs = {"part/x": np.random.default_rng(0).normal(size=(2, steps, 2)).astype(np.float32)}

    class Late(Toy):
        count = 0

        def reset(self):
            self.count = 0

        def run(self, given):
            self.count += 1
            return step(given, wrong=0.05 * (self.count > late))

    expected, measured = floats(inputs), execution.in_sequences({"part": Late()}, {"part": SIGNATURE}, inputs, None)
    closeness = closeness_of(expected, measured)
    assert closeness.drift is not None and closeness.drift.steps == steps
    assert closeness.drift.first20_db > 100 > 20 > closeness.drift.last20_db
    for name, ran in (("measured", measured), ("reference", expected)):
        (tmp_path / name).mkdir()
        ran.save(tmp_path / name)
    request = golden.Request("part", tmp_path, tmp_path / "measured", tmp_path / "reference", 1)
    assert golden.run(tmp_path, request).samples == 1
    shapes = {t.name: t.shape for t in SIGNATURE.inputs}
    recorded = execution.Golden.load(tmp_path / "golden.npz", True, SIGNATURE.state, shapes)
    assert recorded.inputs["x"].shape == (1, stream.FIRST, 2)
    assert recorded.replay(Toy()).sqnr_db == parity.SQNR_CAP_DB
    assert recorded.replay(Toy(wrong=0.01)).sqnr_db < 40


def test_golden_data_of_more_steps_than_are_kept_are_run_again_and_compared_where_both_have_them(tmp_path) -> None:
    """Earlier releases recorded every step."""
    inputs = {"part/x": np.random.default_rng(0).normal(size=(1, 500, 2)).astype(np.float32)}
    recorded, loop = [], stream.Loop(SIGNATURE, step, 1, 0)
    for number in range(500):
        before, given = dict(loop._states), {"x": inputs["part/x"][:, number]}
        sides = (("in", {**given, **before}), ("out", loop(given)))
        recorded.append({f"{side}/{name}": array for side, arrays in sides for name, array in arrays.items()})
    np.savez(tmp_path / "golden.npz", **{name: np.stack([r[name] for r in recorded], axis=1) for name in recorded[0]})
    shapes = {t.name: t.shape for t in SIGNATURE.inputs}
    old = execution.Golden.load(tmp_path / "golden.npz", True, SIGNATURE.state, shapes)
    assert old.outputs["y"].shape[1] == 500
    assert old.replay(Toy()).sqnr_db > 120
    assert old.replay(Toy(wrong=0.01)).sqnr_db < 40


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


LOOKS = Signature(
    inputs=(TensorSpec("image", (1, 3, 4, 4), layout="channels_first"),),
    outputs=(TensorSpec("map", (1, 3, 2, 2), layout="channels_first"), TensorSpec("value", (1, 3))),
)


def test_code_between_parts_sees_maps_channels_last_whatever_their_layout_is() -> None:
    image = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)

    def look(inputs):
        assert inputs["image"].shape == (2, 3, 4, 4)
        return {"map": inputs["image"][:, :, ::2, ::2], "value": inputs["image"].mean(axis=(2, 3))}

    def around(parts, inputs):
        found = parts["look"]({"image": inputs["image"]})
        np.testing.assert_array_equal(found["map"], inputs["image"][:, ::2, ::2])
        np.testing.assert_allclose(found["value"], inputs["image"].mean(axis=(1, 2)), rtol=1e-5)
        return {"map": found["map"]}

    _, steps = stream.run(around, {"look": LOOKS}, {"look": look}, {"image": image}, 2)
    assert steps["look"]["in/image"].shape == (2, 1, 3, 4, 4) and steps["look"]["out/map"].shape == (2, 1, 3, 2, 2)


def test_generated_sequences_are_long_where_a_state_is_carried() -> None:
    made = planning.make_sequences(planning.DataPlan(), "selection", {"part": SIGNATURE})
    assert made is not None and made.inputs["part/x"].shape[1] == planning.GENERATED_STEPS
    made = planning.make_sequences(planning.DataPlan(), "selection", {"part": LOOKS})
    assert made is not None and made.inputs["part/image"].shape == (planning.GENERATED, 1, 3, 4, 4)


class Scales:
    """A session that scales its one input."""

    by, precision, ops_delegated, stand_in = "NumPy", "f32", None, False

    def __init__(self, name, by):
        self.name, self.by_how_much = name, by

    def run(self, inputs):
        return {self.name: self.by_how_much * inputs["x"]}

    def reset(self):
        pass


def chooses(parts, inputs):
    """Both samples of a sequence, the one first of which the first part says more."""
    said = parts["first"]({"x": inputs["x"].mean(axis=1)})["said"]
    order = np.where(said[:, :1] > 0, [[0, 1]], [[1, 0]])
    ordered = np.take_along_axis(inputs["x"], order[..., None], axis=1)
    return {"y": np.stack([parts["second"]({"x": ordered[:, i]})["y"] for i in range(2)], axis=1)}


def test_a_part_without_states_is_compared_on_what_the_framework_gave_it(tmp_path, monkeypatch) -> None:
    """Where the first part of a file chooses otherwise, the second one is no worse for it."""
    x = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    one = (TensorSpec("x", (1, 3)),)
    signatures = {
        "first": Signature(one, (TensorSpec("said", (1, 3)),)),
        "second": Signature(one, (TensorSpec("y", (1, 3)),)),
    }
    monkeypatch.setattr(stream, "host", lambda task: chooses)
    planning.save(Samples({"x": x}, None), tmp_path / "samples.npz")
    folders = [tmp_path / name for name in ("reference", "alone", "held")]
    for folder in folders:
        folder.mkdir()
    calls = {name: Scales(*said).run for name, said in {"first": ("said", 1.0), "second": ("y", 2.0)}.items()}
    Ran(*stream.run(chooses, signatures, calls, {"x": x}, 6)).save(folders[0])
    sessions = {"first": Scales("said", -1.0), "second": Scales("y", 2.0001)}
    for folder, reference in zip(folders[1:], (None, folders[0]), strict=True):
        execution.in_runtime(sessions, signatures, tmp_path / "samples.npz", "toy", folder, reference)
    alone, held = (execution.compare(folders[0], folder, signatures) for folder in folders[1:])
    assert alone["second"].sqnr_db < 10 < 70 < held["second"].sqnr_db
    assert alone["first"].sqnr_db == held["first"].sqnr_db
    with np.load(folders[1] / "outputs.npz") as closed, np.load(folders[2] / "outputs.npz") as also:
        np.testing.assert_array_equal(closed["out/y"], also["out/y"])  # what is scored is a run of its own
