"""Every route of a toolchain on six graphs: ``six_graphs.py TOOLCHAIN ENVIRONMENT FOLDER [MODEL...] [ROUTE...]``.

Writes FOLDER/MODEL/ROUTE/ with what the route makes, and FOLDER/outcome.json: by ``MODEL ROUTE`` the file and how far
its answers are from the framework's (``sqnr_db``, None where the runtime is not here), or the error. Routes that
quantize a file run on PyTorch's alone: that file is all that they see; so do those that quantize either framework's
program. Where routes are named, these are taken alone, with those that export: the others may start from their file.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import target as targets
from edgekit import toolchains
from edgekit.errors import EdgekitError, NotRunError, UnsupportedError
from edgekit.proof import parity
from edgekit.scheme import Scheme
from edgekit.schemes import FP32
from edgekit.sources.source import Source
from edgekit.toolchains import Request

SAMPLES = 8


def scheme_of(toolchain: str, route: str) -> Scheme:
    """That of the target that has the route; what exports a model is asked for the float file."""
    found = [t.scheme for t in targets.whole() if t.toolchain == toolchain and route in [r.name for r in t.routes]]
    return FP32 if FP32 in found else found[0]


def routes_here(toolchain: str, environment: str, framework: str) -> dict[str, Any]:
    """Float routes first: the others may start from their file. What PyTorch's graphs show is not shown twice."""
    found = toolchains.routes(toolchain)
    if framework == "torch":
        here = [name for name, route in found.items() if route.environments.get("torch") in ("torch", "runtime")]
    else:
        own = {name: route for name, route in found.items() if route.environments.get("keras") == environment}
        here = [name for name, route in own.items() if name.startswith("export-") or "torch" not in route.environments]
    return {name: found[name] for name in sorted(here, key=lambda name: not name.startswith("export-"))}


def one(name: str, toolchain: str, folder: Path, framework: str, here: dict[str, Any]) -> dict[str, dict[str, Any]]:
    graphs = importlib.import_module(f"graphs_{framework}")
    source = Source(name, "python", framework, name, "0" * 64, path=Path(graphs.__file__), function=f"make_{name}")
    loaded = importlib.import_module(f"edgekit.frameworks.{framework}").load(source)
    samples = {key: draw(SAMPLES) for key, draw in graphs.INPUTS[name].items()}
    expected = loaded.run(samples)
    outcome, float_file, traits = {}, None, frozenset()
    for route, chosen in here.items():
        into = folder / name / route
        into.mkdir(parents=True)
        scheme = scheme_of(toolchain, route)
        whole = {key: array[:, None] for key, array in samples.items()}
        calibration = whole if scheme.needs_calibration else None
        request = Request(
            into, scheme, False, calibration, float_file, tuple(samples), tuple(expected), "iOS18", traits
        )
        try:
            file = chosen.convert(None if chosen.quantizes_file else loaded, request).file
            row = {"file": str(file.relative_to(folder))}
            outcome[f"{name} {route}"] = row | {"sqnr_db": distance(toolchain, file, scheme, samples, expected)}
        except UnsupportedError as error:
            outcome[f"{name} {route}"] = {"unsupported": str(error)}
            continue
        except EdgekitError as error:
            outcome[f"{name} {route}"] = {"failed": f"{type(error).__name__}: {error}"}
            continue
        except Exception:
            outcome[f"{name} {route}"] = {"raised": traceback.format_exc()}
            continue
        if float_file is None:
            float_file, traits = file, toolchains.traits_of(toolchain, file)
    return outcome


def distance(toolchain: str, file: Path, scheme: Scheme, samples: Any, expected: Any) -> float | None:
    try:
        session = toolchains.open_session(toolchain, file, toolchains.Options(scheme))
    except NotRunError:
        return None
    answers = [session.run({key: array[i : i + 1] for key, array in samples.items()}) for i in range(SAMPLES)]
    return parity.compare(
        expected, {key: np.concatenate([answer[key] for answer in answers]) for key in expected}
    ).sqnr_db


def begun(toolchain: str, environment: str, folder: Path) -> tuple[str, Any]:
    """The framework and the routes that are here; ends the process where a distribution is missing, and says which."""
    if environment in ("torch", "keras-torch"):
        import torch

        torch.set_num_threads(1)
    framework = "torch" if environment == "torch" else "keras"
    try:
        return framework, routes_here(toolchain, environment, framework)
    except ModuleNotFoundError as error:
        (folder / "outcome.json").write_text(json.dumps({"missing": error.name}))
        sys.exit()


def main(toolchain: str, environment: str, folder: Path, asked: list[str]) -> None:
    framework, here = begun(toolchain, environment, folder)
    names = [name for name in asked if name not in here]
    if len(names) < len(asked):
        here = {name: route for name, route in here.items() if name in asked or name.startswith("export-")}
    outcome: dict[str, dict[str, Any]] = {}
    for name in () if not here else names or ("cnn", "mlp", "attention", "lstm", "lookup", "llama"):
        outcome |= one(name, toolchain, folder, framework, here)
    (folder / "outcome.json").write_text(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
