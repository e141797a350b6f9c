"""Archives that say one thing and hold another."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from campaign import mutation
from campaign.attacks.attack import Attack, Place
from campaign.attacks.keras import as_head


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
    as_head(config, place.layer)
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
