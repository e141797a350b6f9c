"""An artifact's card: what it says, what it does not claim, and the picture of what the artifact does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from markdown_it import MarkdownIt

from edgekit.artifact import card, picture
from edgekit.artifact.readme import readme
from edgekit.result import Accuracy, ErrorFacts, Proof, RangesFacts, Result, RouteTried
from edgekit.result.speed import Latency
from tests.unit.test_words import TIMED
from tests.unit.test_words import result as plain

SCORED = Accuracy(
    metric="top1", higher_is_better=True, samples=2000, float=0.95, checkpoint=0.95, artifact=0.94, drop=0.01,
    drop_ci95=(0.0, 0.02), agreement=0.99, split="test",
)  # type: ignore[call-arg]  # fmt: skip


def made(latency: Latency | None = TIMED, **facts: Any) -> Result:
    return plain(latency).model_copy(update=facts)


def of_user(**facts: Any) -> Result:
    source = plain(None).source.model_copy(update={"kind": "keras", "name": "mine", "given": "mine.keras"})
    return made(source=source, **facts)


# --- Words -----------------------------------------------------------------------------------------------------------


def test_a_model_of_the_zoo_names_its_paper_task_and_licences() -> None:
    result = made(samples=plain(None).samples.model_copy(update={"origin": "task digits32"}))
    text = readme(result, ["model.onnx"])
    assert "LeNet-5" in text
    assert "Handwritten digits" in text
    [weights, data] = card.licence(result)
    assert "Apache-2.0" in weights
    assert "CC BY 4.0" in data


def test_a_kind_of_source_that_is_its_framework_is_named_once() -> None:
    source = plain(None).source.model_copy(update={"kind": "onnx", "given": "m.onnx"})
    assert dict(card.about(made(source=source, framework="onnx")))["source"] == "m.onnx (onnx)"


def test_how_samples_of_the_ranges_were_drawn_is_said() -> None:
    ranges = RangesFacts(plan="tool", method="tool", settings={}, samples=200, draw="random")
    said = dict(card.about(of_user(ranges=ranges)))["calibration"]
    assert said == "200 samples, drawn at random by a seed where there were more; ranges by the tool itself"


@pytest.mark.parametrize("split", ["test", "selection"])
def test_the_card_says_which_samples_scored_it(split: str) -> None:
    """A rejected file has not seen those of test."""
    said = card.limits(of_user(accuracy=SCORED.model_copy(update={"split": split})))
    assert any(line.startswith(f"Accuracy is of 2000 {split} samples") for line in said)


def test_the_card_of_what_did_not_pass_has_the_next_step() -> None:
    error = ErrorFacts(code="fail-accuracy", message="it loses.", hint="Train for more epochs.")
    text = readme(of_user(status="FAIL_ACCURACY", reason="it loses.", error=error), ["model.onnx"])
    assert "it loses. Next step: Train for more epochs.\n" in text
    assert "Next step" not in readme(of_user(), ["model.onnx"])


def test_no_licence_is_invented_for_what_a_user_handed_in() -> None:
    [first, _] = card.licence(of_user())
    assert first == "As its source: edgekit knows no licence of it, and adds none."
    assert not {"MIT", "Apache", "CC"} & set(readme(of_user(), []).replace("-", " ").split())


@pytest.mark.parametrize("note", ["1. one", "2) two", "- three", "+ four", "    five", "# six"])
def test_a_note_is_one_line_of_its_list(note: str) -> None:
    tokens = MarkdownIt("commonmark").parse(readme(made(notes=(note,)), []))
    assert not {"ordered_list_open", "code_block"} & {token.type for token in tokens}
    assert {token.level for token in tokens if token.type == "bullet_list_open"} == {0}
    words = ["".join(part.content for part in token.children) for token in tokens if token.children]
    assert f"{note.strip()}." in words


@pytest.mark.parametrize(
    ("kept", "says"), [(0, "| route quiet of t |"), (1, "| route quiet of t, after smoothquant |")]
)
def test_what_was_done_before_is_said_of_the_file_that_was_chosen_alone(kept: int, says: str) -> None:
    tried = [
        RouteTried(route="quiet", recipe=recipe, status="UNDECIDED", chosen=place == kept)
        for place, recipe in enumerate((None, "smoothquant"))
    ]
    assert says in readme(of_user(route="quiet", target="t", routes_tried=tuple(tried)), ["model.onnx"])


def test_an_architecture_without_weights_says_so() -> None:
    source = plain(None).source.model_copy(update={"config": "reference"})
    [only] = card.licence(made(source=source))
    assert "not trained" in only


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"proof": Proof(kind="none")}, "Nothing has executed it: whether ONNX Runtime opens it is not known."),
        (
            {"proof": Proof(kind="stand-in", by="another")},
            "Executed by another on Linux, x86_64, which is not ONNX Runtime",
        ),
        ({}, "Executed by ONNX Runtime on Linux, x86_64; other versions and devices were not tried."),
        ({}, "Its accuracy is not known"),
        ({"accuracy": SCORED}, "Accuracy is of 2000 test samples of the data that was handed in"),
        ({"latency": None}, "It was not timed."),
        ({}, "one thread, median of 41 blocks in turns with the float file"),
        ({"status": "FAIL_PARITY"}, "It did not pass: FAIL_PARITY."),
        ({"flags": ("LARGER",)}, "LARGER: larger than its float twin."),
        ({"notes": ("kept in float: a",)}, "kept in float: a."),
    ],
)
def test_what_is_not_proven_is_among_the_limits(facts: dict[str, Any], said: str) -> None:
    assert any(line.startswith(said) or said in line for line in card.limits(of_user(**facts)))


def test_whether_something_came_from_the_store_is_no_limit_of_the_file() -> None:
    assert not [line for line in card.limits(made(flags=("REUSED",))) if "REUSED" in line]


# --- The picture -----------------------------------------------------------------------------------------------------


def golden(path: Path, image: np.ndarray, outputs: dict[str, np.ndarray], floats: dict[str, np.ndarray]) -> Path:
    arrays = {"in/image": image} | {f"out/{n}": a for n, a in outputs.items()}
    np.savez(path, **arrays, **{f"float/{n}": a for n, a in floats.items()})
    return path


def pixels(shown: picture.Picture | None) -> np.ndarray:
    """As another library reads the file, red first."""
    assert shown is not None
    read = cv2.imdecode(np.frombuffer(shown.png, np.uint8), cv2.IMREAD_COLOR)
    assert read is not None
    return read[..., ::-1]


def images(n: int = 8, side: int = 32, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).random((n, side, side, channels)).astype(np.float32)


def test_what_is_written_is_what_another_library_reads() -> None:
    made = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    read = cv2.imdecode(np.frombuffer(picture.png(made), np.uint8), cv2.IMREAD_COLOR)
    assert read is not None
    assert np.array_equal(read[..., ::-1], made)


def test_classes_stand_below_the_images_with_the_float_models_where_it_says_another(tmp_path: Path) -> None:
    own, floats = np.eye(8)[[3, 1, 4, 1, 5, 2, 6, 5]], np.eye(8)[[3, 1, 7, 1, 5, 2, 6, 5]]
    file = golden(tmp_path / "g.npz", images(), {"logits": own}, {"logits": floats})
    shown = picture.draw(file, "top1", None, ("a", "b"))
    assert shown == picture.draw(file, "top1", None, ("a", "b"))
    assert shown is not None
    assert shown.says.endswith("gives: 3, 1 b, 4 (the float model: 7), 1 b")
    read = pixels(shown)
    assert read.shape[1] == 4 * 128 + 3 * picture.GAP
    three = picture._text("3")
    assert np.array_equal(read[-three.shape[0] :, : three.shape[1]], three)


@pytest.mark.parametrize("moved", [False, True])
def test_a_mask_is_as_the_model_gives_it_wherever_channels_lie(moved: bool, tmp_path: Path) -> None:
    scores = np.zeros((8, 32, 32, 6), np.float32)
    scores[:, :16, :, 1], scores[:, 16:, :, 5] = 1, 1
    image = images()
    arrays = [np.moveaxis(array, 3, 1) if moved else array for array in (image, scores)]
    read = pixels(picture.draw(golden(tmp_path / "g.npz", arrays[0], {"s": arrays[1]}, {}), "miou", None))
    mask = read[128 + picture.GAP :, :128]
    assert (mask[:64] == picture.COLOURS[1]).all()
    assert (mask[64:] == picture.COLOURS[5]).all()


def test_boxes_lie_where_the_tasks_postprocessing_puts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.array([[[10, 12, 30, 40], [0, 0, 5, 5]]] * 8, np.float64)
    scores = np.array([[[0.1, 0.9, 0.0], [0.4, 0.3, 0.0]]] * 8)
    monkeypatch.setattr(picture.tasks, "postprocess", lambda task, outputs: {"boxes": boxes, "scores": scores})
    image = np.zeros((8, 48, 48, 3), np.float32)
    shown = picture.draw(golden(tmp_path / "g.npz", image, {"raw": boxes}, {}), "map", "scenes")
    assert shown is not None
    assert "4 boxes" in shown.says  # those below one half are not drawn
    read, colour = pixels(shown)[:, :144], picture.COLOURS[1]
    ys, xs = np.nonzero((read == colour).all(axis=2))
    assert (xs.min(), xs.max(), ys.max()) == (30, 90, 120)
    assert (read[60, 31:89][2:-2] != colour).any(axis=1).all()  # a frame, and not a filled box


@pytest.mark.parametrize(
    ("image", "metric"),
    [
        (np.zeros((8, 24), np.int32), "top1"),  # tokens
        (np.zeros((8, 4, 4, 3), np.float32), "top1"),
        (np.zeros((8, 32, 32, 7), np.float32), "top1"),
        (np.full((8, 32, 32, 3), np.nan, np.float32), "top1"),
        (images(), "perplexity"),
        (images(), "map"),
        (images(), None),
    ],
)
def test_where_there_is_no_image_there_is_no_picture(image: np.ndarray, metric: str | None, tmp_path: Path) -> None:
    file = golden(tmp_path / "g.npz", image, {"logits": np.eye(8)}, {"logits": np.eye(8)})
    assert picture.draw(file, metric, None) is None


@pytest.mark.parametrize(("side", "channels"), [(500, 3), (8, 1), (144, 1)])
def test_images_of_any_size_make_a_small_picture(side: int, channels: int, tmp_path: Path) -> None:
    file = golden(tmp_path / "g.npz", images(4, side, channels), {"l": np.eye(4)}, {"l": np.eye(4)})
    shown = picture.draw(file, "top1", None)
    assert shown is not None
    assert len(shown.png) < 300_000
    assert pixels(shown).shape[1] <= 4 * picture.SIDE + 3 * picture.GAP


def test_the_card_shows_the_picture_with_words_for_who_does_not_see_it() -> None:
    text = readme(made(), ["model.onnx"], picture.Picture(b"", "what *it* says"))
    assert f"![what \\*it\\* says]({picture.NAME})" in text
    assert "](" not in readme(made(), ["model.onnx"])
