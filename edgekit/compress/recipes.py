"""Recipes: what is done to a source before it is converted, one TOML file each in ``targets/recipes/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit import catalogue
from edgekit.errors import UsageError, did_you_mean
from edgekit.zoo import Training

#: Distributions whose versions change what is done here.
PACKAGES = ("pydantic",)

#: What a step may do.
Kind = Literal["qat", "finetune"]


class Step(BaseModel):
    """One thing that is done.

    Attributes:
        kind: ``qat``: training with the weights on the target's grid. ``finetune``: the same in float, which is what
            any gain of it has to be held against.
        epochs: at most; the best of them by the selection split is kept.
        learning_rate: largest of the schedule, warm-up and cosine decay.
        batch: samples of a step.
        weight_decay: of matrices.
        seed: of the order of samples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    epochs: int = Field(ge=1, le=1000)
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    batch: int = Field(default=64, ge=2)
    weight_decay: float = Field(default=0.01, ge=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**32)

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

    @property
    def words(self) -> str:
        """What is done, in order."""
        return ", ".join(step.kind for step in self.steps)

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


def qat(epochs: int) -> Recipe:
    """The recipe ``qat`` with so many epochs."""
    recipe = load("qat")
    steps = [{**step.model_dump(), "epochs": epochs} for step in recipe.steps]
    try:
        return Recipe.model_validate({"name": recipe.name, "title": recipe.title, "step": steps})
    except ValidationError as error:
        raise UsageError(f"--qat {epochs}: {error.errors()[0]['msg']}", hint="Give epochs, for example 3.") from error


def parse(path: Path) -> Recipe:
    """Read and validate one recipe."""
    content = catalogue.read(path)
    try:
        return Recipe.model_validate({**content, "name": path.stem})
    except ValidationError as error:
        # A misspelt key comes before the one that is missing for it.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        where = ": ".join([path.name, *filter(None, [".".join(str(part) for part in first["loc"])])])
        raise UsageError(
            f"{where}: {first['msg']}",
            hint=f"{_near(first)}Compare with the packaged recipes: `edgekit list recipes`.",
        ) from error


def _near(error: Any) -> str:
    """The nearest of what may stand where something unknown does."""
    place = error["loc"]
    if error["type"] == "extra_forbidden":
        fields = Step.model_fields if len(place) > 1 else {"title": None, "step": None}
        return did_you_mean(str(place[-1]), fields)
    return did_you_mean(str(error["input"]), get_args(Kind)) if place[-1] == "kind" else ""
