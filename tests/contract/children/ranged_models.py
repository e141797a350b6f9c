"""Estimators of ranges by every static route: ``python ranged_models.py TOOLCHAIN ENVIRONMENT FOLDER``.

A convolutional network and one of attention, calibrated on values with heavy tails by packaged plans. Writes
FOLDER/outcome.json: by model what each estimator says of the tensors that go into its layers, observed in the
framework; by model and route, for each plan, scales and zero points of activations in the file and how far its answers
are from the framework's, or why it refuses.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from ruled_models import steps
from six_graphs import SAMPLES, begun, distance, scheme_of

from edgekit import toolchains
from edgekit.errors import UnsupportedError
from edgekit.ranges import plans
from edgekit.ranges.observers import observer
from edgekit.schemes import FP32
from edgekit.sources.source import Source
from edgekit.toolchains import Request

MODELS = ("two", "attention")
COUNT = 64
#: What comes out of a softmax.
PROBABILITIES = "probabilities"
#: Plans whose answers are compared with what the framework's values give.
PLANS = ("minmax", "moving-average", "percentile-99.9", "entropy", "mse")


def heavy(shape: tuple[int, ...]) -> np.ndarray:
    """Samples of which few values are far out, so that each estimator says something else of them."""
    generator = np.random.default_rng(11)
    return generator.standard_t(3, (COUNT, 1, *shape)).astype(np.float32)


def inputs_of_layers(loaded: Any, samples: Mapping[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """What goes into each layer that has weights, and comes out of a softmax, as PyTorch computes it."""
    import torch

    seen: dict[str, list[np.ndarray]] = {}
    for name, module in loaded.native.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            module.register_forward_pre_hook(
                lambda _, given, name=name: seen.setdefault(name, []).append(given[0].detach().numpy().copy())
            )
    softmax = torch.softmax

    def recording(*given: Any) -> torch.Tensor:
        made = softmax(*given)
        seen.setdefault(PROBABILITIES, []).append(made.numpy().copy())
        return made

    with torch.no_grad(), mock.patch.object(torch, "softmax", recording):
        for i in range(COUNT):
            loaded.native(*(torch.from_numpy(array[i]) for array in samples.values()))
    for module in loaded.native.modules():
        module._forward_pre_hooks.clear()
    return seen


def answers(values: list[np.ndarray], *, bits: int, symmetric: bool) -> dict[str, tuple[float, float]]:
    """What each plan says of a tensor."""
    found = {}
    for name in PLANS:
        seen = observer(plans.load(name), bits=bits, symmetric=symmetric)
        for one in values:
            seen.update(one)
        found[name] = seen.range()
    return found


def content(folder: Path) -> bytes:
    """What a route wrote."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def main(toolchain: str, environment: str, folder: Path) -> None:
    framework, here = begun(toolchain, environment, folder)
    graphs = importlib.import_module(f"graphs_{framework}")
    outcome: dict[str, Any] = {"expected": {}, "routes": {}}
    for model in MODELS if framework == "torch" else MODELS[:1]:
        source = Source(
            model, "python", framework, model, "0" * 64, path=Path(graphs.__file__), function=f"make_{model}"
        )
        loaded = importlib.import_module(f"edgekit.frameworks.{framework}").load(source)
        samples = {key: heavy(draw(1).shape[1:]) for key, draw in graphs.INPUTS[model].items()}
        if framework == "torch":
            seen = inputs_of_layers(loaded, samples)
            outcome["expected"][model] = {
                f"{bits} {symmetric}": {
                    name: answers(values, bits=bits, symmetric=symmetric) for name, values in seen.items()
                }
                for bits, symmetric in ((8, False), (8, True), (16, True))
            }
        some = {key: array[:SAMPLES, 0] for key, array in samples.items()}
        expected = loaded.run(some)
        request = Request(folder, FP32, False, None, None, tuple(samples), tuple(expected), "iOS18")
        float_file = None
        for route, chosen in here.items():
            scheme = scheme_of(toolchain, route)
            into = folder / model / route
            if scheme.is_float:
                if float_file is None:
                    into.mkdir(parents=True)
                    float_file = chosen.convert(loaded, replace(request, folder=into)).file
                continue
            if not scheme.needs_calibration:
                continue
            asked = replace(request, scheme=scheme, calibration=samples, float_file=float_file)
            rows = {}
            for plan in ("tool", *PLANS):
                own = into / plan
                own.mkdir(parents=True)
                try:
                    given = replace(asked, folder=own, estimator=plans.load(plan))
                    made = toolchains.convert(chosen, None if chosen.quantizes_file else loaded, given)
                    row: dict[str, Any] = {"steps": steps(toolchain, made.file)}
                    row["sqnr_db"] = distance(toolchain, made.file, scheme, some, expected)
                except UnsupportedError as error:
                    row = {"refused": str(error)}
                except Exception:
                    row = {"raised": traceback.format_exc()}
                rows[plan] = row | {"sha256": hashlib.sha256(content(own)).hexdigest()}
            outcome["routes"][f"{model} {route}"] = rows
    (folder / "outcome.json").write_text(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
