"""The model that the user's ``file.py:function`` returns, in a framework's child process."""

from __future__ import annotations

import sys
from typing import Any

from edgekit import user_code
from edgekit.errors import UsageError, with_article
from edgekit.frameworks import optional
from edgekit.signature import Framework
from edgekit.sources.source import Source


def framework_of(model: Any) -> Framework | None:
    """Whose model an object is, without importing a framework; None where it is no model.

    A Keras model on the torch backend is also a ``torch.nn.Module``, so Keras is looked for first.
    """
    classes = [f"{c.__module__}.{c.__qualname__}" for c in type(model).__mro__]
    if any(c.split(".")[0] in ("keras", "tf_keras") and c.endswith(".Model") for c in classes):
        return "keras"
    return "torch" if "torch.nn.modules.module.Module" in classes else None


def model_from(source: Source) -> Any:
    """Call the source's function and check that it returned a model.

    Raises:
        UsageError: it raised, or returned something else.
    """
    assert source.path is not None and source.function is not None
    if "keras" in sys.modules:
        optional.seed_keras(sys.modules["keras"], user_code.SEED)
        optional.fresh_names(sys.modules["keras"])
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(user_code.SEED)
    made = user_code.call(str(source.path), source.function)
    if framework_of(made) is None:
        raise UsageError(
            f"{source.given} returned {with_article(type(made).__name__)}; allowed: torch.nn.Module, keras.Model",
            hint="Return the model itself, not a class or a list.",
        )
    return made


def identify(source: Source) -> Framework:
    """Which framework's model the function returns; only needed where ``source.framework`` is None."""
    found = framework_of(model_from(source))
    assert found is not None
    return found
