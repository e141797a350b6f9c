"""What runs in child processes: every step of the pipeline, JSON in and JSON out.

``pipeline.py`` says in which order and in which kind of child; files go into the ``folder`` that a step is given.
"""

from __future__ import annotations

import functools
import importlib
import json
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgekit.frameworks import LoadedModel
from edgekit.precision import Precision
from edgekit.signature import WHOLE, Signature, State, TensorSpec

if TYPE_CHECKING:
    from edgekit.source import Source
    from edgekit.toolchains import Session

Json = Any

_MODULES = {"keras-tensorflow": "keras", "keras-torch": "keras", "tf-keras": "tf_keras", "torch": "torch"}


def signature_from(document: Json) -> Signature:
    """Read a signature from JSON."""

    def tensors(rows: list[Json]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(**{**row, "shape": tuple(row["shape"])}) for row in rows)

    states = tuple(State(**row) for row in document["state"])
    return Signature(tensors(document["inputs"]), tensors(document["outputs"]), states)


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


def samples(folder: str, plan: Json, split: str, signatures: Json) -> Json:
    """Make one split as ``samples.npz``; ``{"count": 0}`` where the plan has none."""
    from edgekit import stream
    from edgekit.data import plan as planning
    from edgekit.store import sha256_file

    parts = {name: signature_from(document) for name, document in signatures.items()}
    if stream.streams(parts):
        made = planning.make_sequences(planning.DataPlan(**plan), cast(Any, split), parts)
    else:
        made = planning.make(planning.DataPlan(**plan), cast(Any, split), parts[WHOLE])
    if made is None:
        return {"count": 0, "labels": False, "sha256": None}
    path = Path(folder) / "samples.npz"
    planning.save(made, path)
    count = len(next(iter(made.inputs.values())))
    return {"count": count, "labels": made.labels is not None, "sha256": sha256_file(path)}


def reference(folder: str, sources: Json, environment: str, samples_file: str, task: str | None, rows: int) -> Json:
    """Run the model in its own framework, in float; writes what ``execution.in_framework`` says.

    Of a model that is called step by step, at most ``rows`` steps of each part are written as samples of that part,
    states included (``<part>.samples.npz``): what a part is calibrated and timed with.
    """
    from edgekit import execution, stream
    from edgekit.data import plan as planning
    from edgekit.data.tasks import Samples

    models = {name: load(source, environment) for name, source in sources.items()}
    found = execution.in_framework(models, Path(samples_file), task, Path(folder))
    for name, steps in found.items():
        planning.save(Samples(stream.rows(steps, rows), None), Path(folder) / f"{name}.samples.npz")
    framework = next(iter(models.values())).framework
    return {"by": f"{framework} ({environment})", "package": _PACKAGES[framework]}


_PACKAGES = {"keras": "tensorflow", "torch": "torch"}


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
    files: dict[str, str],
    precision: Precision,
    signatures: Json,
    samples_file: str,
    reference_folder: str,
    metric: str | None,
    task: str | None,
    limits: Json,
) -> Json:
    """Execute a model's files in their runtime on samples, compare with the framework's run, judge by ``limits``.

    Parity is of the parts' own outputs; accuracy is of what the task makes of them, and None where there is no metric
    (samples without labels have none). Writes what ``execution.in_runtime`` says.
    """
    from edgekit import execution, gate, metrics, stream

    sessions = _open(toolchain_name, files, precision)
    parts = {name: signature_from(document) for name, document in signatures.items()}
    samples, expected = Path(samples_file), Path(reference_folder)
    start = time.process_time()
    execution.in_runtime(sessions, parts, samples, task, Path(folder))
    spent = time.process_time() - start
    closeness = execution.compare(expected, Path(folder), list(parts) if stream.streams(parts) else ())
    judged = gate.Gate.model_validate(limits)
    accuracy = None
    if metric is not None:
        scored = execution.scored(expected, Path(folder), samples, task, metrics.metric(metric))
        accuracy = gate.measure_accuracy(metric, scored)
    first = next(iter(sessions.values()))
    return {
        "by": first.by,
        "stand_in": first.stand_in,
        "parts": {
            name: {
                "runtime_precision": session.precision,
                "ops_delegated": session.ops_delegated,
                "parity": closeness[name].to_json(),
                "verdict": list(gate.judge_parity(closeness[name], judged.parity)),
            }
            for name, session in sessions.items()
        },
        "accuracy": accuracy.to_json() if accuracy else None,
        "accuracy_verdict": list(gate.judge_accuracy(accuracy, judged)) if accuracy else None,
        "cpu_run": round(spent, 3),
    }


def _open(toolchain_name: str, files: Mapping[str, str], precision: Precision) -> dict[str, Session]:
    chain = toolchain(toolchain_name)
    return {name: chain.open_session(Path(file), precision) for name, file in files.items()}


def latency(
    folder: str,
    toolchain_name: str,
    files: dict[str, str],
    precision: Precision,
    float_files: dict[str, str],
    samples_files: dict[str, str],
) -> Json:
    """Time a model against its float twin on the same runtime and the same sample, in turns; all parts once each."""
    from edgekit import latency as timing
    from edgekit.data import rows

    def bound(sessions: Mapping[str, Session]) -> Callable[[], object]:
        calls = []
        for name, session in sessions.items():
            some = next(rows.read(Path(samples_files[name]), "x/"))
            calls.append(session.bind({key: array[:1] for key, array in some.items()}))
        return calls[0] if len(calls) == 1 else lambda: [call() for call in calls]

    floats, artifact = _open(toolchain_name, float_files, "fp32"), _open(toolchain_name, files, precision)
    return asdict(timing.measure(bound(floats), bound(artifact)))


def golden(
    folder: str, part: str | None, samples_file: str, measured_folder: str, reference_folder: str, count: int
) -> Json:
    """Write ``golden.npz``: a few inputs with the artifact's own outputs and the framework's.

    With ``part``, the steps of that part in the first sequences: inputs as the artifact got them, states included.
    """
    import numpy as np

    from edgekit import execution
    from edgekit.data import rows

    measured, reference = Path(measured_folder), Path(reference_folder)
    if part:
        own, floats = (execution.steps_of(side, part) for side in (measured, reference))
        arrays = {name: array[:count] for name, array in own.items()}
        arrays |= {f"float/{name[4:]}": array[:count] for name, array in floats.items() if name.startswith("out/")}
    else:
        sources = {
            "in": (Path(samples_file), "x/"),
            "out": (measured / execution.OUTPUTS, execution.PREFIX),
            "float": (reference / execution.OUTPUTS, execution.PREFIX),
        }
        found = next(rows.side_by_side(*sources.values()))
        arrays = {f"{side}/{n}": a[:count] for side, some in zip(sources, found, strict=True) for n, a in some.items()}
    np.savez(Path(folder) / "golden.npz", **arrays)  # type: ignore[arg-type]
    return {"samples": len(next(iter(arrays.values())))}


def replay(
    folder: str,
    toolchain_name: str,
    file: str,
    precision: Precision,
    golden_file: str,
    steps: bool = False,
    state: Json = (),
) -> Json:
    """Run a part's golden inputs again and compare with the outputs that were recorded with the artifact.

    With ``steps`` they are sequences of steps, and the part feeds its own states back.
    """
    from edgekit import execution

    session = toolchain(toolchain_name).open_session(Path(file), precision)
    recorded = execution.Golden.load(Path(golden_file), steps, tuple(State(**row) for row in state))
    return {"by": session.by, "parity": recorded.replay(session).to_json()}


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
