"""Options of the Python API: what is of a wrong type is said by name, before any work."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from edgekit.errors import WrongTypeError

_TEXT = ("text", (str,))
_PATH = ("text or a path", (str, Path))
_WHOLE = ("a whole number", (numbers.Integral,))
_NUMBER = ("a number", (numbers.Real,))
_FLAG = ("True or False", (bool,))
#: What each option is, in words and as classes; those that are not here are judged where they are read.
_KINDS: Mapping[str, tuple[str, tuple[type, ...]]] = {
    **dict.fromkeys(("metric", "budget", "rounding", "equalize", "fit", "prune", "licence"), _TEXT),
    **dict.fromkeys(("ranges", "recipe", "output", "target", "artifact", "tokenizer"), _PATH),
    **dict.fromkeys(("qat", "memory_limit_mib"), _WHOLE),
    **dict.fromkeys(("max_drop", "timeout"), _NUMBER),
    **dict.fromkeys(("search_routes", "allow_mixed", "allow_unproven", "latency", "trust"), _FLAG),
}


def check(options: Mapping[str, object], optional: Sequence[str] = ()) -> None:
    """Refuse what is of a wrong type.

    Args:
        options: by name.
        optional: those that may be None.

    Raises:
        WrongTypeError: the first that is of another type than it should be.
    """
    for name, value in options.items():
        words, types = _KINDS[name]
        wrong = not isinstance(value, types) or (isinstance(value, bool) and bool not in types)
        if wrong and not (value is None and name in optional):
            raise WrongTypeError(f"{name}={value!r} is of type {type(value).__qualname__}; needed: {words}")


def texts(name: str, value: object) -> tuple[str, ...]:
    """One text, or several.

    Raises:
        WrongTypeError: something else.
    """
    found = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else None
    if found is None or not all(isinstance(one, str) for one in found):
        raise WrongTypeError(
            f"{name}={value!r} is of type {type(value).__qualname__}; needed: text, or a list of texts"
        )
    return found


def path(name: str, value: object) -> Path:
    """A path of text or a path; raises ``WrongTypeError`` for something else."""
    if not isinstance(value, str | Path):
        raise WrongTypeError(f"{name}={value!r} is of type {type(value).__qualname__}; needed: text or a path")
    return Path(value)


def targets(value: object) -> list[str]:
    """The names of one target or several; raises ``WrongTypeError`` for something else."""
    found = [value] if isinstance(value, str | Path) else list(value) if isinstance(value, list | tuple) else None
    if found is None or not all(isinstance(one, str | Path) for one in found):
        raise WrongTypeError(
            f"target={value!r} is of type {type(value).__qualname__}; needed: a name, a path, or a list of them",
            hint="`edgekit list targets` lists the names.",
        )
    return [str(one) for one in found]
