"""What the zoo's contract tests run in children: ``python zoo_child.py COMMAND FOLDER``.

One Keras backend per process (``KERAS_BACKEND``); results are left in FOLDER as ``.npz`` and ``.json``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgekit.proof import stream
    from edgekit.zoo import Config

Results = dict[str, np.ndarray]


def outputs(folder: Path) -> None:
    """Run every trained architecture in Keras on ``inputs.npz``, and save it as ``.keras``."""
    import keras

    from edgekit import zoo
    from edgekit.signature import WHOLE
    from edgekit.zoo import weights

    backend = keras.backend.backend()
    given = np.load(folder / "inputs.npz")
    results, facts = {}, {}
    for name in zoo.names():
        path = zoo.weights_path(name, "tiny")
        if path is None:
            continue
        config = zoo.architecture(name).configs["tiny"]
        built = importlib.import_module(f"edgekit.zoo.{name}.keras").build(**config.settings)
        facts[name] = {}
        for part, model in (built if config.parts else {WHOLE: built}).items():
            tensors = weights.read(path)
            tensors = weights.of_part(tensors, part) if config.parts else tensors
            weights.load_keras(model, tensors)
            back = weights.from_keras(model)
            facts[name][part] = {
                "name": model.name,
                "inputs": {t.name: list(t.shape) for t in model.inputs},
                "outputs": dict(zip(model.output_names, (list(t.shape) for t in model.outputs), strict=True)),
                "same": all(np.array_equal(back[_path(k)], v) for k, v in tensors.items()),
            }
            model.save(folder / f"{name if part == WHOLE else f'{name}.{part}'}-{backend}.keras")
        if config.parts:
            results |= _streamed(name, config, built, given[f"{name}/0"], folder)
        else:
            results |= _named(name, config.outputs, built(_inputs(given, name), training=False))
    np.savez(folder / f"keras-{backend}.npz", **results)
    (folder / f"keras-{backend}.json").write_text(json.dumps(facts))


def _streamed(name: str, config: Config, parts: dict[str, object], given: np.ndarray, folder: Path) -> Results:
    """A model of several parts: what the task's code makes of whole clips, and each part's last step by itself."""
    from edgekit.proof import stream

    signatures = {part: config.signature("keras", part) for part in config.parts}

    def call(part: str) -> stream.Call:
        def step(inputs: stream.Arrays) -> stream.Arrays:
            found = parts[part]([inputs[t.name] for t in signatures[part].inputs], training=False)
            return dict(zip((t.name for t in signatures[part].outputs), _named("", (), found).values(), strict=True))

        return step

    calls = {part: call(part) for part in config.parts}
    outputs, steps = stream.run(stream.host(config.task), signatures, calls, {config.inputs[0].name: given}, 4)
    results = _named(name, config.outputs, list(outputs.values()))
    for part, recorded in steps.items():
        last = {key: array[:, -1] for key, array in recorded.items()}
        np.savez(folder / f"{name}.{part}-step.npz", *(last[f"in/{t.name}"] for t in signatures[part].inputs))
        results |= {f"{name}.{part}/{i}": last[f"out/{t.name}"] for i, t in enumerate(signatures[part].outputs)}
    return results


def _inputs(given: Mapping[str, np.ndarray], name: str) -> object:
    """What a model takes: its one input, or a list of several, in the spec's order."""
    found = [given[f"{name}/{i}"] for i in range(sum(key.startswith(f"{name}/") for key in given))]
    return found if len(found) > 1 else found[0]


def _named(key: str, specs: Sequence[object], outputs: object) -> dict[str, np.ndarray]:
    """What a Keras model returned, one array or several, as ``key/0``, ``key/1`` ... in the spec's order."""
    import keras

    tensors = outputs if isinstance(outputs, list | tuple) else [outputs]
    assert len(tensors) == len(specs) or not specs
    return {f"{key}/{i}": np.asarray(keras.ops.convert_to_numpy(t)) for i, t in enumerate(tensors)}


def _path(name: str) -> str:
    """A canonical name as ``from_keras`` spells it."""
    path, _, leaf = name.rpartition(".")
    return f"{path.replace('.', '_')}.{leaf}"


def counts(folder: Path) -> None:
    """Count the parameters of every configuration in Keras, on torch's meta device: shapes without memory."""
    import keras

    from edgekit import zoo

    found = {}
    with keras.device("meta"):
        for name in zoo.names():
            build = importlib.import_module(f"edgekit.zoo.{name}.keras").build
            for config, facts in zoo.architecture(name).configs.items():
                built = build(**facts.settings)
                models = built.values() if facts.parts else [built]
                found[f"{name}-{config}"] = sum(int(np.prod(v.shape)) for m in models for v in m.trainable_variables)
                keras.backend.clear_session()
    (folder / "counts.json").write_text(json.dumps(found))


def reload(folder: Path) -> None:
    """Open the saved ``.keras`` files as a stranger would: without edgekit."""
    import keras

    given = np.load(folder / "inputs.npz")
    results = {}
    for path in sorted(folder.glob("*.keras")):
        model = keras.models.load_model(path, safe_mode=True)
        name, step = path.stem.split("-")[0], folder / f"{path.stem.split('-')[0]}-step.npz"
        inputs = list(np.load(step).values()) if step.exists() else _inputs(given, name)
        results |= _named(path.stem, (), model(inputs, training=False))
    assert not any(name.partition(".")[0] == "edgekit" for name in sys.modules)
    np.savez(folder / "reload.npz", **results)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    {"outputs": outputs, "counts": counts, "reload": reload}[sys.argv[1]](Path(sys.argv[2]))
