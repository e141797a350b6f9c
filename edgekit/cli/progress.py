"""What runs now, on stderr: beside a spinner on a terminal, as a line when it starts and one when it ends elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.text import Text

from edgekit.errors import printable

_WIDTH = 44


@contextlib.contextmanager
def shown(*, quiet: bool = False, verbose: bool = False) -> Iterator[Callable[[str, str], None]]:
    """Show events of a run; see ``pipeline.convert`` for what they are.

    Args:
        quiet: show none of them.
        verbose: also ``detail``: which routes are tried, and what each step ran in, took and left.
    """
    if quiet:
        yield lambda event, label: None
        return
    console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    with contextlib.ExitStack() as stack:
        now = _Now()
        if console.is_terminal:
            stack.enter_context(console.status(now))  # type: ignore[arg-type] # what is drawn anew, as Text is
        yield _Lines(console, now, verbose=verbose).tell


class _Now:
    """The step that runs, how long it has, and what it took before; drawn whenever the spinner is."""

    def __init__(self) -> None:
        self.label, self.since, self.before = "edgekit", time.monotonic(), ""

    def begin(self, label: str, before: str) -> None:
        """Another one runs."""
        self.label, self.since, self.before = label, time.monotonic(), before

    def __rich__(self) -> Text:
        before = f" (before: {self.before})" if self.before else ""
        return Text(f"{self.label}  {time.monotonic() - self.since:.0f} s{before}", overflow="ellipsis", no_wrap=True)


class _Lines:
    """Events as lines."""

    def __init__(self, console: Console, now: _Now, *, verbose: bool) -> None:
        self._console, self._now, self._verbose = console, now, verbose
        self._started: dict[str, float] = {}
        self._before = ""

    def tell(self, event: str, label: str) -> None:
        """Show one event; those that no step is of change nothing."""
        text = printable(label)
        match event:
            case "before":
                self._before = text
            case "start":
                self._start(label, text)
            case "at":
                self._now.label = text
            case "done":
                self._line(f"{text:<{_WIDTH}} {time.monotonic() - self._started.pop(label):6.1f} s")
            case "reused":
                self._line(f"{text:<{_WIDTH}} reused", style="dim")
            case "note":
                self._line(text)
            case "detail" if self._verbose:
                self._line(f"  {text}", style="dim")

    def _start(self, label: str, text: str) -> None:
        self._started[label], before, self._before = time.monotonic(), self._before, ""
        self._now.begin(text, before)
        if not self._console.is_terminal:
            self._line(f"{text} ..." + (f" (before: {before})" if before else ""))

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(f"  {text}", style=style or None)
