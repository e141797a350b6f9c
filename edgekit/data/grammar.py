"""Text from a probabilistic grammar, and splits that share no text by construction."""

from __future__ import annotations

import bisect
import itertools
import random
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.data.tasks import Split

#: Symbol -> alternatives as (weight, space-separated right-hand side); what is no key is a word.
Rules = Mapping[str, Sequence[tuple[float, str]]]

#: Hundredths of all texts that belong to each split: a text's hash decides, so that no text is in two of them.
_BUCKETS: dict[Split, range] = {
    "train": range(70),
    "calibration": range(70, 75),
    "selection": range(75, 85),
    "test": range(85, 100),
}


def belongs(words: Sequence[str], split: Split) -> bool:
    """Whether a text belongs to a split: its CRC-32 decides, the same on every machine."""
    return zlib.crc32(" ".join(words).encode()) % 100 in _BUCKETS[split]


class Grammar:
    """A probabilistic context-free grammar.

    Attributes:
        words: what is no symbol, sorted.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = {
            symbol: (
                list(itertools.accumulate(weight for weight, _ in alternatives)),
                [right.split()[::-1] for _, right in alternatives],
            )
            for symbol, alternatives in rules.items()
        }
        self.words = sorted({w for _, rights in self._rules.values() for right in rights for w in right} - rules.keys())

    def expand(self, symbol: str, rng: random.Random) -> list[str]:
        """Return the words of one random derivation of ``symbol``."""
        words, rest = [], [symbol]
        while rest:
            part = rest.pop()
            if part in self._rules:
                edges, rights = self._rules[part]
                # random() is the one method whose sequence Python promises to keep; choices() is not.
                rest += rights[bisect.bisect(edges, rng.random() * edges[-1], hi=len(edges) - 1)]
            else:
                words.append(part)
        return words


def pick(words: Sequence[str], rng: random.Random) -> str:
    """One word, all equally likely."""
    return words[int(rng.random() * len(words))]


def generator(task: str, split: Split) -> random.Random:
    """The random generator of one split of one task; a string seed is hashed with SHA-512, the same everywhere."""
    return random.Random(f"{task}/{split}")  # noqa: S311 - data, not secrets
