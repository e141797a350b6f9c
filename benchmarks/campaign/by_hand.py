"""A file in the vendor's own runtime against the PyTorch module of ``reports.py``, with nothing of edgekit between them.

python by_hand.py NAME TARGET FILE prints ``variation_db`` of each output. An ML Program is run by edgekit's evaluator,
since nothing here ships Core ML.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def _run(target: str, file: str, inputs: dict[str, Any], names: list[str]) -> list[dict[str, Any]]:
    """Outputs of each sample, by name where the runtime has names, else in order."""
    import numpy as np

    samples = [
        {k: np.ascontiguousarray(v[i : i + 1]) for k, v in inputs.items()}
        for i in range(len(next(iter(inputs.values()))))
    ]
    kind = target.partition("-")[0]
    if kind == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        outputs = [output.name for output in session.get_outputs()]
        return [dict(zip(outputs, session.run(None, sample), strict=True)) for sample in samples]
    if kind == "openvino":
        import openvino

        compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return [{o.get_any_name(): v.copy() for o, v in compiled(sample).items()} for sample in samples]
    if kind == "executorch":
        import torch
        from executorch.runtime import Runtime

        method = Runtime.get().load_program(file).load_method("forward")
        made = [method.execute([torch.from_numpy(v) for v in sample.values()]) for sample in samples]
        return [dict(zip(names, (t.numpy().copy() for t in one), strict=True)) for one in made]
    if kind == "coreml":
        from edgekit import mil

        program = mil.load(Path(file))
        return [program.run(sample) for sample in samples]
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(file)
    runner = interpreter.get_signature_runner()
    scales = {side: getattr(runner, f"get_{side}_details")() for side in ("input", "output")}
    return [_dequantized(runner(**_quantized(sample, scales["input"])), scales["output"]) for sample in samples]


def _quantized(sample: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    made = {}
    for name, value in sample.items():
        scale, zero = details[name]["quantization"]
        kind = details[name]["dtype"]
        limits = np.iinfo(kind) if np.issubdtype(kind, np.integer) else None
        made[name] = np.clip(np.round(value / scale + zero), limits.min, limits.max).astype(kind) if limits else value
    return made


def _dequantized(outputs: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    made = {}
    for name, value in outputs.items():
        scale, zero = details[name]["quantization"]
        integer = np.issubdtype(value.dtype, np.integer) and scale
        made[name] = (value.astype("float64") - zero) * scale if integer else value
    return made


def by_hand(name: str, target: str, file: str) -> dict[str, float]:
    """``variation_db`` of each output on samples that edgekit has not seen; -200 where it alone is not finite."""
    import numpy as np
    import reports
    import torch

    torch.manual_seed(0)  # as edgekit seeds whatever builds a model
    model = getattr(reports, name)().eval()
    [batch] = list(getattr(reports, f"{name}_data")())
    chance = np.random.default_rng(99)
    inputs = {key: value[chance.permutation(len(value))[:64]] for key, value in batch.items()}
    if name != "first_of_equal":
        inputs = {
            key: (value * chance.uniform(0.9, 1.0, value.shape)).astype("float32") for key, value in inputs.items()
        }
    edges = {key: np.stack([np.full_like(v[0], at) for at in (0, v.min(), v.max())]) for key, v in batch.items()}
    inputs = {key: np.concatenate([value, edges[key]]) for key, value in inputs.items()}
    with torch.no_grad():
        made = model(*(torch.from_numpy(value) for value in inputs.values()))
    wanted = made if isinstance(made, dict) else dict(enumerate(made)) if isinstance(made, tuple) else {"output": made}
    names = [str(key) for key in wanted]
    found = _run(target, file, inputs, names)
    keys = list(found[0])
    scores = {}
    for at, (key, reference) in enumerate(wanted.items()):
        own = key if key in keys else f"output_{key}" if f"output_{key}" in keys else keys[at]
        r, y = reference.numpy().astype("float64"), np.concatenate([one[own] for one in found]).astype("float64")
        y = y.reshape(r.shape)
        if (np.isfinite(r) & ~np.isfinite(y)).any():  # on a sample, or on constants, which come after the samples
            scores[str(key)] = -200.0
            continue
        r, y = r[:-3], y[:-3]
        error, spread = np.square(r - y).mean(0).sum(), r.var(0, ddof=1).sum()
        scores[str(key)] = (
            200.0 if error == 0 else float(10 * np.log10(spread / error)) if np.isfinite(error) else -200.0
        )
    return scores


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    print(json.dumps(by_hand(*sys.argv[1:])))
