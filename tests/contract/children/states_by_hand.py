"""Streaming files run as whoever receives them runs them: ``python states_by_hand.py FILE RUNTIME MANIFEST``.

By the vendor's own API and what the manifest says of states, 150 steps beside PyTorch's own loop; prints the error's
share of the answers over the first and the last ten steps.
"""

import json
import sys
from pathlib import Path

import axes_by_hand
import numpy as np
import state_models
import torch

STEPS = 150


def main(file, runtime, manifest):
    document = json.loads(Path(manifest).read_text())
    part, [state] = document["parts"]["model"], document["state"]["model"]
    shapes = {t["name"]: t["shape"] for t in part["inputs"]}
    held = np.reshape(np.array(state["initial"], np.float32), shapes[state["input"]])
    model, theirs = state_models.from_a_tensor().eval(), state_models.first()
    answers, found = [], []
    for x in np.random.default_rng(7).normal(size=(STEPS, 1, 8)).astype(np.float32):
        with torch.no_grad():
            expected = model(torch.from_numpy(x), theirs)
        theirs = expected["next"]
        outputs = getattr(axes_by_hand, runtime)(file, {"x": x, state["input"]: held})
        held = outputs[state["output"]].reshape(held.shape)
        answers.append(np.concatenate([expected["y"].numpy().ravel(), theirs.numpy().ravel()]))
        found.append(np.concatenate([outputs["y"].ravel(), held.ravel()]))
    error, size = np.abs(np.array(found) - answers), np.abs(answers)
    print(json.dumps([float(error[at].max() / size[at].max()) for at in (slice(10), slice(-10, None))]))


if __name__ == "__main__":
    main(*sys.argv[1:])
