"""Recipes as files and as options: what cannot be followed is said before any work, with what is meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgekit import api, toolchains
from edgekit import target as targets
from edgekit.artifact import checkpoints, package
from edgekit.checkpoint import Checkpoint
from edgekit.compress import recipes
from edgekit.conversion import candidate, loading
from edgekit.conversion.candidate import Candidate, WrittenPart
from edgekit.conversion.order import Order
from edgekit.conversion.recipe import cost, training
from edgekit.data import plan as planning
from edgekit.data.plan import DataPlan
from edgekit.data.tasks import Samples
from edgekit.errors import EdgekitError, UnsupportedError, UsageError
from edgekit.frameworks import loaded
from edgekit.result import Accuracy
from edgekit.result.recipe import EpochFacts, RecipeFacts, StepFacts
from edgekit.scheme import Range
from edgekit.signature import Signature, TensorSpec
from edgekit.sources import source as sources
from edgekit.steps.recipe import doubts
from edgekit.steps.recipe.save import SaveAnswer


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ('[[step]]\nkind = "qat"\nepoch = 3', "step.0.epoch", "Did you mean 'epochs'?"),
        ('[[step]]\nkind = "qta"\nepochs = 3', "step.0.kind", "Did you mean 'qat'?"),
        ('[[steps]]\nkind = "qat"\nepochs = 3', "steps: Extra", "Did you mean 'step'?"),
        ('[[step]]\nkind = "qat"\nepochs = 0', "step.0.epochs", "edgekit list recipes"),
        ('[[step]]\nkind = "qat"\nepochs = 2\nlearning_rate = nan', "step.0.learning_rate", ""),
        ("step = []", "step: ", ""),
        ('[[step]]\nkind = "prune"\nepochs = 3', "no pattern", 'pattern = "0.5"'),
        ('[[step]]\nkind = "prune"\npattern = "chanels:0.5"\nepochs = 3', "there is no 'chanels'", "'channels'?"),
        ('[[step]]\nkind = "prune"\npatern = "0.5"\nepochs = 3', "step.0.patern", "Did you mean 'pattern'?"),
        ('[[step]]\nkind = "prune"\npattern = "0.5"\nscope = "all"\nepochs = 3', "step.0.scope", ""),
        (
            '[[step]]\nkind = "prune"\npattern = "2:4"\nscope = "layer"\nepochs = 3',
            "scope is of patterns of weights",
            "",
        ),
        ('[step]\nkind = "qat"\nepochs = 3', "[step] is one table", "[[step]]"),
        ('[[step]]\nkind = "qat"\nepochs = true', "step.0.epochs", ""),
        ('[[step]]\nkind = "qat"\nepochs = "3"', "step.0.epochs", ""),
        ('[[step]]\nkind = "prune"\npattern = true\nepochs = 3', "pattern is True", 'pattern = "0.5"'),
        (
            '[[step]]\nkind = "prune"\npattern = "channels:0.5"\nkeep = "stem*"\nepochs = 3',
            "keep is the text 'stem*'",
            'keep = ["stem*"]',
        ),
        (
            '[[step]]\nkind = "qat"\nepochs = 3\n[[step]]\nkind = "prune"\npattern = "0.5"\nepochs = 3',
            "step 2 (prune) takes the weights off the grid that step 1 (qat)",
            "qat last",
        ),
        (
            '[[step]]\nkind = "prune"\npattern = "2:4"\nepochs = 3\n'
            '[[step]]\nkind = "prune"\npattern = "channels:0.5"\nepochs = 3',
            "step 2 (prune channels:0.5) takes channels out of the groups of step 1 (prune 2:4)",
            "first",
        ),
        ('[[step]]\nkind = "qat"\npattern = "0.5"\nepochs = 3', "pattern is of steps that prune", "Leave it out"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_named(text: str, says: str, hint: str, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(f'schema = 1\ntitle = "x"\n{text}\n')
    with pytest.raises(UsageError, match=r"own\.toml") as caught:
        recipes.load(str(file))
    assert says in str(caught.value)
    assert hint in caught.value.hint


def test_a_mark_at_the_beginning_of_a_file_is_none_of_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_bytes(b'\xef\xbb\xbfschema = 1\ntitle = "x"\n[[step]]\nkind = "qat"\nepochs = 3\n')
    assert recipes.load(str(file)).steps[0].epochs == 3


def test_all_that_is_wrong_with_a_recipe_is_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    steps = '[[step]]\nkind = "qat"\nepochs = "two"\nlearning_rate = -1\n[[step]]\nkind = "qta"\nepoch = 3'
    file.write_text(f'schema = 1\ntitle = "x"\n{steps}\n')
    with pytest.raises(UsageError) as caught:
        recipes.load(str(file))
    said = str(caught.value)
    assert "step.0.epochs: " in said and "not 'two'" in said and "step.0.learning_rate: " in said and "not -1" in said
    assert "step.1.kind: " in said and "step.1.epoch: " in said
    assert "step: " not in said, "no list is called too short whose members are wrong"
    assert "Did you mean 'epochs'? Did you mean 'qat'?" in caught.value.hint


@pytest.mark.parametrize("name", recipes.names())
def test_every_packaged_recipe_is_read(name: str) -> None:
    assert recipes.load(name).title


def test_an_unknown_recipe_is_told_from_a_known_one() -> None:
    with pytest.raises(UsageError, match="unknown recipe 'qta'") as caught:
        recipes.load("qta")
    assert "Did you mean 'qat'?" in caught.value.hint
    assert "edgekit list recipes" in caught.value.hint


def test_epochs_are_those_that_were_asked_for() -> None:
    asked = recipes.asked(qat=7)
    assert asked is not None and [step.epochs for step in asked.steps] == [7]
    with pytest.raises(UsageError, match="--qat 0"):
        recipes.asked(qat=0)


def order(given: str = "lenet5@torch", target: str = "tflite-int4", **more: Any) -> Order:
    plan = more.pop("plan", DataPlan(task="digits32", metric="top1"))
    return Order(sources.resolve(given), targets.load(target), plan, recipe=recipes.load("qat"), **more)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"target": "tflite-fp32"}, "no integer weights"),
        ({"target": "coreml-lut4"}, "no integer weights"),
        ({"rounding": "gptq"}, "--rounding gptq"),
        ({"equalize": "cle"}, "--equalize cle"),
        ({"plan": DataPlan()}, "needs labelled samples"),
        ({"plan": DataPlan(evaluate="x.npz", metric="top1")}, "needs labelled samples"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(asked: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        order(**asked).check()
    order().check()


def test_weights_that_lie_on_the_grid_are_not_rounded_again() -> None:
    assert not order().rounds_by_samples
    trained = Order(**{**order().__dict__, "recipe": recipes.load("finetune")})
    trained.check()
    assert trained.rounds_by_samples, "in float they lie on none"


def test_a_source_that_cannot_be_trained_exits_3_and_says_what_can(tmp_path: Path) -> None:
    file = tmp_path / "model.pt2"
    file.write_bytes(b"PK")
    with pytest.raises(UnsupportedError, match="pt2 source cannot be trained") as caught:
        order(str(file)).check()
    assert caught.value.exit_code == 3
    assert ".keras" in caught.value.hint and "file.py:function" in caught.value.hint


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"recipe": "qat", "qat": 3}, "--recipe qat and --qat 3"),
        ({"recipe": "qat", "prune": "0.5"}, "--recipe qat and --prune 0.5"),
        ({"recipe": "qat", "train": "x.npz"}, "nothing says which epoch is best"),
    ],
)
def test_options_that_contradict_each_other(asked: Any, says: str, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"")
    with pytest.raises(EdgekitError, match=says):
        api.convert("lenet5@torch", "tflite-int4", **asked)


def test_compress_needs_a_new_folder_and_something_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing says what is done"):
        api.compress("lenet5@torch", "tflite-int4", output=tmp_path / "new")
    with pytest.raises(UsageError, match="is there already"):
        checkpoints.compress(order(output=tmp_path), api._trained, workers=None)  # type: ignore[arg-type]  # refused before


def test_a_file_without_a_range_that_it_was_given_fails() -> None:
    part = WrittenPart(ref=None, audit=None, lost=("conv_1", "conv_2"))  # type: ignore[arg-type]  # nothing else is read
    made = Candidate("a route", "PASS", parts={"": part})
    found = candidate.check_ranges(made)
    assert found.status == "FAIL_PRECISION"
    assert found.reason == "the ranges of 2 activations are not those of the training: conv_1, conv_2"
    whole = replace(made, parts={"": replace(part, lost=())})
    assert candidate.check_ranges(whole) is whole


@pytest.mark.parametrize(
    ("target", "trains"),
    [("tflite-int8", True), ("tflite-int16x8", False), ("tflite-int8-dynamic", False), ("tflite-int4", False)],
)
def test_activations_are_trained_where_files_have_ranges_of_8_bits(target: str, trains: bool) -> None:
    asked = order(target=target)
    assert asked.trains_activations == trains
    for recipe in (recipes.load("finetune"), None):
        assert not replace(asked, recipe=recipe).trains_activations


def test_ranges_are_for_the_route_that_they_were_trained_for() -> None:
    one = Range("relu in the file", 0.0, 6.0)
    made = Checkpoint(
        sources.resolve("lenet5@torch"),
        {},
        {},
        "torch",
        "torch",
        ranges=(one,),
        route="ptq",
        nodes={one.tensor: "relu"},
    )
    assert made.ranges_for("ptq") == (one,) and made.ranges_for("another") == ()
    assert made.on_steps == {"relu": one}


def test_tensors_that_are_called_otherwise_in_the_file_of_other_weights_are_found(monkeypatch: Any) -> None:
    files = {"before": (("a;b", (1, 4)), ("c", (1, 2))), "after": (("b;a", (1, 4)), ("c", (1, 2)))}
    there = SimpleNamespace(tensors=lambda file: files[file.name])
    monkeypatch.setattr(toolchains, "_ranges", lambda name: there)
    assert toolchains.renamed("litert", Path("before"), Path("after")) == {"a;b": "b;a"}
    files["after"] = (("b;a", (1, 2)), ("c", (1, 2)))
    with pytest.raises(UnsupportedError, match="built otherwise"):
        toolchains.renamed("litert", Path("before"), Path("after"))


IMAGE = Signature((TensorSpec("x", (1, 4), "float32"),), (TensorSpec("y", (1, 2), "float32"),))


def test_no_sample_that_scores_is_trained_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    evaluate, train = (rng.standard_normal((count, 4)).astype("float32") for count in (20, 60))
    shared = train.copy()
    shared[[7, 40]] = evaluate[[0, 19]]
    np.savez(tmp_path / "evaluate.npz", x=evaluate, y=np.arange(20) % 2)
    np.savez(tmp_path / "train.npz", x=shared, y=np.arange(60) % 2)
    np.savez(tmp_path / "same.npz", x=evaluate, y=np.arange(20) % 2)
    plan = DataPlan(train=str(tmp_path / "train.npz"), evaluate=str(tmp_path / "evaluate.npz"), metric="top1")
    made = planning.make(plan, "train", IMAGE)
    assert made is not None and made.labels is not None
    kept = np.delete(np.arange(60), [7, 40])
    assert made.dropped == 2
    assert np.array_equal(made.inputs["x"], train[kept])
    assert np.array_equal(made.labels, kept % 2)
    with pytest.raises(UsageError, match="20 of 20 samples"):
        planning.make(DataPlan(train=str(tmp_path / "same.npz"), evaluate=plan.evaluate), "train", IMAGE)


def test_channels_are_taken_out_by_an_option_or_a_step() -> None:
    alone, both = recipes.asked(prune="channels:0.25"), recipes.asked(prune="channels:0.25", qat=2)
    assert alone is not None and both is not None
    [step] = alone.steps
    assert (step.kind, step.narrowing, step.pruning, step.epochs) == ("prune", 0.25, None, 5)
    assert [(s.kind, s.narrowing, s.epochs) for s in both.steps] == [("prune", 0.25, 5), ("qat", None, 2)]
    assert both.words == "prune channels:0.25, qat"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('pattern = "0.5"\nkeep = ["stem"]', "keep is of patterns of channels, and 0.5 takes weights"),
        ('pattern = "2:4"\nresidual = true', "residual is of patterns of channels"),
        ('pattern = "channels:0.5"\nramp = 0.5', "ramp is of patterns of weights and groups"),
        ('pattern = "channels:1"', "above 0 and below 1"),
    ],
)
def test_settings_that_a_pattern_does_not_have_are_named(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(f'schema = 1\ntitle = "x"\n[[step]]\nkind = "prune"\nepochs = 1\n{text}\n')
    with pytest.raises(UsageError, match=r"own\.toml") as caught:
        recipes.load(str(file))
    assert says in str(caught.value)


def step(values: tuple[float, ...], kept: int, **facts: Any) -> StepFacts:
    curve = tuple(EpochFacts(epoch=i, loss=None if i == 0 else 1.0, value=value) for i, value in enumerate(values))
    return StepFacts(
        kind="prune", settings={}, layers=0, without_rule=(), metric="top1", train_samples=900, train_sha256="",
        dropped=0, selection_samples=90, curve=curve, kept=kept, stopped="", activations="float", cpu_seconds=1.0,
        **facts,
    )  # fmt: skip


def test_a_step_says_what_it_came_from_and_to() -> None:
    said = training.scores(step((0.2933, 0.75, 0.8267), 2), 0.825, "cut and untrained")
    assert said == (
        "top1 on 90 selection samples: 0.8250 of your model, 0.2933 cut and untrained, 0.8267 after epoch 2, "
        "which is kept"
    )
    nothing = training.scores(
        step(
            (0.8717, 0.8717),
            0,
        ).model_copy(update={"selection_samples": 1}),
        0.87,
        "rounded",
    )
    assert nothing == "top1 on 1 selection sample: 0.8700 of your model, 0.8717 rounded, which no epoch made better"


@pytest.mark.parametrize(("kept", "said"), [(0.868, "3.20 points worse than your model on 90 selection"), (0.892, "")])
def test_a_checkpoint_that_no_file_can_pass_of_is_named_before_any_is_made(kept: float, said: str) -> None:
    steps = RecipeFacts(name="qat", steps=(step((0.5, kept), 1),), source=0.9)
    made = Checkpoint(sources.resolve("lenet5@torch"), {}, {}, "torch", "torch", steps=steps)
    source = Accuracy(
        metric="top1", higher_is_better=True, samples=90, float_=0.9, checkpoint=0.9, artifact=0.9, drop=0.0,
        drop_ci95=(0.0, 0.01), agreement=None,
    )  # fmt: skip
    told: list[tuple[str, str]] = []
    run: Any = SimpleNamespace(progress=lambda event, text: told.append((event, text)))
    notes = cost.noted(run, order(), made, source).notes
    assert told == [("note", note) for note in notes], "at once, and in the result"
    assert bool(notes) == bool(said)
    assert all(said in note and "a file may be 1.00 points worse" in note and "more epochs" in note for note in notes)


@pytest.mark.parametrize(("batch", "kept"), [(None, 1), (1, 2)])
def test_a_checkpoint_of_any_number_of_samples_is_not_called_fixed_to_one(
    batch: int | None, kept: int, tmp_path: Path
) -> None:
    spec, shape = TensorSpec("x", (1, 8), "float32"), (None, None)
    _, notes = loaded.merge_inputs([loaded.Found("x", shape, "float32")], ["x"], [spec])
    assert len(notes) == 2 and "batch" in notes[0]
    steps = RecipeFacts(name="qat", steps=(step((0.5, 0.6), 1),), source=0.7)
    made = Checkpoint(
        sources.resolve("lenet5@torch"), {"model": None}, {}, "torch", "torch", steps=steps, notes=notes,  # type: ignore[dict-item]  # nothing reads it
    )  # fmt: skip
    file = tmp_path / "model.keras"
    file.write_bytes(b"")
    saved = SimpleNamespace(value=SaveAnswer((file.name,), batch), file=lambda name: tmp_path / name)
    run: Any = SimpleNamespace(step=lambda *asked: saved)
    facts = checkpoints.write(run, tmp_path / "out", made)
    assert facts["notes"] == list(notes[-kept:])
    assert facts["recipe"]["source"] == 0.7


def test_the_folder_is_called_by_the_recipe_as_well(tmp_path: Path) -> None:
    """Else one recipe replaces what another has made of the same source."""
    named = {
        package.destination_of(replace(order(), recipe=asked), "torch").name
        for asked in (None, recipes.load("qat"), recipes.asked(prune="0.5"), recipes.asked(prune="2:4", qat=3))
    }
    assert named == {
        "lenet5-torch-tflite-int4", "lenet5-torch-tflite-int4-qat", "lenet5-torch-tflite-int4-prune_0.5",
        "lenet5-torch-tflite-int4-prune_2_4-qat",
    }  # fmt: skip
    steps = "".join(f'[[step]]\nkind = "qat"\nepochs = {epochs}\n' for epochs in range(1, 99))
    (tmp_path / "long.toml").write_text(f'schema = 1\ntitle = "x"\n{steps}')
    long = replace(order(), recipe=recipes.load(str(tmp_path / "long.toml")))
    assert len(package.destination_of(long, "torch").name) < 100


def samples(x: Any, labels: Any) -> Samples:
    return Samples({"x": np.asarray(x, np.float32)}, np.asarray(labels))


SOUND = samples([[1.0], [-3.0]], [0, 1])


@pytest.mark.parametrize(
    ("train", "selection", "says"),
    [
        (SOUND, SOUND, []),
        (samples([[1.0]], [0]), SOUND, ["one training sample alone"]),
        (SOUND, samples([[1.0]], [0]), ["one selection sample alone"]),
        (samples([[1.0], [2.0]], [1, 1]), SOUND, ["all labels of the 2 training samples are 1"]),
        (SOUND, samples([[1.0], [2.0]], [1, 1]), ["all labels of the 2 selection samples are 1"]),
        (samples([[1e30], [0.0]], [0, 1]), SOUND, ["input 'x' is up to 1e+30 in the training samples, and up to 3 in"]),
        (SOUND, samples([[-3e4], [0.0]], [0, 1]), ["up to 3 in the training samples, and up to 3e+04"]),
        (samples([[0.0], [0.0]], [0, 1]), SOUND, ["up to 0 in the training samples"]),
        (samples([[0.5], [0.0]], [0, 1]), samples([[255.0], [0.0]], [0, 1]), []),
    ],
)
def test_samples_that_make_one_doubt_a_training_are_named(train: Samples, selection: Samples, says: list[str]) -> None:
    said = doubts.found(train, selection)
    assert len(said) == len(says) and all(part in text for part, text in zip(says, said, strict=True))


@pytest.mark.parametrize(
    ("target", "beside", "said"),
    [
        ("tflite-int8", ("recipe.json", "ranges.json"), True),
        ("tflite-int8", ("ranges.json",), False),
        ("tflite-int4", ("recipe.json", "ranges.json"), False),
    ],
)
def test_ranges_beside_a_checkpoint_are_said_not_to_be_read(
    target: str, beside: tuple[str, ...], said: bool, tmp_path: Path
) -> None:
    for name in ("model.pt2", *beside):
        (tmp_path / name).write_bytes(b"PK")
    asked = order(str(tmp_path / "model.pt2"), target)
    notes = loading._unread_ranges(asked)
    assert bool(notes) == said
    assert all("ranges.json beside model.pt2 is not read" in note and "calibration" in note for note in notes)
