"""From what the user typed to what it means: the plan of samples, roles of outputs, words of options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edgekit import user_code, zoo
from edgekit.data.plan import DataPlan
from edgekit.errors import UsageError, did_you_mean
from edgekit.jobs.store import sha256_file, sha256_json
from edgekit.signature import ROLES
from edgekit.sources.source import Source

_Word = TypeVar("_Word", bound=str)


def plan_for(
    source: Source,
    calibrate: str | None,
    evaluate: str | None,
    metric: str,
    train: str | None = None,
    arrays: tuple[str, ...] = (),
) -> DataPlan:
    """Which samples to use: the user's, else the zoo model's own task, else generated ones (parity only).

    Ranges come from training samples, where those of ``calibrate`` are not given. ``arrays`` names the options whose
    files hold what a program handed in.
    """
    if train is not None and evaluate is None:
        raise UsageError(
            f"--train {train}: nothing says which epoch is best", hint="Give other labelled samples with --evaluate."
        )
    if calibrate is None and train is not None:
        calibrate, arrays = train, (*arrays, "calibrate") if "train" in arrays else arrays
    if metric != "top1":
        from edgekit.proof import metrics

        metrics.metric(metric)  # an unknown name is refused before anything runs
        if evaluate is None:
            raise UsageError(
                f"--metric {metric}: there are no labelled samples that it could score",
                hint="Give them with --evaluate; a zoo model is scored by its own task without.",
            )
    if calibrate is None and evaluate is None:
        if source.kind == "zoo":
            assert source.config is not None
            name = zoo.architecture(source.name).configs[source.config].task
            if name is not None:
                from edgekit.data import tasks

                return DataPlan(task=name, metric=tasks.task(name).metric)
        return DataPlan()
    content = sha256_json(
        [
            sha256_file(Path(value)) if option in arrays else _content(value)
            for option, value in (("train", train), ("calibrate", calibrate), ("evaluate", evaluate))
            if value is not None
        ]
    )
    scored = metric if evaluate else None
    return DataPlan(train=train, calibrate=calibrate, evaluate=evaluate, metric=scored, content=content, arrays=arrays)


def _content(data: str) -> Any:
    """What a data argument holds: a file's hash, those of all files of a folder, or what a function depends on."""
    path = Path(re.sub(r"(\.py):[A-Za-z_]\w*$", r"\1", data))
    if path.suffix == ".py" and path.is_file():
        return [str(path.resolve()), user_code.sha256(path, data.removeprefix(f"{path}:"))]
    if path.is_dir():
        below = {*path.rglob("*"), *path.glob("*/*")}  # the first enters no folder that is a link
        return [data, [[str(p.relative_to(path)), sha256_file(p)] for p in sorted(below) if p.is_file()]]
    if path.is_file():
        return [data, sha256_file(path)]
    raise UsageError(f"no such file or folder: {path}", hint="Give an npz file, an image folder, or file.py:function.")


def roles_of(outputs: Iterable[str]) -> dict[str, str]:
    """What ``--outputs NAME=ROLE`` says; raises ``UsageError`` for what is no role."""
    found: dict[str, str] = {}
    for text in outputs:
        name, separator, role = text.rpartition("=")
        if not separator or not name or role not in ROLES:
            raise UsageError(
                f"--outputs {text!r} is not NAME=ROLE; roles are {', '.join(ROLES)}", hint="--outputs logits=classes"
            )
        if name in found:
            raise UsageError(f"--outputs names {name} more than once", hint="Give each output one role.")
        found[name] = role
    return found


def one_of(option: str, known: Sequence[_Word], text: str | None) -> _Word | None:
    """What the user wrote, if it is one of a few words."""
    found = next((word for word in known if word == text), None)
    if text is not None and found is None:
        raise UsageError(
            f"--{option} {text!r} is unknown", hint=f"{did_you_mean(text, known)}Allowed: {', '.join(known)}."
        )
    return found
