"""Losses that fit labels: cross-entropy of classes, of one unit or of several, and the mean square error of values.

A loss reads what the model returns in training, which need not be what it returns in evaluation: a softmax, or another
head, may be in one of them alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.compress.training.fitting import Loss, aside
from edgekit.errors import EdgekitError, FailedError, UsageError
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.brought import faults
from edgekit.frameworks.loaded import named
from edgekit.frameworks.of_keras import outputs as keras_outputs
from edgekit.frameworks.trainable import Modes, untouched
from edgekit.signature import READ, either_axis

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

#: What one unit that tells two classes apart holds, as the metric of the labels reads it.
Unit = Literal["", "probability", "logit", "score"]

#: How far from 1 the probabilities of a sample may add up to.
_ROUNDING = 1e-3
#: Probabilities are kept so far from 0 and 1 before their logarithm is taken.
_LEAST = 1e-7


def loss_for(
    model: LoadedModel,
    inputs: Sequence[Tensor],
    labels: Tensor,
    own: Loss | None = None,
    roles: Mapping[str, str] = MappingProxyType({}),
    *,
    unit: Unit = "",
    through: Callable[..., Any] | None = None,
) -> Loss:
    """A loss that fits labels, of what the model returns in training.

    Args:
        model: whose first output it is, or the one that is said to be scored, or to hold classes.
        inputs: a few samples.
        labels: of all samples.
        own: the architecture's.
        roles: what outputs are said to be for, by name.
        unit: what one unit holds where the labels are 0 or 1; empty where they are not.
        through: what computes the outputs in training instead, as the model does in evaluation.

    Raises:
        UsageError: labels that fit no loss, several outputs alike, or others in training.
        FailedError: the model does not run in training mode.
    """
    if own is not None:
        return own
    outputs = list(model.run({t.name: x.numpy() for t, x in zip(model.signature.inputs, inputs, strict=True)}).values())
    names = [t.name for t in model.signature.outputs]
    said = [name for role in READ for name in names if roles.get(name) == role]
    alike = [n for n, o in zip(names, outputs, strict=True) if o.ndim == outputs[0].ndim and o.shape[-1:] != (1,)]
    if not said and not labels.is_floating_point() and len(alike) > 1:
        raise UsageError(
            f"the model has the outputs {', '.join(alike)}, and nothing says which of them the labels are of",
            hint=f"--outputs {alike[-1]}=classes",
        )
    at = names.index(said[0]) if said else 0
    if through is not None:  # the graph of the model in evaluation
        return _reading(model, at, _fitting(model, torch.tensor(outputs[at]), labels, unit))
    trained, evaluated = _returned(model, inputs, training=True), _returned(model, inputs, training=False)
    at = _same(names[at], at, [name for name, _ in evaluated], [name for name, _ in trained])
    return _reading(model, at, _fitting(model, trained[at][1], labels, unit))


def _reading(model: LoadedModel, at: int, loss: Loss) -> Loss:
    """A loss of one of the outputs, by its place among all that are returned in training."""
    return lambda returned, labels: loss(_flat(model, returned)[at][1], labels)


def _flat(model: LoadedModel, returned: Any) -> list[tuple[str, Tensor]]:
    """What a model returned, by names that tell its outputs apart."""
    return named(returned, torch.is_tensor, by_key=model.framework == "keras", lenient=True)


def _returned(model: LoadedModel, inputs: Sequence[Tensor], *, training: bool) -> list[tuple[str, Tensor]]:
    """What a model returns on some samples in a mode; it stays as it was."""
    modes = Modes(model)
    try:
        with aside(), untouched(model), torch.no_grad():
            if training:
                modes.train(statistics=True)
            if model.framework == "keras":
                return _flat(model, keras_outputs.called(model.native, inputs, training=training))
            return _flat(model, model.native(*inputs))
    except EdgekitError:
        raise
    except Exception as error:  # the user's model may raise anything
        mode = "runs in evaluation mode, and not in training mode" if training else "does not run"
        raise FailedError(f"the model {mode}: {faults.told(error, model.native)}") from error
    finally:
        modes.evaluate()


def _same(called: str, at: int, evaluated: Sequence[str], trained: Sequence[str]) -> int:
    """Where among the outputs in training one of those in evaluation is: by its name where it has one of its own.

    Args:
        called: what the signature calls it.
        at: its place in evaluation.
        evaluated: names of the outputs in evaluation, as the model gives them.
        trained: likewise in training.
    """
    if list(evaluated) == list(trained) or len(evaluated) == len(trained) == 1:
        return at
    if evaluated[at] in trained and not _NUMBERED.fullmatch(evaluated[at]):
        return trained.index(evaluated[at])
    raise UsageError(
        f"the model returns {len(trained)} outputs in training ({', '.join(trained)}) and {len(evaluated)} otherwise "
        f"({', '.join(evaluated)}), and nothing says which of them is {called!r}",
        hint="Return a dict with the same key for it in both modes, or train by a loop of your own: --fit loop.py:fit.",
    )


#: Names that say nothing but a place.
_NUMBERED = re.compile(r"output(_\d+)*")


def _fitting(model: LoadedModel, output: Tensor, labels: Tensor, unit: Unit) -> Loss:
    """A loss of an output, which is that of some samples in training."""
    own = output.shape[1:]
    of_one = own in ((), (1,)) and labels.shape[1:] in ((), (1,))
    if labels.is_floating_point() and (own == labels.shape[1:] or of_one):
        return lambda found, wanted: functional.mse_loss(found, wanted.reshape(found.shape))
    if labels.is_floating_point():
        raise _unfit(output, labels)
    if of_one and unit and int(labels.min()) >= 0 and int(labels.max()) <= 1:
        return _of_unit(output, unit)
    axes = [axis for axis in (-1, 1) if output.ndim > 1]
    fits = [
        axis
        for axis in dict.fromkeys(axis % output.ndim for axis in axes)
        if _without(output, axis)[1:] == labels.shape[1:] and int(labels.max()) < output.shape[axis] > 1
    ]
    if not fits or int(labels.min()) < 0:
        raise _unfit(output, labels)
    if len(fits) > 1 and model.framework != "keras":
        raise either_axis("an output", tuple(own))
    return _of_classes(output, fits[0])


def _unfit(output: Tensor, labels: Tensor) -> UsageError:
    return UsageError(
        f"labels of shape {tuple(labels.shape[1:])} and type {str(labels.dtype).removeprefix('torch.')} fit no "
        f"loss of an output of shape {tuple(output.shape[1:])}",
        hint="Give class numbers for an output with one value for each class, 0 or 1 for one unit (--metric binary or "
        "binary_logit), or values shaped as the output.",
    )


def _of_unit(output: Tensor, unit: Unit) -> Loss:
    """Cross-entropy of one unit: of its logit, or of its probability, which a metric of mere order does not say."""
    within = bool(((output >= 0) & (output <= 1)).all())
    if unit == "logit" or not within:
        return lambda found, wanted: functional.binary_cross_entropy_with_logits(
            found, wanted.reshape(found.shape).to(found.dtype)
        )
    return lambda found, wanted: functional.binary_cross_entropy(
        found.clamp(_LEAST, 1 - _LEAST), wanted.reshape(found.shape).to(found.dtype)
    )


def _of_classes(output: Tensor, axis: int) -> Loss:
    """Cross-entropy of logits, or of probabilities where the model ends in a softmax."""
    total = output.sum(axis)
    probabilities = bool((output >= 0).all()) and bool(torch.isclose(total, torch.ones(()), atol=_ROUNDING).all())

    def entropy(found: Tensor, wanted: Tensor) -> Tensor:
        moved = found.movedim(axis, 1)
        if probabilities:
            return functional.nll_loss(torch.log(moved.clamp_min(_LEAST)), wanted)
        return functional.cross_entropy(moved, wanted)

    return entropy


def _without(tensor: Tensor, axis: int) -> torch.Size:
    shape = list(tensor.shape)
    del shape[axis]
    return torch.Size(shape)
