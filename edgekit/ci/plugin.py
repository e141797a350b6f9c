"""The pytest plug-in: a fixture ``edgekit_parity``, ``--edgekit-report FILE``, a section in the summary.

It is imported by every run of pytest where edgekit is installed, and so imports nothing of edgekit until it is used.
What was converted travels with the tests' reports, as pytest-xdist's processes hand them on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from edgekit.result import Result

_ROW = "edgekit_row"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--edgekit-report``."""
    parser.getgroup("edgekit").addoption(
        "--edgekit-report", metavar="FILE", type=Path, help="file of rows (.jsonl) that results are added to"
    )


class Collected:
    """The rows of all tests, in the process that prints."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a test's rows from its last report."""
        if report.when == "teardown":
            self.rows += [(report.nodeid, str(value)) for name, value in report.user_properties if name == _ROW]


def pytest_configure(config: pytest.Config) -> None:
    """Nothing was converted yet; of pytest-xdist's processes the one that prints collects."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Collected(), "edgekit-collected")


@pytest.fixture
def edgekit_parity(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``edgekit.assert_parity``; artifacts are kept in the test's ``tmp_path``, results are told in the summary."""
    from edgekit.bench import stamp
    from edgekit.bench.of_result import row_of
    from edgekit.ci import parity

    def listen(result: Result) -> None:
        row = row_of(result, code=stamp.code(), at=stamp.now(), host=result.host, fingerprint=stamp.fingerprint())
        request.node.user_properties.append((_ROW, row.model_dump_json(by_alias=True)))

    def check(model: object, target: str = "tflite-int8", **options: Any) -> Result:
        folder = tmp_path / f"artifact{len(request.node.user_properties)}"
        return parity.assert_parity(model, target, **{"output": folder, **options})

    parity.listeners.append(listen)
    yield check
    parity.listeners.remove(listen)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What was converted, in a table, and into the report."""
    collected: Any = config.pluginmanager.get_plugin("edgekit-collected")
    if collected is None or not collected.rows:
        return
    from edgekit.bench import rows
    from edgekit.bench.row import Row
    from edgekit.ci import reporting

    found = [(test, Row.model_validate_json(text)) for test, text in collected.rows]
    terminalreporter.section("edgekit")
    terminalreporter.write(reporting.table(found))
    report = config.getoption("--edgekit-report")
    if report is not None:
        rows.append(report, [row for _, row in found])
        terminalreporter.write_line(f"{len(found)} rows added to {report}")
