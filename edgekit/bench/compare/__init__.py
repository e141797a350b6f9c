"""Comparing two rows files or two artifacts: what became worse, and what cannot be told."""
