"""Everything that is written from committed rows and records, in one command.

python benchmarks/pages.py
"""

from __future__ import annotations

from benchmarks import metrics_page, results_page, sources


def write() -> None:
    """Write the README's matrix, ``RESULTS.md`` and the tables in ``docs/own-models.md``."""
    results_page.write()
    sources.write()
    metrics_page.write()


if __name__ == "__main__":
    write()
