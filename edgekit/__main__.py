"""``python -m edgekit`` and the command ``edgekit``: signals are heeded before anything slow is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; a signal ends it with its own exit code at any moment and leaves nothing."""
    from edgekit.jobs import interruption

    interruption.listen()
    try:
        from edgekit.cli import main as command

        command()
    except interruption.Interrupted as error:  # outside of the command itself: nothing has begun, or all is done
        interruption.finish()
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
