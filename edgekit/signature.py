"""Names, shapes and dtypes of a model's inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

Framework = Literal["keras", "torch"]
#: A kind of child process: which framework it imports, and Keras's backend.
Environment = Literal["keras-tensorflow", "keras-torch", "torch", "tf-keras", "runtime"]
Layout = Literal["plain", "channels_last", "channels_first"]

#: Name of the part of a model that is one.
WHOLE = "model"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output, batch dimension first (edgekit fixes it to 1).

    Attributes:
        name: the tensor's name in data files and in ``Session.run``.
        shape: static shape, for example ``(1, 32, 32, 3)``.
        dtype: NumPy name of the element type, for example ``"float32"``.
        layout: where the channel axis lies, for tensors that have one; ``plain`` otherwise.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    layout: Layout = "plain"

    def for_framework(self, framework: Framework) -> TensorSpec:
        """Return the same tensor as the framework takes it (PyTorch: channels first)."""
        if framework == "torch" and self.layout == "channels_last":
            n, *space, c = self.shape
            return replace(self, shape=(n, c, *space), layout="channels_first")
        return self


@dataclass(frozen=True)
class State:
    """What a step of a streaming model hands to its next step.

    Attributes:
        output: the output that holds the state after a step.
        input: the input that takes it at the next one.
        initial: value of every element at the first step of a sequence.
    """

    output: str
    input: str
    initial: float = 0.0


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

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Signature:
        """Read it from the JSON form of ``dataclasses.asdict``."""
        inputs, outputs = (
            tuple(TensorSpec(**{**row, "shape": tuple(row["shape"])}) for row in document[side])
            for side in ("inputs", "outputs")
        )
        return cls(inputs, outputs, tuple(State(**row) for row in document["state"]))
