"""Names, shapes and dtypes of a model's inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from edgekit.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Framework = Literal["keras", "torch", "onnx"]
#: A kind of child process: which framework it imports, and Keras's backend.
Environment = Literal["keras-tensorflow", "keras-torch", "torch", "tf-keras", "onnx", "onnx2tf", "runtime"]
Layout = Literal["plain", "channels_last", "channels_first"]
#: How a box is written: corners (left, top, right, bottom), a corner and a size, a centre and a size, or TensorFlow's
#: order of corners; ``-unit`` where the numbers are shares of the image's size, else they are pixels.
BOXES = tuple(f"boxes{kind}{unit}" for kind in ("", "-xywh", "-cxcywh", "-yxyx") for unit in ("", "-unit"))
SCORES = ("scores", "scores-logit")
#: Of the output that a metric reads, where it is not the first: the better of two that are said comes first.
READ = ("scored", "classes")
#: What an output is for, as far as it is known: ``classes`` are told apart by their largest value; ``scored`` is what
#: a metric reads, whatever it holds; ``boxes`` and ``scores`` (one confidence per class within 0..1, or its
#: ``-logit``) are a detector's, or both of them in one tensor.
ROLES = (*READ[::-1], *SCORES, *BOXES, *(f"{boxes}+{scores}" for boxes in BOXES for scores in SCORES))

#: What a graph may be made of; ``toolchains/_shared/traits.py`` says what each means and finds it.
Trait = Literal[
    "attention", "recurrent", "cells", "unrolled", "stateful", "looped", "loops", "gated", "depthwise", "grouped",
    "transposed",
]  # fmt: skip
TRAITS: tuple[Trait, ...] = get_args(Trait)

#: Name of the part of a model that is one.
WHOLE = "model"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    A file takes one sample per run. Where the model declares a batch axis, that axis is fixed to 1; every other shape
    is kept as it is: a table of 16x8, states of 2x1x64 (layers, batch, width), a single number.

    Attributes:
        name: the tensor's name in data files and in ``Session.run``.
        shape: static shape of one sample as a run takes it, for example ``(1, 32, 32, 3)``.
        dtype: NumPy name of the element type, for example ``"float32"``.
        layout: where the channel axis lies, for tensors that have one; ``plain`` otherwise.
        channels: of an output, axes along which different things lie (``channel_axes``); None where nobody said.
        role: of an output, what it is for (``ROLES``), or empty.
        span: of an input, the lowest and highest value that the model expects; None where it does not say.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    layout: Layout = "plain"
    channels: tuple[int, ...] | None = None
    role: str = ""
    span: tuple[float, float] | None = None

    @property
    def row(self) -> tuple[int, ...]:
        """Shape of one sample in data, whose first axis is the sample: it stands in for a first axis of 1.

        An array of ``n`` samples of a tensor ``1x32`` is ``(n, 32)``, of a tensor ``16x8`` it is ``(n, 16, 8)``.
        """
        return self.shape[1:] if self.shape[:1] == (1,) else self.shape

    def sample(self, rows: NDArray[np.generic], number: int) -> NDArray[np.generic]:
        """One sample of an array of them, in the shape in which a run takes it."""
        return rows[number].reshape(self.shape)

    def for_framework(self, framework: Framework) -> TensorSpec:
        """Return the same tensor as the framework takes it (PyTorch: channels first)."""
        if framework == "torch" and self.layout == "channels_last":  # its channels are said by the layout alone
            n, *space, c = self.shape
            return replace(self, shape=(n, c, *space), layout="channels_first")
        return self


@dataclass(frozen=True)
class State:
    """What a step of a streaming model hands to its next step.

    Attributes:
        output: the output that holds the state after a step.
        input: the input that takes it at the next one.
        initial: at the first step of a sequence: the value of every element, or a value for each, the last axis
            fastest.
    """

    output: str
    input: str
    initial: float | tuple[float, ...] = 0.0


@dataclass(frozen=True)
class Signature:
    """All inputs and outputs of a model (or of one part of it), in the model's own order, and its states."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: tuple[State, ...] = ()

    @property
    def given(self) -> tuple[TensorSpec, ...]:
        """Inputs that come from outside at every step: all but the states."""
        carried = {state.input for state in self.state}
        return tuple(t for t in self.inputs if t.name not in carried)

    @property
    def channels(self) -> dict[str, tuple[int, ...]]:
        """Axes of every output's channels, by its name, in data (``TensorSpec.row``)."""
        more = {t.name: len(t.row) + 1 - len(t.shape) for t in self.outputs}
        return {t.name: tuple(axis + more[t.name] for axis in t.channels or ()) for t in self.outputs}

    @property
    def roles(self) -> dict[str, str]:
        """What outputs are for, by the name of those of which it is known."""
        return {t.name: t.role for t in self.outputs if t.role}

    def with_channels(self, framework: Framework) -> Signature:
        """The same with the channel axes of every output said, see ``channel_axes``; states have none."""
        states = {state.output for state in self.state}
        said = tuple(replace(t, channels=() if t.name in states else channel_axes(t, framework)) for t in self.outputs)
        return replace(self, outputs=said)


def channel_axes(spec: TensorSpec, framework: Framework) -> tuple[int, ...]:
    """Axes of an output along which different things lie: classes, coordinates and scores, features.

    What was said, else the layout's own; else the last axis for Keras and for two axes, and the second *and* the last
    for PyTorch, whose convolutions put channels second and whose linear layers last. A first axis that is no batch may
    hold anything, so that it counts for PyTorch as well.
    """
    rank, first = len(spec.shape), int(spec.shape[:1] == (1,))
    if spec.channels is not None:
        return spec.channels
    if spec.layout == "channels_first":
        return (1,)
    if rank <= first:
        return ()
    if spec.layout == "channels_last" or framework == "keras":
        return (rank - 1,)
    return tuple(sorted({first, min(1, rank - 1), rank - 1}))


def either_axis(what: str, shape: tuple[int, ...]) -> UsageError:
    """Labels that fit an output, whose shape of one sample is given, along either of two axes."""
    return UsageError(
        f"{what} of shape {shape} may have its classes along the first or the last of these axes: the labels fit "
        "either",
        hint="Have the model return the classes last behind an axis of 1, y.unsqueeze(1), and give the labels that "
        "axis, too; or take samples of another length.",
    )
