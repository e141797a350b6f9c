"""Scripts of this folder, and programs, in a child that is there already.

What they import takes longer than what most of them do.
"""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def run(script: str, arguments: list[str]) -> None:
    """As ``python SCRIPT ARGUMENTS`` in this folder; it may exit when it has done what it could."""
    with _asked(script, arguments):
        try:
            runpy.run_path(str(HERE / script), run_name="__main__")
        except SystemExit as ended:
            if ended.code:
                raise RuntimeError(f"{script} exited with {ended.code}") from ended


def printed(text: str, arguments: list[str]) -> str:
    """What ``python -c TEXT ARGUMENTS`` prints in this folder."""
    out = io.StringIO()
    with _asked("-c", arguments), contextlib.redirect_stdout(out):
        exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})
    return out.getvalue()


@contextlib.contextmanager
def _asked(name: str, arguments: list[str]) -> Iterator[None]:
    before, there = (sys.argv, sys.path), _names()
    sys.argv, sys.path = [name, *arguments], [str(HERE), *sys.path]
    try:
        with contextlib.chdir(HERE):
            yield
    finally:
        sys.argv, sys.path = before
    now = _names()
    replaced = {where for where, value in there.items() if callable(value) and now.get(where) is not value}
    own = {where for where, value in now.items() if getattr(value, "__module__", None) == "__main__"}
    if changed := replaced | own:
        raise RuntimeError(f"{name} leaves what other tests of this child read changed: {sorted(changed)}")


def _names() -> dict[tuple[str, str], Any]:
    """What edgekit's modules hold, by module and name."""
    modules = [(name, module) for name, module in list(sys.modules.items()) if name.partition(".")[0] == "edgekit"]
    return {(name, key): value for name, module in modules for key, value in vars(module).items()}
