"""What runs in child processes: every step of the pipeline, JSON in and JSON out.

``pipeline.py`` says in which order and in which kind of child; files go into the ``folder`` that a step is given.
"""

from __future__ import annotations

import functools
import importlib
import json
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks import LoadedModel
from edgekit.precision import Precision
from edgekit.signature import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.source import Source
    from edgekit.toolchains import Session

Json = Any

_MODULES = {"keras-tensorflow": "keras", "keras-torch": "keras", "tf-keras": "tf_keras", "torch": "torch"}


def signature_from(document: Json) -> Signature:
    """Read a signature from JSON."""

    def tensors(rows: list[Json]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(**{**row, "shape": tuple(row["shape"])}) for row in rows)

    return Signature(tensors(document["inputs"]), tensors(document["outputs"]))


@functools.lru_cache(maxsize=1)
def _load(source: str, environment: str) -> LoadedModel:
    """Load a source once per child; the key is its JSON text."""
    from edgekit.source import Source

    framework = importlib.import_module(f"edgekit.frameworks.{_MODULES[environment]}")
    loaded: LoadedModel = framework.load(Source.from_json(json.loads(source)))
    return loaded


def load(source: Json, environment: str) -> LoadedModel:
    """Load a source, or return the one that is loaded already."""
    return _load(json.dumps(source, sort_keys=True), environment)


def describe(folder: str, source: Json, environment: str, materialise: bool) -> Json:
    """Load a source and say what it takes and gives.

    With ``materialise`` the model is saved as well, so that every other child loads the same weights (a function
    with random initial weights gives new ones at each call).
    """
    loaded = load(source, environment)
    checkpoint: Source | None = None
    if materialise:
        framework = importlib.import_module(f"edgekit.frameworks.{_MODULES[environment]}")
        checkpoint = framework.materialise(loaded, Path(folder))
    return {
        "signature": asdict(loaded.signature),
        "framework": loaded.framework,
        "notes": list(getattr(loaded, "notes", ())),
        "checkpoint": _without_folder(checkpoint.to_json(), folder) if checkpoint else None,
    }


#: Stands for a step's own folder in its value: the folder is renamed when the entry is published.
_FOLDER = "<files>/"


def _without_folder(document: Json, folder: str) -> Json:
    prefix = str(Path(folder).resolve()) + "/"
    return {k: v.replace(prefix, _FOLDER) if isinstance(v, str) else v for k, v in document.items()}


def with_folder(document: Json, folder: Path) -> Json:
    """Put an entry's real folder into paths of its value."""
    return {k: v.replace(_FOLDER, f"{folder}/") if isinstance(v, str) else v for k, v in document.items()}


def samples(folder: str, plan: Json, split: str, signature: Json) -> Json:
    """Make one split as ``samples.npz``; ``{"count": 0}`` where the plan has none."""
    from edgekit.data import plan as planning
    from edgekit.store import sha256_file

    made = planning.make(planning.DataPlan(**plan), cast(Any, split), signature_from(signature))
    if made is None:
        return {"count": 0, "labels": False, "sha256": None}
    path = Path(folder) / "samples.npz"
    planning.save(made, path)
    count = len(next(iter(made.inputs.values())))
    return {"count": count, "labels": made.labels is not None, "sha256": sha256_file(path)}


def reference(folder: str, source: Json, environment: str, samples_file: str) -> Json:
    """Run the model in its own framework, in float; writes ``outputs.npz``."""
    from edgekit.data import plan as planning

    loaded = load(source, environment)
    _save_outputs(Path(folder) / "outputs.npz", loaded.run(planning.load(Path(samples_file)).inputs))
    versions = {"keras": "tensorflow", "torch": "torch"}
    return {"by": f"{loaded.framework} ({environment})", "package": versions[loaded.framework]}


def _save_outputs(path: Path, outputs: Mapping[str, NDArray[np.generic]]) -> None:
    import numpy as np

    np.savez(path, **{f"out/{name}": array for name, array in outputs.items()})  # type: ignore[arg-type]


def _load_outputs(path: str) -> dict[str, NDArray[np.generic]]:
    import numpy as np

    with np.load(path, allow_pickle=False) as stored:
        return {name.removeprefix("out/"): stored[name] for name in stored.files}


def toolchain(name: str) -> Any:
    """Import a toolchain by its name."""
    return importlib.import_module(f"edgekit.toolchains.{name}")


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def routes(folder: str, toolchain_name: str) -> Json:
    """The routes of a toolchain: ``{name: {"environments": {...}, "quantizes_file": bool}}``."""
    return {
        name: {"environments": dict(route.environments), "quantizes_file": route.quantizes_file}
        for name, route in toolchain(toolchain_name).ROUTES.items()
    }


def convert(
    folder: str,
    toolchain_name: str,
    route: str,
    environment: str,
    source: Json | None,
    precision: Precision,
    integer_io: bool,
    signature: Json,
    calibration_file: str | None,
    float_file: str | None,
    minimum_deployment_target: str | None = None,
) -> Json:
    """Convert by one route into ``folder``; CPU seconds of load and convert are told apart."""
    from edgekit.data import plan as planning
    from edgekit.toolchains import Request

    start = _cpu()
    loaded = load(source, environment) if source is not None else None
    after_load = _cpu()
    names = signature_from(signature)
    request = Request(
        folder=Path(folder),
        precision=precision,
        integer_io=integer_io,
        calibration=planning.load(Path(calibration_file)).inputs if calibration_file else None,
        float_file=Path(float_file) if float_file else None,
        inputs=tuple(t.name for t in names.inputs),
        outputs=tuple(t.name for t in names.outputs),
        minimum_deployment_target=minimum_deployment_target,
    )
    made = toolchain(toolchain_name).ROUTES[route].convert(loaded, request)
    return {
        "file": str(made.file.relative_to(folder)),
        "notes": list(made.notes),
        "cpu": {"load": round(after_load - start, 3), "convert": round(_cpu() - after_load, 3)},
    }


def audit(folder: str, toolchain_name: str, file: str) -> Json:
    """Look into a file; nothing is executed."""
    return asdict(toolchain(toolchain_name).audit(Path(file)))


def prove(
    folder: str,
    toolchain_name: str,
    file: str,
    precision: Precision,
    samples_file: str,
    reference_file: str,
    metric: str | None,
    task: str | None,
    limits: Json,
) -> Json:
    """Execute a file in its runtime on samples, compare it with the framework's outputs, judge it by ``limits``.

    Parity is of the model's own outputs; accuracy is of what the task's postprocessing makes of them, and None where
    there is no metric or no labels. Writes ``outputs.npz``.
    """
    from edgekit import gate, metrics, parity
    from edgekit.data import plan as planning
    from edgekit.data import tasks

    session = toolchain(toolchain_name).open_session(Path(file), precision)
    data = planning.load(Path(samples_file))
    expected = _load_outputs(reference_file)
    start = time.process_time()
    rows = _run_each(session, data.inputs)
    spent = time.process_time() - start
    missing = set(expected) - set(rows[0])
    if missing:
        raise UnsupportedError(f"the file lacks the outputs {sorted(missing)}; it has {sorted(rows[0])}")
    measured = {name: _stacked([row[name] for row in rows], array) for name, array in expected.items()}
    _save_outputs(Path(folder) / "outputs.npz", measured)
    judged = gate.Gate.model_validate(limits)
    closeness = parity.compare(expected, measured)
    accuracy = None
    if metric is not None and data.labels is not None:
        sides = (tasks.postprocess(task, outputs) for outputs in (expected, measured))
        read = metrics.metric(metric).read
        accuracy = gate.measure_accuracy(metric, data.labels, *(read(side, data.labels) for side in sides))
    return {
        "by": session.by,
        "stand_in": session.stand_in,
        "runtime_precision": session.precision,
        "ops_delegated": session.ops_delegated,
        "parity": closeness.to_json(),
        "parity_verdict": list(gate.judge_parity(closeness, judged.parity)),
        "accuracy": accuracy.to_json() if accuracy else None,
        "accuracy_verdict": list(gate.judge_accuracy(accuracy, judged)) if accuracy else None,
        "cpu_run": round(spent, 3),
    }


def _run_each(session: Session, inputs: Mapping[str, NDArray[np.generic]]) -> list[dict[str, NDArray[np.generic]]]:
    """Run sample by sample, each from a fresh state: the batch of every artifact is 1."""
    rows = []
    for i in range(len(next(iter(inputs.values())))):
        session.reset()  # a fused LSTM keeps its state between calls
        rows.append(session.run({name: array[i : i + 1] for name, array in inputs.items()}))
    return rows


def _stacked(rows: list[NDArray[np.generic]], expected: NDArray[np.generic]) -> NDArray[np.generic]:
    import numpy as np

    joined = np.concatenate(rows)
    if joined.shape == expected.shape:
        return joined
    if joined.size == expected.size:  # a runtime may drop or add an axis of length 1
        return joined.reshape(expected.shape)
    raise UsageError(f"the file's output has shape {rows[0].shape} per sample, the model's {expected.shape[1:]}")


def latency(
    folder: str,
    toolchain_name: str,
    file: str,
    precision: Precision,
    float_file: str,
    samples_file: str,
) -> Json:
    """Time a file against its float twin on the same runtime and the same sample, in turns."""
    from edgekit import latency as timing
    from edgekit.data import plan as planning

    chain = toolchain(toolchain_name)
    one = {name: array[:1] for name, array in planning.load(Path(samples_file)).inputs.items()}
    floats = chain.open_session(Path(float_file), "fp32")
    artifact = chain.open_session(Path(file), precision)
    return asdict(timing.measure(floats.bind(one), artifact.bind(one)))


def golden(folder: str, samples_file: str, outputs_file: str, reference_file: str, count: int) -> Json:
    """Write ``golden.npz``: a few inputs with the artifact's own outputs and the framework's."""
    import numpy as np

    from edgekit.data import plan as planning

    arrays = {f"in/{name}": array[:count] for name, array in planning.load(Path(samples_file)).inputs.items()}
    arrays |= {f"out/{name}": array[:count] for name, array in _load_outputs(outputs_file).items()}
    arrays |= {f"float/{name}": array[:count] for name, array in _load_outputs(reference_file).items()}
    np.savez(Path(folder) / "golden.npz", **arrays)  # type: ignore[arg-type]
    return {"samples": count}


def replay(folder: str, toolchain_name: str, file: str, precision: Precision, golden_file: str) -> Json:
    """Run the golden inputs again and compare with the outputs that were recorded with the artifact."""
    import numpy as np

    from edgekit import parity

    with np.load(golden_file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    inputs = {name[3:]: array for name, array in arrays.items() if name.startswith("in/")}
    recorded = {name[4:]: array for name, array in arrays.items() if name.startswith("out/")}
    session = toolchain(toolchain_name).open_session(Path(file), precision)
    rows = _run_each(session, inputs)
    measured = {name: _stacked([row[name] for row in rows], array) for name, array in recorded.items()}
    return {"by": session.by, "parity": parity.compare(recorded, measured).to_json()}


def identify(folder: str, source: Json) -> Json:
    """Say which framework the model of a Python function belongs to."""
    from edgekit.frameworks import python_file
    from edgekit.source import Source

    return python_file.identify(Source.from_json(source))


def train(name: str, config: str, seed: int | None, output: str) -> Json:
    """Train a zoo configuration and write its canonical weights."""
    from edgekit import zoo
    from edgekit.data import tasks
    from edgekit.zoo import training, weights

    trained = training.train(name, config, seed=seed)
    weights.write(Path(output), trained.tensors)  # type: ignore[arg-type]  # all are float32
    task = zoo.architecture(name).configs[config].task
    assert task is not None
    return {"metric": tasks.task(task).metric, "value": trained.value}
