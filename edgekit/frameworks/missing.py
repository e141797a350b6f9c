"""Operators that a format lacks: which ones a vendor's message names, and where in the model they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import UnsupportedError

_MESSAGES = (
    r"Lowering not found: (\S+)",  # litert-torch 0.10
    r"No ONNX function found for <OpOverload\(op='([\w.]+)'",  # torch.onnx 2.13
    r"No conversion rule found for operations: ([^\n]+)",  # OpenVINO 2026.4
    r"'tf\.(\w+)' op is neither a custom op nor a flex op",  # TFLiteConverter 2.21
    r"No Op registered for (\w+) with domain_version",  # onnx.checker, on what tf2onnx 1.17 passed through
)
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in [^\n]+\n\s*(?P<code>[^\n]+)')


def operators(text: str) -> list[str]:
    """Operators that a vendor's message says it cannot convert, in its order; empty where it names none."""
    found = [match[1].split(", ") for pattern in _MESSAGES for match in re.finditer(pattern, text)]
    return list(dict.fromkeys(name.strip() for names in found for name in names))


def error(tool: str, missing: Sequence[str], places: Iterable[str]) -> UnsupportedError:
    """Build the error that names operators and places."""
    where = "; ".join(dict.fromkeys(place for place in places if place))
    return UnsupportedError(
        f"{tool} cannot convert {', '.join(missing)}{f' ({where})' if where else ''}",
        hint="Replace it in the model by operators that the target has, or take a target of another format.",
    )


def source_line(text: str) -> str:
    """The innermost line of the user's own code in a Python traceback: ``file.py:26: code``; empty where none is."""
    frames = [match for match in _FRAME.finditer(text) if "site-packages" not in match["file"]]
    return f"{Path(frames[-1]['file']).name}:{frames[-1]['line']}: {frames[-1]['code'].strip()}" if frames else ""


def torch_places(program: Any, missing: Sequence[str]) -> list[str]:
    """Layer and source line of every node of a ``torch.export`` program that calls one of the operators."""
    stems = [name.split(".")[1].strip("_") for name in missing if "." in name]  # _linalg_svd was linalg_svdvals before
    found = []
    for node in program.graph.nodes:
        if node.op == "call_function" and any(stem in str(node.target) for stem in stems):
            path, kind = list(node.meta.get("nn_module_stack", {"": ("", "")}).values())[-1]
            layer = f"layer {path}, " if path else ""
            found.append(f"{layer}{source_line(node.meta.get('stack_trace') or '') or kind}")
    return found


def tensorflow_places(folder: Path, missing: Sequence[str]) -> list[str]:
    """Names, which begin with the layer's, of a SavedModel's nodes that are one of the operators."""
    from edgekit.frameworks import saved_model

    return [
        f"at {node.name}"
        for graph in saved_model.graphs(folder)
        for function in graph.library.function
        for node in function.node_def
        if node.op in missing
    ]
