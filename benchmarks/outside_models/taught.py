"""Weights that have learnt a small task: ``python taught.py FILE:FUNCTION`` makes them.

Behind twenty convolutions with random weights, images of all kinds have nearly the same answer: what rounding does to it
is then large against how far it moves, in every runtime alike, and int8 says nothing of a route. A few hundred steps are
enough for answers that tell images apart. The task is made up and its accuracy is of no interest; nothing of it is
downloaded or shipped. The weights lie in ``weights/`` beside this file, and are made once per machine.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from settled import images

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE / "weights"
BATCH, RATE = 16, 2e-3
#: Objects of a scene: their colours, far from each other, are their classes.
COLOURS = np.array([[1.6, -0.8, -0.8], [-0.8, 1.6, -0.8], [-0.8, -0.8, 1.6], [1.2, 1.2, -1.2]])
MOST = 3


def scenes(size: int = 64, batches: int = 4, seed: int = 7) -> Iterator[Any]:
    """Batches of images with one to three plain rectangles on a background of ``images``."""
    for drawn, _ in _scenes(size, batches, seed):
        yield drawn


def _varied(size: int, batches: int, seed: int) -> Iterator[Any]:
    """Batches of ``images``, moved, mirrored, and in other colours and contrasts."""
    rng, known = np.random.default_rng(seed), np.concatenate(list(images(size)))
    for _ in range(batches):
        chosen = known[rng.integers(0, len(known), BATCH)][..., :: rng.choice([-1, 1])]
        chosen = np.roll(chosen, rng.integers(0, size, 2), (2, 3)) * rng.uniform(0.4, 1.2, (BATCH, 1, 1, 1))
        yield (chosen + rng.normal(0, 0.6, (BATCH, 3, 1, 1))).astype("float32")


def _scenes(size: int, batches: int, seed: int) -> Iterator[tuple[Any, list[list[tuple[int, ...]]]]]:
    """Images (BATCH, 3, size, size) and of each its objects: class, top, left, height, width in pixels."""
    rng = np.random.default_rng(seed)
    for background in _varied(size, batches, seed):
        drawn, objects = background * 0.3, []
        for image in drawn:
            objects.append(found := [])
            for _ in range(rng.integers(1, MOST + 1)):
                height, width = rng.integers(size // 6, size // 2, 2)
                top, left = rng.integers(0, size - height), rng.integers(0, size - width)
                kind = int(rng.integers(len(COLOURS)))
                noise = 0.1 * rng.standard_normal((3, height, width))
                image[:, top : top + height, left : left + width] = COLOURS[kind][:, None, None] + noise
                found.append((kind, int(top), int(left), int(height), int(width)))
        yield drawn, objects


def colour(model: Any, size: int, batches: int) -> Iterator[Any]:
    """Losses of a classifier: which of ten colours an image's mean is nearest to."""
    import torch

    ten = np.random.default_rng(3).normal(0, 0.6, (10, 3))
    for batch in _varied(size, batches, 11):
        labels = ((batch.mean((2, 3))[:, None] - ten) ** 2).sum(-1).argmin(1)
        yield torch.nn.functional.cross_entropy(_first(model(torch.from_numpy(batch))), torch.from_numpy(labels))


def boxes(model: Any, size: int, batches: int) -> Iterator[Any]:
    """Losses of a detector of transformers, by its own matching: the rectangles."""
    import torch

    for batch, objects in _scenes(size, batches, 11):
        labels = [
            {
                "class_labels": torch.tensor([kind for kind, *_ in found]),
                "boxes": torch.tensor([[x + w / 2, y + h / 2, w, h] for _, y, x, h, w in found]) / size,
            }
            for found in objects
        ]
        yield model(torch.from_numpy(batch), labels=labels).loss


def mask(model: Any, size: int, batches: int) -> Iterator[Any]:
    """Losses of a segmentation network: the rectangles' classes, and 4 for the background."""
    import torch

    for batch, objects in _scenes(size, batches, 11):
        labels = np.full((len(batch), size, size), len(COLOURS))
        for painted, found in zip(labels, objects, strict=True):
            for kind, y, x, h, w in found:
                painted[y : y + h, x : x + w] = kind
        answer = _first(model(torch.from_numpy(batch)))
        step = size // answer.shape[-1]
        yield torch.nn.functional.cross_entropy(answer, torch.from_numpy(labels[:, ::step, ::step]))


def brightness(model: Any, size: int, batches: int) -> Iterator[Any]:
    """Losses of a network with one value a pixel: how bright the image is there, from 0 on as depths are."""
    import torch

    for batch in scenes(size, batches, 11):
        wanted = torch.from_numpy(batch.mean(1) + 1).clamp(min=0)
        answer = _first(model(torch.from_numpy(batch)))
        yield torch.nn.functional.l1_loss(answer, wanted)


def _first(answer: Any) -> Any:
    """Logits, or what a model has instead."""
    return answer if not hasattr(answer, "to_tuple") else answer.to_tuple()[0]


def taught(task: Callable[[Any, int, int], Iterator[Any]], steps: int = 300) -> Callable[[Any], Any]:
    """Let a function that makes a PyTorch model give it with weights that learnt the task."""

    def decorate(make: Callable[[], Any]) -> Callable[[], Any]:
        file = WEIGHTS / f"{Path(make.__code__.co_filename).stem}-{make.__name__}.safetensors"

        @functools.wraps(make)
        def made() -> Any:
            from safetensors.torch import load_file

            if not _current(file, make):
                raise FileNotFoundError(
                    f"{file} is not there, or of other code: make it by python {HERE / 'taught.py'} FILE:FUNCTION"
                )
            model = make()
            model.load_state_dict(load_file(file))
            return model

        made.teach = lambda: _teach(make, task, steps, file)  # type: ignore[attr-defined]
        return made

    return decorate


def _teach(make: Callable[[], Any], task: Callable[[Any, int, int], Iterator[Any]], steps: int, file: Path) -> None:
    """Train, unless this very code did before."""
    if _current(file, make):
        return
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = make()
    example = next(iter(model.example_inputs.values()))
    model.train()
    for norm in model.modules():
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
            norm.momentum = 0.1
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    losses = []
    for loss in task(model, example.shape[-1], steps):
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    print(f"{file.stem}: loss {np.mean(losses[:20]):.3f} -> {np.mean(losses[-20:]):.3f}", flush=True)
    WEIGHTS.mkdir(exist_ok=True)
    kept = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(kept, part := file.with_suffix(".part"), {"code": _code(make)})
    part.replace(file)


def _code(make: Callable[[], Any]) -> str:
    """Hash of what weights are made by: this file, that of the random weights, the model's function."""
    texts = [Path(__file__).read_text("utf-8"), (HERE / "settled.py").read_text("utf-8"), inspect.getsource(make)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _current(file: Path, make: Callable[[], Any]) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        return json.loads(stream.read(length)).get("__metadata__", {}).get("code") == _code(make)


def main(name: str) -> None:
    """Teach one, in a process of its own: timm's torchvision is not for transformers."""
    file, _, function = name.partition(":")
    if teach := getattr(getattr(importlib.import_module(file), function), "teach", None):
        teach()


if __name__ == "__main__":
    main(sys.argv[1])
