"""Taking channels out of a model: weights of smaller shapes, proven to compute what the model does without them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import UnsupportedError
from edgekit.frameworks.loaded import samples_of
from edgekit.frameworks.once import forget, framework, load
from edgekit.result.recipe import Width
from edgekit.sources.source import Source, with_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.frameworks import LoadedModel

#: Distributions whose versions change what is done here.
PACKAGES = ("safetensors", "torch")

#: Samples that the narrow model is held against the wide one on.
_A_FEW = 4
#: How far it may be off, as part of the largest output.
_EXACT = 1e-4
#: What is as large, and the same in both, is a mask: no difference beside it would be a part of it worth naming.
_MASKED = 1e4
_KEEP = "Name the layer in `keep` of the recipe's step, and its channels stay."


@dataclass(frozen=True)
class CutRequest:
    """Which model, in which kind of child; see ``compress.channels.choice.choose`` for the others."""

    source: Source
    environment: str
    ratio: float
    keep: tuple[str, ...]
    residual: bool
    allow_refused: bool


@dataclass(frozen=True)
class CutAnswer:
    """What was cut.

    Attributes:
        file: all weights, in the step's folder.
        widths: of the layers that give fewer channels.
        refused: layers that stayed because their channels cannot be followed, with the reason.
        parameters: numbers in all weights, before and after; statistics of norms are none.
        error: largest difference from the wide model without those channels, as part of the largest output.
    """

    file: str
    widths: tuple[Width, ...]
    refused: tuple[str, ...]
    parameters: tuple[int, int]
    error: float


def narrowed(folder: Path, request: CutRequest) -> CutAnswer:
    """Take channels out of a source's model, save the weights, and load them as every other step will.

    Raises:
        UsageError: a layer would have no channel left.
        UnsupportedError: channels cannot be followed, by name; the model cannot be made as narrow, or computes
            otherwise then.
    """
    from edgekit.compress.channels import choice, surgery, walk
    from edgekit.frameworks import trainable

    model = load(request.source, request.environment)
    try:
        walked = walk.follow(model)
        chosen = choice.choose(
            walked, request.ratio, keep=request.keep, residual=request.residual, allow_refused=request.allow_refused,
            frozen=[tensor.data_ptr() for tensor in trainable.frozen(model).values()],
        )  # fmt: skip
        before = surgery.cut(model, walked, ())
        after = surgery.cut(model, walked, chosen.removed)
        counted = _count(model, before), _count(model, after)
        surgery.silence(walked, chosen.removed)
        samples = samples_of(model.signature.inputs, _A_FEW)
        inputs = {t.name: array for t, array in zip(model.signature.inputs, samples, strict=True)}
        wide = _outputs(model, inputs)
        file = framework(request.environment).save_others(model, after, folder)
    finally:
        forget()
    try:
        narrow = _outputs(load(with_weights(request.source, file), request.environment), inputs)
    except UnsupportedError:
        raise
    except Exception as error:  # the model's own code may raise anything on lengths that it was not written for
        raise UnsupportedError(
            f"{request.source.given} does not run with fewer channels: {' '.join(str(error).split())[:300]}",
            hint=f"A length that is written into its code cannot follow. {_KEEP}",
        ) from error
    finally:
        forget()
    return CutAnswer(
        file=file.name,
        widths=tuple(
            Width(name=name, before=group.before, after=group.after) for group in chosen.groups for name in group.names
        ),
        refused=tuple(f"{name}: {text}" for name, text in chosen.refused),
        parameters=counted,
        error=_compared(request.source, wide, narrow),
    )


def _outputs(model: LoadedModel, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    return list(model.run(inputs).values())


def _count(model: LoadedModel, arrays: list[NDArray[Any]]) -> int:
    """Weights among what is saved of a model: statistics of norms, counters and tables of constants are none."""
    from edgekit.frameworks import trainable

    weights = {tensor.data_ptr() for tensor in (*trainable.parameters(model), *trainable.frozen(model).values())}
    saved = trainable.saved(model)
    return sum(array.size for tensor, array in zip(saved, arrays, strict=True) if tensor.data_ptr() in weights)


def _compared(source: Source, wide: list[NDArray[Any]], narrow: list[NDArray[Any]]) -> float:
    """The largest difference as part of the largest output; raises ``UnsupportedError`` where it is too large."""
    worst = 0.0
    for one, other in zip(wide, narrow, strict=True):
        if one.shape != other.shape:
            raise UnsupportedError(
                f"{source.given} gives {other.shape[1:]} with fewer channels, and not {one.shape[1:]}", hint=_KEEP
            )
        same = (np.abs(one) >= _MASKED) & (one == other)
        if same.all():
            continue
        one, other = one[~same].astype(np.float64), other[~same].astype(np.float64)
        scale = max(float(np.abs(one).max()), 1e-6)
        difference = float(np.abs(one - other).max()) / scale
        worst = max(worst, difference if np.isfinite(difference) else np.inf)
    if worst > _EXACT:
        raise UnsupportedError(
            f"{source.given} computes otherwise with fewer channels: {worst:.2g} of the largest output off",
            hint=f"Its code depends on how many there are. {_KEEP}",
        )
    return worst
