"""Training a source's weights with zeros, on a target's grid, or in float; those of the best epoch are kept."""

from __future__ import annotations

import importlib
import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.compress.fakequant import chooser
from edgekit.compress.prune.patterns import Pruning
from edgekit.data import plan as planning
from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks.once import forget, framework, load
from edgekit.jobs import wire
from edgekit.jobs.wire import Tell, Told
from edgekit.proof import execution, metrics
from edgekit.result.recipe import PrunedLayer
from edgekit.scheme import Kind, Range, Rule, Scheme, tensors_of
from edgekit.signature import WHOLE, Signature
from edgekit.sources.source import Source, with_weights
from edgekit.steps import File
from edgekit.steps.recipe import doubts
from edgekit.user_code import Function
from edgekit.zoo import Training

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.compress.prune.zeros import Zeros
    from edgekit.compress.qat import Trained
    from edgekit.compress.training.fitting import Loss
    from edgekit.compress.training.losses import Unit
    from edgekit.frameworks import LoadedModel

#: Distributions whose versions change what is done here.
PACKAGES = ("safetensors", "torch")

#: Samples that a loss is chosen by, and that the result is run on.
_A_FEW = 32
#: What one unit holds, by metrics that say it; others of two classes read its order alone.
_UNITS: Mapping[str, Unit] = {"binary": "probability", "binary_logit": "logit"}
#: How far the outputs of two models of the same weights may be apart, relatively.
_EXACT = 1e-3
#: What training goes on with behind an epoch, beside the best weights so far.
_STATE = "state.pt"
#: How often a training tells where it is in an epoch.
_TOLD = 50


@dataclass(frozen=True)
class Places:
    """Values of a file's tensors, in the order of the ranges, on the first of some samples."""

    values: File
    samples: File


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """Which model is trained in which kind of child, on what, and where its weights will lie.

    Attributes:
        signatures: of the model, as its outputs are scored.
        scheme: the target's, whose grid weights get; None to train in float.
        kinds: of the layers that the target quantizes; empty for all.
        layers: what is said of single ones, which are trained in float.
        allow_mixed: layers without a rule stay in float.
        fold_norms: see ``steps.adjust``.
        train: file of the training samples.
        selection: of those that choose the epoch.
        metric: of the labels.
        task: code around the model that makes of its outputs what the metric reads.
        ranges: of the activations that are fake-quantized too, by tensors of a file; none where they stay in float.
        places: what ``places.found`` wrote of them; None where there are none.
        biases: kinds of layers whose biases are integers where activations are, see ``toolchains.INTEGER_BIASES``.
        pruning: what goes; None where nothing does.
        held: layers that earlier steps pruned, so that zeros stay.
        own: the user's loop in the place of edgekit's.
    """

    source: Source
    environment: str
    signatures: Mapping[str, Signature]
    scheme: Scheme | None
    kinds: tuple[Kind, ...]
    layers: tuple[Rule, ...]
    allow_mixed: bool
    fold_norms: bool
    train: File
    selection: File
    metric: str
    task: str | None
    training: Training
    ranges: tuple[Range, ...] = ()
    places: Places | None = None
    biases: Mapping[Kind, int | None] = field(default_factory=dict)
    pruning: Pruning | None = None
    held: tuple[PrunedLayer, ...] = ()
    own: Function | None = None


@dataclass(frozen=True)
class FitAnswer:
    """The file of all weights in the step's folder, and how training went; see ``compress.qat.Trained``.

    Attributes:
        nodes: of the model's graph, which are the tensors with a range, by these.
        unruled: weights that stayed in float, or stayed all, for want of a rule.
        pruned: layers with zeros, where the step prunes.
        held: layers that earlier steps pruned, with the zeros that they have now.
        left: layers that the pattern does not fit, with the reason.
        behind: the epoch behind which a training that did not end was gone on with; 0 where it ran undisturbed.
        frozen: weights that the model keeps from being trained.
        warnings: what the samples, or the training, would make one doubt the result for, a sentence each.
    """

    file: str
    layers: int
    unruled: tuple[str, ...]
    losses: tuple[float | None, ...]
    values: tuple[float, ...]
    kept: int
    stopped: str
    nodes: Mapping[str, str] = field(default_factory=dict)
    pruned: tuple[PrunedLayer, ...] = ()
    held: tuple[PrunedLayer, ...] = ()
    left: tuple[str, ...] = ()
    behind: int = 0
    frozen: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def fitted(folder: Path, request: FitRequest, left: Path | None = None, tell: Tell = wire.unheard) -> FitAnswer:
    """Train a source's model with its weights on the target's grid, and save those of the best epoch.

    Args:
        folder: for the weights.
        request: what is trained on what.
        left: what was told of behind the last epoch of a training that did not end.
        tell: is told of every epoch, with the best weights so far and what it takes to go on.

    Raises:
        UsageError: labels that fit no loss.
        UnsupportedError: layers without fake quantization, by name.
        FailedError: the loss became NaN or infinite.
    """
    import torch

    from edgekit.compress import activations, equalize, qat
    from edgekit.compress.prune.zeros import counted, recounted
    from edgekit.compress.training import fitting, losses, own_loop
    from edgekit.frameworks import trainable

    chosen = chooser(request.scheme, request.kinds, request.layers)
    model = load(request.source, request.environment)
    samples = planning.load(Path(request.train))
    assert samples.labels is not None
    labels = fitting.tensor_of(samples.labels)
    inputs = [torch.from_numpy(np.asarray(samples.inputs[t.name], t.dtype)) for t in model.signature.inputs]
    metric, nodes = metrics.metric(request.metric), dict[str, str]()
    save, epochs, loss, loop = framework(request.environment).save_weights, request.training.epochs, None, None
    behind = _state(left)
    begun = behind["loop"]["epoch"] if behind else 0

    def answer(file: Path, found: Trained) -> FitAnswer:
        return FitAnswer(
            file.name, found.layers, tuple(unruled), found.losses, found.values, found.kept, found.stopped, nodes,
            counted(zeros.layers) if zeros else (), recounted(model, request.held), unfit, begun,
            tuple(name for name in frozen if name in trainable.frozen(model)), tuple(warnings),
        )  # fmt: skip

    telling = _Telling(tell, epochs, metric.name)
    built, frozen = _Built(request), trainable.frozen(model)
    warnings = doubts.found(samples, planning.load(Path(request.selection)))
    telling.warn(warnings)

    def keep(found: Trained, state: Mapping[str, Any]) -> None:
        place = folder / f"epoch-{len(found.losses)}"
        place.mkdir()
        file = save(model, place)
        if request.own is not None:  # an epoch of which the source with its weights is not the model is none
            with fitting.aside():
                built.check(model, file)
        so_far = answer(file, found)
        if state["loop"] is not None:
            saved = io.BytesIO()
            torch.save(dict(state), saved)
            (place / _STATE).write_bytes(saved.getvalue())  # where it cannot, Python says why and PyTorch does not
        telling.ended(found, so_far, place)

    try:
        _check_built(model, request)
        layers, unruled = qat.find_layers(model, chosen)
        if request.scheme is not None:
            qat.check(layers, unruled, allow_mixed=request.allow_mixed)
        fixed = equalize.fold_norms(model) if request.fold_norms else []
        batch = min(request.training.batch, len(labels))
        nodes, module = _on_steps(model, request, batch)
        scored = model if module is None else activations.as_loaded(model, module, batch)
        zeros, unfit = _zeros(model, request, len(labels), unruled)
        if request.own is None:
            loss = losses.loss_for(
                model, [x[:_A_FEW] for x in inputs], labels, _own_loss(request.source, model),
                request.signatures[WHOLE].roles, unit=_UNITS.get(metric.name, "score" if metric.of_two else ""),
                through=module,
            )  # fmt: skip
        else:
            data = own_loop.Data(tuple(inputs), labels)
            loop = own_loop.loop(request.own, model, layers, fixed, data, request.training, telling.where)
        found = qat.train(
            model, layers, fixed, loss, inputs, labels, request.training, _scoring(scored, request),
            higher=metric.higher_is_better, through=module, zeros=zeros,
            keep=keep if tell is not wire.unheard else None, step_done=telling.step, behind=behind,
            loop=loop,
        )  # fmt: skip
        if not found.moved:
            warnings.append(_unmoved(request))
            telling.warn(warnings[-1:])
        file = save(model, folder)
        built.check(model, file)
        return answer(file, found)
    finally:
        forget()


class _Built:
    """The source as it is built anew, for whatever training made has to be that with other weights."""

    def __init__(self, request: FitRequest) -> None:
        self._request = request
        self._model: LoadedModel | None = None

    def check(self, model: LoadedModel, file: Path) -> None:
        """Hold a model that was trained and measured against the source with its weights, which is all that goes on.

        Args:
            model: what was trained.
            file: of its weights.

        Raises:
            UnsupportedError: they compute otherwise: training changed more than weights, or the source is another one
                each time that it is built.
        """
        if not self.same(model, file):
            own = self._request.own
            by = f"{Path(own.path).name}:{own.name} changed" if own else "training changed"
            raise UnsupportedError(
                f"{self._request.source.given} with the trained weights does not compute what was trained",
                hint=f"Either {by} more than its weights, or it holds other numbers each time that it is built: "
                "make them buffers that are saved, or set a seed.",
            )

    def same(self, model: LoadedModel, file: Path) -> bool:
        """Whether the source with the weights of a file, which are a model's, computes what the model does."""
        from edgekit.frameworks import trainable

        given = planning.load(Path(self._request.selection)).inputs
        few = {name: array[:_A_FEW] for name, array in given.items()}
        expected = model.run(few)
        if self._model is None:
            source = with_weights(self._request.source, file)
            self._model = framework(self._request.environment).load(source)
        else:
            trainable.hold(trainable.tensors_of(self._model), trainable.tensors_of(model))
        made = self._model.run(few)
        return all(_close(expected[name], made[name]) for name in expected)


def _close(expected: NDArray[Any], made: NDArray[Any]) -> bool:
    """Whether outputs are the same up to rounding; neither zeros nor masks say how large that is."""
    sizes = np.abs(expected)
    size = float(np.median(sizes[sizes > 0])) if sizes.any() else 0.0
    return bool(np.allclose(made, expected, rtol=_EXACT, atol=_EXACT * max(size, 1e-6), equal_nan=True))


def _check_built(model: LoadedModel, request: FitRequest) -> None:
    """Refuse at once a model that could not be what was trained when it is loaded anew.

    Raises:
        UnsupportedError: built anew with its own weights it computes otherwise.
    """
    from edgekit.compress.training import fitting
    from edgekit.frameworks import trainable

    with tempfile.TemporaryDirectory() as folder, fitting.aside(), trainable.untouched(model):
        same = _Built(request).same(model, framework(request.environment).save_weights(model, Path(folder)))
    if not same:
        raise UnsupportedError(
            f"{request.source.given} computes something else each time: built anew with its own weights it does not "
            "give what it gave, so that nothing trained of it could be kept",
            hint="It writes into a buffer where it is evaluated, or holds other numbers each time that it is built: "
            "write in training alone, make these numbers buffers that are saved, or set a seed.",
        )


def _unmoved(request: FitRequest) -> str:
    own = request.own
    if own is None:
        return "no weight has changed in this training: its learning rate is too small for them"
    return f"no weight has changed in {Path(own.path).name}:{own.name}: does it take the steps of an optimizer?"


def _on_steps(model: LoadedModel, request: FitRequest, batch: int) -> tuple[dict[str, str], Any]:
    """The nodes that are the tensors with a range, and the model's graph with these on their steps; None without."""
    from edgekit.compress import activations, biases

    if request.places is None:
        return {}, None
    with np.load(Path(request.places.values)) as read:
        values = {name: list(read[str(number)]) for number, name in enumerate(tensors_of(request.ranges))}
    rows = planning.rows_of(Path(request.places.samples))
    some = [rows[t.name].of_shape(t.shape) for t in model.signature.inputs]
    count = len(next(iter(values.values())))
    nodes = activations.places(model, [[np.asarray(one[i]) for one in some] for i in range(count)], values)
    if not any(one.tensor in nodes for one in request.ranges):
        raise UnsupportedError("no tensor of the file is a value of the model's graph")
    by_node = {nodes[one.tensor]: one.called(nodes) for one in reversed(request.ranges) if one.tensor in nodes}
    chosen = chooser(request.scheme, request.kinds, request.layers)
    return nodes, activations.on_steps(model, by_node, batch, biases.of_files(request.biases, chosen))


def _zeros(
    model: LoadedModel, request: FitRequest, count: int, unruled: dict[str, str]
) -> tuple[Zeros | None, tuple[str, ...]]:
    """What goes, or stays away, in training on so many samples, and what a pattern does not fit.

    Weights that no rule prunes are added to ``unruled``.

    Raises:
        UsageError: a loop of the user's would train them.
    """
    from edgekit.compress.prune import zeros
    from edgekit.compress.training import fitting
    from edgekit.frameworks import trainable

    asked = request.pruning
    if request.own is not None and (asked is not None or request.held):
        raise UsageError(
            f"--fit {Path(request.own.path).name}:{request.own.name} does not go together with weights that are zero: "
            "nothing keeps them so in a loop of your own",
            hint="Leave --fit out, or take out whole channels: --prune channels:0.5.",
        )
    if asked is None:
        return (zeros.Held(trainable.parameters(model)), ()) if request.held else (None, ())
    layers, left, without = zeros.find(model, asked.pattern)
    zeros.check(layers, left, without, allow_mixed=request.allow_mixed)
    unruled |= without
    steps = fitting.steps(request.training, count)
    return zeros.Growing(
        layers, asked.pattern, together=asked.scope == "global", steps=steps,
        ramp=round(asked.ramp * steps * request.training.epochs),
        held=trainable.parameters(model) if request.held else (),
    ), tuple(left)  # fmt: skip


class _Telling:
    """What a training tells of where it is."""

    def __init__(self, tell: Tell, epochs: int, metric: str) -> None:
        self._tell, self._epochs, self._metric, self._value = tell, epochs, metric, ""

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Behind a step."""
        if step % max(1, steps // _TOLD) == 0:
            text = f"epoch {epoch} of {self._epochs}, step {step} of {steps}, loss {loss:.4f}"
            self.where((epoch - 1 + step / steps) / self._epochs, text)

    def warn(self, warnings: Sequence[str]) -> None:
        """Say what will be among the notes at once: training may take long."""
        for text in warnings:
            self._tell(Told(text, 0.0, lasting=True))

    def where(self, share: float, text: str) -> None:
        """Within an epoch, with the metric behind the last one."""
        self._tell(Told(text + self._value, share))

    def ended(self, found: Trained, so_far: FitAnswer, place: Path) -> None:
        """Behind an epoch, with what training has got."""
        epoch, loss = len(found.losses), found.losses[-1]
        self._value = f", {self._metric} {found.values[-1]:.4f}"
        text = f"epoch {epoch} of {self._epochs}{f', loss {loss:.4f}' if loss is not None else ''}{self._value}"
        share = min(1.0, epoch / self._epochs)
        self._tell(Told(text, share, lasting=True, answer=wire.plain(so_far), files=place.name))


def _state(left: Path | None) -> dict[str, Any] | None:
    """What training goes on with; None where it begins, as a loop of the user's does each time."""
    import torch

    if left is None or not (left / _STATE).is_file():
        return None
    state: dict[str, Any] = torch.load(left / _STATE, weights_only=True)
    return state


def _own_loss(source: Source, model: LoadedModel) -> Loss | None:
    """The loss of a zoo architecture whose outputs no common one fits.

    It reads PyTorch's tensors, which outputs without a channel axis are the same as of Keras on the torch backend.
    """
    if source.kind != "zoo":
        return None
    own: Loss | None = getattr(importlib.import_module(f"edgekit.zoo.{source.name}.pytorch"), "loss", None)
    if own is not None and model.framework != "torch" and any(t.layout != "plain" for t in model.signature.outputs):
        raise UnsupportedError(
            f"{source.name}@keras has a loss for the layout of PyTorch alone",
            hint=f"Train {source.name}@torch instead.",
        )
    return own


def _scoring(model: LoadedModel, request: FitRequest) -> Any:
    """What measures the model as it is on the selection split."""
    selection, metric = planning.load(Path(request.selection)), metrics.metric(request.metric)
    labels = selection.labels
    if labels is None:
        raise UsageError("the selection samples have no labels", hint="Give labelled ones with --evaluate DATA.")

    def score() -> float:
        outputs = execution.answers(model.run(selection.inputs), request.signatures, request.task)
        contributions = metric.contributions(labels, metric.read(outputs, labels))
        return float(metric.value(metric.gathered([contributions])))

    return score
