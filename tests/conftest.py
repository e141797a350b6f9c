"""Fixtures and rules of all tests."""

from __future__ import annotations

import os

# Before any framework is imported: with two test processes on two cores, pools of threads spin for each other's core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of a file together; leave out those whose data are not here.

    Their fixtures convert models for the whole file: spread over two processes, each would convert them.
    """
    for item in items:
        if "unit" not in item.path.parts and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    if os.environ.get("EDGEKIT_TEST_DATA"):
        return
    outside = [item for item in items if item.get_closest_marker("outside")]
    if outside:
        config.hook.pytest_deselected(items=outside)
        items[:] = [item for item in items if item not in outside]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of the test run's own."""
    return Store(tmp_path_factory.mktemp("home"))


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
