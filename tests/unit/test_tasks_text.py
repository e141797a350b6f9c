"""The text tasks: splits without common text, the same bytes every time, labels that mean what they say."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from types import ModuleType
from typing import get_args

import numpy as np
import pytest

from edgekit.data import grammar, tasks
from edgekit.data.tasks import Split, python_text, reviews, sentences
from edgekit.errors import UsageError

MODULES = [python_text, reviews, sentences]
SPLITS: tuple[Split, ...] = get_args(Split)

# Changing one of these changes what every shipped weight and published figure rests on.
DIGESTS = {"python_text": "7565356a412c575c", "reviews": "c3cca48e577ed6bd", "sentences": "f3eca6080401dc60"}


def words(module: ModuleType, row: np.ndarray) -> list[str]:
    return [module.VOCABULARY[token] for token in row]


@functools.cache
def whole_split(module: ModuleType, split: Split) -> tasks.Samples:
    return module.make(split)


@pytest.fixture(scope="module", params=MODULES, ids=lambda m: m.__name__.rpartition(".")[2])
def made(request: pytest.FixtureRequest) -> tuple[ModuleType, dict[Split, tasks.Samples]]:
    return request.param, {split: whole_split(request.param, split) for split in SPLITS}


def test_shapes_types_and_sizes(made: tuple[ModuleType, dict[Split, tasks.Samples]]) -> None:
    module, splits = made
    for split, samples in splits.items():
        tokens, labels = samples.inputs["tokens"], samples.labels
        assert tokens.dtype == np.int32
        assert tokens.shape == (module.TASK.sizes[split], module.LENGTH)
        assert tokens.min() >= 0
        assert tokens.max() < len(module.VOCABULARY)
        assert labels is not None
        assert len(labels) == len(tokens)
        assert set(np.unique(labels)) <= set(range(module.TASK.classes))
    assert module.TASK.sizes["test"] >= 1000
    assert len(set(module.VOCABULARY)) == len(module.VOCABULARY) <= 128


def test_no_sample_is_in_two_splits(made: tuple[ModuleType, dict[Split, tasks.Samples]]) -> None:
    module, splits = made
    texts = {split: {row.tobytes() for row in samples.inputs["tokens"]} for split, samples in splits.items()}
    for split, found in texts.items():
        if module is not python_text:  # what people wrote repeats itself
            assert len(found) == len(splits[split].inputs["tokens"]), f"{split} repeats a text"
        for other in SPLITS:
            assert other == split or not found & texts[other], f"{split} and {other} share a text"


def test_no_whole_sentence_of_test_is_in_train() -> None:
    def whole(split: Split) -> set[str]:
        rows = whole_split(sentences, split).inputs["tokens"]
        # The first piece is empty (windows open with a full stop), the last may be cut.
        return {s for row in rows for s in " ".join(words(sentences, row)).split(".")[1:-1]}

    assert len(whole("test")) > 1000
    assert not whole("test") & whole("train")


def test_the_first_samples_are_a_prefix(made: tuple[ModuleType, dict[Split, tasks.Samples]]) -> None:
    module, splits = made
    few = module.make("selection", 7)
    labels = splits["selection"].labels
    assert labels is not None
    np.testing.assert_array_equal(few.inputs["tokens"], splits["selection"].inputs["tokens"][:7])
    np.testing.assert_array_equal(few.labels, labels[:7])


def test_the_test_split_is_the_published_one(made: tuple[ModuleType, dict[Split, tasks.Samples]]) -> None:
    module, splits = made
    name = module.__name__.rpartition(".")[2]
    samples = splits["test"]
    assert samples.labels is not None
    digest = hashlib.sha256(samples.inputs["tokens"].tobytes() + samples.labels.tobytes()).hexdigest()
    assert digest[:16] == DIGESTS[name]


def opinion(text: list[str]) -> int | None:
    """Read a review as a person would; None where a weak adjective leaves its opinion open."""
    good = {*reviews._GOOD, *reviews._LIKED}
    bad = {*reviews._BAD, *reviews._DISLIKED}
    polarities, total = [], 0
    negated = contrast = False
    for word in [*text, "and"]:
        if word in reviews._NEGATIONS:
            negated = True
        elif word in good or word in bad:
            polarities.append((1 if word in good else -1) * (-1 if negated else 1))
        elif word in {*reviews._WEAK_GOOD, *reviews._WEAK_BAD}:
            return None
        elif word in {"and", "but", "while"}:
            negated = False
            contrast |= word == "but"
    total = sum(polarities) + (polarities[-1] if contrast else 0)
    return 1 + (total > 0) - (total < 0)


def test_labels_of_reviews_follow_from_their_words() -> None:
    samples = whole_split(reviews, "test")
    assert samples.labels is not None
    read = [opinion([w for w in words(reviews, row) if w != "<pad>"]) for row in samples.inputs["tokens"]]
    sure = np.array([r is not None for r in read])
    assert 0.6 < sure.mean() < 0.85
    assert [r for r in read if r is not None] == samples.labels[sure].tolist()


@pytest.mark.parametrize("module", [sentences, python_text])
def test_labels_are_the_next_tokens(module: ModuleType) -> None:
    samples = module.make("selection", 50)
    assert samples.labels is not None
    np.testing.assert_array_equal(samples.inputs["tokens"][:, 1:], samples.labels[:, :-1])


@pytest.mark.parametrize("number", ["s", "p"])
def test_verbs_agree_with_their_nouns_in_number(number: str) -> None:
    rng = grammar.generator("agreement", "train")
    clauses = [sentences.GRAMMAR.expand(f"Clause_{number}", rng) for _ in range(300)]
    verbs = {clause[2] for clause in clauses if len(clause) == 3}
    assert verbs == ({"laughs", "runs"} if number == "s" else {"laugh", "run"})


def test_every_symbol_of_the_grammar_is_used_and_defined() -> None:
    used = {w for rule in sentences.RULES.values() for _, right in rule for w in right.split()}
    assert set(sentences.RULES) - used == {"Sentence"}
    assert not {w for w in used - sentences.RULES.keys() if w != w.lower()}, "an undefined symbol became a word"


def test_python_text_is_text_and_holds_more_of_test() -> None:
    many = python_text.make("test", 8000)
    tokens = many.inputs["tokens"]
    assert len(np.unique(tokens, axis=0)) > 7990
    assert "def " in "".join(words(python_text, tokens[:100].ravel()))
    train = {row.tobytes() for row in whole_split(python_text, "train").inputs["tokens"]}
    assert not train & {row.tobytes() for row in tokens}
    for count in (0, 8001):
        with pytest.raises(UsageError, match="1 to 8000"):
            python_text.make("test", count)


def test_python_text_ships_with_its_licence() -> None:
    text = Path(python_text.__file__).with_suffix(".LICENSE").read_text()
    assert "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2" in text
    assert "python_text.LICENSE" in python_text.TASK.source
