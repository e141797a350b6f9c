"""The lists of what a file may name, against the frameworks that are installed: no name of them is unknown there, and
no layer, and no operator that takes the name of a file, is on none of them."""

import os
from pathlib import Path

import pytest

from edgekit.jobs.workers import Workers
from edgekit.sources import saved_model
from edgekit.sources.allowed import lists

CHILDREN = Path(__file__).parent / "children"


@pytest.fixture(scope="module")
def ask():
    path = os.pathsep.join(p for p in (str(CHILDREN), os.environ.get("PYTHONPATH")) if p)
    with pytest.MonkeyPatch.context() as patch, Workers() as workers:
        patch.setenv("PYTHONPATH", path)
        yield lambda environment, what: workers.call(environment, f"registered:{what}", {}).value


def test_operators_of_tensorflow(ask):
    listed = lists("tensorflow")
    known = set(ask("keras-tensorflow", "tensorflow_operators"))
    assert listed["operators"] | listed["of_savers"] <= known
    # Where a name is on the list although it looks as if it reached out, somebody has looked at what it does.
    assert {op for op in listed["operators"] if saved_model._REACHES_OUT.search(op)} == set()
    unlisted = known - listed["operators"] - listed["of_savers"]
    assert {"ReadFile", "WriteFile", "ImmutableConst", "LoadAndRemapMatrix", "PyFunc", "PrintV2"} <= unlisted


def test_classes_and_functions_of_keras(ask):
    listed = lists("keras")
    known = set(ask("keras-tensorflow", "keras_names")) | set(ask("tf-keras", "keras_2_names"))
    written = {"GroupedQueryAttention", "CompileLoss", "CompileMetrics"}  # under these names in configurations
    for key in ("layers", "lookups", "operations", "parts", "training", "functions", "tensorflow_layers"):
        assert listed[key] - known - written == set(), key
    every = frozenset().union(*(listed[key] for key in ("models", "layers", "lookups", "tensorflow_layers", "refused")))
    functions = {
        "ClassMethod",
        "InstanceMethod",
        "InstanceProperty",
        "DenseFeatures",
        "SequenceFeatures",
        "LinearModel",
        "WideDeepModel",
    }  # of tf-keras: any method by its name, feature columns read files
    bases = {"Layer", "Wrapper", "AbstractRNNCell", "DeviceWrapper", "ResidualWrapper", "DropoutWrapper",
             "_RNNCellWrapper", "Input"}  # fmt: skip
    layers = set(ask("keras-tensorflow", "keras_layers")) | set(ask("tf-keras", "keras_2_layers"))
    assert layers - every - functions - bases == set()


def test_functions_of_tensorflow_that_keras_2_calls(ask):
    known = set(ask("tf-keras", "tensorflow_functions"))
    assert lists("keras")["tensorflow_functions"] - known == set()


def test_operators_of_pytorch(ask):
    listed = lists("torch")
    known = set(ask("torch", "torch_operators"))
    named = {
        f"{space}::{name}" for space in ("aten", "prims", "prim", "quantized_decomposed") for name in listed[space]
    }
    assert named - known == set()
    assert listed["refused"] <= known
    assert named & listed["refused"] == set()
    assert set(ask("torch", "torch_file_operators")) <= listed["refused"]


def test_functions_of_pytorch(ask):
    listed, known = lists("torch"), ask("torch", "torch_functions")
    for key in ("operator", "math", "torch", "higher_order"):
        assert listed[key] - set(known[key]) == set(), key
