"""What an artifact says of its inputs, outputs and licence, as sentences and as code."""

import json

import cv2
import numpy as np
import pytest

from edgekit.artifact.use import examples, said
from edgekit.result import IO
from edgekit.result.use import Preprocessing

MADE = Preprocessing(
    input="image",
    size=(4, 6),
    crop=0.875,
    colour="bgr",
    layout="channels_first",
    scale=0.5,
    mean=(1.0, 2.0, 3.0),
    std=(1.0,),
)


def test_what_makes_an_input_of_an_image_is_one_sentence():
    sentence = said._of_images(MADE)
    for part in ("the centre, 0.875 of the shorter side", "4x6", "blue, green, red, before height", "mean 1.0 2.0 3.0"):
        assert part in sentence


@pytest.mark.parametrize(
    ("tensor", "stored"),
    [
        (IO(name="x", shape=(1, 2), dtype="int8", scale=0.5, zero_point=3), np.array([[-128, 127]], np.int8)),
        (IO(name="x", shape=(1, 2), dtype="uint8", scale=0.5, zero_point=3), np.array([[0, 255]], np.uint8)),
        (IO(name="x", shape=(2, 1), dtype="float32"), np.array([[-200], [200]], np.float32)),
    ],
)
def test_an_input_is_stored_as_the_file_takes_it(tensor, stored):
    golden = {"in/x": np.array([[-200.0, 200.0]], np.float32)}
    found = eval(examples._stored(tensor, "[0]"), {"np": np, "golden": golden})
    np.testing.assert_array_equal(found, stored)
    assert found.dtype == stored.dtype


def test_names_of_others_are_text_in_the_program():
    tensor = IO(name="a'] + evil('\n```", shape=(1, 2), dtype="float32")
    golden = {f"in/{tensor.name}": np.zeros((1, 2), np.float32)}
    assert eval(examples._stored(tensor, "[0]"), {"np": np, "golden": golden}).shape == (1, 2)
    assert "\n" not in examples._stored(tensor, "[0]")


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "photos"
    for place, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.random.default_rng(100 * place + number).integers(0, 255, (8, 8, 3)).astype(np.uint8)
            cv2.imwrite(str(folder / name / f"{number}.png"), pixels)
    return folder


def test_a_folder_says_what_its_images_were_made_of(images):
    from edgekit.data import user
    from edgekit.signature import Signature, TensorSpec

    (images / "preprocess.toml").write_text(
        'schema = 1\nsize = [4, 6]\nlayout = "channels_last"\nscale = 1.0\ncolour = "gray"\n'
    )
    model = Signature((TensorSpec("image", (1, 4, 6, 1)),), (TensorSpec("y", (1, 2)),))
    found = user.load(str(images), model, labels=True, limit=5)
    assert found.preprocessing is not None
    assert json.loads(found.preprocessing.model_dump_json()) == {
        "input": "image", "size": [4, 6], "crop": None, "colour": "grey", "layout": "channels_last", "scale": 1.0,
        "mean": [0.0], "std": [1.0],
    }  # fmt: skip
