"""Ctrl-C, SIGTERM and SIGHUP: the first one unwinds the run, later ones are not heard, nothing stays behind.

A signal may come between any two instructions, also between making something and the ``try`` that would undo it, or in
the middle of undoing it. So whatever must go before the process does (children, scratch folders) is registered here
*before* it is made, and what unwinding missed is closed at the end, when signals no longer interrupt.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from types import FrameType
from typing import Any

_HEARD = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(BaseException):
    """A signal asked the run to end.

    Attributes:
        exit_code: what a shell reports for a process that this signal ended: 130, 143 or 129.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.exit_code = 128 + number


class InterruptedCall(Interrupted, KeyboardInterrupt):
    """The same in a program of somebody's own, who expects what Ctrl-C gives in Python.

    Not in the command line: typer turns a ``KeyboardInterrupt`` into exit code 130, whatever the signal was.
    """


class _State:
    """What the main thread has heard.

    Attributes:
        listening: whether signals are heeded at all, by the process (``listen``) or by a block (``listening``).
        process: whether they are heeded to the end of the process.
        first: the signal that unwinds the run.
        deaf: the block is being left, and signals no longer interrupt.
        finishing: the result is being written, and signals end the process at once.
    """

    listening = False
    process = False
    first: int | None = None
    deaf = False
    finishing = False


_state = _State()
#: What is open -> the thread that opened it and how it is closed.
_open: dict[int, tuple[int, Callable[[], None]]] = {}


def opened(owner: object, close: Callable[[], None]) -> None:
    """Register what must be closed before the process ends; ``close`` may be called twice."""
    _open[id(owner)] = (threading.get_ident(), close)


def closed(owner: object) -> None:
    """Forget what has been closed."""
    _open.pop(id(owner), None)


def _close_since(known: AbstractSet[int]) -> None:
    """Close what this thread opened and did not close, except what was open before."""
    for key, (thread, close) in list(_open.items()):
        if key not in known and thread == threading.get_ident():
            _open.pop(key, None)
            with contextlib.suppress(OSError):  # what cannot be removed now is swept by a later run
                close()


def _heed(number: int, frame: FrameType | None) -> None:
    if _state.finishing:
        _close_since(frozenset())
        os._exit(128 + number)
    if _state.first is None and not _state.deaf:
        _state.first = number
        raise ended_by(number)


def check() -> None:
    """Raise the signal that was heard once more: Python swallows what is raised while it deletes an object."""
    if _state.first and not _state.finishing and threading.current_thread() is threading.main_thread():
        raise ended_by(_state.first)


def ended_by(number: int) -> Interrupted:
    """What a signal raises: in a program of somebody's own it is a ``KeyboardInterrupt``."""
    return Interrupted(number) if _state.process else InterruptedCall(number)


def heard() -> int | None:
    """The signal that ends this process, where one has come."""
    return _state.first


def _take_over(taken: dict[int, Any]) -> None:
    """Take over the signals whose action is the default; one that is ignored (nohup, ``&``) stays ignored."""
    for number in _HEARD:
        action = signal.getsignal(number)
        if action in (signal.SIG_DFL, signal.default_int_handler):
            taken[number] = action
            signal.signal(number, _heed)


def listen() -> None:
    """Heed signals to the end of the process: for the command line, before it imports anything slow."""
    if _state.process:
        return
    _state.listening = _state.process = True
    _take_over({})


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Do within what the signal that was heard leaves to do; another one interrupts that."""
    first, _state.first = _state.first, None
    try:
        yield
    finally:
        _state.first = first or _state.first


def finish() -> None:
    """The result is about to be written: where the process listens, a signal now ends it at once, with its code."""
    if _state.process:
        _state.finishing = True
        _close_since(frozenset())


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Heed signals inside of the block, and close at its end what was opened in it.

    Outside of the main thread, where Python delivers no signal, and for signals for which the program has an action
    of its own, nothing changes.

    Raises:
        InterruptedCall: a signal came; it is a ``KeyboardInterrupt``.
    """
    if _state.listening or threading.current_thread() is not threading.main_thread():
        yield
        return
    known = frozenset(_open)
    taken: dict[int, Any] = {}
    _state.listening = True
    try:
        try:
            _take_over(taken)
            yield
        finally:
            _state.deaf = True  # a signal that comes before this line is the first one, and after it none is heard
    finally:
        _close_since(known)
        for number, action in taken.items():
            signal.signal(number, action)
        _state.listening, _state.first, _state.deaf = False, None, False
