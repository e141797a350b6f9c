"""Every architecture at its paper's size, from both frameworks, to one float target each: parity on generated inputs.

No weights of that size ship, so that nothing is said about accuracy. Which target it is, a hash of the names says.
"""

import hashlib

import pytest

import edgekit
from benchmarks.cells import FRAMEWORKS
from edgekit import target, zoo
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers

FLOAT = [name for name in target.names() if target.load(name).precision == "fp32"]
CELLS = [
    (
        f"{name}:{config}@{framework}",
        FLOAT[hashlib.sha256(f"{name}{config}{framework}".encode()).digest()[0] % len(FLOAT)],
    )
    for name in zoo.names()
    for config in zoo.architecture(name).configs
    if config != "tiny"
    for framework in FRAMEWORKS
]


@pytest.mark.parametrize(("source", "name"), CELLS)
def test_size(source, name, tmp_path):
    with Workers() as workers:  # its own: a large model's child keeps its memory
        store = Store(tmp_path / "home")
        result = edgekit.convert(source, name, output=tmp_path / "out", workers=workers, store=store, latency=False)
    assert result.status == "PASS", result.reason
    assert "ESTIMATE" in result.flags
    assert result.parity.sqnr_db >= target.load(name).gate.parity.sqnr_db_min
