"""The Python API on objects: the page that documents it as it stands, and what its examples do not show."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(code, folder, home):
    environment = {**os.environ, "EDGEKIT_HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_a_module_and_a_loader(tmp_path):
    [line] = run(BLOCKS[0], tmp_path, tmp_path / "home")
    status, sqnr, artifact = line.split()
    assert (status, artifact) == ("PASS", "edgekit-artifacts/Sequential-torch-onnxruntime-int8")
    assert float(sqnr) > 20
    manifest = (tmp_path / artifact / "manifest.json").read_text()
    assert "edgekit-handed" not in manifest
    assert '"given": "Sequential (torch.nn.Module)"' in manifest
    assert "--calibrate arrays, --evaluate arrays" in manifest
    again = BLOCKS[0] + "print(*result.flags, sorted(set(result.cpu_seconds)))"
    assert "REUSED" in run(again, tmp_path, tmp_path / "home")[-1], "equal objects are equal files"


def test_a_keras_model_and_a_dataset(tmp_path):
    converted, verified = run(BLOCKS[1], tmp_path, tmp_path / "home")
    assert converted == "PASS PASS"
    assert verified.startswith("PASS")


def test_errors(tmp_path):
    unknown, wrong = run(BLOCKS[2], tmp_path, tmp_path / "home")
    assert unknown.startswith("usage unknown target 'tflite-int9'")
    assert wrong.startswith("True an object of type int is no model")


def test_every_block_is_one_of_these():
    assert len(BLOCKS) == 3


CODE = """
import torch, edgekit
from pathlib import Path

class Cache:
    def __init__(self, value): self.value = value

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.norm = torch.nn.Embedding(50, 8), torch.nn.BatchNorm1d(8)
        self.head = torch.nn.Linear(8, 3)
    def forward(self, ids=None, mask=None, use_cache=False):
        hidden = self.table(ids) * mask[..., None]
        return {"logits": self.head(self.norm(hidden.mean(1)))}

torch.manual_seed(0)
net = Net().half()
net.norm.eval()
ids, mask = torch.randint(0, 50, (64, 6)), torch.ones(64, 6)
result = edgekit.convert(
    net, Path("onnxruntime-fp32"), example_inputs={"ids": ids[:1], "mask": mask[:1]},
    calibrate=({"ids": i, "mask": m} for i, m in zip(ids.split(16), mask.split(16))), output="out", latency=False,
)
[part] = result.parts.values()
print(result.status, [t.name for t in part.inputs], [t.name for t in part.outputs])
print(type(net).__name__, net.training, net.norm.training, net.head.weight.dtype, result.parity.samples)
try:
    edgekit.convert(net, "onnxruntime-fp32")
except edgekit.EdgekitError as error:
    print(error.hint)
"""


@pytest.mark.nightly  # other modules go this way in every run
def test_a_module_whose_parameters_have_defaults_stays_as_it_is(tmp_path):
    converted, kept, hint = run(CODE, tmp_path, tmp_path / "home")
    assert converted == "PASS ['ids', 'mask'] ['logits']"
    assert kept == "Net True False torch.float16 16"
    assert hint == "Give example_inputs={'ids': ...}."


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "convert(calibrate=3)",
            "calibrate: an object of type int holds no samples",
        ),
        (
            "convert(timeout='1')",
            "timeout='1' is of type str; needed: a number",
        ),
        ("convert(inputs=[1])", "inputs=[1] is of type list; needed: text"),
        ("edgekit.convert('mlp@torch', None)", "target=None is of type NoneType; needed: a name, a path"),
        (
            "convert(qat=1.5)",
            "qat=1.5 is of type float; needed: a whole number",
        ),
        ("edgekit.verify(None)", "artifact=None is of type NoneType; needed: text or a path"),
        ("edgekit.inspect(3)", "path=3 is of type int; needed: text or a path"),
    ],
)
def test_wrong_types_are_told_by_name(code, says):
    import edgekit

    with pytest.raises(TypeError) as raised:
        eval(code, {"edgekit": edgekit, "convert": functools.partial(edgekit.convert, "mlp@torch", "tflite-int8")})
    assert isinstance(raised.value, edgekit.EdgekitError)
    assert says in str(raised.value)


LOUD = """
import tempfile
from pathlib import Path
import torch
from edgekit.handed import models

with tempfile.TemporaryDirectory() as folder:
    shown = models.Examples(torch.zeros(1, 3, 4), (), ())
    models.written(torch.nn.LSTM(4, 5, batch_first=True), lambda: Path(folder), shown)
"""


def test_what_the_exporter_says_of_itself_is_not_on_the_callers_terminal(tmp_path):
    environment = {**os.environ, "EDGEKIT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", LOUD], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
