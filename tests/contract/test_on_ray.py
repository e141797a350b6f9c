"""A suite over a cluster of two nodes of which one is killed: no row is lost; and artifacts travel by their hash."""

import os
import sys
import time
from pathlib import Path

import pytest

from edgekit.artifact import contents
from edgekit.bench import converting, on_ray, rows, running
from edgekit.bench.on_ray import OnRay
from edgekit.bench.row import Cell
from edgekit.bench.running import Options
from edgekit.errors import DamagedFileError, FailedError, MissingDependencyError, NotRunError
from edgekit.jobs.store import Store
from tests import null

CELLS = [
    Cell(model=model, framework="torch", target=target)
    for model in ("dense", "pair", "score")
    for target in ("null-fp32", "null-int8-dynamic", "tflite-fp32")
]


def convert(cell, folder, workers, store, *, latency):
    """A conversion without a vendor, slow enough for a node to die in it."""
    time.sleep(1)
    with null.installed(), null.Here() as here:
        if cell.target == "tflite-fp32":
            return converting.failed(cell, "UNSUPPORTED", "not in this test")
        return converting.convert(cell, folder, here, store, latency=latency)


def measure(folder, asked):
    """No measurement: it says what it was given, as the reason why there is none."""
    raise FailedError(f"was given {contents.sha256_of(contents.sealed_files(folder))}")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Two nodes with a core each, of which the first is the device; they inherit this environment."""
    monkeypatch.setenv("EDGEKIT_PATH", str(null.HERE))
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(null.HERE.parents[1]))
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "resources": {on_ray.resource("cpu"): 1}}
    made = Cluster(initialize_head=True, head_node_args={**head, "object_store_memory": 80 << 20})
    yield made
    made.shutdown()


@pytest.mark.nightly
def test_a_node_that_is_killed_takes_no_row_along(cluster, tmp_path):
    other = cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    told = []

    def tell(step):
        told.append(step)
        if len(told) == 3:
            cluster.remove_node(other, allow_graceful=False)

    options = Options(tmp_path / "rows.jsonl", measure=measure, told=tell)
    with OnRay(cluster.address, convert=convert) as over:
        found = running.run(CELLS, options, over)
        assert [row.cell for row in found] == CELLS
        kept = [row for row in rows.read(options.rows) if row.measured is None]
    halves = [step.half for step in told]
    assert (halves.count("converted"), halves.count("measured")) == (9, 6), "what is UNSUPPORTED is not timed"
    assert len(kept) == 15
    for row in found:
        if row.cell.target == "tflite-fp32":
            assert row.status == "UNSUPPORTED"
        else:  # what the device was given is what was converted, wherever that was
            assert (row.status, row.reason) == (
                "FAILED",
                f"it converts, and was not timed: was given {row.made.sha256}",
            )
            assert (tmp_path / "home" / "artifacts" / str(row.made.sha256) / "manifest.json").is_file()


def test_without_ray_the_install_line_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match="ray is not installed") as raised:
        OnRay(None)
    assert "pip install 'edgekit[ray]'" in raised.value.hint


class OneNode:
    """What a cluster without a device answers."""

    def cluster_resources(self):
        return {"CPU": 4.0}


def test_a_cluster_without_the_device_is_said_before_any_work(tmp_path):
    over = object.__new__(OnRay)
    over._ray = OneNode()
    with pytest.raises(NotRunError, match="no node of the cluster offers edgekit-cpu") as raised:
        running.run(CELLS, Options(tmp_path / "rows.jsonl"), over)
    assert """--resources '{"edgekit-cpu": 1}'""" in raised.value.hint


def test_an_artifact_is_fetched_once_and_again_where_it_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_PATH", str(null.HERE))
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    made = tmp_path / "made"
    with null.installed(), null.Here() as here:
        row = converting.convert(CELLS[0], made, here, Store(tmp_path / "home"), latency=False)
    pack = {path.relative_to(made).as_posix(): path.read_bytes() for path in made.rglob("*") if path.is_file()}
    fetched = []

    def fetch():
        fetched.append(1)
        return pack

    place = on_ray.kept(row.made.sha256, fetch)
    assert place == tmp_path / "home" / "artifacts" / row.made.sha256 and contents.faults(place) == {}
    assert on_ray.kept(row.made.sha256, fetch) == place and len(fetched) == 1
    file = next(path for path in place.iterdir() if path.suffix == ".null")
    file.write_bytes(b"another")
    assert on_ray.kept(row.made.sha256, fetch) == place and contents.faults(place) == {} and len(fetched) == 2
    with pytest.raises(DamagedFileError, match="is another, or not whole"):
        on_ray.kept("0" * 64, fetch)
    with pytest.raises(DamagedFileError, match=r"has a file '\.\./x'"):
        on_ray.kept("1" * 64, lambda: {"../x": b""})
    assert sorted(os.listdir(place.parent)) == [row.made.sha256], "nothing else stays"
    assert not Path(tmp_path / "home" / "x").exists()
