"""Training of the zoo's checkpoints: one recipe for every architecture, reproducible from its seed.

AdamW (Loshchilov & Hutter, arXiv 1711.05101) with weight decay on matrices only, a linear warm-up over the first
twentieth of the steps, cosine decay to zero, gradients clipped to norm 1. The loss is the function
``loss(outputs, labels)`` of the architecture's ``pytorch.py`` where it has one, else cross-entropy over the class axis.
No augmentation, no early stopping: the last weights are the result. Imported in PyTorch children only.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgekit import zoo
from edgekit.data import tasks
from edgekit.errors import FailedError, UsageError
from edgekit.proof import metrics
from edgekit.zoo import Config, Training, weights

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

WARM_UP = 0.05
CLIP_NORM = 1.0
#: Samples per forward pass when the metric is taken.
EVALUATION_BATCH = 250


#: ``(what the model returns, labels) -> loss`` of one batch.
Loss = Callable[[Any, Tensor], Tensor]


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
    chosen = _trainable(name, config)
    assert chosen.task is not None and chosen.training is not None
    training = chosen.training if seed is None else replace(chosen.training, seed=seed)
    task, module = tasks.task(chosen.task), importlib.import_module(f"edgekit.zoo.{name}.pytorch")
    loss: Loss = getattr(module, "loss", cross_entropy)
    with _reproducible(training.seed):
        model: nn.Module = module.build(**chosen.settings)
        losses = _fit(model, loss, *_tensors(chosen, tasks.load(chosen.task, "train")), training, progress)
        inputs, labels = _tensors(chosen, tasks.load(chosen.task, "selection"))
        value = _score(model, chosen, inputs, labels.numpy())
        tensors = weights.from_torch(model)
    return TrainingResult(tensors, task.metric, value, len(labels), training.seed, losses)


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


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """One thread, deterministic kernels and a seeded generator, all put back afterwards."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)


def _tensors(config: Config, samples: tasks.Samples) -> tuple[list[Tensor], Tensor]:
    """Inputs as the PyTorch model takes them (images channels first), and labels: class indices, or a signal."""
    assert samples.labels is not None
    inputs = []
    for spec in config.inputs:
        array = np.asarray(samples.inputs[spec.name], dtype=spec.dtype)
        if spec.layout == "channels_last":
            array = np.moveaxis(array, -1, 1)
        inputs.append(torch.from_numpy(np.ascontiguousarray(array)))
    signal = np.issubdtype(samples.labels.dtype, np.floating)
    return inputs, torch.from_numpy(np.asarray(samples.labels, dtype=np.float32 if signal else np.int64))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats; the class axis is the last of tokens, the second of images (N, C, H, W)."""
    if logits.ndim == 3 and logits.shape[:-1] == labels.shape:
        logits = logits.movedim(-1, 1)
    return functional.cross_entropy(logits, labels)


def _fit(
    model: nn.Module,
    criterion: Loss,
    inputs: list[Tensor],
    labels: Tensor,
    training: Training,
    progress: Progress | None,
) -> tuple[float, ...]:
    count = len(labels)
    batch = min(training.batch, count)
    per_epoch = count // batch  # the ragged rest of an epoch is left out: BatchNorm must not see a batch of one
    optimizer, schedule = _optimizer(model, training, per_epoch * training.epochs)
    model.train()
    losses = []
    for epoch in range(1, training.epochs + 1):
        order = torch.randperm(count)[: per_epoch * batch].view(per_epoch, batch)
        total = 0.0
        for rows in order:
            loss = criterion(model(*(x[rows] for x in inputs)), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            schedule.step()
            total += loss.item()
        losses.append(total / per_epoch)
        if not math.isfinite(losses[-1]):
            raise FailedError(
                f"training loss became {losses[-1]} in epoch {epoch}",
                hint=f"Lower the learning rate (now {training.learning_rate}) in the architecture's spec.py.",
            )
        if progress is not None:
            progress(epoch, training.epochs, losses[-1])
    return tuple(losses)


def _optimizer(
    model: nn.Module, training: Training, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW and its schedule; biases and norms (fewer than two axes) do not decay."""
    warm = max(1, round(WARM_UP * steps))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": training.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=training.learning_rate)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _score(model: nn.Module, config: Config, inputs: list[Tensor], labels: NDArray[np.generic]) -> float:
    """The metric of the model in evaluation mode, over all samples."""
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
    trained = train(request.name, request.config, seed=request.seed)
    weights.write(request.output, trained.tensors)  # type: ignore[arg-type]  # all are float32
    return Answer(trained.metric, trained.value)
