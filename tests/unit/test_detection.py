"""Boxes outside of the network against brute force, box by box; mean average precision against its definition."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekit.checkpoint import with_roles
from edgekit.data import detection, tasks
from edgekit.data.tasks import scenes
from edgekit.errors import UsageError
from edgekit.limits import Gate, with_defaults
from edgekit.proof.accuracy import measure_accuracy
from edgekit.proof.judge import judge_accuracy, judge_parity
from edgekit.proof.metrics import metric
from edgekit.proof.parity import compare
from edgekit.schemes import SCHEMES
from edgekit.signature import BOXES, Signature, TensorSpec

CLASSES = 3


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes of whole pixels, by counting pixels."""

    def pixels(*sides: tuple[range, ...]) -> int:
        return math.prod(len(range(max(r.start for r in s), min(r.stop for r in s))) for s in sides)

    (ax, ay), (bx, by) = ([range(int(c[i]), int(c[i + 2])) for i in (0, 1)] for c in (a, b))
    shared = pixels((ax, bx), (ay, by))
    return shared / (pixels((ax,), (ay,)) + pixels((bx,), (by,)) - shared or 1)


def suppressed(boxes: np.ndarray, scores: np.ndarray, *, score_min: float, iou_max: float) -> list[tuple[int, int]]:
    """(box, class) of what stays in one image, by the textbook: take the best, drop what overlaps it, repeat."""
    left = sorted((i for i in range(len(boxes)) if scores[i].max() >= score_min), key=lambda i: (-scores[i].max(), i))
    kept = []
    while left:
        best = left.pop(0)
        kind = int(scores[best].argmax())
        kept.append((best, kind))
        left = [i for i in left if int(scores[i].argmax()) != kind or overlap(boxes[best], boxes[i]) <= iou_max]
    return kept


whole_boxes = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 12)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(st.lists(whole_boxes, min_size=1, max_size=6), st.lists(whole_boxes, min_size=1, max_size=6))
@settings(deadline=None)
def test_overlap_counts_pixels(first: list[tuple[int, ...]], second: list[tuple[int, ...]]) -> None:
    a, b = np.asarray(first, float), np.asarray(second, float)
    np.testing.assert_allclose(detection.iou(a, b), [[overlap(x, y) for y in b] for x in a], atol=1e-12)


def test_overlap_of_nothing_is_zero() -> None:
    empty = np.array([[3.0, 3, 3, 3], [5, 5, 4, 4]])
    assert detection.iou(empty, empty).tolist() == [[0, 0], [0, 0]]


@given(st.data(), st.integers(1, 9), st.sampled_from([0.0, 0.3, 0.5]))
@settings(deadline=None)
def test_suppression_is_the_textbooks(data: st.DataObject, count: int, iou_max: float) -> None:
    boxes = np.asarray(data.draw(st.lists(whole_boxes, min_size=2 * count, max_size=2 * count)), float)
    boxes = boxes.reshape(2, count, 4)
    scores = data.draw(arrays(float, (2, count, CLASSES), elements=st.sampled_from(np.linspace(0, 1, 11).tolist())))
    found = detection.suppress(boxes, scores, score_min=0.15, iou_max=iou_max)
    for image in range(2):
        expected = suppressed(boxes[image], scores[image], score_min=0.15, iou_max=iou_max)
        kept = found.scores[image] > 0
        assert not kept[len(expected) :].any(), "padding lies at the end"
        assert found.classes[image][kept].tolist() == [kind for _, kind in expected]
        np.testing.assert_array_equal(found.boxes[image][kept], boxes[image][[i for i, _ in expected]])
        np.testing.assert_array_equal(found.scores[image][kept], [scores[image, i].max() for i, _ in expected])


def test_suppression_keeps_the_best_and_forgets_what_is_not_finite() -> None:
    boxes = np.tile(np.arange(40.0)[:, None] * 10, (1, 1, 4)) + np.array([0, 0, 8, 8])
    scores = np.linspace(0.2, 0.9, 40)[None, :, None] * np.array([1, 0.5, 0.1])
    boxes[0, 39, 2], scores[0, 38, 1] = np.nan, np.inf
    found = detection.suppress(boxes, scores, most=5)
    np.testing.assert_array_equal(found.scores[0], scores[0, [37, 36, 35, 34, 33], 0])


def test_decoding_by_hand() -> None:
    """Two by two cells of 8 pixels: no offset lies in the middle of the cell, log 2 doubles the anchor."""
    raw = np.zeros((1, 8, 4), np.float32)
    raw[0, 5] = [math.log(3), 0, math.log(2), 0]  # second row, first column, second anchor; sigmoid(log 3) = 3/4
    boxes = detection.decode(raw, ((2, 4), (6, 2)), 16)
    np.testing.assert_allclose(boxes[0, 0], [3, 2, 5, 6])
    np.testing.assert_allclose(boxes[0, 3], [9, 3, 15, 5])
    np.testing.assert_allclose(boxes[0, 5], [6 - 6, 12 - 1, 6 + 6, 12 + 1], atol=1e-6)
    with pytest.raises(UsageError, match="grid"):
        detection.decode(raw[:, :6], ((2, 4), (6, 2)), 16)
    assert np.isfinite(detection.decode(np.full((1, 4, 4), 1e30), ((2, 4),), 16)).all()


def test_decoding_inverts_encoding() -> None:
    rng = np.random.default_rng(0)
    grid, anchors, size = 6, np.asarray(scenes.ANCHORS), scenes.SIZE
    offsets, sides = rng.uniform(0.01, 0.99, (5, grid, grid, 3, 2)), rng.uniform(5, 40, (5, grid, grid, 3, 2))
    raw = np.concatenate([np.log(offsets / (1 - offsets)), np.log(sides / anchors)], -1).reshape(5, -1, 4)
    rows, columns = np.mgrid[:grid, :grid]
    centre = (np.stack([columns, rows], -1)[:, :, None] + offsets) * size / grid
    expected = np.concatenate([centre - sides / 2, centre + sides / 2], -1).reshape(5, -1, 4)
    np.testing.assert_allclose(detection.decode(raw, scenes.ANCHORS, size), expected, atol=1e-9)


def exact_map(labels: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> float:
    """Mean average precision at 0.5 by its definition: all detections of a class in one list, sorted by score."""
    areas = []
    for kind in range(scores.shape[-1]):
        objects = int((labels[..., 0] == kind).sum())
        if not objects:
            continue
        rows = []
        for image in range(len(labels)):
            truth = [row[1:] for row in labels[image] if row[0] == kind]
            taken = [False] * len(truth)
            for i, c in suppressed(boxes[image], scores[image], score_min=0.01, iou_max=0.45):
                if c != kind:
                    continue
                overlaps = [overlap(boxes[image, i], box) for box in truth]
                best = int(np.argmax(overlaps)) if truth else -1
                right = best >= 0 and overlaps[best] >= 0.5 and not taken[best]
                if right:
                    taken[best] = True
                rows.append((scores[image, i, kind], right))
        rows.sort(key=lambda row: -row[0])
        hits = np.cumsum([right for _, right in rows])
        precision = hits / np.arange(1, len(rows) + 1)
        areas.append(sum(precision[i:].max() for i, (_, right) in enumerate(rows) if right) / objects)
    return float(np.mean(areas))


def crowd(seed: int, images: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and detections of whole pixels that hit, miss, repeat and mistake them."""
    rng = np.random.default_rng(seed)
    labels = scenes.make("train", images).labels
    assert labels is not None
    boxes, scores = np.zeros((images, 24, 4)), np.zeros((images, 24, CLASSES))
    for image in range(images):
        for i in range(24):
            row = labels[image, rng.integers(0, 4)]
            if row[0] < 0 or rng.random() < 0.3:
                corner, row = rng.integers(0, 30, 2), np.array([rng.integers(0, 3), 0, 0, 0, 0])
                boxes[image, i] = [*corner, *(corner + rng.integers(9, 25, 2))]
                logit = rng.normal(-2, 1.5)
            else:
                boxes[image, i] = row[1:] + rng.integers(-3, 4, 4)
                logit = rng.normal(1, 1.5)
            kind = rng.integers(0, 3) if rng.random() < 0.1 else row[0]
            scores[image, i] = rng.random(CLASSES) * 0.005
            scores[image, i, kind] = 1 / (1 + np.exp(-noise * logit))
    return labels, boxes, scores


def value(labels: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> float:
    chosen = metric("map")
    read = chosen.read({"boxes": boxes, "scores": scores}, labels)
    return chosen.value(chosen.score(labels, read))


@pytest.mark.parametrize("seed", range(3))
def test_map_equals_its_definition_but_for_the_grouping(seed: int) -> None:
    labels, boxes, scores = crowd(seed, 120)
    expected = exact_map(labels, boxes, scores)
    assert 0.3 < expected < 0.9
    assert 0 <= expected - value(labels, boxes, scores) < 0.01


def test_map_is_exact_where_scores_lie_a_group_apart() -> None:
    labels, boxes, scores = crowd(3, 60)
    best = scores.max(-1, keepdims=True)
    steps = 1 / (1 + np.exp(-np.round(np.log(best / (1 - best)) * 2) / 2))  # half a logit: more than a group's width
    scores = np.where(scores == best, np.where(best > 0.011, steps, 0), 0)
    assert value(labels, boxes, scores) == pytest.approx(tied_map(labels, boxes, scores), abs=1e-12)


def tied_map(labels: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> float:
    """The definition for ties: detections of equal score enter the curve together."""
    found = detection.suppress(boxes, scores)
    right = detection.match(found, labels)
    areas = []
    for kind in range(scores.shape[-1]):
        mine = (found.classes == kind) & (found.scores > 0)
        cuts = np.unique(found.scores[mine])[::-1]
        hits = np.array([(mine & right & (found.scores >= cut)).sum() for cut in cuts])
        precision = hits / np.array([(mine & (found.scores >= cut)).sum() for cut in cuts])
        gained = np.diff(hits, prepend=0) / (labels[..., 0] == kind).sum()
        areas.append(sum(gained[i] * precision[i:].max() for i in range(len(cuts))))
    return float(np.mean(areas))


def test_perfect_and_broken_detectors() -> None:
    labels = scenes.make("train", 50).labels
    assert labels is not None
    boxes, scores = np.maximum(labels[..., 1:], 0).astype(float), np.eye(CLASSES)[labels[..., 0]]
    scores[labels[..., 0] < 0] = 0
    assert value(labels, boxes, scores) == 1.0
    assert value(labels, boxes, scores * np.nan) == 0.0
    assert value(labels, boxes + 30, scores) < 0.05
    assert value(labels, boxes, np.roll(scores, 1, axis=-1)) < 0.05


def test_labels_show_a_fall_of_precision_that_parity_does_not() -> None:
    """Boxes of 5 to 14 pixels in an image of 640, in 255 steps: 54 dB, and one object in ten is lost."""
    rng = np.random.default_rng(0)
    sizes, corners = rng.uniform(5, 14, (1000, 6, 2)), rng.uniform(0, 620, (1000, 6, 2))
    truth, kinds = np.concatenate([corners, corners + sizes], -1), rng.integers(0, CLASSES, (1000, 6))
    labels = np.concatenate([kinds[..., None], truth], -1)
    boxes = truth + rng.normal(0, 0.9, truth.shape)
    scores = np.eye(CLASSES)[kinds] * rng.uniform(0.5, 1, (1000, 6, 1))
    in_integers = np.round(boxes * 255 / 640) * 640 / 255
    read, gate = metric("map").read, Gate.model_validate(with_defaults(SCHEMES["int8"], {}))
    sides = [{"boxes": boxes, "scores": scores}, {"boxes": in_integers, "scores": scores}]
    close = compare(*sides, {"boxes": (2,), "scores": (2,)})
    accuracy = measure_accuracy("map", [(labels, *(read(side, labels) for side in sides))])
    assert close.sqnr_db > 50
    assert judge_parity(close, gate.parity).status == "PASS"
    assert accuracy.drop > 0.09
    assert judge_accuracy(accuracy, gate).status == "FAIL_ACCURACY"


def test_drop_is_paired_and_agreement_counts_boxes() -> None:
    labels, boxes, scores = crowd(0, 200)
    read = metric("map").read
    before = read({"boxes": boxes, "scores": scores}, labels)
    shaken = np.random.default_rng(0).normal(0, 1.5, boxes.shape)
    after = read({"boxes": boxes + shaken, "scores": scores * 0.99}, labels)
    accuracy = measure_accuracy("map", [(labels, before, after)])
    assert accuracy.drop_ci95[0] < accuracy.drop < accuracy.drop_ci95[1]
    assert accuracy.drop == pytest.approx(accuracy.float_ - accuracy.artifact)
    assert 0.9 < accuracy.agreement < 1
    assert measure_accuracy("map", [(labels, before, before)]).agreement == 1.0
    assert measure_accuracy("map", [(labels, before, before * np.nan)]).agreement == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y.astype(str), "numbers"),
        (lambda y: y + 0.5, "whole numbers"),
        (lambda y: y[..., :4], r"\(samples, objects, 5\)"),
        (lambda y: y + 3, "0 to 2"),
        (lambda y: y[:1], "1 samples"),
    ],
)
def test_labels_that_are_no_boxes_are_refused(change, message: str) -> None:
    labels, boxes, scores = crowd(0, 2)
    with pytest.raises(UsageError, match=message):
        value(change(labels), boxes, scores)


def test_outputs_that_are_no_detections_are_refused() -> None:
    with pytest.raises(UsageError, match="the model has logits"):
        metric("map").read({"logits": np.zeros((1, 3))}, np.zeros((1, 1, 5), int))


def test_confidences_of_scenes() -> None:
    raw = {"boxes": np.zeros((1, 108, 4), np.float32), "scores": np.zeros((1, 108, 4), np.float32)}
    raw["scores"][0, 0] = [math.log(4), math.log(2), 0, 0]  # objectness 0.8; classes 1/2, 1/4, 1/4
    found = tasks.postprocess("scenes", raw)
    np.testing.assert_allclose(found["scores"][0, 0], [0.4, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(found["boxes"][0, 0], [4 - 9.25, 4 - 5.75, 4 + 9.25, 4 + 5.75])
    assert tasks.postprocess("textures", raw) is raw
    assert tasks.postprocess(None, raw) is raw


def test_scenes_are_disjoint_balanced_and_the_same_everywhere() -> None:
    seen, boxes = set(), []
    for split, size in scenes.TASK.sizes.items():
        samples = scenes.make(split)
        assert samples.labels is not None
        assert samples.inputs["image"].shape == (size, 48, 48, 3)
        assert np.abs(samples.inputs["image"]).max() <= 1
        seen |= {hashlib.sha1(image.tobytes()).digest() for image in samples.inputs["image"]}
        boxes.append(samples.labels.reshape(-1, 5))
    assert len(seen) == sum(scenes.TASK.sizes.values())
    real = np.concatenate(boxes)
    assert (real[real[:, 0] < 0] == -1).all()
    real = real[real[:, 0] >= 0]
    sides = real[:, 3:] - real[:, 1:3]
    assert (sides.min(), sides.max()) == scenes.SIDES
    assert (real[:, 1:].min(), real[:, 1:].max()) == (0, scenes.SIZE)
    assert np.ptp(np.bincount(real[:, 0])) < 0.1 * len(real) / 3
    short, long = scenes.make("selection", 7), scenes.make("selection", 290)
    assert short.labels is not None
    assert long.labels is not None
    np.testing.assert_array_equal(short.inputs["image"], long.inputs["image"][:7])
    np.testing.assert_array_equal(short.labels, long.labels[:7])
    digest = hashlib.sha256(np.ascontiguousarray(long.inputs["image"][:64]).tobytes() + long.labels[:64].tobytes())
    assert digest.hexdigest()[:16] == "d05ae90520c7c51d"


def test_an_object_fills_its_box() -> None:
    """What differs from the background lies inside of the box and touches its sides."""
    labels = np.full((3, 4, 5), -1, np.int64)
    labels[:, 0] = [[kind, 10, 20, 27, 33] for kind in range(3)]
    empty = np.full_like(labels, -1)
    with_object, without = (scenes._paint(y, np.random.default_rng(1)) for y in (labels, empty))
    for kind in range(3):
        rows, columns = np.nonzero(np.abs(with_object[kind] - without[kind]).sum(-1) > 1e-9)
        assert (columns.min(), columns.max() + 1, rows.max() + 1) == (10, 27, 33)
        assert rows.min() <= 21  # the tip of a triangle is thinner than a pixel
        assert rows.min() >= 20


@pytest.mark.parametrize("role", BOXES)
@pytest.mark.parametrize("last", [True, False])
def test_a_users_boxes_and_scores_come_as_they_say(role: str, last: bool) -> None:
    rng = np.random.default_rng(0)
    corners = np.concatenate([rng.uniform(0, 20, (2, 9, 2)), rng.uniform(21, 40, (2, 9, 2))], axis=-1)
    left, top, right, bottom = np.moveaxis(corners, -1, 0)
    written = {
        "boxes": [left, top, right, bottom],
        "boxes-xywh": [left, top, right - left, bottom - top],
        "boxes-cxcywh": [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top],
        "boxes-yxyx": [top, left, bottom, right],
    }[role.removesuffix("-unit")]
    raw = np.stack(written, axis=-1)
    if role.endswith("-unit"):
        raw = raw / ([64, 48, 64, 48] if "yxyx" in role else [48, 64, 48, 64])
    scores = rng.uniform(size=(2, 9, 3))
    outputs = {"s": scores, "b": raw} if last else {"s": np.moveaxis(scores, 1, 2), "b": np.moveaxis(raw, 1, 2)}
    found = detection.named(outputs, {"s": "scores", "b": role}, (64, 48))
    np.testing.assert_allclose(found["boxes"], corners)
    np.testing.assert_allclose(found["scores"], scores)
    logits = {**outputs, "s": np.log(outputs["s"] / (1 - outputs["s"]))}
    np.testing.assert_allclose(detection.named(logits, {"s": "scores-logit", "b": role}, (64, 48))["scores"], scores)
    together = {"out": np.concatenate([outputs["b"], outputs["s"]], axis=2 if last else 1)}
    outputs_apart, roles = detection.apart(together, {"out": f"{role}+scores"})
    whole = detection.named(outputs_apart, roles, (64, 48))
    np.testing.assert_array_equal(whole["boxes"], found["boxes"])
    np.testing.assert_array_equal(whole["scores"], found["scores"])
    with pytest.raises(UsageError, match="do not go with"):
        detection.named({**outputs, "s": scores[:, :5]}, {"s": "scores", "b": role}, (64, 48))


def test_scores_that_are_logits_are_refused_before_they_are_scored() -> None:
    labels, boxes, scores = crowd(0, 2)
    read = metric("map").read({"boxes": boxes, "scores": scores * 9 - 4}, labels)
    with pytest.raises(UsageError, match=r"within 0\.\.1") as raised:
        measure_accuracy("map", [(labels, read, read)])
    assert "scores-logit" in raised.value.hint


def test_a_region_reads_of_a_plane_what_the_plane_is_in_the_middle_of_each_bin() -> None:
    """A bilinear sample of a plane is exact, and so is the mean of two."""
    grid, size, bins = 16, 64, 5
    at = (np.arange(grid) + 0.5) * size / grid
    plane = 2 * at[:, None] + 3 * at[None, :]
    region = np.array([10.0, 20.0, 40.0, 55.0])
    rows, columns = detection.sampling(region, bins, size, grid)
    middles = [low + (np.arange(bins) + 0.5) * (high - low) / bins for low, high in ((20, 55), (10, 40))]
    np.testing.assert_allclose(rows @ plane @ columns.T, 2 * middles[0][:, None] + 3 * middles[1], rtol=1e-5)


def test_a_region_beyond_the_edge_reads_the_edge() -> None:
    rows, columns = detection.sampling(np.array([-30.0, -30.0, 0.0, 0.0]), 3, 64, 8)
    corner = np.zeros((8, 8))
    corner[0, 0] = 1
    np.testing.assert_allclose(rows @ corner @ columns.T, 1)


def test_larger_regions_are_read_from_coarser_maps() -> None:
    sides = np.array([4, 15.9, 16, 31, 32, 64])
    regions = np.stack([0 * sides, 0 * sides, sides, sides], axis=-1)
    assert detection.levels(regions, 16.0, 3).tolist() == [0, 0, 1, 1, 2, 2]


def test_a_mask_is_pasted_into_its_box_alone() -> None:
    box = np.array([8.0, 16.0, 24.0, 48.0])
    full = detection.pasted(np.ones((14, 14)), box, 64)
    assert full[16:48, 8:24].min() == 1 and full.sum() == 16 * 32
    half = np.zeros((14, 14))
    half[:7] = 1
    found = detection.pasted(half, box, 64) > 0.5
    assert found[16:32, 8:24].all() and found.sum() == 16 * 16


def test_anchors_stand_around_each_place_of_each_map() -> None:
    found = detection.anchors(64, (4, 2), (8.0, 20.0), (0.5, 2.0))
    assert found.shape == (4 * 4 * 2 + 2 * 2 * 2, 4)
    np.testing.assert_allclose(found[0], [8, 8, 8 / 2**0.5, 8 * 2**0.5])
    np.testing.assert_allclose(found[3], [24, 8, 8 * 2**0.5, 8 / 2**0.5])
    np.testing.assert_allclose(found[:, 2] * found[:, 3], [64] * 32 + [400] * 8)
    assert np.allclose(found[-1, :2], 48)


def test_centred_boxes_and_no_offset_are_the_corners_again() -> None:
    corners = np.random.default_rng(0).uniform(0, 32, (2, 5, 4))
    corners[..., 2:] += corners[..., :2]
    np.testing.assert_allclose(detection.from_default(np.zeros((2, 5, 4)), detection.centred(corners)), corners)


def test_boxes_of_a_detector_are_no_channels() -> None:
    """Of a box in a corner, whose score hardly moves, a useless channel was told."""

    def channels(roles: dict[str, str], **shapes: tuple[int, ...]) -> list[tuple[int, ...] | None]:
        outputs = tuple(TensorSpec(name, shape) for name, shape in shapes.items())
        return [o.channels for o in with_roles(Signature((TensorSpec("x", (1, 3)),), outputs), roles).outputs]

    both = {"boxes": "boxes", "scores": "scores"}
    assert channels(both, boxes=(1, 64, 4), scores=(1, 64, 3)) == [(2,), (2,)]
    assert channels(both, boxes=(1, 4, 64), scores=(1, 3, 64)) == [(1,), (1,)]
    assert channels(both, boxes=(1, 64, 4), scores=(1, 3, 64)) == [(2,), (1,)]
    assert channels({"y": "boxes-cxcywh+scores"}, y=(1, 84, 8400)) == [(1,)]
    assert channels({}, boxes=(1, 64, 4)) == channels({"y": "classes"}, y=(1, 64, 3)) == [None]
