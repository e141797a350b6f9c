"""Files that somebody hands in, made by hand without a framework, and the look that is taken at them."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np

from edgekit.sources.check import check
from edgekit.sources.source import resolve, with_facts


def look(path, folder, *, trust=False):
    """The source as it may be loaded: recognised, checked, its copy in ``folder``."""
    folder = Path(folder) / f"copy of {Path(path).name} {trust}"
    folder.mkdir(exist_ok=True, parents=True)
    source = resolve(str(path), trust=trust)
    return with_facts(source, check(Path(path), source.kind, str(path), folder, trust=trust), folder)


# --- Keras -----------------------------------------------------------------------------------------------------------


def layer(class_name, module="keras.layers", registered_name=None, **config):
    return {"class_name": class_name, "module": module, "registered_name": registered_name, "config": config}


def model(*layers):
    return {"class_name": "Functional", "module": "keras", "config": {"name": "m", "layers": list(layers)}}


def keras_file(path, *layers, version="3.15.1", members=()):
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["w"] = np.arange(64, dtype="float32")
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("metadata.json", json.dumps({"keras_version": version}))
        opened.writestr("config.json", json.dumps(model(*layers)))
        opened.writestr("model.weights.h5", weights.getvalue())
        for name, data in members:
            opened.writestr(name, data)
    return path


def h5_file(path, *layers, version="2.15.0"):
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["model_config"] = json.dumps(model(*layers))
        file["w"] = np.ones(3)
    return path


# --- SavedModels: a protocol buffer written by hand ------------------------------------------------------------------


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number, payload):
    if isinstance(payload, str):
        payload = payload.encode()
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def node(op, calls=None, *, name="n", inputs=(), more=b""):
    called = field(5, field(1, "f") + field(2, field(10, field(1, calls)))) if calls else b""
    return field(1, name) + field(2, op) + b"".join(field(3, i) for i in inputs) + called + more


def objects(*functions):
    """An object graph that speaks of functions: each as a bare one."""
    return b"".join(field(1, field(8, field(1, name))) for name in functions)


def saved_model(folder, main=("Const",), functions=None, *, results=(), more=b"", graph=b"", spoken=()):
    """A folder with ``saved_model.pb``: the main graph's nodes, or what they are; what the signature returns.

    ``spoken`` are functions of the object graph, None for a model of TensorFlow 1, which has none.
    """
    library = b"".join(
        field(1, field(1, field(1, name)) + b"".join(field(3, n) for n in nodes))
        for name, nodes in (functions or {}).items()
    )
    nodes = [op if isinstance(op, bytes) else node(op, name=f"n{i}") for i, op in enumerate(main)]
    definition = b"".join(field(1, n) for n in nodes) + field(2, library) + graph
    outputs = b"".join(field(2, field(1, name) + field(2, field(1, name))) for name in results)
    folder.mkdir(exist_ok=True)
    meta = field(2, definition) + field(5, field(1, "serving_default") + field(2, outputs)) + more
    if spoken is not None:
        meta += field(7, objects(*spoken))
    (folder / "saved_model.pb").write_bytes(b"\x08\x01" + field(2, meta))
    return folder


SAVERS = {
    "__inference__traced_save_12": [node("SaveV2"), node("MergeV2Checkpoints"), node("ShardedFilename")],
    "__inference__traced_restore_13": [node("RestoreV2")],
}


# --- PyTorch ---------------------------------------------------------------------------------------------------------


def torch_zip(path, members, *, twice=()):
    """An archive ``m/...``; ``twice`` are more members, which may have the name of another."""
    with zipfile.ZipFile(path, "w") as opened:
        for name, data in [*members.items(), *twice]:
            opened.writestr(f"m/{name}", data)
    return path


def nested(obj, protocol=2):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as opened:
        opened.writestr("m/data.pkl", pickle.dumps(obj, protocol))
    return inner.getvalue()


def program(nodes=(), **changes):
    """``models/model.json`` of an exported program that has these nodes."""
    graph = {"inputs": [], "outputs": [], "nodes": list(nodes), "tensor_values": {}, "sym_int_values": {}}
    document = {
        "graph_module": {"graph": graph, "signature": {"input_specs": [], "output_specs": []}, "module_call_graph": []},
        "opset_version": {"aten": 10},
        "range_constraints": {},
        "schema_version": {"major": 8, "minor": 20},
        "verifiers": ["TRAINING"],
        "guards_code": [],
        "torch_version": "2.13.0+cpu",
    }
    for key, value in changes.items():
        (graph if key in graph or key.endswith("_values") else document)[key] = value
    return document


def call(target, *arguments, name="y"):
    inputs = [{"name": f"a{i}", "arg": argument, "kind": 1} for i, argument in enumerate(arguments)]
    return {"target": target, "inputs": inputs, "outputs": [{"as_tensor": {"name": name}}], "metadata": {}}


def spec(kind="builtins.tuple", context="null"):
    return json.dumps([1, {"type": kind, "context": context, "children_spec": []}])


def pt2(path, sample=None, *, document=None, weights=None, members=(), twice=(), payload="weight_0"):
    config = {"config": {"w": {"path_name": payload, "use_pickle": weights is not None, "tensor_meta": None}}}
    found = {
        "archive_format": b"pt2",
        "archive_version": b"0",
        "models/model.json": json.dumps(document or program()).encode(),
        "data/weights/model_weights_config.json": json.dumps(config).encode(),
        f"data/weights/{payload}": b"\x80\x00\x00\x00" if weights is None else weights,
        "data/sample_inputs/model.pt": nested([]) if sample is None else sample,
        **dict(members),
    }
    return torch_zip(path, found, twice=twice)


def torchscript(path, code="def forward(self, x): return torch.relu(x)", *, members=(), twice=()):
    """A TorchScript archive with one file of code."""
    text = code if isinstance(code, bytes) else code.encode()
    found = {
        "constants.pkl": pickle.dumps((), 2),
        "data.pkl": pickle.dumps({}, 2),
        "code/__torch__/m.py": text,
        **dict(members),
    }
    return torch_zip(path, found, twice=twice)
