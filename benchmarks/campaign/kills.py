"""Signals at random moments of a real conversion: no half artifact, no process that lives on, and the next run works."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.remains import Remains
from campaign.mutants import ROOT

WAYS: dict[str, list[signal.Signals]] = {
    "SIGKILL": [signal.SIGKILL],
    "SIGTERM": [signal.SIGTERM],
    "SIGHUP": [signal.SIGHUP],
    "Ctrl-C": [signal.SIGINT],
    "Ctrl-C twice": [signal.SIGINT, signal.SIGINT],
}
#: Kills in one home before a run is let through, which has to find nothing in its way.
CHAIN = 4


class Place(Remains):
    """Where runs live: whatever they leave is found here."""

    def __init__(self, folder: Path, warm: Path | None = None) -> None:
        super().__init__(folder)
        if warm:
            shutil.copytree(warm, self.home)

    def start(self) -> subprocess.Popen[str]:
        arguments = ["convert", "lenet5@torch", "--target", "onnxruntime-fp32", "--json", "-o", str(self.out / "made")]
        environment = {
            **os.environ, "EDGEKIT_HOME": str(self.home), "TMPDIR": str(self.tmp), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", "edgekit", *arguments], env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip


def _whole(place: Place) -> tuple[float, list[str]]:
    """Let a run through; returns its seconds, and what is wrong."""
    start = time.monotonic()
    run = place.start()
    answer, said = run.communicate(timeout=300)
    wrong = [] if run.returncode == 0 and json.loads(answer)["status"] == "PASS" else [said[-500:] or answer[-500:]]
    return time.monotonic() - start, wrong + place.faults() + [f"left {path}" for path in place.left()]


def _killed(place: Place, way: str, delay: float, chance: random.Random) -> tuple[str, list[str]]:
    """Kill a run; returns how it ended, and what is wrong."""
    run = place.start()
    try:
        run.wait(delay)
    except subprocess.TimeoutExpired:
        for number, gap in zip(WAYS[way], (0.0, chance.choice([0, 0.001, 0.05, 0.3])), strict=False):
            time.sleep(gap)
            run.send_signal(number)
    answer, said = run.communicate(timeout=60)
    deadline = time.monotonic() + 5
    while place.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    wrong = [f"lives on: {' '.join(process.cmdline())[:100]}" for process in place.processes()] + place.faults()
    expected = {0, *(128 + number for number in WAYS[way]), *(-number for number in WAYS[way])}
    wrong += [] if run.returncode in expected else [f"exit {run.returncode}: {said[-500:]}"]
    if way != "SIGKILL":  # what a hard kill leaves goes at the next start
        wrong += [f"left {path}" for path in place.left()]
        wrong += ["a traceback"] if "Traceback" in said and run.returncode >= 0 else []
    if answer and json.loads(answer)["status"] == "PASS" and not (place.out / "made").is_dir():
        wrong.append("PASS without an artifact")
    return ("done" if run.returncode == 0 else "killed"), wrong


def rows(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """One row per fault, and one with the counts."""
    chance, ended, faults = random.Random(seed), Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
        warm = Place(Path(scratch) / "warm")
        fresh_s, wrong = _whole(warm)
        assert wrong == [], wrong
        shutil.rmtree(warm.out / "made")
        warm_s, wrong = _whole(warm)
        assert wrong == [], wrong
        place = warm
        for number in range(count):
            kind = "warm" if number // CHAIN % 2 else "fresh"
            if number % CHAIN == 0:
                place = Place(Path(scratch) / str(number), warm.home if kind == "warm" else None)
            way = chance.choice(list(WAYS))
            delay = chance.uniform(0, min(12.0, 1.05 * (warm_s if kind == "warm" else fresh_s)))
            how, wrong = _killed(place, way, delay, chance)
            ended[f"{way}, {kind}: {how}"] += 1
            if number % CHAIN == CHAIN - 1 or number == count - 1:
                _, more = _whole(place)
                wrong += [f"the next run: {what}" for what in more]
                ended["runs let through"] += 1
            if wrong:
                faults += 1
                yield {
                    "part": "kills",
                    "number": number,
                    "way": way,
                    "kind": kind,
                    "after_s": round(delay, 2),
                    "fault": wrong[:5],
                }
    seconds = {"fresh_s": round(fresh_s, 1), "warm_s": round(warm_s, 1)}
    yield {"part": "kills", "n": count, "faults": faults, **seconds, **dict(sorted(ended.items()))}
