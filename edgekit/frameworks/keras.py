"""Keras 3 sources: zoo, ``.keras``, ``.h5``, SavedModel and ``file.py:function``.

Imported in a Keras child only; its ``KERAS_BACKEND`` (tensorflow or torch) was chosen by the parent.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import zoo
from edgekit.errors import DamagedFileError, UsageError
from edgekit.frameworks import LoadedModel, optional, python_file
from edgekit.frameworks.brought import keras as brought
from edgekit.frameworks.brought import watching_keras
from edgekit.frameworks.loaded import Arrays, Loaded
from edgekit.frameworks.of_keras import outputs as keras_outputs
from edgekit.frameworks.of_keras.outputs import forward
from edgekit.frameworks.widths import keras as widths
from edgekit.sources import keras_config
from edgekit.sources.source import Source, resolve, with_weights

#: Distributions whose versions change what is done here.
PACKAGES = ("keras", "tensorflow", "torch")

with optional.absent(*optional.UNUSED):
    import keras

SEED = 0
#: See ``brought/watching``.
watch = watching_keras.watch


if keras.backend.backend() == "torch":
    from edgekit.frameworks.of_keras import on_torch

    on_torch.mend()


def load(source: Source) -> Loaded:
    """Load a Keras source with this child's backend.

    Raises:
        UsageError: a class is unknown, a shape is open, a weight is NaN, the function returned something else.
        DamagedFileError: the file cannot be read.
    """
    if source.kind == "savedmodel":
        if keras.backend.backend() != "tensorflow":
            raise UsageError(
                f"{source.given} is a SavedModel, which needs the TensorFlow backend",
                hint="Take a target that has a route by it: `edgekit convert --dry-run` lists the routes.",
            )
        from edgekit.frameworks import saved_model

        return saved_model.load(source)
    loaders = {"zoo": _zoo, "keras": _file, "h5": _file, "python": _python}
    return loaders[source.kind](source)


def export_saved_model(loaded: LoadedModel, folder: Path) -> Path:
    """Write the model as a SavedModel of static batch 1; see ``edgekit.frameworks.saved_model``."""
    from edgekit.frameworks import saved_model

    return saved_model.export_saved_model(loaded, folder)


def materialise(loaded: Loaded, folder: Path) -> Source:
    """Save a freshly built model once, so that other processes load the same weights.

    A Python function's model becomes ``checkpoint.keras``, a source of its own, where Keras's own classes suffice;
    else, and for a zoo model without shipped weights, its weights are kept and loaded over a fresh build. Other
    sources come back unchanged.
    """
    source = loaded.source
    if source.kind not in ("zoo", "python") or source.weights:
        return source
    if source.kind == "zoo" and zoo.weights_path(source.name, source.config or "") is not None:
        return source
    whole = folder / "checkpoint.keras"
    if source.kind == "python" and _plain(loaded.native):
        loaded.native.save(whole)
        return replace(
            resolve(str(whole), trust=source.trust), given=source.given, name=source.name, inputs=source.inputs
        )
    return with_weights(source, save_weights(loaded, folder))


def save_weights(loaded: LoadedModel, folder: Path) -> Path:
    """Write all weights into a file that ``Source.weights`` may name, whatever kind the source is."""
    weights = folder / "checkpoint.weights.h5"
    widths.save(loaded.native, weights)
    return weights


def save_others(loaded: Loaded, arrays: Sequence[Any], folder: Path) -> Path:
    """The same of other weights, in the order of the model's, whose shapes may be smaller."""
    weights = folder / "checkpoint.weights.h5"
    made = widths.narrowed(loaded.native, [array.shape for array in arrays], trusted=_trusted(loaded.source))
    for variable, array in zip(made.weights, arrays, strict=True):
        variable.assign(array)
    widths.save(made, weights)
    return weights


def _trusted(source: Source) -> bool:
    """Whether code in a model is the user's own, which has run already, edgekit's, or what the user answers for."""
    return source.kind in ("python", "zoo") or source.trust


def _plain(model: Any) -> bool:
    """Whether the model loads again without the user's code."""
    if not isinstance(model, keras.Sequential | keras.src.models.functional.Functional):
        return False
    return keras_config.is_plain(keras.saving.serialize_keras_object(model))


def _zoo(source: Source) -> Loaded:
    from edgekit.zoo import weights

    assert source.config is not None
    config = zoo.architecture(source.name).configs[source.config]
    optional.seed_keras(keras, SEED)
    built = importlib.import_module(f"edgekit.zoo.{source.name}.keras").build(**config.settings)
    model = built[source.part] if config.parts else built
    shipped = zoo.weights_path(source.name, source.config)
    notes: tuple[str, ...] = ()
    if source.weights:
        model = widths.load(model, source.weights, trusted=_trusted(source))
    elif shipped:
        tensors = weights.read(shipped)
        weights.load_keras(model, weights.of_part(tensors, source.part) if config.parts else tensors)
    else:
        random = f"random, from seed {SEED} of Keras on the {keras.backend.backend()} backend"
        notes = (f"{source.name}:{source.config} ships no weights: they are {random}.",)
    loaded = keras_outputs.describe(
        source, model, _runner(model), notes=notes, signature=config.signature("keras", source.part)
    )
    return replace(loaded, probed=config.task is None)


def _file(source: Source) -> Loaded:
    assert source.path is not None
    try:
        model = keras.saving.load_model(str(source.path), compile=False, safe_mode=not source.trust)
    except (OSError, KeyError) as error:
        raise DamagedFileError(f"Keras cannot read {source.given}: {source.named(error)}") from error
    except Exception as error:  # a configuration that is no model's fails anywhere in Keras
        raise _not_loadable(source, error) from error
    return _brought(source, model)


def _brought(source: Source, model: Any) -> Loaded:
    """A model of the user's, as every route reads it."""
    brought.check_lookups(source.given, model)
    model, notes = brought.plain(model)
    model, states, said = brought.with_states(model)
    if source.weights:
        keras_outputs.build(source, model)
        model = widths.load(model, source.weights, trusted=_trusted(source))
    brought.check_backend(source.given, model)
    loaded = keras_outputs.describe(source, model, _runner(model), notes=(*notes, *said))
    return replace(loaded, signature=replace(loaded.signature, state=states)) if states else loaded


def _not_loadable(source: Source, error: Exception) -> UsageError:
    return UsageError(
        f"Keras {keras.__version__} cannot load {source.given}, written by Keras "
        f"{source.keras_version or '(unknown)'}: {source.named(error)}",
        hint="HDF5 loses the arguments of keras.ops: save as .keras. Classes of your own need your code: hand in "
        "`file.py:function` that builds the model and loads its weights.",
    )


def _python(source: Source) -> Loaded:
    model = python_file.model_from(source)
    if not isinstance(model, keras.Model):
        raise UsageError(
            f"{source.given} returned a {type(model).__module__}.{type(model).__name__}, which is no keras.Model",
            hint="Models of tf_keras are handed in as .h5; PyTorch models are loaded in a torch child.",
        )
    return _brought(source, model)


def _runner(model: Any) -> Callable[[Arrays], list[Any]]:
    """One forward pass in evaluation mode and without gradients, compiled where the backend is TensorFlow."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function(autograph=False, reduce_retracing=True)  # type: ignore[untyped-decorator]
        def compiled(*xs: Any) -> list[Any]:
            return forward(model, xs)

        return lambda arrays: list(compiled(*(tf.constant(a) for a in arrays)))
    import torch

    def eager(arrays: Arrays) -> list[Any]:
        with torch.no_grad():
            return forward(model, [torch.from_numpy(a) for a in arrays])

    return eager
