"""Core ML's ML Programs, read and executed on any machine.

Useful alone::

    from edgekit import mil
    program = mil.load(Path("model.mlpackage"))
    outputs = program.run({"x": array})

Needs coremltools installed for its protobuf classes, but imports nothing else of it.
"""

from __future__ import annotations

from edgekit.mil.program import Program, load

__all__ = ["Program", "load"]
