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
#: How far it may be off, as part of how far outputs vary over the samples, beside what rounding moves them by.
_EXACT = 1e-3
#: What rounding may move an output by, as part of its largest number; what varies less does not vary.
_ROUNDING = 1e-6
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
        error: largest difference from the wide model without those channels, as part of how far outputs vary.
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
    """The largest difference as part of how far outputs vary; raises ``UnsupportedError`` where it is too large."""
    worst = 0.0
    for one, other in zip(wide, narrow, strict=True):
        if one.shape != other.shape:
            raise UnsupportedError(
                f"{source.given} gives {other.shape[1:]} with fewer channels, and not {one.shape[1:]}", hint=_KEEP
            )
        difference = _difference(one, other)
        worst = max(worst, difference if np.isfinite(difference) else np.inf)
    if worst > _EXACT:
        raise UnsupportedError(
            f"{source.given} computes otherwise with fewer channels: its outputs are off by {worst:.2g} of what they "
            "vary by",
            hint=f"Its code depends on how many there are. {_KEEP}",
        )
    return worst


def _difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    """How far an output is off beside rounding, as part of how far it varies over the samples.

    A large number that is the same for all samples hides no difference so.
    """
    same = (np.abs(one) >= _MASKED) & (one == other)
    if same.all():
        return 0.0
    wide, narrow = one.astype(np.float64), other.astype(np.float64)
    rounding = max(_ROUNDING * float(np.abs(wide[~same]).max()), 1e-12)
    apart = np.where(same, -np.inf, wide).max(axis=0) - np.where(same, np.inf, wide).min(axis=0)
    varies = max(float(apart.max()), rounding)  # minus infinity where all samples have a mask
    return max(float(np.abs(wide - narrow)[~same].max()) - rounding, 0.0) / varies
