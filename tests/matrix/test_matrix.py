"""Every cell of model x framework x target ends with a status: PASS, or the one recorded with its reason.

Strict both ways. Each run of the tests does the cells that cover the matrix, without timing them, and of the recorded
ones one per format and status where that is quick; ``EDGEKIT_CELLS`` names a file with other ones, and ``make nightly``
does them all.
"""

import itertools
import json
import os
import re
import tomllib
from pathlib import Path

import pytest

import edgekit
from benchmarks import cells
from edgekit import target
from edgekit.bench.converting import source_of
from edgekit.bench.row import Cell
from edgekit.errors import EdgekitError

KEYS = ("model", "framework", "target")


def each(record):
    """The cells of a record, which may name several models, frameworks and targets."""
    named = [record[key] if isinstance(record[key], list) else [record[key]] for key in KEYS]
    return [Cell(**dict(zip(KEYS, names, strict=True))) for names in itertools.product(*named)]


RECORDS = tomllib.loads((Path(__file__).parent / "records.toml").read_text()).get("cell", [])
EXPECTED = {cell: record for record in RECORDS for cell in each(record)}
GIVEN = os.environ.get("EDGEKIT_CELLS")
SECONDS, LOADING = cells.costs(), cells.loads()
#: Ways to end that no cell shows in fewer CPU seconds are left to `make nightly`.
MOST_SECONDS = 10


def takes(cell):
    """CPU seconds, about."""
    return SECONDS[cell] + LOADING[cell.model, cell.framework]


#: A recorded cell for each way in which a format ends, the quickest.
ENDS = {
    (target.load(cell.target).format, EXPECTED[cell]["status"]): cell
    for cell in sorted(EXPECTED, key=lambda cell: (takes(cell), cells.name_of(cell)), reverse=True)
    if takes(cell) <= MOST_SECONDS
}
CHOSEN = [Cell(**cell) for cell in json.loads(Path(GIVEN).read_text())] if GIVEN else cells.covering(ENDS.values())
CHOSEN.sort(key=lambda cell: (-LOADING[cell.model, cell.framework], cells.name_of(cell)))


@pytest.mark.parametrize(
    "cell",
    [pytest.param(cell, id=cells.name_of(cell), marks=[pytest.mark.matrix]) for cell in CHOSEN],
)
def test_cell(cell, workers, kept, tmp_path):
    try:
        result = edgekit.convert(
            source_of(cell), cell.target, output=tmp_path / "artifact", workers=workers, store=kept, latency=False
        )
        status, reason = result.status, result.reason
    except EdgekitError as error:
        status, reason = error.code.upper(), str(error)
    cells.mark(cell, kept)
    record = EXPECTED.get(cell)
    if record is None:
        assert status == "PASS", reason
        assert result.proof.kind == target.load(cell.target).proof
        assert (tmp_path / "artifact" / "manifest.json").is_file()
        return
    assert status == record["status"], f"recorded {record['status']}: {record['because']}\nnow {status}: {reason}"
    assert re.search(record["reason"], reason), reason


def test_every_record_names_a_cell():
    assert set(EXPECTED) <= set(cells.every())
    assert len(EXPECTED) == sum(len(each(record)) for record in RECORDS)
