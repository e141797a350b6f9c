"""Small PyTorch models through Core ML routes: ``python coreml_routes.py FOLDER``.

Writes FOLDER/CASE/model.mlpackage, FOLDER/lstm.npz (samples and the framework's outputs) and FOLDER/outcome.json
(case -> type of the error, its message, its hint).
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from edgekit.errors import EdgekitError
from edgekit.schemes import SCHEMES
from edgekit.signature import Signature, TensorSpec
from edgekit.toolchains import Request
from edgekit.toolchains.coreml.routes import ROUTES


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(12, 24, batch_first=True, bidirectional=True), nn.Linear(48, 5)

    def forward(self, x):
        found, _ = self.lstm(x)
        return self.head(found[:, -1])


class Unknown(nn.Module):
    """What coremltools 9.0 has no translation of: a difference along an axis, ones of another tensor's kind."""

    def forward(self, x):
        steps = torch.diff(x, dim=-1, prepend=x[..., :1] * 2)
        return steps * 3 + x.new_ones(10, 12).cumsum(-1)


def main(folder):
    outcome = {}

    def attempt(case, model, shape, route, precision, target, samples=None, float_file=None):
        specs = Signature((TensorSpec("x", (1, *shape)),), (TensorSpec("y", ()),))
        loaded = SimpleNamespace(native=model, framework="torch", kind="python", signature=specs)
        (folder / case).mkdir()
        request = Request(folder / case, SCHEMES[precision], False, samples, float_file, ("x",), ("y",), target)
        try:
            return ROUTES[route].convert(loaded, request).file
        except EdgekitError as error:
            outcome[case] = [type(error).__name__, str(error), error.hint]
            return None

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Recurrent().eval()
    rng = np.random.default_rng(0)
    calibration, samples = (rng.normal(size=(n, 10, 12)).astype(np.float32) for n in (32, 8))
    with torch.no_grad():
        np.savez(folder / "lstm.npz", x=samples, y=model(torch.from_numpy(samples)).numpy())
    given = {"x": calibration[:, None]}
    file = attempt("lstm", model, (10, 12), "export-torch-trace", "fp32", "iOS17")
    attempt("activations", model, (10, 12), "ptq-w8a8-coremltools", "int8", "iOS17", given, file)
    attempt("unrolled", model, (10, 12), "ptq-w8a8-coremltools-unrolled", "int8", "iOS17", given)
    apart = attempt("exported", model, (10, 12), "export-torch-export", "fp32", "iOS17")
    unknown = Unknown().eval()
    np.savez(folder / "unknown.npz", x=samples, y=unknown(torch.from_numpy(samples)).numpy())
    attempt("unknown-traced", unknown, (10, 12), "export-torch-trace", "fp32", "iOS17")
    attempt("unknown", unknown, (10, 12), "export-torch-export", "fp32", "iOS17")
    attempt("exported-int8", model, (10, 12), "ptq-w8a8-coremltools-matmuls", "int8", "iOS17", given, apart)
    attempt("unrolled-old", model, (10, 12), "ptq-w8a8-coremltools-unrolled", "int8", "iOS16", given)
    attempt(
        "no-samples", model, (10, 12), "ptq-w8a8-coremltools-unrolled", "int8", "iOS17", {"x": calibration[:0, None]}
    )
    attempt("shuffle-old", nn.PixelUnshuffle(2).eval(), (4, 8, 8), "export-torch-trace", "fp32", "iOS15")
    attempt("shuffle", nn.PixelUnshuffle(2).eval(), (4, 8, 8), "export-torch-trace", "fp32", "iOS16")
    attempt("no-such-target", nn.Linear(4, 2).eval(), (4,), "export-torch-trace", "fp32", "iOS99")
    (folder / "outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
