"""Benchmarks: suites of cells, their rows, and what two sets of rows say about each other."""
