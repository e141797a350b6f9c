"""The routes: three good ones, and one for each way in which a conversion can end badly."""

from __future__ import annotations

import os
import signal

import numpy as np
from edgekit.toolchains.null import session

from edgekit.errors import UnsupportedError
from edgekit.toolchains import BY_LAYER, DYNAMIC_RANGES, STEERED, Converted, Route
from edgekit.toolchains._shared import rules
from edgekit.toolchains._shared.calibration import calibration_of, observers
from edgekit.toolchains._shared.rules import Found


def ruled(request, layers):
    """What rules make of layers, which are called by their numbers, as in an audit, and ``dense0`` and so on."""
    found = (Found(i, (str(i), f"dense{i}"), "linear", kernel.size) for i, (kernel, _) in enumerate(layers))
    return rules.outcomes(request, found)


def floats(model, request, *, scale=1.0, **more):
    """The model as it is, in float32; wrong where all kernels are scaled."""
    layers, rows = [(k * scale, b) for k, b in model.native], model.signature.inputs[0].shape[0]
    return Converted(session.write(request.folder, request, layers, rows, **more))


def rounded(_, request, *, per_column=True, steps=127, shift=0.0, **more):
    """Kernels and activations in int8; ranges of the activations from the calibration samples."""
    inputs, _, layers, read = session.read(request.float_file)
    found = ruled(request, layers)
    given = rules.ranges(request, {inputs[0]: 0} | {f"dense{i - 1}": i for i in range(1, len(layers))}, symmetric=True)
    x, made = np.asarray(calibration_of(request)[inputs[0]], np.float64), []
    for i, (kernel, bias) in enumerate(layers):
        x = session.relu(x) if i else x
        scale = np.abs(kernel).max(axis=0 if per_column else None) / steps
        (seen,) = observers(request, ["x"], symmetric=True).values()
        for sample in x:
            seen.update(sample)
        step = given[i].scale if i in given else max(map(abs, seen.range())) / 127
        integers = (np.round(kernel / scale).astype("int8"), bias, scale, step)
        made.append((kernel, bias) if i in found.floats else integers)
        x = session.linear(x, kernel, bias)
    made[-1][1][0] += shift
    return Converted(session.write(request.folder, request, made, read["rows"], **more), kept=found.kept)


def dynamic(_, request, *, second=127):
    """Kernels in int8, activations at run time; ``second`` is the number of steps in a model that takes a code."""
    _, _, layers, read = session.read(request.float_file)
    found, made = ruled(request, layers), []
    for i, (kernel, bias) in enumerate(layers):
        scale = np.abs(kernel).max(axis=0) / (second if "code" in request.inputs else 127)
        integers = (np.round(kernel / scale).astype("int8"), bias, scale)
        made.append((kernel, bias) if i in found.floats else integers)
    return Converted(session.write(request.folder, request, made, read["rows"]), kept=found.kept)


def kept(_, request):
    """Says that it quantizes, and does not."""
    _, _, layers, read = session.read(request.float_file)
    return Converted(session.write(request.folder, request, layers, read["rows"]))


def refuses(_, request):
    raise UnsupportedError("this route takes no dense layers", hint="Take another.")


def refuses_the_second(_, request):
    if "code" in request.inputs:
        raise UnsupportedError("this route takes no code", hint="Take another.")
    return dynamic(None, request)


def raises(_, request):
    raise RuntimeError("Didn't find op for builtin opcode 'DENSE'")


def crashes(_, request):
    os.kill(os.getpid(), signal.SIGSEGV)


def _from_model(**options):
    return Route({"torch": "torch"}, lambda model, request: floats(model, request, **options))


def _from_file(convert, **options):
    def converted(model, request):
        return convert(model, request, **options)

    honours = {rounded: STEERED, dynamic: BY_LAYER, refuses_the_second: BY_LAYER}.get(convert, frozenset())
    because = "it is a bad route" if not honours else DYNAMIC_RANGES if honours == BY_LAYER else ""
    return Route({"keras": "runtime", "torch": "runtime"}, converted, True, honours, because, own="minmax")


CHIP = "a chip that nobody has"
ROUTES = {
    "floats": _from_model(),
    "floats-bent": _from_model(scale=1.1),  # FAIL_PARITY
    "floats-elsewhere": _from_model(device=CHIP),  # NOT_RUN
    "rounded": _from_file(rounded),
    "rounded-whole": _from_file(rounded, per_column=False),
    "stubborn": Route({"torch": "runtime"}, rounded, True, because="its tool takes the extremes", own="minmax"),
    "dynamic": _from_file(dynamic),
    "dynamic-crushed": _from_file(dynamic, second=1),  # FAIL_PARITY of one part
    "crushed": _from_file(rounded, steps=1),  # FAIL_PARITY
    "tilted": _from_file(rounded, shift=5.5),  # FAIL_ACCURACY
    "nudged": _from_file(rounded, shift=2.0),  # UNDECIDED
    "silenced": _from_file(rounded, lost=True),  # FAIL_PARITY: not finite where all inputs are zero
    "kept": _from_file(kept),  # FAIL_PRECISION
    "elsewhere": _from_file(rounded, device=CHIP),  # NOT_RUN
    "sealed": _from_file(rounded, sealed=True),  # FAILED: the session does not open it
    "refuses": _from_file(refuses),  # UNSUPPORTED
    "refuses-the-second": _from_file(refuses_the_second),  # UNSUPPORTED
    "raises": _from_file(raises),  # FAILED
    "crashes": _from_file(crashes),  # FAILED
}
