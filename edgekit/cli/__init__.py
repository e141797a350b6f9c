"""The command line: `edgekit`."""

from edgekit.cli.main import main, run

__all__ = ["main", "run"]
