"""The training loop of the zoo's checkpoints and of recipes. In PyTorch children only.

AdamW (Loshchilov & Hutter, arXiv 1711.05101) with weight decay on matrices only, a linear warm-up over the first
twentieth of the steps, cosine decay to zero, gradients clipped to norm 1. No augmentation. Keras models on the torch
backend are trained by the same loop.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.errors import FailedError
from edgekit.zoo import Training

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

WARM_UP = 0.05
CLIP_NORM = 1.0

#: ``(what the model returns, labels) -> loss`` of one batch.
Loss = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Ended:
    """An epoch that is complete.

    Attributes:
        epoch: its number, from 1.
        loss: mean of its steps; None of a loop that does not say.
        loop: what the loop goes on with behind it, as if nothing had been between: plain values and tensors, the loop's
            own, which it will change; None of a loop that cannot go on.
    """

    epoch: int
    loss: float | None
    loop: Mapping[str, Any] | None = None


#: ``(epoch, step, steps of an epoch, loss)`` behind a step.
Step = Callable[[int, int, int, float], None]


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """One thread, deterministic kernels and seeded generators, all put back afterwards."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    before = _generators()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        torch.manual_seed(seed)
        np.random.seed(seed)  # a model of the user's may draw from the global generators
        random.seed(seed)
        yield
    finally:
        _set_generators(before)
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)


@contextmanager
def aside() -> Iterator[None]:
    """Whatever is done within draws no number that training would draw behind it."""
    before = _generators()
    try:
        yield
    finally:
        _set_generators(before)


def _generators() -> dict[str, Any]:
    """The state of every random generator, as PyTorch saves it."""
    name, words, *rest = np.random.get_state()
    numpy = (name, torch.from_numpy(np.asarray(words, np.int64)), *rest)
    return {"torch": torch.get_rng_state(), "numpy": numpy, "python": random.getstate()}


def _set_generators(state: Mapping[str, Any]) -> None:
    name, words, *rest = state["numpy"]
    torch.set_rng_state(state["torch"])
    np.random.set_state((name, words.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])


def tensor_of(labels: NDArray[np.generic]) -> Tensor:
    """Class numbers (int64), or a signal (float32)."""
    signal = np.issubdtype(labels.dtype, np.floating)
    return torch.from_numpy(np.asarray(labels, dtype=np.float32 if signal else np.int64))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats; the class axis is the last of tokens, the second of images (N, C, H, W)."""
    if logits.ndim == 3 and logits.shape[:-1] == labels.shape:
        logits = logits.movedim(-1, 1)
    return functional.cross_entropy(logits, labels)


def steps(training: Training, count: int) -> int:
    """Steps of an epoch on so many samples; its ragged rest is left out: BatchNorm must not see a batch of one."""
    return count // min(training.batch, count)


def fit(
    forward: Callable[..., Any],
    parameters: Sequence[Tensor],
    criterion: Loss,
    inputs: Sequence[Tensor],
    labels: Tensor,
    training: Training,
    *,
    before: Callable[[int], None],
    after: Callable[[Ended], None],
    within: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    moved: Callable[[], None] = lambda: None,
    step_done: Step = lambda *_: None,
    behind: Mapping[str, Any] | None = None,
) -> None:
    """Train parameters in place.

    Args:
        forward: the model in training mode, of a batch of its inputs.
        parameters: what is trained.
        criterion: the loss.
        inputs: all samples, in the order of the model's inputs.
        labels: of them.
        training: epochs, batch, learning rate and weight decay.
        before: called with each epoch, from 1, before its first step; puts the model into training mode.
        after: called behind the last step of each epoch.
        within: what holds while a loss and its gradients are computed: weights may be others there.
        moved: called when a step has moved the parameters.
        step_done: called behind every step.
        behind: the ``loop`` of the epoch to go on behind, with the parameters as they were then; None to begin.

    Raises:
        FailedError: the loss of a step is NaN or infinite; parameters are those of the step before.
    """
    count = len(labels)
    batch, per_epoch = min(training.batch, count), steps(training, count)
    optimizer, schedule = _optimizer(parameters, training, per_epoch * training.epochs)
    if behind is not None:
        optimizer.load_state_dict(behind["optimizer"])
        schedule.load_state_dict(behind["schedule"])
        _set_generators(behind["generators"])
    for epoch in range(behind["epoch"] + 1 if behind else 1, training.epochs + 1):
        before(epoch)
        order = torch.randperm(count)[: per_epoch * batch].view(per_epoch, batch)
        total = 0.0
        for step, rows in enumerate(order, 1):
            optimizer.zero_grad(set_to_none=True)
            with within():
                loss = criterion(forward(*(x[rows] for x in inputs)), labels[rows])
                loss.backward()  # type: ignore[no-untyped-call]
            if not math.isfinite(value := loss.item()):
                raise FailedError(
                    f"training loss became {value} in epoch {epoch}, step {step} of {per_epoch}",
                    hint=f"Lower the learning rate (now {training.learning_rate}).",
                )
            nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            optimizer.step()
            moved()
            schedule.step()
            total += value
            step_done(epoch, step, per_epoch, value)
        states = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
        after(Ended(epoch, total / per_epoch, {"epoch": epoch, **states, "generators": _generators()}))


def _optimizer(
    parameters: Sequence[Tensor], training: Training, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW and its schedule; biases and norms (fewer than two axes) do not decay."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=training.learning_rate)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step, steps))


def factor(step: int, steps: int) -> float:
    """Of the learning rate in a step, from 0: a linear warm-up, then a cosine to zero."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
