"""Trying every attack: as a user would hand it in, and again where no list has stopped it.

Inotify sees whether the secret was opened, or anything near it changed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from campaign import loading
from campaign.attacks.attack import Attack, Place
from campaign.attacks.data import ARTIFACTS, DATA, ESCAPES
from campaign.attacks.keras import H5, KERAS
from campaign.attacks.saved_model import SAVED
from campaign.attacks.torch import PROGRAMS, SCRIPTS
from campaign.attacks.zips import ZIPS
from campaign.loading import Bench, Ended
from edgekit import api
from edgekit.errors import EdgekitError
from edgekit.jobs.workers import Confined, Workers
from edgekit.sources.source import resolve

ATTACKS = [*KERAS, *H5, *SAVED, *SCRIPTS, *PROGRAMS, *ZIPS, *DATA, *ARTIFACTS]

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
