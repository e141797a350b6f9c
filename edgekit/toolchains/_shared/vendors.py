"""Faults of vendors' releases that this project works around, and the guard that keeps a workaround to them.

Each toolchain's ``vendor`` module declares its own, ``torch_graph`` those of PyTorch that several have under them. A
contract test reproduces every one of them without the workaround and fails when it is gone: the workaround then goes,
or ``last`` is raised with the release that is pinned.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Fault:
    """Something that releases of a vendor's package do, and that a workaround is for.

    Attributes:
        what: what happens without the workaround, in one sentence.
        package: the distribution.
        first: oldest release with it that is known.
        last: newest release in which it was reproduced.
        reports: addresses upstream; empty where none was found.
    """

    what: str
    package: str
    first: str
    last: str
    reports: tuple[str, ...] = ()

    def here(self) -> bool:
        """Whether a release that has it is installed (patch releases and builds do not count)."""
        try:
            installed = _release(metadata.version(self.package))
        except metadata.PackageNotFoundError:
            return False
        return _release(self.first) <= installed <= _release(self.last)


def _release(version: str) -> tuple[int, ...]:
    """Major and minor number."""
    return tuple(int(part) for part in version.split("+")[0].split(".")[:2])
