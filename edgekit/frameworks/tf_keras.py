"""Keras 2 files that Keras 3 refuses, loaded by tf-keras in a child of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras

from edgekit.errors import DamagedFileError, UsageError
from edgekit.frameworks import LoadedModel, saved_model
from edgekit.frameworks.loaded import Loaded
from edgekit.frameworks.of_keras import outputs as keras_outputs
from edgekit.sources.source import Source

#: Distributions whose versions change what is done here.
PACKAGES = ("tensorflow", "tf-keras")


def load(source: Source) -> Loaded:
    """Load a ``.h5`` or ``.keras`` file of Keras 2.

    Raises:
        UsageError: a class is unknown, a shape is open, a weight is NaN.
        DamagedFileError: the file cannot be read.
    """
    assert source.path is not None
    try:
        model = tf_keras.models.load_model(str(source.path), compile=False, safe_mode=not source.trust)
    except (OSError, KeyError) as error:
        raise DamagedFileError(f"tf-keras cannot read {source.given}: {source.named(error)}") from error
    except Exception as error:  # a configuration that is no model's fails anywhere in Keras
        raise UsageError(
            f"tf-keras {tf_keras.__version__} cannot load {source.given}, written by Keras {source.keras_version}: "
            f"{source.named(error)}",
            hint="Classes of your own need your code: hand in `file.py:function` that builds a Keras 3 model.",
        ) from error

    @tf.function(autograph=False, reduce_retracing=True)  # type: ignore[untyped-decorator]
    def compiled(*xs: Any) -> list[Any]:
        return keras_outputs.forward(model, xs)

    return keras_outputs.describe(source, model, lambda arrays: list(compiled(*(tf.constant(a) for a in arrays))))


def export_saved_model(loaded: LoadedModel, folder: Path) -> Path:
    """Write the model as a SavedModel of static batch 1; see ``edgekit.frameworks.saved_model``."""
    return saved_model.export_saved_model(loaded, folder)
