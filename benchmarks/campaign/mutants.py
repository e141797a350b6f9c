"""Mutants of every kind of file, each handed in as a user would: loaded, or refused with one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from campaign import loading, mutation
from campaign.loading import Bench, Ended
from edgekit import api
from edgekit import target as targets
from edgekit.artifact import contents
from edgekit.artifact import folder as artifacts

ROOT = Path(__file__).parents[2]
ARTIFACT = ROOT / "tests" / "contract" / "artifacts" / "0.1.0" / "onnxruntime-int8"
#: Kinds that are read where they lie, so that one child can serve all of them.
IN_PLACE = ("manifest", "artifact")
FP32 = ["--target", "onnxruntime-fp32"]

#: What is done to a file of each kind, one of these by chance.
CHANGES: dict[str, list[mutation.Bytes]] = {
    "keras": [
        mutation.any_zip, mutation.within_zip("config.json", mutation.json_bytes),
        mutation.within_zip("weights", mutation.any_bytes),
    ],
    "pt2": [
        mutation.any_zip, mutation.within_zip("model.json", mutation.json_bytes),
        mutation.within_zip(r"\.json$", mutation.json_bytes),
    ],
    "torchscript": [
        mutation.any_zip, mutation.within_zip(r"\.py$", mutation.words),
        mutation.within_zip(r"\.pkl$", mutation.any_bytes),
    ],
    "npz": [mutation.any_zip, mutation.within_zip(r"\.npy$", lambda data, chance: _header(data, chance))],
}  # fmt: skip


def _header(data: bytes, chance: random.Random) -> bytes:
    """An npy file whose header, which NumPy reads as Python's literals, is changed."""
    return (mutation.words if chance.random() < 0.6 else mutation.any_bytes)(data[:128], chance) + data[128:]


def _changed(kind: str, path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.choice(CHANGES[kind])(path.read_bytes(), chance))


def _hdf5(path: Path, chance: random.Random) -> None:
    """Bytes of the file, or the configuration in it, or the lists of names that weights are found by."""
    how = chance.random()
    if how < 0.5:
        path.write_bytes(mutation.any_bytes(path.read_bytes(), chance))
        return
    import h5py

    with h5py.File(path, "r+") as file:
        if how < 0.85:
            text = file.attrs["model_config"]
            try:
                file.attrs["model_config"] = mutation.any_json(str(text), chance)
            except (OSError, ValueError):  # longer than an attribute may be, or no text
                file.attrs["model_config"] = "[" * 5000
        else:
            group = chance.choice([file["model_weights"], *file["model_weights"].values()])
            names = [*group.attrs]
            key = chance.choice(names) if names else "layer_names"
            group.attrs[key] = chance.choice([b"", "x", -1, [b"../x", b"conv"], [b"a"] * 500, float("nan")])


def _folder(path: Path, chance: random.Random) -> None:
    files = [member for member in sorted(path.rglob("*")) if member.is_file()]
    file = chance.choice([*files, *[path / "saved_model.pb"] * 4])
    if chance.random() < 0.1:
        change = chance.randrange(3)
        if change == 0:
            file.unlink()
        elif change == 1:
            shutil.copy(file, file.with_name("saved_model.pbtxt"))
        else:
            file.unlink()
            file.symlink_to("/etc/hostname")
    else:
        file.write_bytes(mutation.any_bytes(file.read_bytes(), chance))


def _toml(path: Path, chance: random.Random) -> None:
    path.write_bytes(mutation.any_toml(path.read_text(), chance).encode(errors="surrogateescape"))


def _manifest(path: Path, chance: random.Random) -> None:
    """The manifest; mostly sealed again, since whoever changes it can do that too."""
    file = path / "manifest.json"
    file.write_text(mutation.any_json(file.read_text(), chance), errors="replace")
    if chance.random() < 0.85:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        (path / "manifest.sha256").write_text(f"{digest}  manifest.json\n")


def _files(path: Path, chance: random.Random) -> None:
    """A file of an artifact, sealed again."""
    name = chance.choice(["model.onnx", "model.onnx", "golden.npz"])
    data = (path / name).read_bytes()
    change = (
        mutation.within_zip(r"\.npy$", _header)
        if name.endswith("npz") and chance.random() < 0.6
        else mutation.any_bytes
    )
    (path / name).write_bytes(change(data, chance))
    document = json.loads((path / "manifest.json").read_text())
    [file] = contents.list_files({name: path / name})
    document["files"] = [one for one in document["files"] if one["path"] != name] + [file.model_dump()]
    (path / "manifest.json").write_text(json.dumps(document))
    (path / "manifest.sha256").write_text(contents.seal_of(path))


#: kind -> the good file below the originals, what changes it, what is asked of the command line.
KINDS: dict[str, tuple[str, Callable[[Path, random.Random], None]]] = {
    "keras": ("good.keras", lambda path, chance: _changed("keras", path, chance)),
    "h5": ("good.h5", _hdf5),
    "h5-keras-2": ("good_2.h5", _hdf5),
    "savedmodel": ("saved_model", _folder),
    "pt2": ("good.pt2", lambda path, chance: _changed("pt2", path, chance)),
    "torchscript": ("good.pt", lambda path, chance: _changed("torchscript", path, chance)),
    "preprocess": ("images", lambda path, chance: _toml(path / "preprocess.toml", chance)),
    "target": ("target.toml", _toml),
    "npz": ("good.npz", lambda path, chance: _changed("npz", path, chance)),
    "manifest": ("artifact", _manifest),
    "artifact": ("artifact", _files),
}


def _original(originals: Path, kind: str) -> Path:
    if kind in IN_PLACE:
        return ARTIFACT
    return ROOT / "targets" / "onnxruntime-int8.toml" if kind == "target" else originals / KINDS[kind][0]


def _whole(originals: Path, folder: Path, kind: str) -> Path:
    original = _original(originals, kind)
    path = folder / "whole" / (KINDS[kind][0] if kind != "target" else original.name)
    path.parent.mkdir()
    (shutil.copytree if original.is_dir() else shutil.copy)(original, path)
    return path


def mutant(originals: Path, folder: Path, kind: str, seed: int, number: int) -> Path:
    """Write one mutant, which its seed, kind and number name."""
    original = _original(originals, kind)
    # Each lies elsewhere, since a child that lives on has its copy by the path; an artifact is read where it lies.
    path = folder / ("" if kind in IN_PLACE else str(number)) / (KINDS[kind][0] if kind != "target" else "mutant.toml")
    path.parent.mkdir(exist_ok=True)
    shutil.rmtree(path if kind in IN_PLACE else path.parent, ignore_errors=True)
    path.parent.mkdir(exist_ok=True)
    (shutil.copytree if original.is_dir() else shutil.copy)(original, path)
    KINDS[kind][1](path, random.Random(f"{seed} {kind} {number}"))
    return path


def _attempt(bench: Bench, kind: str, path: Path) -> Ended:
    if kind in ("preprocess", "npz"):
        return bench.samples(path)
    if kind == "target":
        return loading.attempt(lambda: targets.load(str(path)))
    if kind in IN_PLACE:
        verified = loading.attempt(lambda: artifacts.verify(path, bench.workers))
        return verified if verified.fault else loading.attempt(lambda: api.inspect(path)) if _looks(path) else verified
    return bench.load(path)


def _looks(path: Path) -> bool:
    """Whether ``inspect`` is tried as well, which starts a child of its own: for every eighth."""
    return hashlib.sha256((path / "manifest.json").read_bytes()).digest()[0] % 8 == 0


def _command(kind: str, path: Path, originals: Path) -> list[str]:
    if kind in IN_PLACE:
        return ["verify", str(path)]
    if kind == "target":
        return ["convert", "mlp@torch", "--target", str(path)]
    if kind in ("preprocess", "npz"):
        own = [str(originals / "good.pt2"), "--target", "onnxruntime-int8"]
        return ["convert", *own, "--calibrate", str(path)]
    return ["convert", str(path), *FP32, *(["--input", "x=1x3x8x8"] if kind == "torchscript" else [])]


def by_command(arguments: list[str], folder: Path, *, seconds: float = 180.0) -> Ended:
    """One run of the command line in a process of its own; its one sentence is in the document."""
    environment = {**os.environ, "EDGEKIT_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *arguments, "--json"],
        env=environment, cwd=folder, capture_output=True, text=True, errors="replace", timeout=seconds,
    )  # fmt: skip
    took = round(time.monotonic() - start, 2)
    try:
        document = json.loads(done.stdout)
    except ValueError:
        return Ended(1, f"no document: {done.stdout[-300:]} {done.stderr[-1500:]}", took)
    said = done.stderr if "Traceback" in done.stderr else document.get("reason", "")
    return Ended(done.returncode, said, took, document)


def rows(
    originals: Path, kinds: list[str], count: int, seed: int, commands: int, only: int | None
) -> Iterator[dict[str, Any]]:
    """One row per fault, and one per kind with the counts."""
    bench = Bench()
    try:
        for kind in kinds:
            started, ended, slowest = time.monotonic(), Counter[str](), 0.0
            faults = 0
            with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
                bench.scratch = Path(scratch)
                whole = _attempt(bench, kind, _whole(originals, Path(scratch), kind))  # starts the children
                assert whole.code == 0, whole.said
                for number in range(count) if only is None else [only]:
                    path = mutant(originals, Path(scratch), kind, seed, number)
                    found = _attempt(bench, kind, path)
                    ended[f"exit {found.code}"] += 1
                    ended["child ended"] += "was ended" in found.said or "ended its process" in found.said
                    slowest = max(slowest, found.seconds)
                    if only is not None:
                        print(found.code, found.seconds, found.said)
                    if fault := found.fault:
                        faults += 1
                        yield {
                            "part": "mutants",
                            "kind": kind,
                            "number": number,
                            "fault": fault,
                            "said": found.said[-1500:],
                        }
                for number in range(commands):
                    path = mutant(originals, Path(scratch), kind, seed, number)
                    found = by_command(_command(kind, path, originals), Path(scratch))
                    ended[f"command: exit {found.code}"] += 1
                    if found.code not in (0, 2, 3, 4, 8) or found.fault not in ("", "exit 4"):
                        faults += 1
                        yield {
                            "part": "mutants by command",
                            "kind": kind,
                            "number": number,
                            "fault": found.fault,
                            "said": found.said[-1500:],
                        }
            yield {
                "part": "mutants", "kind": kind, "n": sum(n for key, n in ended.items() if key.startswith("exit")),
                "n_commands": commands, "faults": faults, **dict(sorted(ended.items())),
                "slowest_s": slowest, "seconds": round(time.monotonic() - started), "parent_mib": loading.peak_mib(),
            }  # fmt: skip
    finally:
        bench.close()
