"""What a file may name to be loaded without ``--trust``, and how one that names something else is refused.

``lists/*.toml`` hold the classes, operators and functions that compute. What reads, writes or executes is unsafe;
anything else is unknown: it may be safe, but nobody has looked.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path

from edgekit.errors import UnsafeInputError, UnsupportedError

#: Files that are read as if they stood here.
DATA = ("lists/*.toml",)
_LISTS = Path(__file__).parent / "lists"


@functools.cache
def lists(name: str) -> Mapping[str, frozenset[str]]:
    """The lists of ``lists/<name>.toml``: the key of each and the words in it."""
    document = tomllib.loads((_LISTS / f"{name}.toml").read_text("utf-8"))
    return {key: frozenset(words.split()) for key, words in document.items() if isinstance(words, str)}


def unsafe(given: str, found: str) -> UnsafeInputError:
    """Build the error for something that reads, writes or executes."""
    return UnsafeInputError(
        f"{given} could run code or reach other files when it is loaded: {found}",
        hint="Pass --trust if you know where the file comes from, or hand in `file.py:function` that builds the model.",
    )


def unknown(given: str, found: str) -> UnsupportedError:
    """Build the error for something that is on none of the lists."""
    return UnsupportedError(
        f"{given}: {found}, which is not among those that edgekit knows to be safe",
        hint="Pass --trust if you know where the file comes from; what only your own code defines needs "
        "`file.py:function` that builds the model.",
    )
