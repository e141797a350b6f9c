"""MLPerf's LoadGen as what drives the inferences, one after the other (its scenario SingleStream).

Its own times are taken, from its trace. It is one per process, knows no CPU time and no turns, so that edgekit's own
loop is the default, and this one checks it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgekit.errors import FailedError, MissingDependencyError
from edgekit.proof.speed import steady
from edgekit.proof.speed.steady import Clocks, Record, Subject

#: What is found here is true of this machine alone.
MEASURES = True

_COMPLETE = re.compile(r'"complete_ns":(\d+)')


def measure(subject: Subject, folder: Path, *, seconds: float) -> Record:
    """Time a function; LoadGen's logs stay in the folder.

    Raises:
        MissingDependencyError: ``mlcommons-loadgen`` is not installed.
    """
    try:
        import mlperf_loadgen as loadgen
    except ImportError as error:
        raise MissingDependencyError("LoadGen is not installed", hint="pip install 'edgekit[loadgen]'") from error
    clocks = Clocks()
    once_ms = steady.warm_up(subject, clocks)
    record = Record(calls=max(1, round(steady.BLOCK_MS / once_ms)))
    subject.prepare(0)
    state = {"left": record.calls, "cpu": clocks.cpu_s(), "switches": clocks.switches()}

    def issue(queries: list[Any]) -> None:
        for query in queries:
            subject.invoke()
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query.id, 0, 0)])
            state["left"] -= 1
            if not state["left"]:
                cpu, switches = clocks.cpu_s(), clocks.switches()
                record.cpus.append((cpu - state["cpu"]) * 1e3 / record.calls)
                record.switches += switches - int(state["switches"])
                state.update(left=record.calls, cpu=cpu, switches=switches)

    settings, logs = loadgen.TestSettings(), loadgen.LogSettings()
    settings.scenario, settings.mode = loadgen.TestScenario.SingleStream, loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms, settings.min_query_count = round(seconds * 1e3), steady.ENOUGH[90]
    settings.single_stream_expected_latency_ns = max(1, round(once_ms * 0.9e6))
    logs.enable_trace = True
    logs.log_output.outdir, logs.log_output.copy_summary_to_stdout = str(folder), False
    sut, library = loadgen.ConstructSUT(issue, lambda: None), loadgen.ConstructQSL(1, 1, lambda _: None, lambda _: None)
    try:
        loadgen.StartTestWithLogSettings(sut, library, settings, logs, "")
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(sut)
    record.walls += map(int, _COMPLETE.findall((folder / "mlperf_log_trace.json").read_text()))
    if not record.walls or not record.cpus:
        raise FailedError(
            f"LoadGen recorded {len(record.walls)} queries in {seconds:g} s", hint="Give it more --seconds."
        )
    record.rounds, record.cpu_rounds = (_rounds(len(side)) for side in (record.walls, record.cpus))
    return record


def _rounds(count: int) -> list[tuple[int, int]]:
    """As many stretches as there are rounds, one after the other."""
    size = max(1, count // steady.ROUNDS)
    return [(start, start + size) for start in range(0, count - size + 1, size)]
