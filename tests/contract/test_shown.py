"""Shapes that samples hold need not be said again: a model whose inputs have none takes those of --calibrate."""

import numpy as np
import pytest

from edgekit import api
from edgekit.errors import NoShapeError

MODELS = """
import numpy as np
import torch

class Pair(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = torch.nn.Embedding(30, 8), torch.nn.Linear(8, 2)

    def forward(self, ids=None, mask=None):
        return self.head((self.table(ids) * mask[..., None]).sum(1))

def pair():
    return Pair()

def one():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 3))

def batches():
    for seed in range(5):
        yield np.random.default_rng(seed).normal(size=(8, 6)).astype("float32"), np.zeros(8, "int64")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(MODELS)
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "one.npz", x=generator.normal(size=(40, 6)))
    ids, mask = generator.integers(0, 30, (40, 5)), np.ones((40, 5), np.float32)
    np.savez(tmp_path / "pair.npz", ids=ids, mask=mask, y=np.zeros(40, np.int64))
    return tmp_path


@pytest.mark.parametrize(
    ("source", "data", "shapes"),
    [
        ("mine.py:one", "one.npz", {"input": (1, 6)}),
        ("mine.py:one", "mine.py:batches", {"input": (1, 6)}),
        ("mine.py:pair", "pair.npz", {"ids": (1, 5), "mask": (1, 5)}),
    ],
)
def test_samples_show_the_shapes_that_a_model_does_not_say(source, data, shapes, folder, workers, store):
    options = {"latency": False, "output": folder / "a", "workers": workers, "store": store}
    result = api.convert(f"{folder}/{source}", "onnxruntime-fp32", calibrate=f"{folder}/{data}", **options)
    assert result.status == "PASS", result.reason
    [part] = result.parts.values()
    assert {tensor.name: tensor.shape for tensor in part.inputs} == shapes


def test_without_samples_the_hint_names_both_ways(folder, workers, store):
    with pytest.raises(NoShapeError) as raised:
        api.convert(f"{folder}/mine.py:one", "onnxruntime-fp32", output=folder / "a", workers=workers, store=store)
    assert "--input input=1x3x224x224:float32" in raised.value.hint
    assert "--calibrate" in raised.value.hint
