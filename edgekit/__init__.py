"""edgekit: from a Keras or PyTorch model to a proven file for an edge runtime.

import edgekit
result = edgekit.convert("lenet5@torch", "tflite-int8")
print(result.status, result.accuracy.drop, result.artifact)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.errors import EdgekitError

if TYPE_CHECKING:
    from edgekit.api import convert, inspect, verify
    from edgekit.ci.parity import assert_parity
    from edgekit.result import Result

#: The distribution that every number passes through.
PACKAGES = ("numpy",)

__version__ = "0.1.0"
__all__ = ["EdgekitError", "Result", "__version__", "assert_parity", "convert", "inspect", "verify"]

_HOMES = {
    "assert_parity": "edgekit.ci.parity",
    "convert": "edgekit.api",
    "inspect": "edgekit.api",
    "verify": "edgekit.api",
    "Result": "edgekit.result",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `edgekit --help` must not pay for all of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
