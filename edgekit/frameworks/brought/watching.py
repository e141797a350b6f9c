"""Where a model comes near what no file keeps: NaN, masks that leave nothing, values that a small number keeps finite.

One run in the framework with every call watched; who compares a file with the model names what is found here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import EdgekitError
from edgekit.frameworks import LoadedModel

#: Samples that are watched, and places that are named.
SAMPLES = 64
_MOST = 3


#: Watches a framework's own object, and says each place once.
Watch = Callable[[Any, Callable[[str], object]], contextlib.AbstractContextManager[None]]


def found(model: LoadedModel, inputs: Mapping[str, NDArray[np.generic]], watch: Watch) -> tuple[str, ...]:
    """The places, a sentence each, what makes NaN first; empty where there is none.

    Args:
        model: as it was loaded.
        inputs: samples by the signature's names.
        watch: of the model's framework.
    """
    said: dict[str, None] = {}
    getattr(model, "batch", None)  # found on inputs of its own, which are not to be watched
    some = {name: array[:SAMPLES] for name, array in inputs.items()}
    with contextlib.suppress(EdgekitError), watch(model.native, lambda text: said.setdefault(text)):
        model.run(some)
    first = [text for text in said if " makes NaN" in text]
    return tuple([*first[:1], *(text for text in said if text not in first)][:_MOST])
