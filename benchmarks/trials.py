"""A zoo model that is trained in several ways on the same samples in the same order, and run on the same test split.

For scripts that compare recipes; in a child of PyTorch.
"""

from __future__ import annotations

import datetime
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgekit
from edgekit import zoo
from edgekit.data import plan as planning
from edgekit.data import tasks
from edgekit.sources import source as sources
from edgekit.sources.source import Source


@dataclass(frozen=True)
class Trial:
    """A source with its task; ``place`` has the samples, and gets a folder for each training."""

    place: Path
    source: Source
    environment: str
    signature: Any
    task: str
    metric: Any
    test: Any

    @classmethod
    def of(cls, folder: str, model: str, framework: str, samples: int) -> Trial:
        """The tiny configuration of a model, on so many test samples, which choose nothing."""
        from edgekit.proof import metrics

        source = sources.with_framework(sources.resolve(model), "keras" if framework == "keras" else "torch")
        config = zoo.architecture(model).configs["tiny"]
        signature = config.signature(source.framework)
        assert config.task is not None
        metric = metrics.metric(tasks.task(config.task).metric)
        plan = planning.DataPlan(task=config.task, metric=metric.name)
        for split in ("train", "selection"):
            planning.save(planning.make(plan, split, signature), Path(folder) / f"{split}.npz")
        test = planning._in_layout(tasks.load(config.task, "test", samples), signature)
        environment = "torch" if framework == "torch" else "keras-torch"
        return cls(Path(folder), source, environment, signature, config.task, metric, test)

    def loaded(self, source: Source) -> Any:
        """A source in its framework."""
        from edgekit.frameworks.once import load

        return load(source, self.environment)

    def outputs(self, loaded: Any) -> np.ndarray:
        """What the metric reads of the test split."""
        return self.metric.read(tasks.postprocess(self.task, loaded.run(self.test.inputs)), self.test.labels)

    def compared(self, before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
        """The metric of both, and the drop with its interval."""
        from edgekit.proof.accuracy import measure_accuracy

        one = measure_accuracy(self.metric.name, [(self.test.labels, before, after)])
        return {"before": one.float_, "after": one.artifact, "drop": one.drop, "drop_ci95": list(one.drop_ci95)}

    def trained(
        self, name: str, training: zoo.Training, source: Source | None = None, **more: Any
    ) -> tuple[Any, Source, dict[str, Any]]:
        """The step's answer, the source with its best weights, and the facts of a row; ``more`` is of the request."""
        from edgekit.signature import WHOLE
        from edgekit.steps.recipe import fit

        at = self.place / name
        at.mkdir()
        asked: dict[str, Any] = {"scheme": None, "kinds": (), "fold_norms": False} | more
        request = fit.FitRequest(
            source=source or self.source, environment=self.environment, signatures={WHOLE: self.signature},
            layers=(), allow_mixed=False, train=self.place / "train.npz", selection=self.place / "selection.npz",
            metric=self.metric.name, task=self.task, training=training, **asked,
        )  # fmt: skip
        begun = time.process_time()
        made = fit.fitted(at, request)
        seconds = round(time.process_time() - begun, 1)
        facts = {"cpu_seconds": seconds, "kept": made.kept, "losses": made.losses, "selection": made.values}
        return made, sources.with_weights(source or self.source, at / made.file), facts


def appended(results: Path, row: dict[str, Any]) -> None:
    """Add a row to a file of results."""
    head = {"at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "edgekit": edgekit.__version__}
    with results.open("a") as file:
        file.write(json.dumps({**head, **row}) + "\n")
