"""The user's own data: read, checked against the model, split and hashed."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.data import coco, images, user
from edgekit.data import plan as planning
from edgekit.data.tasks import Samples
from edgekit.errors import DamagedFileError, UnsafeInputError, UsageError
from edgekit.proof import execution, metrics
from edgekit.signature import WHOLE, Signature, TensorSpec
from edgekit.steps import describe, reference

ONE = Signature((TensorSpec("image", (1, 4, 4, 3)),), (TensorSpec("logits", (1, 5)),))
TWO = Signature(
    (TensorSpec("a", (1, 2)), TensorSpec("ids", (1, 3), "int32")),
    (TensorSpec("p", (1, 2)), TensorSpec("map", (1, 4, 4, 3))),
)
ZOO_TORCH = Signature((TensorSpec("image", (1, 3, 4, 4), layout="channels_first"),), (TensorSpec("logits", (1, 5)),))


def x_of(n=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 4, 4, 3)).astype("float32")


def npz(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_one_input_may_be_called_x_and_labels_y(tmp_path):
    x, y = x_of(), np.arange(6) % 5
    for name in ("x", "image"):
        samples = user.load(npz(tmp_path / "d.npz", **{name: x, "y": y}), ONE, labels=True)
        np.testing.assert_array_equal(samples.inputs["image"], x)
        np.testing.assert_array_equal(samples.labels, y)


def test_several_inputs_come_by_name(tmp_path):
    a, ids = np.ones((3, 2)), np.array([[1, 2, 3]] * 3)
    samples = user.load(npz(tmp_path / "d.npz", a=a, ids=ids), TWO)
    assert {k: v.dtype.name for k, v in samples.inputs.items()} == {"a": "float32", "ids": "int32"}
    assert samples.labels is None
    assert user.load(str(tmp_path / "d.npz"), TWO, labels=True).labels is None  # agreement is told, accuracy is not


def test_a_zoo_model_with_channels_first_takes_either_layout(tmp_path):
    x = x_of()
    last = user.load(npz(tmp_path / "l.npz", x=x), ZOO_TORCH).inputs["image"]
    first = user.load(npz(tmp_path / "f.npz", x=np.moveaxis(x, -1, 1)), ZOO_TORCH).inputs["image"]
    np.testing.assert_array_equal(first, last)
    assert first.shape == (6, 3, 4, 4)


#: A table without a batch beside states of two layers; what comes out has no batch either.
WHOLE_TENSORS = Signature(
    (TensorSpec("x", (1, 5)), TensorSpec("table", (6, 3)), TensorSpec("h", (2, 1, 4))), (TensorSpec("y", (6, 2)),)
)


def whole(n):
    return {"x": np.ones((n, 5)), "table": np.ones((n, 6, 3)), "h": np.arange(n * 8.0).reshape(n, 2, 1, 4)}


def test_samples_of_whole_tensors_are_read_row_by_row(tmp_path):
    for arrays in (whole(3), {**whole(3), "x": np.ones((3, 1, 5))}):
        found = user.load(
            npz(tmp_path / "d.npz", **arrays, y=np.arange(18).reshape(3, 6) % 2), WHOLE_TENSORS, labels=True
        )
        assert {name: a.shape for name, a in found.inputs.items()} == {
            "x": (3, 5),
            "table": (3, 6, 3),
            "h": (3, 2, 1, 4),
        }
        np.testing.assert_array_equal(found.inputs["h"], whole(3)["h"])
        assert found.labels is not None and found.labels.shape == (3, 6)


def test_one_whole_tensor_is_one_sample_with_its_labels(tmp_path):
    one = {name: array[0] for name, array in whole(1).items()} | {"x": np.ones((1, 5))}
    for labels, shape in ((np.arange(6) % 2, (1, 6)), (np.array([1]), (1,))):
        found = user.load(npz(tmp_path / "d.npz", **one, y=labels), WHOLE_TENSORS, labels=True)
        assert {name: a.shape for name, a in found.inputs.items()} == {
            "x": (1, 5),
            "table": (1, 6, 3),
            "h": (1, 2, 1, 4),
        }
        assert found.labels is not None and found.labels.shape == shape


def test_a_function_may_yield_whole_tensors(tmp_path):
    yielded = "yield np.full((6, 3), i, 'float32'), np.arange(6)"
    (tmp_path / "d.py").write_text(f"import numpy as np\ndef f():\n    for i in range(4):\n        {yielded}\n")
    table = Signature((TensorSpec("table", (6, 3)),), (TensorSpec("y", (6, 2)),))
    found = user.load(f"{tmp_path / 'd.py'}:f", table, labels=True)
    assert found.inputs["table"].shape == (4, 6, 3)
    assert found.inputs["table"][:, 0, 0].tolist() == [0, 1, 2, 3]
    assert found.labels is not None and found.labels.shape == (4, 6)


def test_rows_of_a_table_are_no_samples_and_the_way_out_is_said(tmp_path):
    table = Signature((TensorSpec("table", (6, 3)),), (TensorSpec("y", (6, 2)),))
    with pytest.raises(UsageError, match=r"shape \(12, 3\); needed: \(samples, 6, 3\), or \(6, 3\) for one") as raised:
        user.load(npz(tmp_path / "d.npz", x=np.ones((12, 3))), table)
    assert raised.value.hint == "--input table=1x3:float32 declares the first axis to be a batch."


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"picture": x_of()}, "the model's inputs are image"),
        ({"x": x_of(), "extra": x_of()}, "extra"),
        ({"x": x_of()[:, :3]}, r"needed: \(samples, 4, 4, 3\)"),
        ({"x": np.moveaxis(x_of(), -1, 1)}, r"\(6, 3, 4, 4\)"),
        ({"x": (x_of() * 9).astype("uint8")}, "uint8; the model takes float32"),
        ({"x": x_of()[:0]}, "empty"),
        ({"x": x_of(), "y": np.arange(5)}, "different numbers"),
        ({"x": x_of(), "y": np.array([0, 1, np.nan, 3, 5, 1])}, "labels have NaN"),
        ({"x": x_of(), "y": np.array(list("abcdef"))}, "labels are"),
    ],
)
def test_data_unlike_the_model_are_refused(tmp_path, arrays, said):
    with pytest.raises(UsageError, match=said):
        user.load(npz(tmp_path / "d.npz", **arrays), ONE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_named_by_sample(tmp_path, value):
    x = x_of()
    x[3, 1, 1, 1] = value
    with pytest.raises(UsageError, match="'image' has NaN or infinity in sample 3"):
        user.load(npz(tmp_path / "d.npz", x=x), ONE)


def test_integers_must_fit(tmp_path):
    with pytest.raises(UsageError, match="'ids' has 1099511627776 in sample 0; int32 holds -2147483648 to 2147483647"):
        user.load(npz(tmp_path / "d.npz", a=np.ones((1, 2)), ids=np.array([[1, 2, 2**40]])), TWO)


def test_numbers_must_fit(tmp_path):
    """In float64 they are finite, and in the type that the model takes they would be infinite."""
    x = x_of().astype("float64")
    x[3, 1, 1, 1] = -1e300
    with pytest.raises(
        UsageError, match=r"'image' has -1e\+300 in sample 3; float32 holds .* to 3\.40\d+e\+38"
    ) as error:
        user.load(npz(tmp_path / "d.npz", x=x), ONE)
    assert error.value.hint
    x[3, 1, 1, 1] = np.finfo("float32").max
    assert user.load(npz(tmp_path / "d.npz", x=x), ONE).inputs["image"].max() == np.finfo("float32").max


UNIT = Signature(ONE.inputs, (TensorSpec("p", (1, 1)),))
PIXELS = Signature(ONE.inputs, (TensorSpec("map", (1, 3, 4, 4)),))
SQUARE = Signature(ONE.inputs, (TensorSpec("tokens", (1, 8, 8)),))
BOXES = Signature(
    ONE.inputs, (TensorSpec("b", (1, 4, 9), role="boxes-cxcywh-unit"), TensorSpec("s", (1, 9, 2), role="scores-logit"))
)
ONE_HEAD = Signature(ONE.inputs, (TensorSpec("out", (1, 6, 9), role="boxes-cxcywh-unit+scores-logit"),))


@pytest.mark.parametrize(
    ("metric", "signature", "labels"),
    [
        ("top1", ONE, np.array([0, 4, 1])),
        ("binary", UNIT, np.array([0, 1, 1])),
        ("auc", UNIT, np.array([0, 1, 1])),
        ("mae", UNIT, np.array([0.5, 3.0, 1])),
        ("r2", ONE, np.random.default_rng(0).normal(size=(3, 5))),
        ("miou", PIXELS, np.full((3, 4, 4), 2)),
        ("perplexity", SQUARE.with_channels("keras"), np.full((3, 8), 2)),
        ("map", BOXES, np.tile([1.0, 2, 2, 9, 9], (3, 7, 1))),
        ("map", ONE_HEAD, np.tile([1.0, 2, 2, 9, 9], (3, 7, 1))),
    ],
)
def test_a_metric_takes_what_fits_the_model(metric, signature, labels):
    execution.check_metric(metrics.metric(metric), labels, {WHOLE: signature})


@pytest.mark.parametrize(
    ("metric", "signature", "labels", "said", "hint"),
    [
        ("top1", ONE, np.array([0, 1, 5]), "label 5 of sample 2 .* so 0 to 4", "order of the model"),
        ("top1", ONE, np.array([0, -1, 5]), "label -1 of sample 1", ""),
        ("top1", ONE, np.eye(3, 5, dtype=int), "labels have shape", "one label per sample"),
        ("top1", ONE, np.array([0.5, 1, 2]), "labels are float64", "mae, rmse or r2"),
        ("top1", UNIT, np.array([0, 1, 1]), "one unit per sample", "--metric binary"),
        ("top5", ONE, np.array([0, 1, 2]), "at least 6 classes", ""),
        ("binary", ONE, np.array([0, 1, 1]), "binary scores one unit", "--metric top1"),
        ("binary", UNIT, np.array([0, 1, 2]), "label 2 of sample 2", ""),
        ("auc", UNIT, np.array([1, 1, 1]), "both classes", ""),
        ("mae", ONE, np.array([0.5, 1.0, 2.0]), "the output has shape", "the output's shape"),
        ("miou", PIXELS, np.full((3, 4, 4), 3), "label 3 of sample 0", ""),
        ("perplexity", SQUARE.with_channels("torch"), np.full((3, 8), 2), "the labels fit either", "unsqueeze(1)"),
        ("map", ONE, np.zeros((3, 7, 5)), "the model has logits", "NAME=boxes"),
        ("map", BOXES, np.array([0, 1, 2]), r"\(samples, objects, 5\)", "one row per object"),
        ("map", BOXES, np.full((3, 7, 5), 2), "class 2 to 2", ""),
        ("si_sdr", ONE, np.zeros((3, 5)), "silence", ""),
        ("stylization", PIXELS, np.zeros((3, 4, 4, 3)), "the output has shape", "the content, then the style"),
        ("stylization", PIXELS, np.zeros((3, 2, 4, 4, 3)), "have 4x4 pixels", "at least 16x16"),
    ],
)
def test_a_metric_that_does_not_fit_says_so_before_any_work(metric, signature, labels, said, hint):
    with pytest.raises(UsageError, match=said) as raised:
        execution.check_metric(metrics.metric(metric), labels, {WHOLE: signature})
    assert hint.lower() in raised.value.hint.lower()


def test_class_numbers_may_come_as_a_column(tmp_path):
    loaded = user.load(npz(tmp_path / "d.npz", x=x_of(), y=np.arange(6)[:, None] % 5), ONE, labels=True)
    assert loaded.labels.shape == (6,)
    loaded = user.load(npz(tmp_path / "d.npz", x=x_of(), y=np.ones((6, 1))), UNIT, labels=True)
    assert loaded.labels.shape == (6, 1)


def test_calibration_samples_that_are_evaluated_are_dropped_and_counted(tmp_path):
    x = x_of(200)
    evaluate = npz(tmp_path / "e.npz", x=x[100:], y=np.zeros(100, int))
    few = npz(tmp_path / "c.npz", x=x[:104])
    made = planning.make(planning.DataPlan(calibrate=few, evaluate=evaluate), "calibration", ONE)
    assert (len(made.inputs["image"]), made.dropped) == (100, 4)
    many = npz(tmp_path / "m.npz", x=x[:110])
    with pytest.raises(UsageError, match=r"10 of 110 samples of .*m\.npz are among the evaluation samples"):
        planning.make(planning.DataPlan(calibrate=many, evaluate=evaluate), "calibration", ONE)
    with pytest.raises(UsageError, match="100 of 100"):
        planning.make(planning.DataPlan(calibrate=evaluate, evaluate=evaluate), "calibration", ONE)


def test_calibration_needs_different_samples(tmp_path):
    one = planning.DataPlan(calibrate=npz(tmp_path / "1.npz", x=x_of(1)))
    with pytest.raises(UsageError, match="holds one sample"):
        planning.make(one, "calibration", ONE)
    assert len(planning.make(one, "selection", ONE).inputs["image"]) == 1  # a float target only compares
    two = planning.DataPlan(calibrate=npz(tmp_path / "2.npz", x=x_of(2)))
    assert len(planning.make(two, "calibration", ONE).inputs["image"]) == 1
    flat = planning.DataPlan(calibrate=npz(tmp_path / "f.npz", x=np.zeros((64, 4, 4, 3), "float32")))
    with pytest.raises(UsageError, match=r"all 48 calibration samples .* are alike"):
        planning.make(flat, "calibration", ONE)


def test_a_damaged_or_pickled_npz_is_refused(tmp_path):
    path = tmp_path / "d.npz"
    npz(path, x=x_of())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedFileError, match=r"d\.npz"):
        user.load(str(path), ONE)
    path.write_bytes(data[:300] + bytes([data[300] ^ 1]) + data[301:])
    with pytest.raises(DamagedFileError, match=r"d\.npz"):
        user.load(str(path), ONE)
    npz(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UnsafeInputError, match=r"d\.npz"):
        user.load(str(path), ONE)


def test_missing_and_unknown_data(tmp_path):
    for name, said in (("none.npz", "no such file"), ("d.csv", r"\.csv")):
        (tmp_path / "d.csv").write_text("1,2")
        with pytest.raises(UsageError, match=said):
            user.load(str(tmp_path / name), ONE)


def test_a_limit_draws_from_the_whole_file_by_its_seed(tmp_path):
    text = npz(tmp_path / "d.npz", x=x_of(200), y=np.sort(np.arange(200) % 5))
    one, again, other = (user.load(text, ONE, limit=20, seed=s) for s in (0, 0, 1))
    assert user.digest(one) == user.digest(again) != user.digest(other)
    assert len(set(one.labels)) == 5  # a file that is sorted by class does not give one class only


@given(st.integers(2, 300), st.integers(0, 2**32))
def test_a_split_is_disjoint_whole_and_repeatable(count, seed):
    samples = Samples({"x": np.arange(count)}, np.arange(count))
    selection, test = user.split(samples, seed)
    assert sorted([*selection.inputs["x"], *test.inputs["x"]]) == list(range(count))
    assert len(test.labels) >= 1
    assert abs(len(selection.labels) - 0.3 * count) <= 0.71
    assert user.digest(selection) == user.digest(user.split(samples, seed)[0])


def test_one_sample_cannot_be_split():
    with pytest.raises(UsageError, match="cannot be split"):
        user.split(Samples({"x": np.ones(1)}, None), 0)


def test_the_digest_sees_every_part():
    x, y = x_of(), np.arange(6)
    digests = {
        user.digest(s)
        for s in (
            Samples({"x": x}, y),
            Samples({"x": x}, None),
            Samples({"z": x}, y),
            Samples({"x": x + 1}, y),
            Samples({"x": x}, y[::-1].copy()),
            Samples({"x": x.reshape(6, 16, 3)}, y),
            Samples({"x": x.astype("float64")}, y),
        )
    }
    assert len(digests) == 7


# --- Python functions ----------------------------------------------------------------------------------------------

FUNCTIONS = """
import numpy as np
rng = np.random.default_rng(0)
x = rng.normal(size=(6, 4, 4, 3)).astype("float32")
def dicts():
    for i in range(3):
        yield {"x": x[2 * i:2 * i + 2], "y": np.array([0, 1])}
def tuples():
    return [(x[:3], [0, 1, 2]), (x[3:], [3, 4, 0])]
def bare():
    yield x
def endless():
    while True:
        yield (x,)
def empty():
    return []
def whole():
    return {"image": x}
def three():
    yield x, x, x
def raises():
    yield (x,)
    raise RuntimeError("broken disk")
def number():
    return 3
"""


@pytest.fixture
def functions(tmp_path):
    (tmp_path / "mydata.py").write_text(FUNCTIONS)
    return f"{tmp_path / 'mydata.py'}:"


@pytest.mark.parametrize(
    ("name", "limit", "count", "labelled"),
    [
        ("dicts", None, 6, True),
        ("tuples", None, 6, True),
        ("bare", None, 6, False),
        ("whole", None, 6, False),
        ("endless", 100, 100, False),
    ],
)
def test_batches_of_a_function(functions, name, limit, count, labelled):
    samples = user.load(functions + name, ONE, limit=limit)
    assert len(samples.inputs["image"]) == count
    assert (samples.labels is not None) == labelled
    np.testing.assert_array_equal(samples.inputs["image"][:6], np.asarray(x_like_functions())[:6])


def x_like_functions():
    return np.random.default_rng(0).normal(size=(6, 4, 4, 3)).astype("float32")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty", "yielded no samples"),
        ("three", "yields 3 arrays"),
        ("number", "returned an int"),
        ("missing", "missing"),
        ("raises", "broken disk"),
    ],
)
def test_a_function_that_gives_something_else(functions, name, said):
    with pytest.raises(UsageError, match=said):
        user.load(functions + name, ONE)


# --- images --------------------------------------------------------------------------------------------------------

TOML = 'schema = 1\nsize = [4, 4]\nlayout = "channels_last"\nscale = 0.00392156862745098\n'


def folder_of_images(tmp_path, toml=TOML):
    for label, (name, colour) in enumerate({"blue": (255, 0, 0), "red": (0, 0, 255)}.items()):
        (tmp_path / name).mkdir()
        for i in range(3):
            image = np.full((8, 12, 3), colour, np.uint8)
            image[0, 0] = label * 10 + i
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), image)  # OpenCV writes BGR
    (tmp_path / "preprocess.toml").write_text(toml)
    return str(tmp_path)


def test_images_come_as_rgb_with_sorted_classes(tmp_path):
    samples = user.load(folder_of_images(tmp_path), UNIT, labels=True)
    assert list(samples.labels) == [0, 0, 0, 1, 1, 1]
    assert samples.classes == ("blue", "red")
    np.testing.assert_array_equal(samples.inputs["image"][0, 3, 3], [0, 0, 1])
    np.testing.assert_array_equal(samples.inputs["image"][5, 3, 3], [1, 0, 0])


def test_preprocessing_is_scale_then_mean_then_std(tmp_path):
    toml = (
        TOML.replace("last", "first").replace("0.00392156862745098", "0.5")
        + "mean = [1.0, 2.0, 3.0]\nstd = [2.0, 4.0, 8.0]\n"
    )
    first = Signature((TensorSpec("image", (1, 3, 4, 4)),), ONE.outputs)
    samples = user.load(folder_of_images(tmp_path, toml), first)
    np.testing.assert_allclose(samples.inputs["image"][3, :, 3, 3], [(127.5 - 1) / 2, -2 / 4, -3 / 8])


def test_one_number_is_the_mean_of_all_channels(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "three").mkdir()
    one = user.load(folder_of_images(tmp_path / "one", TOML + "mean = 0.5\nstd = 2\n"), ONE)
    three = user.load(
        folder_of_images(tmp_path / "three", TOML + "mean = [0.5, 0.5, 0.5]\nstd = [2.0, 2.0, 2.0]\n"), ONE
    )
    np.testing.assert_array_equal(one.inputs["image"], three.inputs["image"])


@pytest.mark.parametrize("word", ["grey", "gray"])
def test_grey_images_have_one_channel(tmp_path, word):
    grey = Signature((TensorSpec("image", (1, 4, 4, 1)),), ONE.outputs)
    toml = TOML.replace("0.00392156862745098", "1.0") + f'colour = "{word}"\n'
    samples = user.load(folder_of_images(tmp_path, toml), grey)
    assert samples.inputs["image"][3, 3, 3, 0] == pytest.approx(0.299 * 255, abs=1)


def test_the_example_of_the_docs_works_as_it_stands(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "own-models.md").read_text("utf-8")
    [toml] = [block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "layout" in block]
    folder = folder_of_images(tmp_path, toml)
    for old, new in (("blue", "cat"), ("red", "dog")):
        (tmp_path / old).rename(tmp_path / new)
    model = Signature((TensorSpec("image", (1, 3, 224, 224)),), (TensorSpec("y", (1, 2)),))
    samples = user.load(folder, model, labels=True)
    assert samples.classes == ("cat", "dog")
    np.testing.assert_allclose(
        samples.inputs["image"][0, :, 112, 112], [-0.485 / 0.229, -0.456 / 0.224, (1 - 0.406) / 0.225], rtol=1e-5
    )


@pytest.mark.parametrize("row", [(3, 20, 30), (20, 30, 3), (1, 20, 30), (20, 30, 1)])
def test_the_example_of_the_error_works_for_that_model(tmp_path, row):
    folder, model = folder_of_images(tmp_path), Signature((TensorSpec("image", (1, *row)),), (TensorSpec("y", (1, 2)),))
    (tmp_path / "preprocess.toml").unlink()
    with pytest.raises(UsageError, match=r"has no preprocess\.toml") as raised:
        user.load(folder, model)
    (tmp_path / "preprocess.toml").write_text(raised.value.hint.partition("\n")[2])
    assert user.load(folder, model).inputs["image"].shape == (6, *row)


@pytest.mark.parametrize(
    ("shape", "crop", "size", "rows", "columns"),
    [((20, 40), 0.5, (10, 10), (5, 15), (15, 25)), ((40, 20), 1.0, (10, 10), (10, 30), (0, 20))],
)
def test_the_centre_crop_keeps_its_share_of_the_shorter_side(shape, crop, size, rows, columns):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3)).astype(np.uint8)
    settings = images.Preprocessing.model_validate(
        {"schema": 1, "size": size, "layout": "channels_last", "scale": 1, "crop": crop}
    )
    expected = cv2.resize(image[slice(*rows), slice(*columns)], size, interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(images.resized(image, settings), expected)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (None, "no preprocess.toml"),
        ("size = [4, 4", "not valid TOML"),
        (TOML.replace("0.00392156862745098", "9" * 5000), "not valid TOML: Exceeds the limit"),
        (TOML + "a." * 200_000 + "b = 1\n", "more than 500 dots in line 5"),
        (TOML.replace("[4, 4]", "[1000000, 1000000]"), r"shape \(1, 1000000, 1000000, 3\)"),
        (TOML + "sise = 3\n", "sise"),
        (TOML.replace("schema = 1\n", ""), "schema"),
        (TOML.replace("[4, 4]", "[0, 4]"), "size"),
        (TOML + "mean = [1.0, 2.0]\n", "mean has 2 values"),
        (TOML + "std = [0.0]\n", "std"),
        (TOML + "crop = 1.5\n", "crop"),
        (TOML.replace("scale = 0.00392156862745098\n", ""), "scale: Field required"),
        (TOML + 'classes = ["a", "b", "a"]\n', "names one twice"),
    ],
)
def test_preprocessing_must_be_said_and_right(tmp_path, toml, said):
    folder_of_images(tmp_path, toml or "")
    if toml is None:
        (tmp_path / "preprocess.toml").unlink()
    with pytest.raises(UsageError, match=said):
        user.load(str(tmp_path), ONE)


def test_a_damaged_image_is_named(tmp_path):
    folder_of_images(tmp_path)
    (tmp_path / "red" / "1.png").write_bytes(b"\x89PNG....")
    with pytest.raises(DamagedFileError, match=r"1\.png"):
        user.load(str(tmp_path), ONE)


def test_classes_need_images_and_folders_need_classes(tmp_path):
    folder_of_images(tmp_path)
    (tmp_path / "zebra").mkdir()
    with pytest.raises(UsageError, match="zebra"):
        user.load(str(tmp_path), ONE)
    (tmp_path / "zebra").rmdir()
    (tmp_path / "blue" / "0.png").rename(tmp_path / "loose.png")
    with pytest.raises(UsageError, match="beside the class folders"):
        user.load(str(tmp_path), ONE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="is empty"):
        user.load(str(tmp_path / "empty"), ONE)


def test_a_flat_folder_has_no_labels_and_a_limit_reads_only_what_it_draws(tmp_path):
    folder = tmp_path / "flat"
    folder.mkdir()
    for i in range(9):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((4, 4, 3), i, np.uint8))
    (folder / "preprocess.toml").write_text(TOML.replace("0.00392156862745098", "1.0"))
    samples = user.load(str(folder), ONE, limit=4)
    assert samples.labels is None
    values = samples.inputs["image"][:, 0, 0, 0]
    np.testing.assert_array_equal(values, user.drawn(9, 4, 0))


def test_class_folders_must_match_the_outputs(tmp_path):
    """One missing folder of three shifts every label; names sorted by themselves may be in no model's order."""
    folder = folder_of_images(tmp_path)
    with pytest.raises(
        UsageError, match=r"class folders and outputs do not match: .* has 2 \(blue, red\).* 5"
    ) as raised:
        user.load(folder, ONE, labels=True)
    assert "classes = [...]" in raised.value.hint
    assert user.load(folder, ONE).labels is None  # enough to calibrate with
    for listed, said in (
        ('["red", "blue", "green"]', "lists 3 classes, and the model has 5"),
        ('["a", "b", "c", "d", "red"]', "class folder blue, which preprocess.toml does not list"),
    ):
        (tmp_path / "preprocess.toml").write_text(TOML + f"classes = {listed}\n")
        with pytest.raises(UsageError, match=said):
            user.load(folder, ONE, labels=True)
    (tmp_path / "preprocess.toml").write_text(TOML + 'classes = ["zero", "red", "two", "blue", "four"]\n')
    samples = user.load(folder, ONE, labels=True)
    assert list(samples.labels) == [3, 3, 3, 1, 1, 1]
    assert samples.classes == ("zero", "red", "two", "blue", "four")


def test_class_folders_that_are_numbers_have_no_order_of_their_own(tmp_path):
    settings = images.Preprocessing.model_validate({"schema": 1, "size": (4, 4), "layout": "channels_last", "scale": 1})
    assert images.order_of(tmp_path, {"0", "1", "2"}, settings, 3) == ("0", "1", "2")
    assert images.order_of(tmp_path, {"01", "02", "10"}, settings, 3) == ("01", "02", "10")
    with pytest.raises(UsageError, match=r"order by name \(1, 10, 2"):
        images.order_of(tmp_path, {"1", "2", "10"}, settings, 3)


# --- objects in COCO's JSON ----------------------------------------------------------------------------------------


def folder_of_objects(tmp_path, **change):
    """Two images of 8 rows and 16 columns; a model's input of 4x4 halves the rows and quarters the columns."""
    (tmp_path / "images").mkdir()
    for i in range(2):
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), np.full((8, 16, 3), 50 * i, np.uint8))
    document = {
        "images": [{"id": 7, "file_name": "0.png", "width": 16}, {"id": 3, "file_name": "1.png"}],
        "categories": [{"id": 90, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"image_id": 7, "category_id": 90, "bbox": [4, 2, 8, 4]},
            {"image_id": 7, "category_id": 2, "bbox": [0, 0, 16, 8]},
            {"image_id": 7, "category_id": 2, "bbox": [20, 0, 4, 4]},
            {"image_id": 3, "category_id": 2, "bbox": [1, 1, 2, 2], "iscrowd": 1},
        ],
    } | change
    (tmp_path / "objects.json").write_text(json.dumps(document))
    (tmp_path / "preprocess.toml").write_text(TOML)
    return str(tmp_path)


def test_objects_move_with_their_image_and_classes_are_sorted_by_number(tmp_path):
    samples = user.load(folder_of_objects(tmp_path), BOXES, labels=True)
    assert samples.classes == ("cat", "dog")
    assert samples.labels[0].tolist() == [[1, 1, 1, 3, 3], [0, 0, 0, 4, 4]]
    assert (samples.labels[1] == -1).all()
    assert "1 annotations of crowds" in samples.notes[0]
    np.testing.assert_allclose(samples.inputs["image"][1], 50 / 255, rtol=1e-6)


def test_objects_are_cut_by_the_crop(tmp_path):
    folder = folder_of_objects(tmp_path)
    (tmp_path / "preprocess.toml").write_text(TOML + "crop = 1.0\n")  # columns 4 to 12 of 16 are kept
    samples = user.load(folder, BOXES, labels=True)
    assert samples.labels[0].tolist() == [[1, 0, 1, 4, 3], [0, 0, 0, 4, 4]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"categories": []}, "categories"),
        ({"annotations": [{"image_id": 9, "category_id": 2, "bbox": [0, 0, 1, 1]}]}, "names image 9"),
        ({"images": [{"id": 7, "file_name": "../../x.png"}], "annotations": []}, "not in its folder"),
        ({"categories": [{"id": i, "name": str(i)} for i in (2, 90, 91)]}, "lists 3 categories"),
    ],
)
def test_objects_that_do_not_fit_are_refused(tmp_path, change, said):
    with pytest.raises(UsageError, match=said):
        user.load(folder_of_objects(tmp_path, **change), BOXES, labels=True)


def test_two_lists_of_objects_are_one_too_many(tmp_path):
    folder = folder_of_objects(tmp_path)
    (tmp_path / "more.json").write_text("{}")
    with pytest.raises(UsageError, match="several JSON files"):
        coco.find(tmp_path)
    (tmp_path / "objects.json").unlink()
    with pytest.raises(DamagedFileError, match="not COCO"):
        user.load(folder, BOXES, labels=True)


# --- inputs that edgekit makes itself ------------------------------------------------------------------------------


def test_edge_inputs_are_of_the_inputs_own_kind():
    x, ids = x_of(), np.array([[3, 1, 7, 2]] * 6, "int32")
    made = planning.edges(Samples({"x": x, "ids": ids}, np.zeros(6)))
    assert len(planning.EDGES) == len(made.inputs["x"]) == len(made.inputs["ids"]) == 4
    assert {name: array.dtype for name, array in made.inputs.items()} == {"x": x.dtype, "ids": ids.dtype}
    assert made.inputs["ids"].tolist() == [[3, 1, 7, 2]] * 3 + [[3, 1, 0, 0]], "all of them 0 is nothing but padding"
    assert [sorted(set(row.ravel())) for row in made.inputs["x"][:3]] == [[0], [x.min()], [x.max()]]
    np.testing.assert_array_equal(made.inputs["x"][3, :2], x[0, :2])
    assert not made.inputs["x"][3, 2:].any()
    assert made.labels is None


def test_inputs_move_by_one_rounding_of_their_type():
    x, ids = x_of(), np.arange(18).reshape(6, 3)
    x[0] = 0
    both = {"x": x, "ids": ids}
    [made] = planning.moved([both])
    np.testing.assert_array_equal(made["ids"], ids)
    change = np.abs(made["x"] - x)[1:] / np.abs(x[1:])
    assert (change > 0).mean() > 0.99
    assert change.max() <= 2.0**-22
    assert not made["x"][0].any()
    parts = list(planning.moved({name: array[i : i + 2] for name, array in both.items()} for i in (0, 2, 4)))
    np.testing.assert_array_equal(np.concatenate([part["x"] for part in parts]), made["x"])


def test_integers_do_not_move(tmp_path):
    planning.save(Samples({"ids": np.arange(18).reshape(6, 3)}, None), tmp_path / "samples.npz")
    assert not reference.moved(tmp_path, reference.Request({}, "torch", tmp_path / "samples.npz"))


def test_generated_inputs_lie_where_the_model_wants_them():
    pixels = Signature((TensorSpec("image", (1, 4, 4, 3), span=(0.0, 255.0)),), ONE.outputs)
    made = planning.make(planning.DataPlan(), "selection", pixels).inputs["image"]
    assert (made.dtype, 0 <= made.min() < 5, 250 < made.max() <= 255) == (np.float32, True, True)
    bare = planning.make(planning.DataPlan(), "selection", ONE).inputs["image"]
    assert abs(bare.mean()) < 0.1


def test_generated_numbers_of_words_and_masks_are_those_of_an_example():
    specs = (TensorSpec("ids", (1, 4), "int64"), TensorSpec("mask", (1, 4), "int64"), TensorSpec("x", (1, 2)))
    example = [np.array([[3, 99, 7, 0]]), np.ones((1, 4), np.int64), np.ones((1, 2), np.float32)]
    loaded = SimpleNamespace(framework="torch", signature=Signature(specs, specs[:1]), sample=example)
    assert describe.shown(loaded) == {"ids": (0.0, 99.0), "mask": (1.0, 1.0)}
    loaded.sample = [np.ones_like(array) for array in example]  # what a model is tried with shows nothing
    assert describe.shown(loaded) == {}
    shown = (TensorSpec("ids", (1, 4), "int64", span=(0.0, 99.0)), TensorSpec("mask", (1, 4), "int64", span=(1.0, 1.0)))
    made = planning.make(planning.DataPlan(), "selection", Signature(shown, ONE.outputs)).inputs
    assert made["ids"].min() == 0 and made["ids"].max() > 90
    assert (made["mask"] == 1).all()
