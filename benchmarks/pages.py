"""Everything that is written from committed rows and records, in one command.

python benchmarks/pages.py
"""

from __future__ import annotations

from benchmarks import extras, low_bits, metrics_page, outside_page, results_page, sources, trained, vendors


def write() -> None:
    """Write the README's matrix, ``RESULTS.md``, ``LOW_BITS.md``, ``VENDORS.md``, ``outside.md`` and the tables in ``docs/own-models.md``."""
    results_page.write()
    extras.write()
    sources.write()
    metrics_page.write()
    low_bits.write()
    vendors.write()
    outside_page.write()
    trained.write()


if __name__ == "__main__":
    write()
