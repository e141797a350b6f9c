"""The zoo: one folder per architecture, found by its name; one with a file ``UNTRAINED`` is not listed yet.

``zoo/<name>/spec.py`` holds facts (no framework, no numpy), ``pytorch.py`` and ``keras.py`` hold one
``build(**settings)`` each, and ``<config>.safetensors`` the trained weights that both load.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from edgekit.errors import unknown_name
from edgekit.signature import WHOLE, Framework, Signature, State, TensorSpec

ROOT = Path(__file__).parent

Family = Literal[
    "fundamentals", "image classification", "detection", "segmentation", "face and style", "text", "audio", "probes"
]
FAMILIES: tuple[str, ...] = get_args(Family)
#: How many cells of the matrix passed of those that were measured, by model; written by ``benchmarks/results_page.py``.
PASSED = ROOT / "passed.json"


@dataclass(frozen=True)
class Training:
    """How ``edgekit train`` reproduces the checkpoint of one configuration (AdamW, cosine decay to zero).

    With ``start`` the weights are those of another configuration at first, and only the modules ``trained`` are made
    anew and move: a new head on a frozen base, whose BatchNorms keep their statistics.
    """

    epochs: int
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    seed: int = 0
    start: str | None = None
    trained: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """One model file of an architecture that is deployed as several: inputs and outputs of one step, and its states."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: tuple[State, ...] = ()


@dataclass(frozen=True)
class Config:
    """One size of an architecture.

    Attributes:
        settings: keyword arguments of ``build`` in ``pytorch.py`` and ``keras.py``.
        inputs: inputs, channels last, batch 1; with several parts those of the task (a whole clip).
        outputs: outputs, channels last, batch 1; logits, never probabilities.
        parameters: trainable parameters of the canonical checkpoint (no BatchNorm statistics, one bias per
            recurrent gate).
        task: the task in ``edgekit/data/tasks`` that it is trained on; None where no weights ship.
        training: how the shipped weights were made; None where no weights ship.
        floor: what the float model's metric must reach on the test split (must not exceed, where less is better);
            written before the training, and kept.
        parts: the parts that it is deployed as, by the name that they have in the implementations (a submodule in
            PyTorch, a key of what ``build`` returns in Keras), in the order in which a step calls them; empty where
            the model is one.
    """

    settings: Mapping[str, object]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: int
    task: str | None = None
    training: Training | None = None
    floor: float | None = None
    parts: Mapping[str, Part] = field(default_factory=dict)

    def signature(self, framework: Framework, part: str = WHOLE) -> Signature:
        """Inputs, outputs and states of a part as the framework's implementation takes them."""
        chosen = self.parts[part] if self.parts else Part(self.inputs, self.outputs)
        return Signature(
            tuple(t.for_framework(framework) for t in chosen.inputs),
            tuple(t.for_framework(framework) for t in chosen.outputs),
            chosen.state,
        )


@dataclass(frozen=True)
class Architecture:
    """Facts about a network design.

    Attributes:
        title: as it is called in the paper.
        paper: authors, title, year, arXiv number or venue.
        variant: the one published variant that both implementations follow, with epsilon, padding,
            activation and where strides are.
        family: what it is for, as lists are ordered.
        kind: what it is made of.
        configs: sizes by name; at least ``tiny`` (trained, ships weights) and ``reference`` (the paper's).
    """

    title: str
    paper: str
    variant: str
    family: Family
    kind: Literal["dense", "convolutional", "recurrent", "attention"]
    configs: Mapping[str, Config] = field(default_factory=dict)


def names() -> list[str]:
    """All architecture names, sorted, but for those whose weights are still to come (``UNTRAINED`` says why)."""
    folders = (path.parent for path in ROOT.glob("*/spec.py"))
    return sorted(folder.name for folder in folders if not (folder / "UNTRAINED").exists())


def architecture(name: str) -> Architecture:
    """Read one architecture's facts; raises ``UsageError`` with the nearest name."""
    if not (ROOT / name / "spec.py").is_file():
        raise unknown_name("model", name, names())
    spec: Architecture = importlib.import_module(f"edgekit.zoo.{name}.spec").SPEC
    return spec


def weights_path(name: str, config: str) -> Path | None:
    """Where the trained weights of a configuration lie; None where none ship."""
    path = ROOT / name / f"{config}.safetensors"
    return path if path.is_file() else None


def card(name: str, config: str) -> dict[str, Any] | None:
    """What training wrote beside the weights of a configuration; None where none ship."""
    path = ROOT / name / f"{config}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def passed() -> Mapping[str, tuple[int, int]]:
    """Of the small configurations, how many cells of framework and target passed of how many that were measured."""
    return {name: (good, every) for name, (good, every) in json.loads(PASSED.read_text("utf-8")).items()}
