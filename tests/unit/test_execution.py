"""Runs over files of samples: what goes through memory in parts is the same as what goes through whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.data import plan, rows
from edgekit.data.tasks import Samples
from edgekit.errors import UnsupportedError, UsageError
from edgekit.proof import execution, metrics
from edgekit.proof.accuracy import measure_accuracy
from edgekit.proof.speed import opened
from edgekit.result import IO
from edgekit.signature import WHOLE, Signature, TensorSpec
from edgekit.steps import score

COUNT = 7
SIGNATURE = Signature((TensorSpec("x", (1, 3)),), (TensorSpec("logits", (1, 3)), TensorSpec("sum", (1, 1))))
X = np.random.default_rng(0).normal(size=(COUNT, 3)).astype(np.float32)


class Scaled:
    """A session that multiplies, and would carry a sample on into the next if it were not reset."""

    by, precision, ops_delegated, stand_in = "NumPy", "f32", None, False

    def __init__(self, factor: float) -> None:
        self.factor, self.kept = factor, 0.0

    def run(self, inputs):
        logits = inputs["x"] * np.float32(self.factor) + np.float32(self.kept)
        self.kept = float(logits.sum())
        return {"logits": logits, "sum": logits.sum(keepdims=True)}

    def reset(self) -> None:
        self.kept = 0.0


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setattr(rows, "ROWS", 3)
    plan.save(Samples({"x": X}, X.argmax(1)), tmp_path / "samples.npz")
    for name, factor in (("floats", 2.0), ("ours", -1.9)):
        (tmp_path / name).mkdir()
        execution.in_runtime(
            {WHOLE: Scaled(factor)}, {WHOLE: SIGNATURE}, tmp_path / "samples.npz", None, tmp_path / name
        )
    return {name: tmp_path / name for name in ("floats", "ours", "samples.npz")}


def test_every_sample_is_run_from_a_fresh_state_and_written_in_order(ran: dict[str, Path]) -> None:
    with np.load(ran["floats"] / execution.OUTPUTS) as stored:
        assert stored.files == ["out/logits", "out/sum"]
        np.testing.assert_array_equal(stored["out/logits"], X * np.float32(2))
        np.testing.assert_allclose(stored["out/sum"], 2 * X.sum(1, keepdims=True), rtol=1e-6)


def test_parts_are_compared_and_scored_as_the_whole(ran: dict[str, Path]) -> None:
    closeness = execution.compare(ran["floats"], ran["ours"], {WHOLE: SIGNATURE})[WHOLE]
    assert closeness.samples == COUNT
    assert closeness.sqnr_db == pytest.approx(20 * np.log10(2 / 3.9), abs=1e-4)
    assert closeness.cosine == pytest.approx(-1)
    scored = list(
        execution.scored(
            [ran["floats"], ran["floats"], ran["ours"]],
            ran["samples.npz"],
            None,
            metrics.metric("top1"),
            {WHOLE: SIGNATURE},
        )
    )
    assert [len(labels) for labels, *_ in scored] == [3, 3, 1]
    accuracy = measure_accuracy("top1", scored)
    assert (accuracy.samples, accuracy.float_, accuracy.artifact, accuracy.agreement) == (COUNT, 1.0, 0.0, 0.0)


def test_a_drop_is_taken_from_the_source_and_the_checkpoint_has_its_own_figure(ran: dict[str, Path]) -> None:
    """A recipe makes another model: here one that is always wrong, and a file of it that is the source again."""
    runs = [ran["floats"], ran["ours"], ran["floats"]]
    read = execution.scored(runs, ran["samples.npz"], None, metrics.metric("top1"), {WHOLE: SIGNATURE})
    _, source, _, again = next(iter(read))
    assert source is again, "a run that stands there twice is read once"
    answer = score.run(
        Path(), score.Request(
            {WHOLE: SIGNATURE}, ran["samples.npz"], reference=ran["ours"], measured=ran["ours"], source=ran["floats"],
            metric="top1",
        ),
    )  # fmt: skip
    assert answer.accuracy is not None
    assert (answer.accuracy.float_, answer.accuracy.checkpoint, answer.accuracy.artifact) == (1.0, 0.0, 0.0)
    assert answer.accuracy.drop == 1.0
    parity = answer.parity[WHOLE].per_output
    assert parity["logits"].sqnr_db == 300, "parity is against the checkpoint"
    assert parity["sum"].sqnr_db < 0, "but for what the metric scores nothing of"


def test_an_output_that_the_file_lacks_is_named(ran: dict[str, Path], tmp_path: Path) -> None:
    more = Signature(SIGNATURE.inputs, (*SIGNATURE.outputs, TensorSpec("boxes", (1, 4))))
    with pytest.raises(UnsupportedError, match=r"lacks the outputs \['boxes'\]"):
        execution.in_runtime({WHOLE: Scaled(1.0)}, {WHOLE: more}, ran["samples.npz"], None, tmp_path)


def test_samples_without_names_are_the_inputs_in_their_order() -> None:
    specs = [IO(name=name, shape=(1, 3), dtype="float32") for name in ("a", "b")]
    found = opened.samples(specs, {"arr_0": X, "arr_1": X + 1, "arr_2": X[:, 0]}, "unnamed.npz")
    np.testing.assert_array_equal(found[0]["b"], X[:1] + 1)
    with pytest.raises(UsageError, match="has no array 'b'; it has a, arr_0"):
        opened.samples(specs, {"a": X, "arr_0": X}, "half.npz")


def test_a_sample_of_another_layout_is_not_laid_out_anew_in_silence() -> None:
    image = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    for shape in ((1, 3, 4, 5), (-1, 3, 4, 5), (-1, 3, -1, -1), (3, 4, 5)):
        spec = IO(name="x", shape=shape, dtype="float32")
        [first, _] = opened.samples([spec], {"x": image}, "images.npz")
        np.testing.assert_array_equal(first["x"].reshape(3, 4, 5), image[0])
        for wrong in (image.transpose(0, 2, 3, 1), image.reshape(2, -1)):
            with pytest.raises(UsageError, match="a sample of 'x' has the shape"):
                opened.samples([spec], {"x": wrong}, "images.npz")
    one = IO(name="x", shape=(1, 1), dtype="float32")
    assert opened.samples([one], {"x": np.zeros(2, np.float32)}, "numbers.npz")[0]["x"].shape == (1, 1)
