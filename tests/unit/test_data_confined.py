"""The user's images and arrays are read in a child that is confined, where they lie; their functions are theirs."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgekit import api, target
from edgekit.checkpoint import Checkpoint
from edgekit.conversion import given as reading
from edgekit.conversion import loading
from edgekit.conversion.order import Order
from edgekit.errors import UsageError
from edgekit.jobs.confine import kernel, untrusted
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Limits, Workers
from edgekit.signature import WHOLE, Signature, TensorSpec
from edgekit.sources.source import resolve

SIGNATURE = Signature((TensorSpec("x", (1, 4, 4, 3)),), (TensorSpec("y", (1, 2)),))
TOML = 'schema = 1\nsize = [4, 4]\nlayout = "channels_last"\nscale = 1.0\n'
ENDLESS = """
import numpy
def endless():
    while True:
        yield {"x": numpy.zeros((1, 4, 4, 3), "float32")}
"""


@pytest.fixture
def images(tmp_path):
    """Class folders of which one is a link, and an image that is one."""
    folder, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    for path in (folder / "cat" / "0.png", elsewhere / "dogs" / "0.png", elsewhere / "other" / "1.png"):
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (4, 4, 3), np.uint8))
    (folder / "dog").symlink_to(elsewhere / "dogs")
    (folder / "cat" / "1.png").symlink_to(elsewhere / "other" / "1.png")
    (folder / "preprocess.toml").write_text(TOML)
    return folder


def order(given):
    source = resolve("lenet5@torch")
    return Order(source, target.load("onnxruntime-int8"), api.plan_for(source, None, str(given), "top1"))


def gather(given, workers, home):
    source = resolve("lenet5@torch")
    checkpoint = Checkpoint(source, {WHOLE: source}, {WHOLE: SIGNATURE}, "torch", "torch")
    with Store(home).lease() as lease:
        run = Run(workers, lease, lambda event, label: None)
        return loading.gather(run, order(given), checkpoint, "test", ran=False)


def test_images_are_decoded_in_a_confined_child(images, tmp_path):
    with Workers(Limits(60, 4 << 30)) as workers:
        assert gather(images, workers, tmp_path / "home").entry.value.count == 2  # of three: one is for selection
        assert list(workers._children) == ["data-confined"]
        read = workers._children["data-confined"].confined.read
    assert read == (images, tmp_path / "elsewhere" / "dogs", tmp_path / "elsewhere" / "other")


def test_more_folders_than_can_be_named_are_handed_in_as_the_one_around_them(images, tmp_path):
    for number in range(300):
        (tmp_path / "elsewhere" / "many" / str(number)).mkdir(parents=True)
        (images / f"class{number}").symlink_to(tmp_path / "elsewhere" / "many" / str(number))
    assert untrusted.data(order(images).plan, tmp_path).read == (images, tmp_path / "elsewhere")


def test_a_function_has_the_users_rights_and_has_to_end(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy\ndef endless():\n    while True:\n        yield {'x': numpy.zeros((1, 4, 4, 3), 'float32')}\n"
    )
    given = f"{file}:endless"
    assert untrusted.data(order(given).plan, tmp_path) is None
    with Workers(Limits(4, 4 << 30)) as workers, pytest.raises(UsageError) as raised:
        gather(given, workers, tmp_path / "home")
    assert str(raised.value).startswith(f"the samples of {given} could not be read: ")
    assert "the step 'samples:test', " in str(raised.value)
    assert "did not finish within 4 s" in str(raised.value)


def test_what_lies_in_a_class_folder_that_is_a_link_is_part_of_the_data(images):
    before = reading._content(str(images))
    (images / "dog" / "0.png").write_bytes(b"other")
    assert reading._content(str(images)) != before
    assert Path("dog/0.png").as_posix() in {name for name, _ in before[1]}


def test_it_is_said_where_nothing_keeps_a_file_of_others_from_the_users(tmp_path, monkeypatch):
    (tmp_path / "m.pt2").write_bytes(b"PK")
    theirs, own = resolve(str(tmp_path / "m.pt2")), resolve("lenet5@torch")
    monkeypatch.setattr(kernel, "landlock_version", lambda: 6)
    assert untrusted.unheld(theirs) == ()
    monkeypatch.setattr(kernel, "landlock_version", lambda: 0)
    assert untrusted.unheld(own) == ()
    [note] = untrusted.unheld(theirs)
    assert "m.pt2" in note and "Landlock" in note and "edgekit doctor" in note
