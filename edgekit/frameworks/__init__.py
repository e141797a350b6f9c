"""Loading a source in its own framework: what runs in the framework's child process.

One module per environment, imported in a child only: ``keras`` (KERAS_BACKEND is chosen per child), ``torch``,
``tf_keras``, ``onnx``. Each has ``load(source) -> LoadedModel``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from edgekit.signature import Framework, Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Kind:
    """A kind of child that a framework runs in.

    Attributes:
        module: what loads models there, below this package.
        needs: the distribution without which no model is loaded there.
        variables: what the child sets in its environment before it imports the framework.
        own: whether it has an environment of its own, under the kind's name: its pins part ways with all others.
        words: what people call what computes there.
    """

    module: str
    needs: str
    variables: Mapping[str, str] = field(default_factory=dict)
    own: bool = False
    words: str = ""


#: Every kind by name (``signature.Environment``).
KINDS: dict[str, Kind] = {
    "keras-tensorflow": Kind("keras", "tensorflow", {"KERAS_BACKEND": "tensorflow"}, words="Keras on TensorFlow"),
    "keras-torch": Kind("keras", "keras", {"KERAS_BACKEND": "torch"}, words="Keras on PyTorch"),
    "tf-keras": Kind("tf_keras", "tf-keras", {"TF_USE_LEGACY_KERAS": "1"}, words="Keras 2 (tf-keras)"),
    "torch": Kind("torch", "torch", words="PyTorch"),
    "onnx": Kind("onnx", "onnxruntime"),
    "onnx2tf": Kind("onnx", "onnx2tf", own=True),
}


def variables(environment: str) -> Mapping[str, str]:
    """What a kind of child sets for its framework; nothing where it has none."""
    return KINDS[environment].variables if environment in KINDS else {}


class LoadedModel(Protocol):
    """A model in its framework, in evaluation mode.

    Attributes:
        native: ``keras.Model``, ``tf_keras.Model``, ``torch.nn.Module``, ``torch.jit.ScriptModule``, the ``tf.Module``
            of a SavedModel, or an ``onnx.ModelProto``.
        framework: ``keras`` (any TensorFlow-side model), ``torch`` or ``onnx``.
        kind: the source's kind, see ``edgekit.sources.source``.
        signature: static batch-1 inputs and outputs in the model's own order and layout.
    """

    @property
    def native(self) -> Any:
        """The framework's own object."""
        ...

    @property
    def framework(self) -> Framework:
        """Whose it is."""
        ...

    @property
    def kind(self) -> str:
        """The source's kind."""
        ...

    @property
    def signature(self) -> Signature:
        """Static inputs and outputs."""
        ...

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run ``n`` samples (first axis) in float and return outputs by name, first axis ``n``."""
        ...
