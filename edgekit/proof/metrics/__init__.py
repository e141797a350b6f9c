"""Task metrics, found by name.

What a metric looks at is one array per model, ``Metric.read`` of all its outputs by name (after the task's own
postprocessing, see ``edgekit/data/tasks``). Each sample contributes a row; the metric is a function of those rows and
of how often each counts (``intervals.Statistic``), mostly of their mean. That makes it cheap to resample, and two
models measured on the same samples stay paired.

A new metric is one ``Metric`` constant in a module of this folder; it is found by its ``name``.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

from edgekit.errors import UsageError, unknown_name
from edgekit.proof.metrics.metric import CHUNK, Metric, agreement, first_output, predictions

__all__ = ["CHUNK", "Metric", "agreement", "first_output", "metric", "names", "predictions"]


#: What other tools call some of them.
_ALSO = {"accuracy": "top1", "acc": "top1", "sparse_categorical_accuracy": "top1", "mean_absolute_error": "mae"}


def names() -> list[str]:
    """All metric names, sorted."""
    return sorted(_metrics())


def metric(name: str) -> Metric:
    """Find a metric; raises ``UsageError`` with the nearest name."""
    found = _metrics().get(name)
    if found is None and name in _ALSO:
        raise UsageError(
            f"unknown metric {name!r}", hint=f"Here it is called {_ALSO[name]!r}. See `edgekit list metrics`."
        )
    if found is None:
        raise unknown_name("metric", name, names())
    return found


@functools.cache
def _metrics() -> dict[str, Metric]:
    modules = [importlib.import_module(f"edgekit.proof.metrics.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return {value.name: value for module in modules for value in vars(module).values() if isinstance(value, Metric)}
