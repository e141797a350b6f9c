"""Scripts of this folder in a child that is there already: what they import takes longer than what most of them do."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent


def run(script: str, arguments: list[str]) -> None:
    """As ``python SCRIPT ARGUMENTS``, which may exit when it has done what it could."""
    before = sys.argv, sys.path
    sys.argv, sys.path = [script, *arguments], [str(HERE), *sys.path]
    try:
        runpy.run_path(str(HERE / script), run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"{script} exited with {ended.code}") from ended
    finally:
        sys.argv, sys.path = before
