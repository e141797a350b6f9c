"""Values on their way between the parent and its children: as JSON, and back by their types.

A step is a function of a folder and a frozen request that returns a frozen answer. Both are dataclasses or pydantic
models whose annotations say what may come over the pipe, so that a child that was handed a file of others, and may
answer anything, is held to them.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import typing
from collections.abc import Callable, Hashable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

#: Distributions whose versions change what is done here.
PACKAGES = ("pydantic",)

Json = Any  # a JSON document: there is no recursive type for it that mypy and readers both like
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Told:
    """What a step tells while it works.

    Attributes:
        text: where it is, in words.
        share: how much of its work is done, from 0 to 1.
        lasting: whether it is worth a line of its own.
        answer: what it would answer if it ended here; None where it cannot.
        files: folder below the step's own with the files of that answer, and with what the step needs to go on from
            there. It is taken away.
    """

    text: str
    share: float
    lasting: bool = False
    answer: Json | None = None
    files: str = ""


Tell = Callable[[Told], None]


def unheard(told: Told) -> None:
    """Where nobody listens."""


def plain(value: Any, leaf: Callable[[Any], Any] = lambda value: value) -> Json:
    """A value as JSON.

    Args:
        value: dataclasses, pydantic models, mappings, sequences and sets of JSON values and paths.
        leaf: asked first about each value in it: returns the same, or what stands for it.
    """
    value = leaf(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name), leaf) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(inner, leaf) for key, inner in value.items()}
    if isinstance(value, Set):
        return sorted(plain(inner, leaf) for inner in value)
    if isinstance(value, list | tuple):
        return [plain(inner, leaf) for inner in value]
    return value


def within(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """A value and all that it is made of, each with the name of the field that holds it."""
    yield name, value
    if isinstance(value, Mapping):
        fields = dict(value)
    elif isinstance(value, os.PathLike):
        fields = {}
    elif dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        fields = {}
    for key, inner in fields.items():
        yield from within(inner, str(key))


def read(kind: type[T], document: Json) -> T:
    """The value of a type that a JSON document stands for.

    Raises:
        ValueError: it stands for none.
    """
    value: T = _adapter(typing.cast(Hashable, kind)).validate_python(document)
    return value


def first(error: ValueError) -> str:
    """The first thing that is wrong with a document that was read, in words."""
    if not isinstance(error, ValidationError):
        return str(error)
    wrong = error.errors()[0]
    return f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"


def call(function: Callable[..., Any], arguments: Mapping[str, Json], tell: Tell = unheard) -> Json:
    """Call a function with arguments as its annotations say, all from JSON; what it returns goes the same way.

    One that has a parameter ``tell`` is given that.
    """
    kinds = hints(function)
    given = {name: read(kinds.get(name, Any), value) for name, value in arguments.items()}
    return plain(function(**given, **({"tell": tell} if "tell" in kinds else {})))


def name_of(step: Callable[..., Any]) -> str:
    """A function's name for a child, ``module:function``."""
    return f"{step.__module__}:{step.__name__}"


def answer(step: Callable[[Path, Any], T], document: Json) -> T:
    """What a step returned, from JSON; raises ``ValueError`` for what it cannot have returned."""
    value: T = read(hints(step)["return"], document)
    return value


@functools.cache
def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """A function's annotations as types."""
    return typing.get_type_hints(function)


@functools.cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
