"""README.md and RESULTS.md say what the committed rows say, and nothing else."""

from benchmarks import results_page


def test_the_pages_are_what_the_rows_make():
    rows = results_page.newest()
    shown = results_page.README.read_text().partition(results_page.START)[2].partition(results_page.END)[0]
    assert shown.strip() == results_page.readme_block(rows).strip(), "run: python benchmarks/results_page.py"
    assert results_page.PAGE.read_text() == results_page.page(rows), "run: python benchmarks/results_page.py"


def test_the_newest_row_of_a_cell_counts(tmp_path):
    old, new = [
        f'{{"model": "mlp", "framework": "torch", "target": "tflite-int8", "status": "{status}", "date": "{date}"}}\n'
        for status, date in (("PASS", "2026-11-20 09:00"), ("FAIL_PARITY", "2026-11-21 09:00"))
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text(new + old)
    assert [row["status"] for row in results_page.newest(path)] == ["FAIL_PARITY"]


def test_a_cell_that_was_not_run_counts_against_its_bar():
    rows = [row for row in results_page.newest() if row["model"] == "mlp"]
    shares = [bar for bar in results_page.bars(rows) if "cells that PASS" in bar]
    assert len(shares) == 4
    assert all("not run" in bar and bar.endswith("**no** |") for bar in shares)
