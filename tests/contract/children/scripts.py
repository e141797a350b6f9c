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

HERE = Path(__file__).parent


def run(script: str, arguments: list[str]) -> None:
    """As ``python SCRIPT ARGUMENTS``, which may exit when it has done what it could."""
    with _asked(script, arguments):
        try:
            runpy.run_path(str(HERE / script), run_name="__main__")
        except SystemExit as ended:
            if ended.code:
                raise RuntimeError(f"{script} exited with {ended.code}") from ended


def printed(text: str, arguments: list[str]) -> str:
    """What ``python -c TEXT ARGUMENTS`` prints in this folder."""
    out = io.StringIO()
    with _asked("-c", arguments), contextlib.chdir(HERE), contextlib.redirect_stdout(out):
        exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})
    return out.getvalue()


@contextlib.contextmanager
def _asked(name: str, arguments: list[str]) -> Iterator[None]:
    before = sys.argv, sys.path
    sys.argv, sys.path = [name, *arguments], [str(HERE), *sys.path]
    try:
        yield
    finally:
        sys.argv, sys.path = before
