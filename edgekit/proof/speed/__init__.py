"""How fast a file runs on the machine that this is: what a benchmark measures, and what disturbed it."""
