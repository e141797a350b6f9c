"""Right files are judged right, wrong files wrong: what a user hands in, end to end."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgekit
from edgekit.errors import UsageError
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.result import Result

MODELS = Path(__file__).parent / "children" / "truth_models.py"
Convert = Callable[..., Result]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    shutil.copy(MODELS, folder)
    return folder


@pytest.fixture
def convert(home: Path, workers: Workers, store: Store, tmp_path: Path) -> Convert:
    def run(function: str, target: str, **options: Any) -> Result:
        for key in ("calibrate", "evaluate"):
            if key in options and not str(options[key]).startswith("/"):
                options[key] = f"{home}/truth_models.py:{options[key]}"
        return edgekit.convert(
            f"{home}/truth_models.py:{function}",
            target,
            output=tmp_path / "out",
            workers=workers,
            store=store,
            **options,
        )

    return run


def test_an_answer_that_hardly_varies_is_no_answer(convert: Convert) -> None:
    """58.9 dB and four distinct answers: everything but the offset is lost."""
    result = convert("offset", "tflite-int8", calibrate="offset_data")
    assert result.status == "FAIL_PARITY", result.reason
    assert result.parity is not None
    assert result.parity.sqnr_db > 50
    assert "variation" in result.reason
    assert result.error is not None
    assert "offset added outside" in result.error.hint
    assert all(tried.status != "PASS" for tried in result.routes_tried)
    kept = convert("offset", "tflite-int8-dynamic")
    assert kept.status == "PASS", kept.reason
    assert kept.parity is not None
    assert kept.parity.variation_db is not None
    assert kept.parity.variation_db > 20


@pytest.mark.parametrize("target", ["tflite-int8", "onnxruntime-int8", "openvino-int8"])
def test_scores_beside_boxes_are_kept_or_the_channel_is_named(convert: Convert, target: str) -> None:
    """51.7 dB, and every score exactly 0."""
    result = convert("boxes_and_scores", target, calibrate="images")
    assert result.parity is not None
    if result.status == "PASS":
        assert result.parity.channel_db is not None
        assert result.parity.channel_db >= 8
    else:
        assert result.status == "FAIL_PARITY", result.reason
        assert re.search(r"channel [456] of axis 1: variation", result.reason)
        assert result.error is not None
        assert "--outputs output=classes" in result.error.hint
    first = result.routes_tried[0]
    assert first.status == "FAIL_PARITY" or result.status == "PASS"


def test_a_metric_of_quantities_excuses_no_channel(convert: Convert) -> None:
    """The first output holds classes for a metric of classes alone."""
    result = convert("boxes_and_scores", "tflite-int8", evaluate="images_labelled", metric="r2", calibrate="others")
    assert result.status == "FAIL_PARITY", result.reason
    assert re.search(r"channel [456] of axis 1: variation", result.reason)


def test_only_the_largest_value_counts_where_the_user_says_so(convert: Convert) -> None:
    result = convert("boxes_and_scores", "tflite-int8", calibrate="images", outputs=["output=classes"])
    assert result.status == "PASS", result.reason
    assert any("no failure, because it holds classes" in note for note in result.notes)
    with pytest.raises(UsageError, match="the model's outputs are output"):
        convert("boxes_and_scores", "tflite-int8", calibrate="images", outputs=["logits=classes"])


def test_a_metric_reads_the_output_that_is_said_to_be_scored(convert: Convert) -> None:
    first, said = (
        convert("spread_and_height", "onnxruntime-fp32", evaluate="heights", metric="r2", outputs=outputs)
        for outputs in ([], ["height=scored"])
    )
    assert first.accuracy.float_ < 0.5
    assert said.accuracy.float_ == pytest.approx(1.0)


@pytest.mark.parametrize("target", ["onnxruntime-fp32", "tflite-fp32"])
def test_masked_silent_constant_and_whole_outputs_are_compared_as_what_they_are(convert: Convert, target: str) -> None:
    result = convert("odd_outputs", target)
    assert result.status == "PASS", result.reason
    assert result.parity is not None
    each = result.parity.per_output
    assert each["masked"].masked == each["large"].masked == 32 * 2
    assert min(each[name].variation_db or 0 for name in ("masked", "large")) > 100
    assert each["silent"].variation_db is each["constant"].variation_db is None
    assert each["number"].equal == each["flag"].equal == 1.0


@pytest.mark.parametrize(
    ("function", "said", "hint"),
    [
        ("random_forward", "the forward pass is random", "F.dropout"),
        ("mutated_buffer", "changes the model's own state 'ema'", "an input and an output"),
        ("keras_noise", "the forward pass is random", "evaluation mode"),
    ],
)
def test_a_forward_pass_that_is_no_function_of_its_inputs_is_named(
    convert: Convert, function: str, said: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        convert(function, "onnxruntime-fp32")
    assert hint in raised.value.hint


def test_an_epsilon_survives(convert: Convert, home: Path) -> None:
    """The exporter's optimizer takes 1e-10 for 0; the file answers NaN on silence, the framework 19.05."""
    import onnx

    result = convert("epsilon", "onnxruntime-fp32", calibrate="energies")
    assert result.status == "PASS", result.reason
    model = onnx.load(f"{result.artifact}/model.onnx")
    assert [node.op_type for node in model.graph.node].count("Add") >= 1


def test_where_the_model_amplifies_rounding_no_file_can_be_told_from_a_wrong_one(convert: Convert) -> None:
    result = convert("amplifier", "onnxruntime-fp32")
    assert result.status == "UNDECIDED", result.reason
    assert "the model amplifies rounding on these inputs" in result.reason
    assert result.parity is not None
    assert result.parity.noise_floor_db is not None
    assert abs(result.parity.noise_floor_db - result.parity.sqnr_db) < 20
    assert result.error is not None
    assert "real ones" in result.error.hint


def test_generated_inputs_have_the_range_that_the_first_layer_wants(
    home: Path, workers: Workers, tmp_path: Path
) -> None:
    from edgekit.data.plan import DataPlan
    from edgekit.sources import source as sources
    from edgekit.steps import describe, samples

    source = sources.with_framework(sources.resolve(f"{home}/truth_models.py:wants_pixels"), "keras")
    loaded = describe.Request(source, "keras-tensorflow", materialise=False)
    signature = workers.ask("keras-tensorflow", describe.run, tmp_path, loaded).value.signature
    assert signature.inputs[0].span == (0.0, pytest.approx(255.0))
    wanted = samples.Request(DataPlan(), "selection", {"model": signature})
    assert workers.ask("data", samples.run, tmp_path, wanted).value.count == 32
    x = np.load(tmp_path / "samples.npz")["x/x"]
    assert 0 <= x.min() < 5
    assert 250 < x.max() <= 255


# --- accuracy -------------------------------------------------------------------------------------------------------


def test_quantities_are_scored_against_their_trivial_answer(convert: Convert) -> None:
    result = convert("offset", "onnxruntime-fp32", evaluate="offset_labelled", metric="mae")
    assert result.status == "PASS", result.reason
    accuracy = result.accuracy
    assert accuracy is not None
    assert (accuracy.metric, accuracy.split, accuracy.samples) == ("mae", "test", 280)
    assert accuracy.trivial is not None
    assert accuracy.trivial > 2 * accuracy.float_ > 1
    assert "WEAK_SOURCE" not in result.flags


def test_one_unit_is_scored_and_one_at_chance_is_weak(convert: Convert) -> None:
    right = convert("unit", "onnxruntime-fp32", evaluate="unit_labelled", metric="binary")
    assert right.status == "PASS", right.reason
    assert right.accuracy is not None
    assert right.accuracy.float_ == 1.0
    assert "WEAK_SOURCE" not in right.flags
    chance = convert("unit", "onnxruntime-fp32", evaluate="unit_at_chance", metric="binary")
    assert chance.status == "PASS"
    assert "WEAK_SOURCE" in chance.flags
    with pytest.raises(UsageError, match="one unit per sample") as raised:
        convert("unit", "onnxruntime-fp32", evaluate="unit_labelled")
    assert "--metric binary" in raised.value.hint


def test_a_metric_that_cannot_read_the_outputs_says_so_before_any_file_is_made(
    convert: Convert, monkeypatch: pytest.MonkeyPatch, workers: Workers
) -> None:
    seen: list[str] = []
    call = workers.call

    def watched(environment: str, step: str, arguments: dict[str, Any], **options: Any) -> Any:
        seen.append(step)
        return call(environment, step, arguments, **options)

    monkeypatch.setattr(workers, "call", watched)
    with pytest.raises(UsageError, match=r"goes from 1\.01e\+03 to") as raised:
        convert("offset", "onnxruntime-fp32", evaluate="unit_at_chance", metric="binary")
    assert "binary_logit" in raised.value.hint
    assert not any("convert" in step for step in seen)


def test_without_labels_agreement_is_told_and_accuracy_is_unknown(convert: Convert) -> None:
    result = convert("boxes_and_scores", "onnxruntime-fp32", evaluate="images", outputs=["output=classes"])
    assert result.status == "PASS", result.reason
    assert result.accuracy is None
    assert result.agreement is not None
    assert (result.agreement.share, result.agreement.samples) == (1.0, 90)
    assert any("accuracy is unknown" in note for note in result.notes)
    none = convert("unit", "onnxruntime-fp32", evaluate="unit_unlabelled")
    assert none.status == "PASS", none.reason
    assert none.agreement is None


def _squares(folder: Path, first: int) -> str:
    """Red and green squares in a grid, stored twice as wide as the model sees them; ``first`` is red's number."""
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    number = {0: first, 1: 13 - first}
    images, annotations = [], []
    for i in range(400):
        picture = np.zeros((32, 64, 3), np.uint8)
        for cell in generator.choice(16, 3, replace=False):
            kind = int(generator.integers(0, 2))
            row, column = divmod(int(cell), 4)
            picture[8 * row : 8 * row + 8, 16 * column : 16 * column + 16, 2 - kind] = 255  # OpenCV writes BGR
            box = [16 * column, 8 * row, 16, 8]
            annotations.append({"image_id": i, "category_id": number[kind], "bbox": box})
        cv2.imwrite(str(folder / "images" / f"{i}.png"), picture)
        images.append({"id": i, "file_name": f"{i}.png"})
    categories = [{"id": number[0], "name": "red"}, {"id": number[1], "name": "green"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(document))
    (folder / "preprocess.toml").write_text(
        'schema = 1\nsize = [32, 32]\nlayout = "channels_first"\nscale = 0.00392156862745098\n'
    )
    return str(folder)


def test_a_users_detector_is_scored_on_cocos_json(convert: Convert, tmp_path: Path) -> None:
    options = {"evaluate": _squares(tmp_path / "right", 6), "metric": "map"}
    roles = ["where=boxes-unit", "sure=scores-logit"]
    with pytest.raises(UsageError, match="the model has where, sure"):
        convert("detector", "onnxruntime-fp32", **options)
    with pytest.raises(UsageError, match=r"within 0\.\.1"):
        convert("detector", "onnxruntime-fp32", outputs=["where=boxes-unit", "sure=scores"], **options)
    result = convert("detector", "onnxruntime-fp32", outputs=roles, **options)
    assert result.status == "PASS", result.reason
    assert result.accuracy is not None
    assert (result.accuracy.metric, result.accuracy.trivial) == ("map", 0.0)
    assert result.accuracy.float_ == pytest.approx(1.0)
    assert result.samples.classes == ("red", "green")
    assert any("0 red, 1 green" in note for note in result.notes)


def test_classes_of_a_detector_in_another_order_than_its_scores_are_weak(convert: Convert, tmp_path: Path) -> None:
    """The order is printed; with the two numbers swapped nothing is found, and nothing is proven."""
    swapped, roles = _squares(tmp_path / "swapped", 7), ["where=boxes-unit", "sure=scores-logit"]
    result = convert("detector", "onnxruntime-fp32", outputs=roles, evaluate=swapped, metric="map")
    assert result.samples.classes == ("green", "red")
    assert result.accuracy is not None
    assert result.accuracy.float_ < 0.01
    assert "WEAK_SOURCE" in result.flags
