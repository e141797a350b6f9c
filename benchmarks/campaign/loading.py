"""What edgekit does with a file, up to where it is loaded: its own pipeline, on children that live on.

A confined child serves one source. Here it serves all of them, so that each file does not pay for the start of a
framework; nothing else is other than in ``edgekit convert``.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit import target as targets
from edgekit.api import plan_for
from edgekit.checkpoint import Checkpoint
from edgekit.conversion import loading
from edgekit.conversion.order import Order
from edgekit.errors import EdgekitError
from edgekit.jobs.run import Run
from edgekit.jobs.store import Entry, Store
from edgekit.jobs.workers import Confined, Limits, Workers
from edgekit.signature import WHOLE, Signature, TensorSpec
from edgekit.sources.source import resolve

HERE = Path(__file__).parent
#: Of one step: what a file that is no good may take until it is refused.
LIMITS = Limits(60.0, 4 << 30)
_SEVERAL = 80


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: the exit code that the command line would have, what was said, the seconds; the document, where it was the command line."""

    code: int
    said: str
    seconds: float
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def fault(self) -> str:
        """What is wrong about it; empty where nothing is."""
        if self.code not in (0, 2, 3, 8):
            return f"exit {self.code}"
        if "Traceback" in self.said or "\n" in self.said:
            return "more than a sentence"
        if self.code and not self.said.strip():
            return "no sentence"
        return "took too long" if self.seconds > LIMITS.seconds else ""


def attempt(action: Callable[[], object]) -> Ended:
    """Do something as the command line does: an error has its exit code, all else is a bug."""
    start = time.monotonic()
    try:
        action()
        code, said = 0, ""
    except EdgekitError as error:
        code, said = error.exit_code, str(error)
    except Exception:  # boundary: the campaign looks for these
        code, said = 1, traceback.format_exc()
    return Ended(code, said, round(time.monotonic() - start, 2))


class _Shared(Run):
    """A run whose confined children serve every source, and all data below one folder."""

    scratch = Path()

    def step(self, *arguments: Any, reading: Confined | None = None, **options: Any) -> Entry[Any]:
        if reading is not None:
            reading = Confined("campaign", reading.near, reading.file_bytes, (self.scratch,))
        return super().step(*arguments, reading=reading, **options)

    def _for_whom(self, request: object) -> Confined | None:
        found = super()._for_whom(request)
        return Confined("campaign", found.near, 2 << 30, found.read) if found else None


class Bench:
    """Children and a store that many attempts share, fresh after some of them."""

    def __init__(self) -> None:
        self._attempts = 0
        self.scratch = Path()
        self._open()

    def _open(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="campaign-home-"))
        self.workers = Workers(LIMITS)

    def close(self) -> None:
        self.workers.close()
        shutil.rmtree(self.home, ignore_errors=True)

    @contextmanager
    def run(self) -> Iterator[Run]:
        self._attempts += 1
        if self._attempts % _SEVERAL == 0:  # what TensorFlow keeps of each model, and copies of each file, go
            self.close()
            self._open()
        with Store(self.home).lease() as lease:
            run = _Shared(self.workers, lease, lambda event, label: None)
            run.scratch = self.scratch
            yield run

    def load(self, path: Path) -> Ended:
        """Look at a model file and load it."""

        def action() -> None:
            inputs = ("x=1x3x8x8",) if path.suffix == ".pt" else ()
            order = Order(resolve(str(path), inputs=inputs), targets.load("onnxruntime-fp32"), plan_for_nothing())
            with self.run() as run:
                loading.load(run, order)

        return attempt(action)

    def samples(self, path: Path) -> Ended:
        """Read calibration and evaluation samples of a model with an input of 3x8x8 and four classes."""

        def action() -> None:
            source = resolve("lenet5@torch")
            order = Order(source, targets.load("onnxruntime-int8"), plan_for(source, str(path), str(path), "top1"))
            inputs, outputs = TensorSpec("x", (1, 3, 8, 8), "float32"), TensorSpec("y", (1, 4), "float32")
            signature = Signature((inputs,), (outputs,))
            checkpoint = Checkpoint(source, {WHOLE: source}, {WHOLE: signature}, "torch", "torch")
            with self.run() as run:
                loading.gather(run, order, checkpoint, "test", ran=False)

        return attempt(action)


def plan_for_nothing() -> Any:
    return plan_for(resolve(str(HERE / "originals.py") + ":keras_files"), None, None, "top1")


@contextmanager
def own_steps() -> Iterator[None]:
    """Children that start within find the modules of the campaign."""
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in (str(HERE.parent), before) if p)
    try:
        yield
    finally:
        os.environ["PYTHONPATH"] = before


def make_originals(folder: Path) -> None:
    """Write the good files that mutants are made of."""
    if (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with own_steps(), Workers() as workers:
        for environment, maker in (
            ("keras-tensorflow", "keras_files"), ("tf-keras", "keras_2_files"), ("torch", "torch_files"),
            ("data", "data_files"),
        ):  # fmt: skip
            workers.call(environment, f"campaign.originals:{maker}", {"folder": str(folder)})
    (folder / "done").touch()


def peak_mib() -> int:
    """The most memory that this process took, which is the one that has no limit."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
