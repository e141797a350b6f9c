"""What the user asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit import target as targets
from edgekit.compress.recipes import Recipe
from edgekit.conversion.budget import Budget
from edgekit.data.plan import DataPlan
from edgekit.devices.device import HERE, Device
from edgekit.errors import UnsupportedError, UsageError
from edgekit.ranges.estimator import TOOL, Estimator
from edgekit.scheme import Equalization, Rule
from edgekit.sources.source import Source
from edgekit.target import Rounding, Target
from edgekit.user_code import Function

#: Fewer calibration samples than this are used, but warned about.
FEW_CALIBRATION_SAMPLES = 32
#: What can be trained: an exported program has neither dropout nor BatchNorm's statistics of batches any more.
TRAINABLE = "a zoo name, a .keras or .h5 file, or file.py:function"
_TRAINABLE_KINDS = ("zoo", "keras", "h5", "python")


@dataclass(frozen=True)
class Order:
    """One conversion.

    ``roles`` is what the user says that outputs are for, by name. Without ``latency`` nothing is timed: the first route
    that passes is chosen, and the result names no speed. ``device`` is what executes and times the files.
    ``keep_float`` are patterns of the names of layers that stay in float; ``rules`` are what mixed precision says of
    others. ``budget`` is what the files may cost. ``rounding`` is the target's where None.
    ``equalize`` is how channels are scaled; where None as the target says, if no route passes without. ``ranges`` is
    how activations get theirs. ``recipe`` is what is done to the source first, ``fit`` the user's loop in it.
    ``licence`` is that of the source's weights and ``tokenizer`` makes its inputs of text, for the artifact's card.
    ``beside`` are the other targets of the same call, which are no advice.
    """

    source: Source
    target: Target
    plan: DataPlan
    output: Path | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    search_routes: bool = False
    allow_mixed: bool = False
    allow_unproven: bool = False
    latency: bool = True
    device: Device = HERE
    keep_float: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    budget: Budget | None = None
    rounding: Rounding | None = None
    equalize: Equalization | None = None
    ranges: Estimator = TOOL
    recipe: Recipe | None = None
    fit: Function | None = None
    licence: str | None = None
    tokenizer: Path | None = None
    beside: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[Rule, ...]:
        """What is said of single layers, as routes take it; what the user says comes first."""
        return (*(Rule(name=pattern, becomes="float") for pattern in self.keep_float), *self.rules)

    @property
    def rounds_by_samples(self) -> bool:
        """Whether weights are rounded by what they do to calibration samples: as asked, or where there are some.

        A recipe may have put them on the grid already.
        """
        if self.recipe is not None and self.recipe.rounds:
            return False
        return (self.rounding or (self.target.rounding if self.has_samples else "nearest")) != "nearest"

    @property
    def trains_activations(self) -> bool:
        """Whether the recipe ends with weights on the grid, and the target's files have ranges of int8 activations."""
        scheme = self.target.scheme
        static = scheme.needs_calibration and scheme.activations == "int8"
        return static and self.recipe is not None and self.recipe.rounds

    @property
    def has_samples(self) -> bool:
        """Whether there are calibration samples."""
        return self.plan.task is not None or self.plan.calibrate is not None

    @property
    def equalizes(self) -> bool:
        """Whether channels are scaled."""
        return (self.equalize or "none") != "none"

    @property
    def reads_samples(self) -> bool:
        """Whether ranges, scales or rounding come from calibration samples."""
        return self.target.needs_calibration or self.rounds_by_samples or self.equalize in ("smoothquant", "awq")

    @property
    def adjusts(self) -> str | None:
        """What is done to the checkpoint's weights, in order; None where nothing is."""
        said = [*([self.equalize] if self.equalizes else []), *(["gptq"] if self.rounds_by_samples else [])]
        return ", ".join(filter(None, said)) or None

    def check(self) -> None:
        """Refuse before any work what cannot be had.

        Raises:
            UsageError: ranges come from samples and there are none, or are asked for where none do; layers are to be
                kept in float in a float file.
        """
        if self.keep_float and self.target.scheme.is_float:
            raise UsageError(
                f"--keep-float {self.keep_float[0]}: {self.target.name} quantizes nothing",
                hint="Leave it out, or take a target that quantizes.",
            )
        if "" in self.keep_float:
            raise UsageError("--keep-float: a pattern is empty", hint="Give a layer's name, or 'conv*'.")
        if self.rounding is not None and self.target.scheme.weights != "int4":
            raise UsageError(f"--rounding {self.rounding}: {self.target.name} has no int4 weights", hint="Omit it.")
        if self.equalize is not None and (unfit := self.target.unfit(self.equalize)):
            raise UsageError(f"--equalize {self.equalize}: {unfit}", hint="Omit it.")
        self._check_recipe()
        if not self.ranges.by_tool and not self.target.needs_calibration:
            raise UsageError(
                f"--ranges {self.ranges.name}: {self.target.name} takes no ranges from samples",
                hint="Leave it out, or take a target of static integers.",
            )
        if self.reads_samples and not self.has_samples:
            by_option = f"--rounding {self.rounding}" if self.rounds_by_samples else f"--equalize {self.equalize}"
            raise UsageError(
                f"{self.target.name if self.target.needs_calibration else by_option} needs calibration "
                "samples and none were given",
                hint="Pass --calibrate DATA (a few hundred real inputs), or take "
                f"{' or '.join(targets.without_calibration(self.target)) or 'a dynamic target'}.",
            )

    def _check_recipe(self) -> None:
        """Refuse a recipe that cannot be followed; ``check`` says what it raises."""
        if self.recipe is None and self.fit is not None:
            raise UsageError(
                f"--fit {self.fit.name}: nothing is trained", hint="Give --recipe NAME or --qat EPOCHS, too."
            )
        if self.recipe is None:
            return
        asked = f"--recipe {self.recipe.name}"
        if self.recipe.rounds and not self.target.scheme.weights.startswith("int"):
            raise UsageError(
                f"{asked}: {self.target.name} has no integer weights to train for",
                hint="Omit it, or take a target of integers.",
            )
        for option, given in (("--rounding", self.rounding), ("--equalize", self.equalize)):
            if given is not None and self.recipe.rounds:
                raise UsageError(f"{option} {given}: {asked} puts the weights on the grid", hint="Leave one out.")
        if self.source.kind not in _TRAINABLE_KINDS:
            kind = self.source.kind
            raise UnsupportedError(
                f"{asked}: {'an' if kind == 'onnx' else 'a'} {kind} source cannot be trained",
                hint=f"Hand in {TRAINABLE}.",
            )
        if self.plan.task is None and not (self.plan.train and self.plan.evaluate):
            raise UsageError(
                f"{asked} needs labelled samples to train on, and others that choose the epoch",
                hint="Pass --train DATA --evaluate DATA, both with labels.",
            )
