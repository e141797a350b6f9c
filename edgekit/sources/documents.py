"""JSON that somebody handed in."""

from __future__ import annotations

import json
from typing import Any

from edgekit.errors import DamagedFileError

#: Configurations of the largest models take some tens of megabytes.
MOST_BYTES = 256 << 20
#: Nested models take some ten levels each; readers of documents recurse.
_DEEPEST = 200


def read_json(text: str | bytes, name: str) -> Any:
    """Parse a JSON document.

    Raises:
        DamagedFileError: no JSON, nested deeper than any model is, or larger.
    """
    if len(text) > MOST_BYTES:
        raise DamagedFileError(f"{name} has {len(text)} bytes of JSON; at most {MOST_BYTES} are read")
    try:
        found = json.loads(text)
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:
        raise DamagedFileError(f"{name} is no JSON: {error}", hint="Fetch or save it again.") from error
    level, depth = [found], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise _too_deep(name)
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    return found


def _too_deep(name: str) -> DamagedFileError:
    return DamagedFileError(f"{name} is JSON nested deeper than {_DEEPEST} levels", hint="Fetch or save it again.")
