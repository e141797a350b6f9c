"""Artifacts that earlier releases wrote verify with this one: ``artifacts/<version>/`` holds them as they were.

Those of 0.1.0 were made by its last code with flat modules, 2026-11-25, from the zoo's mlp.
"""

from pathlib import Path

import pytest

from edgekit import api
from edgekit.artifact import contents, publishing
from edgekit.artifact import folder as artifact

ARTIFACTS = sorted(path.parent for path in (Path(__file__).parent / "artifacts").glob("*/*/manifest.json"))


@pytest.mark.parametrize("folder", ARTIFACTS, ids=lambda path: "-".join(path.parts[-2:]))
def test_they_verify(workers, folder):
    found = artifact.verify(folder, workers)
    assert (found["status"], found["reason"], found["damaged"]) == ("PASS", "", [])
    assert found["replay"]["parity"]["sqnr_db"] > 60


@pytest.mark.parametrize("folder", ARTIFACTS, ids=lambda path: "-".join(path.parts[-2:]))
def test_they_can_be_inspected_and_replaced(folder):
    assert contents.faults(folder) == {}
    publishing.check(folder)
    found = api.inspect(folder)
    assert found["ops_total"] == 4


def test_there_are_some():
    assert len(ARTIFACTS) == 2
