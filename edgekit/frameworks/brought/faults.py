"""What a model's own code raised while it ran, as one sentence: what happened, in which layer, in which line."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

#: Of edgekit itself.
_PACKAGE = Path(__file__).parents[2]
#: Lines of TensorFlow and Keras that stand around what happened.
_AROUND = re.compile(
    r"Graph execution error:?|Detected at node|<stack traces|File \"|Exception encountered when calling|"
    r"Arguments received by|\[\[\{\{node|Stack trace|Caused by|Original stack|Node: "
)
#: What stands within such a line: colours, places in a graph, the operator that was called from Python.
_WITHIN = re.compile(r"\x1b\[\d+m|\{\{function_node \S+\}\} ?|\s*\[Op:\w+\].*$")
#: How TensorFlow names the place in a graph.
_NODE = re.compile(r"(?:Detected at node |\{\{node )'?([\w./]+)")
#: A frame of a traceback that stands within a message.
_PRINTED = re.compile(r'File "([^"]+)", line (\d+)')
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/:'\"]+/)+")


def told(error: BaseException, native: Any = None) -> str:
    """What was raised, the layer and the line of the user's where it was, on one line.

    Args:
        error: what a forward pass raised.
        native: the framework's model, which knows its layers; found in the traceback where None.
    """
    kind = type(error).__name__
    said = cause(error)
    plain = type(error).__module__ == "builtins" and kind not in ("RuntimeError", "Exception", said)
    return f"{kind}: {located(error, native)}" if plain else located(error, native)


def located(error: BaseException, native: Any = None) -> str:
    """The same without the exception's type."""
    where = place(error, native)
    return f"{cause(error)} ({where})" if where else cause(error)


def cause(error: BaseException) -> str:
    """The first line that says what happened; the exception's type where none does."""
    lines = (_FOLDERS.sub("", _WITHIN.sub("", line)).strip() for line in str(error).splitlines())
    text = next((line for line in lines if line and not _AROUND.match(line)), "")
    return text[:400].rstrip(".") or type(error).__name__


def place(error: BaseException, native: Any = None) -> str:
    """Layer and source line: ``layer 'head' (Linear), net.py:12: return head(x)``; empty where neither is known."""
    frames = list(_frames(error.__traceback__))
    selves = [frame.f_locals.get("self") for frame, _ in frames]
    known = layers(native or next(filter(_has_layers, selves), None))
    own = [known[id(one)] for one in selves if id(one) in known]
    layer = own[-1] if own else _of_node(str(error), native)
    places = [(frame.f_code.co_filename, number) for frame, number in frames]
    places += [(match[1], int(match[2])) for match in _PRINTED.finditer(str(error))]
    lines = [_line(file, number) for file, number in places if is_users(file)]
    return ", ".join(filter(None, (layer, lines[-1] if lines else "")))


def is_users(file: str) -> bool:
    """Whether a file belongs neither to Python, nor to what is installed, nor to edgekit."""
    ours = (sys.prefix, sys.base_prefix, str(_PACKAGE))
    return not file.startswith("<") and not any(Path(file).is_relative_to(folder) for folder in ours)


def users_line() -> str:
    """The innermost line of the user's that is being run now; empty where none is."""
    frame = sys._getframe(1)
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            return _line(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]  # None ends it
    return ""


def called(name: str, layer: Any) -> str:
    """A layer as errors call it."""
    return f"layer {name!r} ({type(layer).__name__})"


def _line(file: str, number: int) -> str:
    [summary] = traceback.StackSummary.from_list([(file, number, "", None)])
    return f"{Path(file).name}:{number}: {summary.line}" if summary.line else f"{Path(file).name}:{number}"


def _frames(trace: TracebackType | None) -> Iterator[tuple[Any, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _has_layers(one: Any) -> bool:
    """Whether an object is a model or a layer, and no class."""
    return not isinstance(one, type) and (hasattr(one, "_flatten_layers") or hasattr(one, "named_modules"))


def layers(native: Any) -> Mapping[int, str]:
    """Layers below a model by identity, as errors call them."""
    if hasattr(native, "_flatten_layers"):
        return {id(layer): called(layer.name, layer) for layer in native._flatten_layers() if layer is not native}
    if hasattr(native, "named_modules"):
        return {id(module): called(name, module) for name, module in native.named_modules() if name}
    return {}


def _of_node(text: str, native: Any) -> str:
    """The layer that a place in TensorFlow's graph belongs to: names there have numbers behind them."""
    if not hasattr(native, "_flatten_layers") or not (found := _NODE.search(text)):
        return ""
    layers = {layer.name: layer for layer in native._flatten_layers() if layer is not native}
    for part in reversed(found[1].split("/")):
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in layers:
                return called(name, layers[name])
    return ""
