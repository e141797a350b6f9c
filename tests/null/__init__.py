"""A toolchain, a framework and a zoo without any vendor, so that the whole pipeline runs in milliseconds.

``installed`` puts them beside the package's own, in this process or in a child. Sources are ``dense@torch``,
``pair@torch`` (two parts), ``again@torch`` (recurrent), ``table@torch`` (without a batch) and ``score@torch`` (one
unit). No framework is imported: what loads a model in place of PyTorch is ``frameworks/null.py``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from edgekit import frameworks, toolchains, user_code, zoo
from edgekit.frameworks import once
from edgekit.jobs import child, wire
from edgekit.jobs.workers import Answer, Raised, Worker, Workers
from edgekit.proof import latency
from edgekit.result.speed import Latency
from edgekit.sources import source as sources

HERE = Path(__file__).parent
_MINE = (
    "edgekit.toolchains.null",
    "edgekit.frameworks.null",
    "edgekit.zoo.again",
    "edgekit.zoo.dense",
    "edgekit.zoo.pair",
    "edgekit.zoo.score",
    "edgekit.zoo.table",
)


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """While it is open, the toolchain ``null`` is one of edgekit's, and its zoo is the one beside this file."""
    before = toolchains.__path__, frameworks.__path__, zoo.__path__, zoo.ROOT, dict(frameworks.KINDS)
    toolchains.__path__ = [*toolchains.__path__, str(HERE / "toolchains")]
    frameworks.__path__ = [*frameworks.__path__, str(HERE / "frameworks")]
    zoo.ROOT = HERE / "zoo"
    zoo.__path__ = [str(zoo.ROOT)]
    frameworks.KINDS["torch"] = frameworks.Kind("null", "numpy")
    once._load.cache_clear()
    for noted in (user_code._read, user_code._stamps):  # a child has read nothing of an earlier one's
        noted.clear()
    try:
        yield
    finally:
        toolchains.__path__, frameworks.__path__, zoo.__path__, zoo.ROOT, kinds = before
        frameworks.KINDS.update(kinds)
        once._load.cache_clear()
        for name in [name for name in sys.modules if name.startswith(_MINE)]:
            del sys.modules[name]


def step(null_step: str, **arguments: Any) -> Any:
    """A step of edgekit's in a child of its own, with all this installed."""
    module, _, function = null_step.partition(":")
    with installed():
        return wire.call(getattr(importlib.import_module(module), function), arguments)


class Children(Workers):
    """Real children."""

    def call(self, environment: str, step: str, arguments: Mapping[str, Any], **options: Any) -> Answer[Any]:
        """Run a step in a child that has all this installed."""
        return super().call(environment, f"{__name__}:step", {"null_step": step, **arguments}, **options)


class Here(Workers):
    """No children: a request is answered in this process, as a child would, and travels as JSON all the same.

    Nothing is timed: the CPU time of a file to that of its float twin is the next of ``ratios``, and 1 after them.
    """

    def __init__(self, ratios: Sequence[float] = ()) -> None:
        super().__init__()
        self.ratios = list(ratios)

    def call(self, environment: str, step: str, arguments: Mapping[str, Any], **_: Any) -> Answer[Any]:
        """Run a step."""
        request = json.loads(json.dumps({"step": step, "arguments": wire.plain(arguments)}))
        with mock.patch.object(latency, "measure", self._measure):
            answer = json.loads(json.dumps(child._answer(request, first=False)))
        if "error" in answer:
            raise Worker._raised(self, step, Raised(**answer["error"]))  # type: ignore[arg-type]
        return wire.read(Answer[Any], answer)

    def _measure(self, float_invoke: Callable[[], object], artifact_invoke: Callable[[], object]) -> Latency:
        for invoke in (float_invoke, artifact_invoke):
            invoke()
        ratio = self.ratios.pop(0) if self.ratios else 1.0
        return Latency(
            float_cpu_ms=1.0, artifact_cpu_ms=ratio, ratio=ratio, ratio_ci95=(ratio - 0.01, ratio + 0.01), noisy=False,
            blocks=41, runs_per_block=(10, 10), wall_over_cpu=1.0,
        )  # fmt: skip


def samples(folder: Path, count: int = 800) -> dict[str, str]:
    """``--calibrate`` and ``--evaluate`` for ``dense``: labels are the model's own answers, most of them certain.

    Seven are lost when the first class gains 2, and a hundred more when it gains 5.5.
    """
    model = once.framework("torch").load(sources.with_framework(sources.resolve("dense"), "torch"))
    drawn = np.random.default_rng(0).uniform(-40, 40, (60 * count, 8)).astype("float32")
    calibration, x = drawn[:256], drawn[256:]
    logits = np.sort(found := model.run({"x": x})["logits"], axis=1)
    behind = logits[:, -1] - found[:, 0]
    certain = logits[:, -1] - logits[:, -2] > 1
    groups = [
        (behind > 1.2) & (behind < 1.8) & (logits[:, -2] == found[:, 0]),
        (behind > 3.5) & (behind < 4.5) & (logits[:, -2] == found[:, 0]),
        certain & ((behind == 0) | (behind > 7)),
    ]
    rows = np.concatenate([np.flatnonzero(g)[:n] for g, n in zip(groups, (7, 100, count - 107), strict=True)])
    assert len(rows) == count
    np.savez(folder / "calibrate.npz", x=calibration)
    np.savez(folder / "evaluate.npz", x=x[rows], y=found[rows].argmax(1))
    return {side: str(folder / f"{side}.npz") for side in ("calibrate", "evaluate")}
