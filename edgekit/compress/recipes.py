"""Recipes: what is done to a source before it is converted, one TOML file each in ``targets/recipes/``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from edgekit import catalogue
from edgekit.compress.prune import patterns
from edgekit.compress.prune.patterns import Pattern, Pruning, Scope
from edgekit.errors import UsageError, did_you_mean
from edgekit.zoo import Training

#: Distributions whose versions change what is done here.
PACKAGES = ("pydantic",)

#: What a step may do.
Kind = Literal["prune", "qat", "finetune"]
#: Settings that a step of pruning alone has.
_OF_PRUNING = ("pattern", "scope", "ramp", "keep", "residual")
#: Those among them that patterns of some kinds have.
_OF_PATTERNS = {"scope": ("weights",), "ramp": ("weights", "groups"), "keep": ("channels",), "residual": ("channels",)}


def _pattern(value: Any) -> Any:
    """A pattern as TOML has it: a word, or a bare share."""
    if isinstance(value, bool | list | dict):
        raise UsageError(f"pattern is {value!r}, and no text", hint='For example pattern = "0.5".')
    return patterns.parse(str(value)) if isinstance(value, str | float | int) else value


def _names(value: Any) -> Any:
    """A list of names; one alone is no list."""
    if isinstance(value, str):
        raise UsageError(f"keep is the text {value!r}, and has to be a list", hint=f'Write keep = ["{value}"].')
    return value


#: Numbers as TOML has them: neither texts nor truth values.
_Int: TypeAlias = Annotated[int, Field(strict=True)]
_Float: TypeAlias = Annotated[float, Field(strict=True)]


class Step(BaseModel):
    """One thing that is done.

    Attributes:
        kind: ``prune``: training in which more and more weights are zero; zeros stay in all steps behind it. ``qat``:
            training with the weights on the target's grid. ``finetune``: the same in float, which is what any gain of
            the others has to be held against.
        pattern: of ``prune``: what goes; see ``prune.patterns``.
        scope: of ``prune``, where single weights go: the smallest of all layers, or those of each layer.
        ramp: of ``prune``, where weights become zero: part of the training in which these become more.
        keep: of ``prune``, where channels go: patterns of the names of layers that keep theirs.
        residual: of ``prune``, where channels go: whether those of residual streams may as well.
        epochs: at most; the best of them by the selection split is kept.
        learning_rate: largest of the schedule, warm-up and cosine decay.
        batch: samples of a step.
        weight_decay: of matrices.
        seed: of the order of samples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    pattern: Annotated[Pattern | None, BeforeValidator(_pattern)] = None
    scope: Scope = "global"
    ramp: _Float = Field(default=0.5, ge=0, le=1)
    keep: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    residual: Annotated[bool, Field(strict=True)] = False
    epochs: _Int = Field(ge=1, le=1000)
    learning_rate: _Float = Field(default=1e-3, gt=0, le=1)
    batch: _Int = Field(default=64, ge=2)
    weight_decay: _Float = Field(default=0.01, ge=0, le=1)
    seed: _Int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _fits(self) -> Step:
        """Refuse pruning without a pattern, and what only pruning has elsewhere."""
        if self.kind == "prune" and self.pattern is None:
            raise UsageError("a step of pruning has no pattern", hint='Give one, for example pattern = "0.5".')
        if self.kind != "prune" and (said := [key for key in _OF_PRUNING if key in self.model_fields_set]):
            raise UsageError(f"{said[0]} is of steps that prune, and this one is {self.kind}", hint="Leave it out.")
        for key, of in _OF_PATTERNS.items():
            if key in self.model_fields_set and self.pattern is not None and self.pattern.of not in of:
                raise UsageError(
                    f"{key} is of patterns of {' and '.join(of)}, and {self.pattern} takes {self.pattern.of}",
                    hint="Omit it.",
                )
        return self

    @property
    def pruning(self) -> Pruning | None:
        """How weights become zero; None where none does."""
        if self.pattern is None or self.pattern.of == "channels":
            return None
        return Pruning(self.pattern, self.scope, self.ramp)

    @property
    def narrowing(self) -> float | None:
        """Which share of the channels goes; None where none does."""
        return self.pattern.share if self.pattern is not None and self.pattern.of == "channels" else None

    @property
    def settings(self) -> dict[str, int | float]:
        """Those that are numbers."""
        return self.model_dump(exclude={"kind", *_OF_PRUNING})

    @property
    def training(self) -> Training:
        """The settings of the loop."""
        return Training(self.epochs, self.batch, self.learning_rate, self.weight_decay, self.seed)


class Recipe(BaseModel):
    """An ordered list of steps; ``name`` is the file's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    steps: tuple[Step, ...] = Field(alias="step", min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> Recipe:
        """Refuse steps behind which what an earlier one did would not be there any more."""
        for at, step in enumerate(self.steps[:-1], 1):
            later = list(enumerate(self.steps[at:], at + 1))
            for number, other in later if step.kind == "qat" else ():
                if other.kind != "qat":
                    raise UsageError(
                        f"step {number} ({other.kind}) takes the weights off the grid that step {at} (qat) trains "
                        "them on",
                        hint="Put qat last: zeros and channels that are gone stay so.",
                    )
            for number, other in later if step.pattern is not None and step.pattern.of == "groups" else ():
                if other.narrowing is not None:
                    raise UsageError(
                        f"step {number} (prune {other.pattern}) takes channels out of the groups of step {at} (prune "
                        f"{step.pattern})",
                        hint="Take channels out first.",
                    )
        return self

    @property
    def words(self) -> str:
        """What is done, in order."""
        return ", ".join(f"prune {step.pattern}" if step.pattern else step.kind for step in self.steps)

    @property
    def prunes(self) -> bool:
        """Whether weights or channels are left out."""
        return any(step.kind == "prune" for step in self.steps)

    @property
    def gentler(self) -> str:
        """What helps where the checkpoint itself is too much worse than the source, as a sentence."""
        less = ", or prune a smaller share" if self.prunes else ", or at another learning rate"
        return f"Train for more epochs{less}."

    @property
    def rounds(self) -> bool:
        """Whether it leaves weights on the target's grid: the last step says."""
        return self.steps[-1].kind == "qat"


def names() -> list[str]:
    """All recipes, sorted."""
    return catalogue.names("targets/recipes")


def load(name: str) -> Recipe:
    """Read a recipe by name or by path of a TOML file; raises ``UsageError`` naming the wrong key."""
    return parse(catalogue.find("targets/recipes", name))


def asked(*, qat: int | None = None, prune: str | None = None) -> Recipe | None:
    """The packaged recipe that options stand for, with what they say: pruning comes first, and its zeros stay.

    Args:
        qat: epochs on the target's grid.
        prune: a pattern.
    """
    if qat is None and prune is None:
        return None
    said: dict[str, dict[str, Any]] = {"prune": {"pattern": prune}, "qat": {"epochs": qat}}
    recipe = load("-".join(kind for kind, settings in said.items() if None not in settings.values()))
    steps = [{**step.model_dump(exclude_unset=True), **said.get(step.kind, {})} for step in recipe.steps]
    option = f"--prune {prune}" if qat is None else f"--qat {qat}"
    try:
        if prune is not None and patterns.parse(prune).of == "channels":  # which are trained otherwise
            cut = load("prune-channels")
            recipe = cut if qat is None else recipe
            first = [{**step.model_dump(exclude_unset=True), **said["prune"]} for step in cut.steps]
            steps = [*first, *(step for step in steps if step["kind"] != "prune")]
        return Recipe.model_validate({"name": recipe.name, "title": recipe.title, "step": steps})
    except ValidationError as error:
        raise UsageError(f"{option}: {error.errors()[0]['msg']}", hint="Give epochs, for example 3.") from error
    except UsageError as error:
        raise UsageError(f"--prune {prune}: {error}", hint=error.hint) from error


def parse(path: Path) -> Recipe:
    """Read and validate one recipe."""
    content = catalogue.read(path)
    if isinstance(content.get("step"), dict):
        raise UsageError(
            f"{path.name}: [step] is one table, and a recipe has a list of steps",
            hint="Write [[step]], with two brackets on each side, above each step.",
        )
    try:
        return Recipe.model_validate({**content, "name": path.stem})
    except ValidationError as error:
        # A misspelt key comes before the one that is missing for it.
        found = sorted(_innermost(error), key=lambda one: one["type"] != "extra_forbidden")
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        near = "".join(dict.fromkeys(map(_near, found)))
        raise UsageError(
            f"{path.name}: {'; '.join(map(_wrong, found[:_NAMED]))}{more}",
            hint=f"{near}Compare with the packaged recipes: `edgekit list recipes`.",
        ) from error
    except UsageError as error:
        raise UsageError(f"{path.name}: {error}", hint=error.hint) from error


#: Mistakes of a recipe that an error names.
_NAMED = 5


def _innermost(error: ValidationError) -> list[Any]:
    """All mistakes but for those that others make: a list without any step that is right is called too short."""
    found = error.errors()
    around = {one["loc"][:length] for one in found for length in range(len(one["loc"]))}
    return [one for one in found if one["loc"] not in around]


def _wrong(error: Any) -> str:
    """One mistake: where it is, what may be there, and the value."""
    where, value = ".".join(str(part) for part in error["loc"]), error["input"]
    given = f", not {value!r}" if isinstance(value, str | int | float) and error["type"] != "extra_forbidden" else ""
    return ": ".join(filter(None, (where, f"{error['msg']}{given}")))


def _near(error: Any) -> str:
    """The nearest of what may stand where something unknown does."""
    place = error["loc"]
    if error["type"] == "extra_forbidden":
        fields = Step.model_fields if len(place) > 1 else {"title": None, "step": None}
        return did_you_mean(str(place[-1]), fields)
    return did_you_mean(str(error["input"]), get_args(Kind)) if place[-1] == "kind" else ""
