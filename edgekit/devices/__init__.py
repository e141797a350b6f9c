"""Where files are executed and timed."""
