"""What each extra of edgekit installs, from the metadata that its wheel carries."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from importlib import metadata

#: Modules that are not called as the distribution that brings them.
_DISTRIBUTIONS = {"cv2": "opencv-python-headless", "sklearn": "scikit-learn"}


def extras(provided: Iterable[str], requirements: Iterable[str]) -> dict[str, list[str]]:
    """Names of what each extra installs, from a distribution's metadata; without those that gather other extras."""
    lines = list(requirements)
    return {
        extra: [re.split(r"[^\w.-]", line)[0] for line in lines if re.search(rf"extra == ['\"]{extra}['\"]", line)]
        for extra in provided
        if extra not in ("all", "dev")
    }


@functools.cache
def installable() -> dict[str, list[str]]:
    """The same of the edgekit that is installed here; raises ``PackageNotFoundError`` where none is."""
    found = metadata.metadata("edgekit")
    return extras(found.get_all("Provides-Extra") or (), found.get_all("Requires-Dist") or ())


def of_module(module: str) -> str | None:
    """The smallest extra that installs a module, by the module's name; None where none does, or it cannot be told."""
    wanted = _DISTRIBUTIONS.get(module, module.replace("_", "-"))
    bring = [extra for extra, names in _told().items() if wanted in names]
    return min(bring, key=lambda extra: len(_told()[extra]), default=None)


def of_models(toolchain: str, framework: str) -> str | None:
    """The extra that a toolchain has for models of one framework alone (``litert-torch``); None where it has none."""
    name = f"{toolchain}-{framework}"
    return name if name in _told() else None


def _told() -> dict[str, list[str]]:
    try:
        return installable()
    except metadata.PackageNotFoundError:
        return {}
