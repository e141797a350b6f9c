"""The README of an artifact: Markdown in which names of others are text, whatever is in them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgekit import __version__
from edgekit.artifact import card, contents, words
from edgekit.artifact.folder import golden_of
from edgekit.artifact.picture import NAME as PICTURE
from edgekit.artifact.picture import Picture
from edgekit.artifact.use import examples, said
from edgekit.errors import printable
from edgekit.result import IO, Result

#: What is read as something else inside of a line: CommonMark's emphasis, code, links, HTML and entities; GitHub's
#: tables, strikethrough and formulas. A stroke between two letters is none of these.
_SPECIAL = re.compile(r"[\\`*#\[\]<&|~$]|(?<![^\W_])_|_(?![^\W_])")
#: What begins a list or a quotation, where it stands first in a line.
_MARKER, _ESCAPED = re.compile(r"^(\d*)([-+.)>])"), r"\1\\\2"
#: What GitHub makes a link of without being asked.
_LINKS = re.compile(r"(://|\bwww\.)", re.IGNORECASE)


def text(value: str) -> str:
    """A value as it stands in a line of Markdown."""
    escaped = _SPECIAL.sub(lambda match: f"\\{match[0]}", printable(value))
    return _LINKS.sub(lambda match: match[0].replace("/", "\\/").replace(".", "\\."), escaped)


def code(value: str) -> str:
    """A value as code: in as many backticks as it needs (CommonMark 0.31, 6.1)."""
    shown = printable(value)
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if not shown or (shown.strip() and (shown[0] in "` " or shown[-1] in "` ")) else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def readme(result: Result, files: list[str], picture: Picture | None = None) -> str:
    """The artifact's card, for whoever receives it."""
    listed = "\n".join(f"- {code(name)}" for name in [*files, contents.MANIFEST, contents.SEAL])
    shown = f"![{text(picture.says)}]({PICTURE})\n\n{text(picture.says).capitalize()}.\n\n" if picture else ""
    return f"""# {text(result.source.name)} for {text(result.target)}

Made by edgekit {__version__} from {code(result.source.given)}. Status: **{text(words.status(result))}**. \
{text(result.reason)}{_next(result)}

{shown}## What it is
{_table(card.about(result))}

## What is proven
{_table(words.facts(result))}

## Limits
{items(card.limits(result))}

## Use
{items([*said.inputs(result, card.task_of(result)), *said.classes(result)])}
{_examples(result)}
## Licence
{items(card.licence(result))}

## Tensors
{_tensors(result)}{_states(result)}

## Files
{listed}

`edgekit verify .` re-hashes every file and runs the golden samples again; `{contents.MANIFEST}` holds all evidence.
"""


def _next(result: Result) -> str:
    """The next step of one that was not accepted."""
    return f" Next step: {text(result.error.hint)}" if result.error and result.error.hint else ""


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {text(name)} | {text(value)} |" for name, value in rows)])


def items(lines: Iterable[str]) -> str:
    """A list whose items begin no list of their own, no quotation and no code, whatever they begin with."""
    return "\n".join(f"- {_MARKER.sub(_ESCAPED, text(line.strip()))}" for line in lines)


def _examples(result: Result) -> str:
    """For each part the program that runs its golden samples, where it has some."""
    found = ""
    for name, part in result.parts.items():
        golden = golden_of(part)
        own = examples.example(result, part, golden) if any(file.path == golden for file in result.files) else None
        if own is not None:
            longest = max(map(len, re.findall("`{3,}", own.code)), default=2)
            fence = "`" * (longest + 1)
            found += (
                f"\n{_part(result, name)}{text(own.install)}; in this folder:\n\n{fence}python\n{own.code}\n{fence}\n"
            )
    beside = examples.beside(result) if found else ""
    return f"{found}\n{beside}\n" if beside else found


def _tensors(result: Result) -> str:
    return "\n".join(
        f"- {_part(result, name)}{side} {_tensor(tensor)}"
        for name, part in result.parts.items()
        for side, tensors in (("input", part.inputs), ("output", part.outputs))
        for tensor in tensors
    )


def _tensor(tensor: IO) -> str:
    stored = f", real = (stored - {tensor.zero_point}) x {tensor.scale:.8g}" if tensor.scale else ""
    return f"{code(tensor.name)}: {'x'.join(map(str, tensor.shape))} {text(tensor.dtype)}{stored}"


def _states(result: Result) -> str:
    if not result.state:
        return ""
    return "\n\n## State\nOne call is one step. After each step, as real numbers:\n" + "\n".join(
        f"- {_part(result, name)}{code(s.output)} goes into {code(s.input)} of the next step; at the first step "
        f"of a sequence {code(s.input)} is {_initial(s.initial)}"
        for name, states in result.state.items()
        for s in states
    )


def _initial(value: float | tuple[float, ...]) -> str:
    """A number; of more than that where it stands."""
    return f"what `{contents.MANIFEST}` says, {len(value)} values" if isinstance(value, tuple) else f"{value:g}"


def _part(result: Result, name: str) -> str:
    return f"{code(name)}: " if len(result.parts) > 1 else ""
