"""Short names for a chosen file: the numbers that the frontends hang on theirs, and repeats of what they are made of.

Until a file is chosen its layers keep their names, by which people and tools find them.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from edgekit.toolchains import WORTH, Names

_DECLARATION = b'<?xml version="1.0"?>\n'


def compact(file: Path, folder: Path) -> Names | None:
    """Write a file under short names into a folder, its weights beside it; nothing, where its names are short."""
    tree = ElementTree.parse(file)  # noqa: S314  # one of our own
    layers = tree.findall("./layers/layer")
    fixed = [layer.attrib["name"] for layer in layers if layer.attrib["type"] in ("Parameter", "Result")]
    seen, names = Counter(fixed), {}
    for layer in layers:
        if layer.attrib["type"] in ("Parameter", "Result"):
            continue
        old = layer.attrib["name"]
        plain = re.sub(r"_\d+", "", old)
        seen[plain] += 1
        layer.attrib["name"] = plain if seen[plain] == 1 else f"{plain}_{seen[plain]}"
        if layer.attrib["name"] != old:
            names[layer.attrib["name"]] = old
    content = _DECLARATION + ElementTree.tostring(tree.getroot(), "utf-8") + b"\n"
    weights, before = file.with_suffix(".bin"), file.stat().st_size
    if before - len(content) < WORTH * (before + weights.stat().st_size):
        return None
    (folder / file.name).write_bytes(content)
    shutil.copyfile(weights, folder / weights.name)
    return Names(operators=names)
