"""Training: the zoo's checkpoints from their seeds.

The loop is that of ``edgekit.compress.training.fitting``. The loss is the function ``loss(outputs, labels)`` of the
architecture's ``pytorch.py`` where it has one, else cross-entropy. The last weights are the result.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgekit import zoo
from edgekit.data import tasks
from edgekit.errors import UsageError
from edgekit.proof import metrics
from edgekit.zoo import Config, Training

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from edgekit.compress.training.fitting import Loss

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

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
    from edgekit.compress.training import fitting
    from edgekit.zoo import weights

    chosen = _trainable(name, config)
    assert chosen.task is not None and chosen.training is not None
    training = chosen.training if seed is None else replace(chosen.training, seed=seed)
    task, module = tasks.task(chosen.task), importlib.import_module(f"edgekit.zoo.{name}.pytorch")
    loss: Loss = getattr(module, "loss", fitting.cross_entropy)
    losses: list[float] = []

    def after(ended: fitting.Ended) -> None:
        assert ended.loss is not None
        losses.append(ended.loss)
        if progress is not None:
            progress(ended.epoch, training.epochs, ended.loss)

    with fitting.reproducible(training.seed):
        model: nn.Module = module.build(**chosen.settings)
        moving = _begin(model, name, training)
        inputs, labels = _tensors(chosen, tasks.load(chosen.task, "train"))
        parameters = [parameter for part in moving for parameter in part.train().parameters()]
        fitting.fit(model, parameters, loss, inputs, labels, training, before=lambda epoch: None, after=after)
        inputs, labels = _tensors(chosen, tasks.load(chosen.task, "selection"))
        value = _score(model, chosen, inputs, labels.numpy())
        tensors = weights.from_torch(model)
    return TrainingResult(tensors, task.metric, value, len(labels), training.seed, tuple(losses))


def _begin(model: nn.Module, name: str, training: Training) -> list[nn.Module]:
    """The modules that training moves: all of a new model, or the new ones on another configuration's weights."""
    from edgekit.zoo import weights

    if training.start is None:
        return [model]
    path = zoo.weights_path(name, training.start)
    assert path is not None, f"{name} ships no weights of {training.start!r}"
    ours = weights.from_torch(model)
    new = tuple(f"{part}." for part in training.trained)
    old = {key: tensor for key, tensor in weights.read(path).items() if not key.startswith(new)}
    weights.load_torch(model, {**{key: tensor for key, tensor in ours.items() if key.startswith(new)}, **old})
    model.eval().requires_grad_(False)
    return [model.get_submodule(part).requires_grad_(True) for part in training.trained]


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

    from edgekit.compress.training import fitting

    assert samples.labels is not None
    inputs = []
    for spec in config.inputs:
        array = np.asarray(samples.inputs[spec.name], dtype=spec.dtype)
        if spec.layout == "channels_last":
            array = np.moveaxis(array, -1, 1)
        inputs.append(torch.from_numpy(np.ascontiguousarray(array)))
    return inputs, fitting.tensor_of(samples.labels)


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
        outputs = {
            spec.name: (t.movedim(1, -1) if spec.layout == "channels_last" else t).numpy()
            for spec, t in zip(config.outputs, tensors, strict=True)
        }
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
    facts = card(request.name, request.config, trained.seed, trained.value, trained.samples)
    card_of(request.output).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return Answer(trained.metric, trained.value)


def check_output(file: Path) -> None:
    """Refuse, before hours of training, a name that its weights or the card beside them cannot be written to."""
    if file.suffix != ".safetensors":
        raise UsageError(
            f"{file} does not end in .safetensors", hint="Weights are of that format; their card lies beside as .json."
        )
    if file.is_dir() or not file.absolute().parent.is_dir() or not os.access(file.absolute().parent, os.W_OK):
        raise UsageError(f"{file} cannot be written", hint="Name a file in a folder that exists and can be written.")
    beside = card_of(file)
    try:
        known = not beside.exists() or {"schema", "model", "command"} <= set(json.loads(beside.read_text()))
    except (OSError, ValueError, TypeError):
        known = False
    if not known:
        raise UsageError(f"{beside} is there, and no card of a checkpoint's", hint="Choose another name with --output.")


def card_of(file: Path) -> Path:
    """Where the card of a file of weights lies."""
    return file.with_suffix(".json")


def card(name: str, config: str, seed: int, value: float, samples: int) -> dict[str, object]:
    """What lies beside a checkpoint: how it was made, from what, under which terms, and what it reaches."""
    chosen = _trainable(name, config)
    assert chosen.task is not None
    task = tasks.task(chosen.task)
    return {
        "schema": 1,
        "model": f"{name}:{config}",
        "title": zoo.architecture(name).title,
        "parameters": chosen.parameters,
        "command": f"edgekit train {name}:{config} --seed {seed} -o {config}.safetensors",
        "seed": seed,
        "task": chosen.task,
        "data": f"{task.title}; {task.source}",
        "licence": "Apache-2.0, as edgekit",
        "metric": task.metric,
        "selection": round(value, 6),
        "samples": samples,
    }
