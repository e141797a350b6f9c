"""Loading a source in its own framework: what runs in the framework's child process.

One module per environment, imported in a child only: ``keras`` (KERAS_BACKEND is chosen per child), ``torch``,
``tf_keras``. Each has ``load(source) -> LoadedModel``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from edgekit.signature import Framework, Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class LoadedModel(Protocol):
    """A model in its framework, in evaluation mode.

    Attributes:
        native: ``keras.Model``, ``tf_keras.Model``, ``torch.nn.Module``, ``torch.jit.ScriptModule``, or the
            ``tf.Module`` of a SavedModel.
        framework: ``keras`` (any TensorFlow-side model) or ``torch``.
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
