"""Fixtures and rules of all tests."""

from __future__ import annotations

import os

# Before any framework is imported: with two test processes on two cores, pools of threads spin for each other's core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers

#: Files that share what is made once.
TOGETHER = {"test_routes": "test_macs", "test_layers": "test_macs"}
#: Files of units with fixtures that take seconds.
SHARING = ("test_whole_pipeline", "test_keys", "test_suites", "test_report_page", "test_tasks_audio")
#: Files that take longest, the longest first: what begins them last ends them alone.
LONGEST = (
    *SHARING,
    "test_zoo", "test_layers", "test_routes", "test_macs", "test_recipe_loop", "test_executorch", "test_sources",
    "test_litert", "test_benchmark", "test_ranges", "test_equalize", "test_rules", "test_denoiser",
    "test_bad_input", "test_brought", "test_rounding", "test_mixed", "test_convert", "test_imports", "test_axes",
)  # fmt: skip


class Together(LoadScopeScheduling):
    """Tests of one file go to one process: their fixtures convert models for all of them.

    Most units are spread one by one, cells of the matrix by their model. pytest-xdist 3.8 has marks for that, and does
    not see them with pytest 9.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, name = nodeid.partition("::")
        stem = Path(file).stem
        if stem == "test_matrix":
            return "-".join(name.split("-")[:2])
        return nodeid if "/unit/" in file and stem not in SHARING else TOGETHER.get(stem, stem)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    """Spread tests over processes, in the order in which they were collected."""
    config.option.loadscopereorder = False
    return Together(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest first; leave out those whose data are not here."""
    place = {stem: number for number, stem in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
    if os.environ.get("EDGEKIT_TEST_DATA"):
        return
    outside = [item for item in items if item.get_closest_marker("outside")]
    if outside:
        config.hook.pytest_deselected(items=outside)
        items[:] = [item for item in items if item not in outside]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of the test run's own, for all of its processes: what a file of tests made, others need not."""
    own = tmp_path_factory.getbasetemp()
    return Store((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "home")


@pytest.fixture(scope="session")
def kept(store: Store) -> Store:
    """The store in EDGEKIT_HOME, where that is set: what an earlier run made under the same keys is not made again."""
    return Store() if os.environ.get("EDGEKIT_HOME") else store


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    """Children shared by the tests of one process."""
    with Workers() as made:
        yield made


@pytest.fixture(scope="session")
def outside() -> Path:
    """The folder of outside models and data."""
    return Path(os.environ["EDGEKIT_TEST_DATA"])
