"""Training: the zoo's checkpoints from their seeds, and a source's weights on a target's grid.

The loop is that of ``edgekit.compress.fitting``. The loss is the function ``loss(outputs, labels)`` of the
architecture's ``pytorch.py`` where it has one, else one that fits the labels. Of a zoo checkpoint the last weights are
the result, of a recipe the best by the selection split.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgekit import zoo
from edgekit.compress.fakequant import Grid, grid_of
from edgekit.data import plan as planning
from edgekit.data import tasks
from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks.once import forget, framework, load
from edgekit.proof import execution, metrics
from edgekit.scheme import Kind, Rule, Scheme
from edgekit.signature import Signature
from edgekit.sources.source import Source
from edgekit.steps import File
from edgekit.zoo import Config, Training

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from edgekit.compress.fitting import Loss
    from edgekit.frameworks import LoadedModel

#: Distributions whose versions change what is done here.
PACKAGES = ("safetensors", "torch")

#: Samples per forward pass when the metric is taken.
EVALUATION_BATCH = 250
#: Samples that a loss is chosen by.
_A_FEW = 32


class Progress(Protocol):
    """Called after every epoch (counted from 1) with its mean training loss."""

    def __call__(self, epoch: int, epochs: int, loss: float) -> None:
        """Epoch ``epoch`` of ``epochs`` has ended."""


@dataclass(frozen=True)
class TrainingResult:
    """A trained checkpoint, in memory; writing the file is the caller's choice.

    Attributes:
        tensors: weights in the canonical form of ``edgekit/zoo/weights.py``.
        metric: name of the task's metric.
        value: that metric of the float model on the whole selection split (the test split is never read here).
        samples: how many selection samples ``value`` rests on.
        seed: the seed that gives ``tensors`` again, bit for bit, on the same machine and packages.
        losses: mean training loss of each epoch; cross-entropy is in nats, a ratio of signals in dB.
    """

    tensors: Mapping[str, NDArray[np.generic]]
    metric: str
    value: float
    samples: int
    seed: int
    losses: tuple[float, ...]


def train(
    name: str, config: str = "tiny", *, seed: int | None = None, progress: Progress | None = None
) -> TrainingResult:
    """Train one configuration of the zoo on its task's train split, on one CPU thread.

    Args:
        name: architecture.
        config: configuration; its spec must name a task and a training.
        seed: seed of the initial weights and of the order of samples; the spec's own by default.
        progress: told about every epoch.

    Raises:
        UsageError: unknown architecture or configuration, or one without a task or training.
        FailedError: the loss became NaN or infinite.
    """
    from edgekit.compress import fitting
    from edgekit.zoo import weights

    chosen = _trainable(name, config)
    assert chosen.task is not None and chosen.training is not None
    training = chosen.training if seed is None else replace(chosen.training, seed=seed)
    task, module = tasks.task(chosen.task), importlib.import_module(f"edgekit.zoo.{name}.pytorch")
    loss: Loss = getattr(module, "loss", fitting.cross_entropy)
    losses: list[float] = []

    def after(epoch: int, mean: float) -> None:
        losses.append(mean)
        if progress is not None:
            progress(epoch, training.epochs, mean)

    with fitting.reproducible(training.seed):
        model: nn.Module = module.build(**chosen.settings)
        inputs, labels = _tensors(chosen, tasks.load(chosen.task, "train"))
        model.train()
        parameters = list(model.parameters())
        fitting.fit(model, parameters, loss, inputs, labels, training, before=lambda epoch: None, after=after)
        inputs, labels = _tensors(chosen, tasks.load(chosen.task, "selection"))
        value = _score(model, chosen, inputs, labels.numpy())
        tensors = weights.from_torch(model)
    return TrainingResult(tensors, task.metric, value, len(labels), training.seed, tuple(losses))


def _trainable(name: str, config: str) -> Config:
    configs = zoo.architecture(name).configs
    if config not in configs:
        raise UsageError(f"{name} has no configuration {config!r}; it has {', '.join(sorted(configs))}")
    if configs[config].task is None or configs[config].training is None:
        known = sorted(n for n, c in configs.items() if c.task and c.training)
        raise UsageError(
            f"{name} {config!r} names no task and training", hint=f"Can be trained: {', '.join(known) or 'none'}."
        )
    return configs[config]


def _tensors(config: Config, samples: tasks.Samples) -> tuple[list[Tensor], Tensor]:
    """Inputs as the PyTorch model takes them (images channels first), and labels: class indices, or a signal."""
    import torch

    assert samples.labels is not None
    inputs = []
    for spec in config.inputs:
        array = np.asarray(samples.inputs[spec.name], dtype=spec.dtype)
        if spec.layout == "channels_last":
            array = np.moveaxis(array, -1, 1)
        inputs.append(torch.from_numpy(np.ascontiguousarray(array)))
    return inputs, _labels(samples)


def _labels(samples: tasks.Samples) -> Tensor:
    """Class numbers, or a signal."""
    import torch

    assert samples.labels is not None
    signal = np.issubdtype(samples.labels.dtype, np.floating)
    return torch.from_numpy(np.asarray(samples.labels, dtype=np.float32 if signal else np.int64))


def _score(model: nn.Module, config: Config, inputs: list[Tensor], labels: NDArray[np.generic]) -> float:
    """The metric of the model in evaluation mode, over all samples."""
    import torch

    assert config.task is not None
    model.eval()
    metric = metrics.metric(tasks.task(config.task).metric)
    contributions = []
    for start in range(0, len(labels), EVALUATION_BATCH):
        rows = slice(start, start + EVALUATION_BATCH)
        with torch.no_grad():
            found = model(*(x[rows] for x in inputs))
        tensors = found if isinstance(found, tuple) else (found,)
        outputs = {spec.name: t.numpy() for spec, t in zip(config.outputs, tensors, strict=True)}
        scored = metric.read(tasks.postprocess(config.task, outputs), labels[rows])
        contributions.append(metric.contributions(labels[rows], scored))
    return float(metric.value(metric.gathered(contributions)))


@dataclass(frozen=True)
class Request:
    """A configuration of an architecture, the seed (the spec's own where it is None), and the file to write."""

    name: str
    config: str
    seed: int | None
    output: Path


@dataclass(frozen=True)
class Answer:
    """Name of the task's metric, and its value on the selection split."""

    metric: str
    value: float


def run(folder: Path, request: Request) -> Answer:
    """Train a zoo configuration and write its canonical weights."""
    from edgekit.zoo import weights

    trained = train(request.name, request.config, seed=request.seed)
    weights.write(request.output, trained.tensors)  # type: ignore[arg-type]  # all are float32
    return Answer(trained.metric, trained.value)


@dataclass(frozen=True)
class QatRequest:
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


@dataclass(frozen=True)
class QatAnswer:
    """The file of all weights in the step's folder, and how training went; see ``compress.qat.Trained``.

    Attributes:
        unruled: weights that stayed in float for want of a rule.
    """

    file: str
    layers: int
    unruled: tuple[str, ...]
    losses: tuple[float, ...]
    values: tuple[float, ...]
    kept: int
    stopped: str


def quantized(folder: Path, request: QatRequest) -> QatAnswer:
    """Train a source's model with its weights on the target's grid, and save those of the best epoch.

    Raises:
        UsageError: labels that fit no loss.
        UnsupportedError: layers without fake quantization, by name.
        FailedError: the loss became NaN or infinite.
    """
    import torch

    from edgekit.compress import equalize, qat

    scheme = request.scheme

    def chosen(names: tuple[str, ...], kind: Kind, inputs: int, channels: int) -> Grid | None:
        if scheme is None or any(rule.takes(names, kind) for rule in request.layers):
            return None
        return grid_of(scheme, request.kinds, kind, inputs, channels)

    model = load(request.source, request.environment)
    samples = planning.load(Path(request.train))
    labels = _labels(samples)
    inputs = [torch.from_numpy(np.asarray(samples.inputs[t.name], t.dtype)) for t in model.signature.inputs]
    loss = qat.loss_for(model, [x[:_A_FEW] for x in inputs], labels, _own_loss(request.source, model))
    score, metric = _scoring(model, request), metrics.metric(request.metric)
    try:
        layers, unruled = qat.find_layers(model, chosen)
        if scheme is not None:
            qat.check(layers, unruled, allow_mixed=request.allow_mixed)
        fixed = equalize.fold_norms(model) if request.fold_norms else []
        found = qat.train(
            model, layers, fixed, loss, inputs, labels, request.training, score, higher=metric.higher_is_better
        )
        file = framework(request.environment).save_weights(model, folder)
    finally:
        forget()
    return QatAnswer(file.name, found.layers, tuple(unruled), found.losses, found.values, found.kept, found.stopped)


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


def _scoring(model: LoadedModel, request: QatRequest) -> Any:
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


@dataclass(frozen=True)
class SaveRequest:
    """A source with the weights that it is to be saved with, as its framework loads it."""

    source: Source
    environment: str


def save(folder: Path, request: SaveRequest) -> tuple[str, ...]:
    """Write a model so that its framework loads it without edgekit; returns the names of the files.

    Keras: ``model.keras``. PyTorch: ``model.pt2``, and ``model.safetensors`` with the state of the module.
    """
    model = load(request.source, request.environment)
    try:
        if model.framework == "keras":
            model.native.save(folder / "model.keras")
            return ("model.keras",)
        import torch
        from safetensors.torch import save_file

        from edgekit.frameworks.torch import torch_export

        torch.export.save(torch_export(model), folder / "model.pt2")
        state = {name: t.detach().clone().contiguous() for name, t in model.native.state_dict().items()}
        save_file(state, folder / "model.safetensors")
        return ("model.pt2", "model.safetensors")
    finally:
        forget()
