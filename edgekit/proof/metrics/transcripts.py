"""Metrics of sequences of tokens: how much has to be changed to make them the reference."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import UsageError
from edgekit.proof.intervals import OfMeans
from edgekit.proof.metrics.metric import Metric, predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Floats = NDArray[np.float64]
    Tokens = NDArray[np.int64]
    Shape = tuple[int, ...]

#: What fills up the shorter sequences of an array of them; so does every other negative number.
PADDING = -1


def _first(outputs: Mapping[str, Array], labels: Array) -> Array:
    return next(iter(outputs.values()))


def _check_references(name: str, labels: Array) -> None:
    if labels.dtype.kind not in "iu" or labels.ndim > 2 or not labels.size:
        raise UsageError(
            f"{name} needs a row of tokens per sample; labels are {labels.dtype} of shape {labels.shape}",
            hint=f"Store integers (samples, tokens), shorter rows filled up with {PADDING}.",
        )


def _check_said(name: str, labels: Array) -> None:
    if not _references(labels)[1].any():
        raise UsageError(f"{name} counts errors per token of the references, and all of them are empty")


def _check_tokens(labels: Array, shape: Shape) -> None:
    _check_references("wer", labels)
    if len(shape) != 2:
        raise UsageError(
            f"wer reads a row of tokens per sample; the output has shape {shape}",
            hint="--metric wer_ctc or wer_ctc_last where it has one value per step and token.",
        )


def _check_whole(values: Array) -> None:
    """Refuse a float model's outputs that are no tokens."""
    if not np.array_equal(values, np.rint(values.astype(np.float64))):
        raise UsageError("wer reads tokens, and the output holds numbers that are not whole")


def _check_steps(name: str, blank: int, labels: Array, shape: Shape) -> None:
    _check_references(name, labels)
    if len(shape) != 3:
        raise UsageError(
            f"{name} reads one value per step and token, (samples, steps, tokens); the output has shape {shape}",
            hint="--metric wer where it holds the tokens themselves.",
        )
    blank %= shape[2]
    if labels.max() >= shape[2] or (labels == blank).any():
        raise UsageError(
            f"tokens of {name} go from 0 to {shape[2] - 1} without {blank}, which says nothing; "
            f"the labels hold {blank if (labels == blank).any() else labels.max()}",
            hint="wer_ctc takes token 0 for the blank (PyTorch), wer_ctc_last the last one (TensorFlow, Keras).",
        )


def _packed(tokens: Tokens, kept: NDArray[np.bool_]) -> tuple[Tokens, Tokens]:
    """The tokens that are kept, from the left, and how many they are in each row."""
    order = np.argsort(~kept, axis=1, kind="stable")
    return np.take_along_axis(tokens, order, axis=1), kept.sum(axis=1)


def _references(labels: Array) -> tuple[Tokens, Tokens]:
    rows = labels.reshape(len(labels), -1).astype(np.int64)
    return _packed(rows, rows >= 0)


def _given(values: Array) -> tuple[Tokens, Tokens]:
    """Tokens as they are; what is no number is none."""
    with np.errstate(invalid="ignore"):
        rows = np.where(np.isfinite(values), values, PADDING).astype(np.int64)
    return _packed(rows, rows >= 0)


def _greedy(blank: int, logits: Array) -> tuple[Tokens, Tokens]:
    """The likeliest token of each step, of equal neighbours one, blanks left out.

    Best path decoding (Graves et al. 2006, Connectionist temporal classification, ICML, section 3.2). A step that is
    not finite says nothing.
    """
    chosen = predictions(logits)
    again = np.concatenate([np.zeros((len(chosen), 1), bool), chosen[:, 1:] == chosen[:, :-1]], axis=1)
    return _packed(chosen, (chosen >= 0) & (chosen != blank % logits.shape[2]) & ~again)


def _edits(found: tuple[Tokens, Tokens], wanted: tuple[Tokens, Tokens]) -> Floats:
    """Fewest insertions, deletions and replacements that make one row of the other, in all rows side by side.

    Levenshtein's distance by the table of Wagner & Fischer 1974, The string-to-string correction problem, Journal of
    the ACM 21:168-173: a row of it per token that was found. Insertions within a row are a running minimum.
    """
    (tokens, lengths), (references, sizes) = found, wanted
    places = np.arange(references.shape[1] + 1)
    row = np.broadcast_to(places, (len(tokens), len(places))).astype(np.int64)
    for i in range(tokens.shape[1]):
        replaced = row[:, :-1] + (tokens[:, i, None] != references)
        best = np.concatenate([row[:, :1] + 1, np.minimum(row[:, 1:] + 1, replaced)], axis=1)
        best = np.minimum.accumulate(best - places, axis=1) + places
        row = np.where((i < lengths)[:, None], best, row)
    return np.take_along_axis(row, sizes[:, None], axis=1).astype(np.float64)


def _contributions(decode: Callable[[Array], tuple[Tokens, Tokens]], labels: Array, values: Array) -> Floats:
    """Of each sample its errors, and the length of its reference."""
    wanted = _references(labels)
    return np.concatenate([_edits(decode(values), wanted), wanted[1][:, None].astype(np.float64)], axis=1)


def _same_words(labels: Array, shape: Shape, inputs: Callable[[], Mapping[str, Array]]) -> Floats:
    """The better one of two answers to every sample: nothing at all, and the commonest reference."""
    tokens, sizes = _references(labels)
    rows = np.where(np.arange(tokens.shape[1]) < sizes[:, None], tokens, PADDING)
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    common = np.broadcast_to(kinds[counts.argmax()], rows.shape)
    answers = [_contributions(_given, labels, answer) for answer in (np.full_like(rows, PADDING), common)]
    return min(answers, key=lambda contributions: float(contributions[:, 0].sum()))


def _rate(means: Floats) -> Floats:
    """All errors over all tokens of the references: a corpus' rate, not the mean of its samples' rates."""
    rate: Floats = means[..., 0] / np.maximum(means[..., 1], 1e-12)
    return rate


def _wer(
    name: str,
    about: str,
    check: Callable[[Array, Shape], None],
    decode: Callable[[Array], tuple[Tokens, Tokens]],
    check_values: Callable[[Array], None] | None = None,
) -> Metric:
    return Metric(
        name, about, False, "map", labels=f"a row of tokens, filled up with {PADDING}", binary=False, bounded=True,
        check=check, check_set=functools.partial(_check_said, name),
        contributions=functools.partial(_contributions, decode), trivial=_same_words,
        statistic=functools.partial(OfMeans, function=_rate), read=_first, decisions=None,
        reads_classes=check_values is None, check_values=check_values,
    )  # fmt: skip


#: Tokens are words where the rate is to be that of words; of characters it is the character error rate.
WER = _wer("wer", "tokens (errors per token of the references)", _check_tokens, _given, _check_whole)
WER_CTC = _wer(
    "wer_ctc",
    "one value per step and token, CTC with token 0 for the blank (errors per token)",
    functools.partial(_check_steps, "wer_ctc", 0),
    functools.partial(_greedy, 0),
)
WER_CTC_LAST = _wer(
    "wer_ctc_last",
    "the same with the last token for the blank",
    functools.partial(_check_steps, "wer_ctc_last", -1),
    functools.partial(_greedy, -1),
)
