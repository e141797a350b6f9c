"""What several files of contracts convert once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from edgekit import toolchains
from edgekit.jobs.workers import Workers

#: The six graphs of ``six_graphs.py``, the two that take longest last.
GRAPHS = ("cnn", "attention", "mlp", "lookup", "lstm", "llama")
#: The two that have most kinds of layers, and the others.
FEW, OTHERS = GRAPHS[:2], GRAPHS[2:]
#: Toolchains that take long for all of them: the others are left to `make nightly`.
SLOW = ("coreml", "executorch")


def parameters(cases: Iterable[Any], late: Callable[[Any], bool]) -> list[Any]:
    """Cases as parameters, those that are ``late`` left to `make nightly`."""
    marked = ((case, pytest.mark.nightly if late(case) else ()) for case in cases)
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=marks) for case, marks in marked]


def of_this_run(request: pytest.FixtureRequest, file: str) -> list[dict[str, Any]]:
    """The parameters of a file's tests that were not deselected: a fixture makes what these ask for."""
    items = [item for item in request.session.items if item.path == Path(file)]
    return [item.callspec.params for item in items if hasattr(item, "callspec")]


def graphs_in_every_run(toolchain: str) -> tuple[str, ...]:
    """Those that are not left to `make nightly`."""
    return FEW if toolchain in SLOW else GRAPHS


def by_graphs(*others: str) -> list[Any]:
    """Parameters: every toolchain, what others asked for, and graphs."""

    def row(name: str, graphs: tuple[str, ...], *marks: pytest.MarkDecorator) -> Any:
        words = (name, *others, *(graphs if marks else ()))
        return pytest.param(name, *others, graphs, id="-".join(words), marks=marks)

    every_run = [row(name, graphs_in_every_run(name)) for name in toolchains.names()]
    return [*every_run, *(row(name, OTHERS, pytest.mark.nightly) for name in SLOW)]


def inside(workers: Workers, script: str, *arguments: str, environment: str) -> None:
    """Run a script of ``children`` in one of the children that tests share."""
    asked = {"script": script, "arguments": list(arguments)}
    workers.call(environment, "tests.contract.children.scripts:run", asked)


@pytest.fixture(scope="session")
def printed(workers: Workers) -> Callable[..., str]:
    """What a program prints, in one of the children that tests share."""

    def of(text: str, *arguments: Any, environment: str = "keras-torch") -> str:
        asked = {"text": text, "arguments": [str(one) for one in arguments]}
        found: str = workers.call(environment, "tests.contract.children.scripts:printed", asked).value
        return found

    return of


def outcomes_of(script: str, folders: pytest.TempPathFactory, workers: Workers) -> Callable[[str, str], dict[str, Any]]:
    """What a script found of a toolchain in an environment, run when first asked for; skips where one is missing."""
    found: dict[tuple[str, str], dict[str, Any]] = {}

    def outcome(toolchain: str, environment: str) -> dict[str, Any]:
        if (toolchain, environment) not in found:
            folder = folders.mktemp(toolchain)
            inside(workers, script, toolchain, environment, str(folder), environment=environment)
            made = json.loads((folder / "outcome.json").read_text())
            if "missing" in made:
                pytest.skip(f"{made['missing']} is not installed")
            found[toolchain, environment] = made
        return found[toolchain, environment]

    return outcome


@pytest.fixture(scope="session")
def outcomes(
    tmp_path_factory: pytest.TempPathFactory, workers: Workers
) -> Callable[..., dict[tuple[str, str], dict[str, Any]]]:
    """What routes made of small graphs, converted when first asked for: ``(model, route)`` -> ``six_graphs.py``'s row.

    Models and routes are asked for by their names, see there.

    A row's ``file`` is a path.
    """
    found: dict[tuple[str, ...], dict[tuple[str, str], dict[str, Any]]] = {}
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own  # what one worker made serves the other

    def rows(toolchain: str, *asked: str, environment: str = "torch") -> dict[tuple[str, str], dict[str, Any]]:
        key = (toolchain, environment, *asked)
        if key not in found:
            folder = shared / "-".join(("outcomes", *key))
            with FileLock(folder.with_suffix(".lock")):
                if not (folder / "outcome.json").is_file():
                    shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                    folder.mkdir()
                    arguments = (toolchain, environment, str(folder), *asked)
                    inside(workers, "six_graphs.py", *arguments, environment=environment)
            made = json.loads((folder / "outcome.json").read_text())
            if "missing" in made:
                pytest.skip(f"{made['missing']} is not installed")
            found[key] = {tuple(k.split()): {**row, "file": folder / row["file"]} if "file" in row else row
                          for k, row in made.items()}  # type: ignore[misc]  # fmt: skip
        return found[key]

    return rows


@pytest.fixture(scope="session")
def made(outcomes: Any) -> Callable[..., dict[tuple[str, str], Path]]:
    """The files of PyTorch's models, by model and route."""

    def files(toolchain: str, *asked: str) -> dict[tuple[str, str], Path]:
        return {key: row["file"] for key, row in outcomes(toolchain, *asked).items() if "file" in row}

    return files
