"""`edgekit benchmark`: files, suites, and the tables of both."""
