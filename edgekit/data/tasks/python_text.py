"""Characters of Python's standard library; the next character is the label.

The text lies beside this module, and ``benchmarks/python_text.py`` makes it from CPython's release. Each split is text
of its own modules, cut into windows that do not overlap.
"""

from __future__ import annotations

import lzma
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.data.tasks import Samples, Split, Task
from edgekit.errors import UsageError

#: Files beside this one that are read here.
DATA = ("python_text.xz",)

LENGTH = 64
#: Token of a character is its place: the newline, then the printable characters of ASCII in their order.
VOCABULARY = ("\n", *(chr(code) for code in range(32, 127)))

TASK = Task(
    title="next character of Python's standard library, windows of 64 characters",
    metric="perplexity",
    classes=len(VOCABULARY),
    sizes={"train": 10_000, "calibration": 256, "selection": 1000, "test": 2000},
    source=(
        "modules of CPython 3.11.7's standard library, those without terms of their own; "
        "Copyright (c) 2001-2023 Python Software Foundation; All Rights Reserved; "
        "PSF License Version 2 (edgekit/data/tasks/python_text.LICENSE)"
    ),
)

#: Windows of each split that the text holds: more of test than a conversion is scored on, for finer comparisons.
HELD: dict[Split, int] = {**TASK.sizes, "test": 8000}


def make(split: Split, count: int | None = None) -> Samples:
    """``tokens`` int32 (n, 64); labels int64 (n, 64), the next tokens."""
    count = TASK.sizes[split] if count is None else count
    if not 1 <= count <= HELD[split]:
        raise UsageError(f"{split} of task python_text has 1 to {HELD[split]} samples, {count} were asked for")
    names = list(HELD)
    start = sum(characters(HELD[name]) for name in names[: names.index(split)])
    text = _tokens()[start : start + characters(count)]
    inputs, labels = (text[shift : shift + count * LENGTH].reshape(count, LENGTH) for shift in (0, 1))
    return Samples({"tokens": inputs.astype(np.int32)}, labels.astype(np.int64))


def characters(windows: int) -> int:
    """Characters that so many windows take: the last label is one more."""
    return windows * LENGTH + 1


@cache
def _tokens() -> NDArray[np.uint8]:
    codes = np.frombuffer(lzma.decompress((Path(__file__).parent / DATA[0]).read_bytes()), np.uint8)
    return np.where(codes == ord("\n"), 0, codes - 31).astype(np.uint8)
