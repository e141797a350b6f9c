"""``edgekit.assert_parity``: a model converts to a target and keeps its accuracy, or a test fails with the evidence."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from edgekit import api
from edgekit.artifact import words
from edgekit.result import Result

#: Are told of every result before it is judged; the plug-in collects what its reports show.
listeners: list[Callable[[Result], None]] = []


def assert_parity(
    model: object,
    target: str = "tflite-int8",
    *,
    example_inputs: object = None,
    calibrate: object = None,
    evaluate: object = None,
    metric: str = "top1",
    max_drop: float = 0.01,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    output: str | Path | None = None,
) -> Result:
    """Convert a model and assert that the file passes: parity, precision, and the accuracy that it may lose.

    Args:
        model: a source as ``edgekit convert`` takes it (zoo name, path, ``file.py:function``), a live
            ``torch.nn.Module`` or a Keras model, which is written by its own framework's exporter.
        target: name from ``edgekit list targets``, or a TOML file.
        example_inputs: of a ``torch.nn.Module``, as of ``edgekit.convert``; else the first sample is one.
        calibrate: real inputs for activation ranges, in any form that ``edgekit.convert`` takes.
        evaluate: labelled samples likewise, such as a pair ``(inputs, labels)``; split 30/70 into selection and test.
        metric: what the labels are scored by.
        max_drop: of the metric: 0.01 is one point, of relative metrics one per cent.
        inputs: as of ``--input``, where shapes cannot be found.
        outputs: as of ``--outputs``, what outputs are for.
        output: the artifact's folder; without it nothing is kept.

    Returns:
        The result. ``status`` is ``PASS``.

    Raises:
        AssertionError: the file does not pass, with the evidence and what would help.
        EdgekitError: the request is wrong or cannot be served at all.
    """
    with tempfile.TemporaryDirectory() as scratch:
        result = api.convert(
            model,
            target,
            example_inputs=example_inputs,
            calibrate=calibrate,
            evaluate=evaluate,
            metric=metric,
            max_drop=max_drop,
            inputs=inputs,
            outputs=outputs,
            output=output or Path(scratch) / "artifact",
            latency=False,
        )
        for listener in listeners:
            listener(result)
    fault = wrong(result, evaluated=evaluate is not None)
    if fault:
        raise AssertionError(fault)
    return result


def wrong(result: Result, *, evaluated: bool) -> str:
    """Why a result is no pass, with the evidence; empty where it is one.

    ``evaluated``: whether samples were handed in to measure accuracy, which must then have been.
    """
    weak = "WEAK_SOURCE" in result.flags
    if result.status == "PASS" and not weak and (result.accuracy is not None or not evaluated):
        return ""
    reason, hint = result.reason, result.error.hint if result.error else ""
    if result.status == "PASS" and weak:
        reason = "the float model is no better than a trivial answer: to keep its accuracy proves nothing"
        hint = "Look at the labels, and at how the inputs are prepared."
    elif result.status == "PASS":
        reason = "accuracy was not measured: there are no labels, so that nothing says what was lost"
        hint = "Give evaluate=(inputs, labels)."
    lines = [f"{result.source.name} for {result.target} is {words.status(result)}: {reason}"]
    lines += [f"  {name:<18} {value}" for name, value in words.facts(result) if name not in ("target", "latency")]
    lines.append(f"  {'route':<18} {result.route or 'none'}")
    tried = [f"{tried.route}: {tried.status}" for tried in result.routes_tried]
    if tried:
        lines.append(f"  {'routes tried':<18} {'; '.join(tried)}")
    if hint:
        lines.append(f"  {'what would help':<18} {hint}")
    return "\n".join(lines)
