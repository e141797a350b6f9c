"""What runs in child processes: one file per step, JSON in and JSON out.

``pipeline.py`` says in which order and in which kind of child; files go into the ``folder`` that a step is given.
"""

from typing import Any

Json = Any
