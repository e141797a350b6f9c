"""The main path with labels that a metric of the whole set scores, on the toolchain without a vendor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import api, pipeline, target
from edgekit.conversion.order import Order
from edgekit.errors import UsageError
from edgekit.frameworks import once
from edgekit.jobs.store import Store
from edgekit.proof.metrics import metric
from edgekit.result import Result
from edgekit.sources import source as sources
from tests import null

COUNT = 1500


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("EDGEKIT_PATH", str(null.HERE))
    with null.installed():
        yield


def labelled(
    name: str, source: str, folder: Path, size: float = 40, noise: float = 0.5
) -> tuple[dict[str, str], np.ndarray, np.ndarray]:
    """``--calibrate`` and ``--evaluate`` whose labels are the model's answers, moved at random: none of them is sure.

    Inputs of ``size`` are large beside what a route adds to an output.
    """
    model = once.framework("torch").load(sources.with_framework(sources.resolve(source), "torch"))
    random = np.random.default_rng(0)
    x = random.uniform(-size, size, (COUNT + 256, *model.signature.inputs[0].row)).astype("float32")
    [found] = model.run({"x": x}).values()
    moved = found + noise * found.std() * random.normal(size=found.shape)
    if name == "wer_ctc":  # 6 steps of which each is a token or the blank; tokens differ from their neighbours
        chosen = moved.argmax(-1)
        kept = (chosen > 0) & (np.diff(chosen, axis=1, prepend=-1) != 0)
        labels = np.full(chosen.shape, -1)
        for row, (tokens, keep) in enumerate(zip(chosen, kept, strict=True)):
            labels[row, : keep.sum()] = tokens[keep]
    else:
        labels = moved.argmax(1) if found.shape[1] > 1 else (moved[:, 0] > np.median(moved)).astype(int)
    np.savez(folder / "calibrate.npz", x=x[:256])
    np.savez(folder / "evaluate.npz", x=x[256:], y=labels[256:])
    data = {side: str(folder / f"{side}.npz") for side in ("calibrate", "evaluate")}
    return data, labels[256:], found[256:]


def converted(name: str, source: str, route: str, data: dict[str, str], folder: Path) -> Result:
    found, made = sources.resolve(f"{source}@torch"), target.load("null-int8")
    tried = (target.TargetRoute(name=route, because="the test's"),)
    order = Order(
        source=found,
        target=made.model_copy(update={"routes": tried}),
        plan=api.plan_for(found, data["calibrate"], data["evaluate"], name),
        output=folder / "out",
    )
    with null.Here() as children:
        return pipeline.convert(order, workers=children, store=Store(folder / "home"))


CASES = [("auc", "score"), ("eer", "score"), ("recall@1", "dense"), ("wer_ctc", "table")]


@pytest.mark.parametrize(("name", "source"), CASES)
def test_a_good_file_is_scored_on_the_test_samples_against_the_float_model(
    name: str, source: str, tmp_path: Path
) -> None:
    data, labels, found = labelled(name, source, tmp_path)
    result = converted(name, source, "rounded", data, tmp_path)
    assert result.status == "PASS", result.reason
    accuracy = result.accuracy
    assert accuracy is not None and accuracy.metric == name
    assert (accuracy.split, accuracy.samples) == ("test", round(0.7 * COUNT))
    assert not accuracy.weak and accuracy.trivial is not None
    low, high = accuracy.drop_ci95
    assert low <= accuracy.drop <= high and low < high
    chosen = metric(name)
    whole = chosen.value(chosen.gathered([chosen.score(labels, chosen.read({"y": found}, labels))]))
    assert accuracy.float_ == pytest.approx(whole, abs=0.05), "the test samples are most of them"


def test_a_file_that_is_worse_for_certain_fails(tmp_path: Path) -> None:
    """A blank that is a little likelier than it should be swallows words; every output stays close."""
    data, _, _ = labelled("wer_ctc", "table", tmp_path, noise=0.02)
    result = converted("wer_ctc", "table", "tilted", data, tmp_path)
    assert result.status == "FAIL_ACCURACY", result.reason
    assert result.reason.startswith("wer_ctc drops by")


def test_labels_that_do_not_fit_together_are_refused_before_any_work(tmp_path: Path) -> None:
    data, labels, _ = labelled("eer", "score", tmp_path)
    np.savez(tmp_path / "evaluate.npz", x=np.zeros((len(labels), 8), "float32"), y=np.ones(len(labels), int))
    with pytest.raises(UsageError, match="eer needs samples of both classes"):
        converted("eer", "score", "rounded", data, tmp_path)
