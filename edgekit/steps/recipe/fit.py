"""Training a source's weights on a target's grid, or in float; the weights of the best epoch are kept."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.compress.fakequant import Grid, grid_of
from edgekit.data import plan as planning
from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks.once import forget, framework, load
from edgekit.proof import execution, metrics
from edgekit.scheme import Kind, Range, Rule, Scheme
from edgekit.signature import Signature
from edgekit.sources.source import Source
from edgekit.steps import File
from edgekit.zoo import Training

if TYPE_CHECKING:
    from edgekit.compress.fitting import Loss
    from edgekit.frameworks import LoadedModel

#: Distributions whose versions change what is done here.
PACKAGES = ("safetensors", "torch")

#: Samples that a loss is chosen by.
_A_FEW = 32


@dataclass(frozen=True)
class Places:
    """Values of a file's tensors, in the order of the ranges, on the first of some samples."""

    values: File
    samples: File


@dataclass(frozen=True)
class FitRequest:
    """Which model is trained in which kind of child, on what, and where its weights will lie.

    Attributes:
        signatures: of the model, as its outputs are scored.
        scheme: the target's, whose grid weights get; None to train in float.
        kinds: of the layers that the target quantizes; empty for all.
        layers: what is said of single ones, which are trained in float.
        allow_mixed: layers without a rule stay in float.
        fold_norms: see ``steps.adjust``.
        train: file of the training samples.
        selection: of those that choose the epoch.
        metric: of the labels.
        task: code around the model that makes of its outputs what the metric reads.
        ranges: of the activations that are fake-quantized too, by tensors of a file; none where they stay in float.
        places: what ``places.found`` wrote of them; None where there are none.
    """

    source: Source
    environment: str
    signatures: Mapping[str, Signature]
    scheme: Scheme | None
    kinds: tuple[Kind, ...]
    layers: tuple[Rule, ...]
    allow_mixed: bool
    fold_norms: bool
    train: File
    selection: File
    metric: str
    task: str | None
    training: Training
    ranges: tuple[Range, ...] = ()
    places: Places | None = None


@dataclass(frozen=True)
class FitAnswer:
    """The file of all weights in the step's folder, and how training went; see ``compress.qat.Trained``.

    Attributes:
        unruled: weights that stayed in float for want of a rule.
        nodes: of the model's graph, which are the tensors with a range, by these.
    """

    file: str
    layers: int
    unruled: tuple[str, ...]
    losses: tuple[float, ...]
    values: tuple[float, ...]
    kept: int
    stopped: str
    nodes: Mapping[str, str] = field(default_factory=dict)


def fitted(folder: Path, request: FitRequest) -> FitAnswer:
    """Train a source's model with its weights on the target's grid, and save those of the best epoch.

    Raises:
        UsageError: labels that fit no loss.
        UnsupportedError: layers without fake quantization, by name.
        FailedError: the loss became NaN or infinite.
    """
    import torch

    from edgekit.compress import activations, equalize, fitting, qat

    scheme = request.scheme

    def chosen(names: tuple[str, ...], kind: Kind, inputs: int, channels: int) -> Grid | None:
        if scheme is None or any(rule.takes(names, kind) for rule in request.layers):
            return None
        return grid_of(scheme, request.kinds, kind, inputs, channels)

    model = load(request.source, request.environment)
    samples = planning.load(Path(request.train))
    assert samples.labels is not None
    labels = fitting.tensor_of(samples.labels)
    inputs = [torch.from_numpy(np.asarray(samples.inputs[t.name], t.dtype)) for t in model.signature.inputs]
    loss = qat.loss_for(model, [x[:_A_FEW] for x in inputs], labels, _own_loss(request.source, model))
    metric = metrics.metric(request.metric)
    try:
        layers, unruled = qat.find_layers(model, chosen)
        if scheme is not None:
            qat.check(layers, unruled, allow_mixed=request.allow_mixed)
        fixed = equalize.fold_norms(model) if request.fold_norms else []
        batch = min(request.training.batch, len(labels))
        nodes, module = _on_steps(model, request, batch)
        scored = model if module is None else activations.as_loaded(model, module, batch)
        found = qat.train(
            model, layers, fixed, loss, inputs, labels, request.training, _scoring(scored, request),
            higher=metric.higher_is_better, through=module,
        )  # fmt: skip
        file = framework(request.environment).save_weights(model, folder)
    finally:
        forget()
    return FitAnswer(
        file.name, found.layers, tuple(unruled), found.losses, found.values, found.kept, found.stopped, nodes
    )


def _on_steps(model: LoadedModel, request: FitRequest, batch: int) -> tuple[dict[str, str], Any]:
    """The nodes that are the tensors with a range, and the model's graph with these on their steps; None without."""
    from edgekit.compress import activations

    if request.places is None:
        return {}, None
    with np.load(Path(request.places.values)) as read:
        values = {one.tensor: list(read[str(number)]) for number, one in enumerate(request.ranges)}
    rows = planning.rows_of(Path(request.places.samples))
    some = [rows[t.name].of_shape(t.shape) for t in model.signature.inputs]
    count = len(next(iter(values.values())))
    nodes = activations.places(model, [[np.asarray(one[i]) for one in some] for i in range(count)], values)
    if not nodes:
        raise UnsupportedError("no tensor of the file is a value of the model's graph")
    by_node = {nodes[one.tensor]: one for one in reversed(request.ranges) if one.tensor in nodes}
    return nodes, activations.on_steps(model, by_node, batch)


def _own_loss(source: Source, model: LoadedModel) -> Loss | None:
    """The loss of a zoo architecture whose outputs no common one fits; it reads the layout of PyTorch."""
    if source.kind != "zoo":
        return None
    own: Loss | None = getattr(importlib.import_module(f"edgekit.zoo.{source.name}.pytorch"), "loss", None)
    if own is not None and model.framework != "torch":
        raise UnsupportedError(
            f"{source.name}@keras has a loss for PyTorch alone", hint=f"Train {source.name}@torch instead."
        )
    return own


def _scoring(model: LoadedModel, request: FitRequest) -> Any:
    """What measures the model as it is on the selection split."""
    selection, metric = planning.load(Path(request.selection)), metrics.metric(request.metric)
    labels = selection.labels
    if labels is None:
        raise UsageError("the selection samples have no labels", hint="Give labelled ones with --evaluate DATA.")

    def score() -> float:
        outputs = execution.answers(model.run(selection.inputs), request.signatures, request.task)
        contributions = metric.contributions(labels, metric.read(outputs, labels))
        return float(metric.value(metric.gathered([contributions])))

    return score
