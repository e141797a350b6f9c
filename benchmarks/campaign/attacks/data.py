"""Attacks in what is read as data: arrays, images, artifacts."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaign.attacks.attack import Attack, Pickled, Place


def _npz(name: str, change: Callable[[Place, Any], dict[str, Any]]) -> Attack:
    def make(place: Place) -> Path:
        import numpy as np

        path = place.folder / f"{name}.npz"
        np.savez(path, **change(place, np))  # type: ignore[arg-type]
        return path

    return Attack(name, make)


def _records(place: Place, np: Any) -> dict[str, Any]:
    kind = np.dtype([("a", "O"), ("b", "f4")])
    return {"x": np.array([(Pickled(place.shell), 1.0)] * 40, kind)}


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
    _npz("npz-pickled", lambda p, np: {"x": np.array([Pickled(p.shell)] * 40, object)}),
    _npz("npz-pickled-labels", lambda p, np: {"x": np.zeros((40, 3, 8, 8), "float32"), "y": np.array([Pickled(p.shell)] * 40, object)}),
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

    np.savez(path / "golden.npz", **{"in/x": np.array([Pickled(place.shell)], object)})
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
