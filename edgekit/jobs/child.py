"""The child's main: reads requests from standard input, answers on a pipe of its own, logs all else.

Request  ``{"number": 1, "step": "edgekit.steps.convert:run", "arguments": {...}}``, one JSON document per line.
Answer   ``{"number": 1, "value": ..., "cpu_seconds": ..., "peak_rss_bytes": ..., "read": {}}``
or       ``{"number": 1, "error": ...}``; before it any number of ``{"number": 1, "told": ...}``.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from edgekit.errors import FULL, MANY, EdgekitError, of_system
from edgekit.frameworks.brought import faults
from edgekit.jobs import wire
from edgekit.jobs.confine import entering


def _full(error: Exception) -> str | None:
    """What a disk that takes no more says: by its number or, in errors of native code, by the system's words for it."""
    if isinstance(error, OSError) and error.errno in FULL:
        return str(error.strerror)
    return next((os.strerror(code) for code in FULL if f"{os.strerror(code)} (os error {code})" in str(error)), None)


def _log() -> None:
    """Write what was raised into the log, which may lie on a disk that is full."""
    with contextlib.suppress(OSError):
        traceback.print_exc()


#: What helps where memory ends.
_LESS = "Use a smaller model, or raise --memory-limit where the command has it."


def _raised(error: Exception) -> dict[str, Any]:
    return {"error": {"type": type(error).__name__, "message": faults.located(error), "hint": ""}}


def _answer(request: dict[str, Any], *, first: bool, tell: wire.Tell = wire.unheard) -> dict[str, Any]:
    module, _, function = request["step"].partition(":")
    before = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        value = wire.call(getattr(importlib.import_module(module), function), request["arguments"], tell)
    except EdgekitError as error:
        _log()
        return {"error": {"type": type(error).__name__, "message": str(error), "hint": error.hint}}
    except KeyboardInterrupt:  # raised by code of the user's: signals go to the parent
        _log()
        return {"error": {"type": "KeyboardInterrupt", "message": "", "hint": ""}}
    except MemoryError:
        _log()
        message = f"{request['step']} found no memory for what it needs"
        return {"error": {"type": "FailedError", "message": message, "hint": _LESS}}
    except Exception as error:  # boundary: a toolchain may raise anything; the parent turns it into FAILED with the log
        _log()
        if isinstance(error, OSError) and error.errno in MANY and (many := of_system(error)):
            return {"error": {"type": "UsageError", "message": str(many), "hint": many.hint}}
        if (full := _full(error)) is not None:
            message, hint = f"a file could not be written: {full}", "Free space in EDGEKIT_HOME and in TMPDIR."
            return {"error": {"type": "UsageError", "message": message, "hint": hint}}
        return _raised(error)
    after = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(a.ru_utime + a.ru_stime for a in after)
    if not first:  # the first request also pays for starting the interpreter
        cpu -= sum(b.ru_utime + b.ru_stime for b in before)
    # A child that ran no code of the user's has not imported what notes its files.
    noted = sys.modules.get("edgekit.user_code")
    read = noted.read(request["arguments"]) if noted else {}
    return {"value": value, "cpu_seconds": round(cpu, 3), "peak_rss_bytes": after[0].ru_maxrss * 1024, "read": read}


def _end_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it ends, whatever the reason."""
    with contextlib.suppress(OSError, AttributeError):  # other systems have no prctl: the parent ends its children
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(os.environ.pop("EDGEKIT_PARENT")):  # it ended while this process was starting
        os._exit(1)


def main() -> None:
    """Serve requests until standard input ends."""
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it ends its children itself
    # Importing a framework and tracing a model make millions of objects that stay. By default Python looks through them
    # so often that exporting takes notably longer (targets/REASONS.md#one-process).
    gc.set_threshold(20_000)
    descriptor = int(os.environ.pop("EDGEKIT_ANSWERS"))
    os.set_inheritable(descriptor, False)
    bounds = entering.asked()
    if bounds:  # before anything is imported that a file could attack
        entering.enter(bounds, descriptor)
    answers = os.fdopen(descriptor, "w", encoding="utf-8")
    for index, line in enumerate(sys.stdin):
        request = json.loads(line)
        if bounds:
            entering.allow_cpu(bounds.seconds)

        def say(said: dict[str, Any], number: int = request["number"]) -> None:
            answers.write(json.dumps({"number": number, **said}) + "\n")
            answers.flush()

        def tell(told: wire.Told, say: Callable[[dict[str, Any]], None] = say) -> None:
            say({"told": wire.plain(told)})

        answer = _answer(request, first=index == 0, tell=tell)
        for log in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                log.flush()
        say(answer)


if __name__ == "__main__":
    main()
