"""What is written from rows and records has its form, whatever the rows say: `make pages` writes it."""

import re

import pytest

from benchmarks import gallery, low_bits, metrics_page, outside, outside_page, results_page, sources, vendors
from edgekit import zoo
from edgekit.bench import rows as files


def tables(text):
    """Every table as its rows of cells, head first, the ruler left out."""
    found = [block.strip().splitlines() for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)]
    return [[row.strip("|").split("|") for i, row in enumerate(rows) if i != 1] for rows in found]


def inside(path, start, end):
    """What stands between two marks, of which there is one each."""
    text = path.read_text("utf-8")
    assert (text.count(start), text.count(end)) == (1, 1)
    assert text.index(start) < text.index(end)
    return text.partition(start)[2].partition(end)[0]


BLOCKS = {
    "README.md": lambda: inside(results_page.README, results_page.START, results_page.END),
    "RESULTS.md": lambda: results_page.PAGE.read_text("utf-8"),
    "own-models.md": lambda: inside(sources.PAGE, sources.START, sources.END),
    "its metrics": lambda: inside(sources.PAGE, metrics_page.START, metrics_page.END),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_every_row_of_a_table_has_the_cells_of_its_head(name):
    found = tables(BLOCKS[name]())
    assert found
    for head, *rows in found:
        assert rows, head
        assert {len(row) for row in rows} == {len(head)}, head
        assert not [row for row in rows if {"None", "nan", "inf"} & {word for cell in row for word in cell.split()}]


def test_every_metric_is_in_the_table():
    assert BLOCKS["its metrics"]().strip() == metrics_page.table(), "run: make pages"


def test_the_gallery_keeps_the_rows_of_pictures_that_are_not_made_anew():
    text = gallery.PAGE.read_text("utf-8")
    assert gallery.page(gallery.rows_in(text)) == text, "run: python -m benchmarks.gallery"
    assert all((gallery.PICTURES_AT / f"{name}.png").is_file() for name in gallery.rows_in(text))


def test_the_low_bits_page_is_that_of_its_rows():
    assert low_bits.PAGE.read_text("utf-8") == low_bits.page(), "run: make pages"
    assert set(low_bits.newest()) <= set(low_bits.CELLS)


def test_the_page_of_vendors_is_that_of_its_rows():
    assert vendors.PAGE.read_text("utf-8") == vendors.page(), "run: make pages"
    assert set(vendors.newest()) <= set(vendors.CELLS)


def test_the_page_of_outside_models_is_that_of_its_rows():
    assert outside_page.PAGE.read_text("utf-8") == outside_page.page(outside_page.newest()), "run: make pages"
    kinds = [model.kind for model in outside.models()]
    assert len(kinds) >= 40 and min(kinds.count(kind) for kind in kinds) >= 3


def test_results_have_their_sections():
    titles = re.findall(r"^#+ (.*)", BLOCKS["RESULTS.md"](), re.MULTILINE)
    written = re.findall(r"^#+ (.*)", results_page.page(results_page.newest()), re.MULTILINE)
    assert titles == written, "run: make pages"


def test_the_readme_counts_every_format():
    [[_, *rows]] = [found for found in tables(BLOCKS["README.md"]()) if found[0][0].strip() == "format"]
    assert [row[0].strip() for row in rows] == list(results_page.FORMATS.values())
    counts = re.compile(r"\d+|\d+ [A-Z_]+(, \d+ [A-Z_]+)*")
    assert all(counts.fullmatch(cell.strip()) for row in rows for cell in row[1:])


def test_a_new_model_and_a_forgotten_one_need_no_rows_of_their_own(monkeypatch):
    """One without rows is counted as not run; rows of one that is gone are passed over."""
    before = results_page.newest()
    names = [name for name in zoo.names() if name != "mlp"]
    monkeypatch.setattr(zoo, "names", lambda: [*names, "newcomer"])
    now = results_page.newest()
    assert now == [row for row in before if row.cell.model != "mlp"]
    shares = [bar for bar in results_page.bars(now) if "cells that PASS" in bar]
    assert shares and all("not run" in bar for bar in shares)
    assert len(results_page.page(now).splitlines()) < len(results_page.page(before).splitlines())


def test_the_last_row_of_a_cell_counts(tmp_path):
    row = next(row for row in results_page.newest() if row.cell.model == "mlp")
    files.append(tmp_path / "rows.jsonl", [row, row.model_copy(update={"status": "FAIL_PARITY"})])
    assert [row.status for row in results_page.newest(tmp_path / "rows.jsonl")] == ["FAIL_PARITY"]


def test_a_cell_that_was_not_run_counts_against_its_bar():
    own = [row for row in results_page.newest() if row.cell.model == "mlp"]
    shares = [bar for bar in results_page.bars(own) if "cells that PASS" in bar]
    assert len(shares) == 4
    assert all("not run" in bar and bar.endswith("**no** |") for bar in shares)
