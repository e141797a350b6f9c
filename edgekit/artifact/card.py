"""What an artifact's card says beside its figures: what it is, what was not proven, and whose it is."""

from __future__ import annotations

from edgekit import zoo
from edgekit.artifact import words
from edgekit.data import tasks
from edgekit.result import Result

#: What opens files of each format, as people call it.
RUNTIMES = {
    "tflite": "LiteRT (TensorFlow Lite)", "onnx": "ONNX Runtime", "openvino": "OpenVINO", "executorch": "ExecuTorch",
    "coreml": "Core ML", "tensorrt": "TensorRT",
}  # fmt: skip
#: Which samples ranges come from, where more were handed in than are taken.
_DRAWN = {
    "random": "drawn at random by a seed where there were more",
    "even": "evenly spaced where there were more",
    "first": "the first ones where there were more",
}
#: Operators that a sentence names.
MOST_NAMED = 8


def about(result: Result) -> list[tuple[str, str]]:
    """The rows of the first table: what it is, and how it was made."""
    source, task = result.source, task_of(result)
    rows = []
    if source.kind == "zoo":
        spec = zoo.architecture(source.name)
        rows.append(("architecture", f"{spec.title}: {spec.paper}"))
    if task is not None:
        rows.append(("task", f"{task.title}; scored by {task.metric}"))
    rows += [
        ("source", f"{source.given} ({', '.join(dict.fromkeys((source.kind, result.framework)))})"),
        ("file", f"{RUNTIMES.get(result.format, result.format)}, {result.precision_reached or result.precision}"),
        ("made by", _made(result)),
    ]
    if (ranges := result.ranges) is not None:
        method = "the tool itself" if ranges.method == "tool" else ranges.method
        rows.append(
            ("calibration", f"{ranges.samples} samples, {_DRAWN.get(ranges.draw, ranges.draw)}; ranges by {method}")
        )
    return rows


def task_of(result: Result) -> tasks.Task | None:
    """The zoo task that the samples are of; None where they are the user's."""
    kind, _, name = result.samples.origin.partition(" ")
    return tasks.task(name) if kind == "task" and name in tasks.names() else None


def _made(result: Result) -> str:
    if result.route is None:
        return "no route"
    recipe = next((one.recipe for one in result.routes_tried if one.chosen), None)
    return f"route {result.route} of {result.target}" + (f", after {recipe}" if recipe else "")


def limits(result: Result) -> list[str]:
    """What is not proven, or must be known before use; a sentence each."""
    found = []
    if result.status != "PASS":
        found.append(f"It did not pass: {result.status}.")
    found.append(_executed(result))
    found.append(_scored(result))
    found.append(_timed(result))
    floats = result.audit.float_ops if result.audit and not result.precision.startswith("fp") else ()
    if floats:
        more = f" and {len(floats) - MOST_NAMED} more" if len(floats) > MOST_NAMED else ""
        found.append(f"Layers that compute in float: {', '.join(floats[:MOST_NAMED])}{more}.")
    # Whether something came from the store is of the run, and no limit of the file:
    found += [f"{flag}: {meaning}." for flag, meaning in words.flags(result) if flag != "REUSED"]
    return found + [note if note.endswith(".") else f"{note}." for note in result.notes]


def _executed(result: Result) -> str:
    runtime = RUNTIMES.get(result.format, result.format)
    if result.proof.kind == "none":
        return f"Nothing has executed it: whether {runtime} opens it is not known."
    where = f"{result.host.system}, {result.host.machine}"
    if result.proof.kind == "stand-in":
        return f"Executed by {result.proof.by} on {where}, which is not {runtime}: run it once on the device."
    return f"Executed by {result.proof.by} on {where}; other versions and devices were not tried."


def _scored(result: Result) -> str:
    a = result.accuracy
    if a is None:
        return "Its accuracy is not known: it was not scored on labelled samples."
    trained = "the task above" if task_of(result) else "the data that was handed in"
    return f"Accuracy is of {a.samples} {a.split or 'test'} samples of {trained}, and says nothing about other data."


def _timed(result: Result) -> str:
    if (t := result.latency) is None:
        return "It was not timed."
    return (
        f"Latency is CPU time on {result.host.processor or result.host.machine}, one thread, median of {t.blocks} "
        "blocks in turns with the float file; another machine may order them differently."
    )


def licence(result: Result) -> list[str]:
    """Whose it is, as far as that is known: of weights, of data, and of what lies in the folder."""
    source, task = result.source, task_of(result)
    if source.kind != "zoo":
        return [
            f"Weights: {source.licence}, as whoever converted them says."
            if source.licence
            else "As its source: edgekit knows no licence of it, and adds none.",
            "golden.npz, if it is here, holds samples of the data that was handed in: pass them on only if you may.",
        ]
    config = source.config or "tiny"
    if zoo.weights_path(source.name, config) is None:
        return ["Architecture: implemented by edgekit, Apache-2.0. Its weights are not trained."]
    trained = [f"Data of its training and of golden.npz: {task.source}."] if task else []
    return ["Weights: trained by edgekit, Apache-2.0.", *trained]
