"""A browser without a window, driven through a pipe by the DevTools protocol: no library between."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: By the names under which distributions install it.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
#: Seconds that an answer may take on a busy machine.
PATIENCE = 120.0


def found() -> str | None:
    """The browser of this machine."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page; everything that it says on the way is kept in ``events``."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._left, self._number = read, write, b"", 0
        self.events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the page."""
        return self._call(method, self._session, **parameters)

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            more = os.read(self._read, 1 << 20)
            assert more, "the browser has ended"
            self._left += more
        one, _, self._left = self._left.partition(b"\0")
        answer: dict[str, Any] = json.loads(one)
        return answer

    def open(self, url: str, *, width: int = 1280, height: int = 900, features: Sequence[tuple[str, str]] = ()) -> None:
        """Load a page at a size; ``features`` are media features, as (``prefers-color-scheme``, ``dark``)."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": n, "value": v} for n, v in features])
        self.call("Page.navigate", url=url)
        until = time.monotonic() + PATIENCE
        while self.value("document.readyState") != "complete" or self.value("location.href") == "about:blank":
            assert time.monotonic() < until, "the page does not load"

    def value(self, expression: str) -> Any:
        """What an expression gives in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """A key, by its name and its number."""
        text = "\r" if key == "Enter" else ""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    def said(self) -> list[str]:
        """Errors and warnings of the page: of its console, its script and its policy."""
        lines = []
        for event in self.events:
            parameters = event.get("params", {})
            if event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                lines.append(parameters["entry"]["text"])
            if event.get("method") == "Runtime.exceptionThrown":
                lines.append(parameters["exceptionDetails"]["text"])
            if event.get("method") == "Runtime.consoleAPICalled":
                lines.append(str(parameters["args"]))
        return lines

    def loaded(self) -> list[str]:
        """Everything that the page asked for, itself first."""
        wanted = "Network.requestWillBeSent"
        return [e["params"]["request"]["url"] for e in self.events if e.get("method") == wanted]

    def screenshot(self, file: Path, *, whole: bool = False) -> None:
        """Take a picture."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def browser(program: str, folder: Path) -> Iterator[Browser]:
    """Start one, with a profile in a folder of its own, and end it."""
    to_browser, mine = os.pipe()
    theirs, from_browser = os.pipe()[::-1]
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    # The protocol's pipe is descriptors 3 and 4 of the browser.
    script = f'exec "$0" "$@" 3<&{to_browser} 4>&{theirs}'
    command = ["bash", "-c", script, program, *flags, f"--user-data-dir={folder}", "--remote-debugging-pipe"]
    with (folder / "browser.log").open("wb") as log:
        child = subprocess.Popen(command, pass_fds=(to_browser, theirs), stdout=log, stderr=log)
    os.close(to_browser)
    os.close(theirs)
    try:
        yield Browser(from_browser, mine)
    finally:
        os.close(mine)
        os.close(from_browser)
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
