"""What in a model file could run code or touch other files, found without loading the file.

Everything here reads bytes only: no framework, no unpickling, nothing extracted from an archive. ``refuse`` is the
one entrance; ``edgekit/source.py`` calls it before any child process sees the file.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.data.archives import open_zip
from edgekit.errors import DamagedFileError, UnsafeInputError, UsageError
from edgekit.sources import saved_model_proto

#: Keras classes that carry Python code, another model file, or pickles.
_CODE_CLASSES = {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
#: Keras layers that read a file where ``vocabulary`` is a path.
_VOCABULARY_CLASSES = {"StringLookup", "IntegerLookup", "TextVectorization"}
#: Packages whose classes Keras knows without the user's code; ``edgekit`` is the zoo.
_KNOWN_PACKAGES = {"keras", "tf_keras", "keras_hub", "keras_nlp", "keras_cv", "builtins", "edgekit"}
#: ``TFOpLambda`` calls any public TensorFlow function by name; these parts of the namespace do more than compute.
_TF_FUNCTION = re.compile(
    r"(^|\.)(io|raw_ops|data|summary|debugging|distribute|train|saved_model|config|profiler|py_func\w*|"
    r"numpy_function|print|py_function)(\.|$)|file|save|load"
)
#: The pickled globals that make tensors; torch's weights-only unpickler allows these and little else.
_TENSOR_GLOBALS = re.compile(
    r"collections OrderedDict|_codecs encode|torch(\.storage)? (\w+Storage|Size|device|dtype)|torch serialization\w*|"
    r"torch\._utils _rebuild_(tensor_v[23]|parameter)|torch\._tensor _rebuild_from_type_v2|"
    r"torch (float\w*|bfloat16|u?int\d+|bool|Tensor|strided)|torch\.nn\.parameter Parameter|"
    r"torch\.serialization _get_layout"
)


def refuse(path: Path, kind: str, *, trust: bool) -> None:
    """Raise when the file is damaged or, unless ``trust``, when loading or running it could execute code.

    Args:
        path: the file, or the folder of a SavedModel.
        kind: the kind of ``edgekit.sources.source.Source``.
        trust: whether the user answers for the file; damage is an error all the same.

    Raises:
        DamagedFileError: truncated, altered, or not what it says; the file is named.
        UnsafeInputError: something in it could run code; what and where is named.
        UsageError: a Keras file with classes that only the user's own code defines.
    """
    checks: dict[str, Callable[[Path], str | None]] = {
        "keras": _keras_archive,
        "h5": _h5,
        "savedmodel": _saved_model,
        "pt2": _pt2,
        "torchscript": _torchscript,
    }
    found = checks[kind](path)
    if found and not trust:
        raise UnsafeInputError(
            f"{path} could run code when it is loaded: {found}",
            hint="Pass --trust if you know where the file comes from, or hand in `file.py:function` that builds it.",
        )


def keras_config(path: Path) -> tuple[dict[str, Any], str]:
    """Model configuration and Keras version of a ``.keras`` or ``.h5`` file, read without Keras.

    Raises:
        DamagedFileError: not such a file.
        UsageError: an ``.h5`` that holds weights only.
    """
    if path.suffix == ".keras":
        opened = open_zip(path, str(path))
        try:
            metadata = json.loads(opened.read("metadata.json"))
            return json.loads(opened.read("config.json")), str(metadata.get("keras_version", ""))
        except (KeyError, ValueError) as error:
            raise DamagedFileError(f"{path} is not a Keras archive: {error}") from error
    with _open_h5(path, str(path)) as file:
        if "model_config" not in file.attrs:
            raise UsageError(
                f"{path} holds weights only, no model",
                hint="Save the whole model (model.save), or hand in `file.py:function` that builds it and loads them.",
            )
        try:
            text = file.attrs["model_config"]
            version = file.attrs.get("keras_version", "")
            return json.loads(text), version.decode() if isinstance(version, bytes) else str(version)
        except (ValueError, OSError) as error:
            raise DamagedFileError(f"{path}: its model configuration cannot be read: {error}") from error


def nodes(config: Any) -> Iterator[dict[str, Any]]:
    """Every mapping with a ``class_name`` inside a Keras configuration, at any depth."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config
        for value in config.values():
            yield from nodes(value)
    elif isinstance(config, list):
        for value in config:
            yield from nodes(value)


def _keras_archive(path: Path) -> str | None:
    opened = open_zip(path, str(path))
    if "model.weights.h5" in opened.namelist():
        with _open_h5(io.BytesIO(opened.read("model.weights.h5")), f"{path}: model.weights.h5") as file:
            linked = _h5_links(file)
        if linked:
            return linked
    return _keras_nodes(path)


def _h5(path: Path) -> str | None:
    with _open_h5(path, str(path)) as file:
        linked = _h5_links(file)
    return linked or _keras_nodes(path)


def _keras_nodes(path: Path) -> str | None:
    return first_code(keras_config(path)[0])


def first_code(config: Any) -> str | None:
    """What in a Keras configuration carries code or needs the user's own classes; None where nothing does."""
    if _marshalled(config):
        return "Python code of a lambda in its configuration"
    return next((found for node in nodes(config) if (found := _keras_node(node))), None)


def _marshalled(config: Any) -> bool:
    """Whether a lambda's compiled code is anywhere inside, in the form ``[code, defaults, closure]``."""
    if isinstance(config, dict):
        value: Any = config.get("config") if config.get("class_name") == "function" else config.get("value")
        code = isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)
        # [name, 0, 0] is not code: Keras 2 writes the input called "value" of an attention layer like that.
        code = code and all(part is None or isinstance(part, list | dict) for part in value[1:])
        return code or any(_marshalled(inner) for inner in config.values())
    return isinstance(config, list) and any(_marshalled(inner) for inner in config)


def _keras_node(node: dict[str, Any]) -> str | None:
    kind, settings = node["class_name"], node.get("config")
    name = settings.get("name", "") if isinstance(settings, dict) else ""
    if kind in _CODE_CLASSES:
        return f"a {kind} {name!r}" if name else f"a {kind}"
    if kind == "TFOpLambda" and isinstance(settings, dict) and _TF_FUNCTION.search(str(settings.get("function"))):
        return f"layer {name!r} calls tf.{settings.get('function')}"
    if kind in _VOCABULARY_CLASSES and isinstance(settings, dict) and isinstance(settings.get("vocabulary"), str):
        return f"{kind} {name!r} reads the file {settings['vocabulary']!r}"
    module = str(node.get("module") or "keras").split(".")[0]
    package, marked, _ = str(node.get("registered_name") or "").partition(">")
    if module not in _KNOWN_PACKAGES or (marked and package.lower() not in _KNOWN_PACKAGES):
        shown = node.get("registered_name") or f"{node.get('module')}.{kind}"
        return f"it needs the class {shown}, which only your own code defines"
    return None


def _open_h5(path: Path | io.BytesIO, name: str) -> Any:
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DamagedFileError(f"{name} is not a whole HDF5 file: {error}", hint="Fetch or save it again.") from error


def _h5_links(file: Any) -> str | None:
    """HDF5 can point at other files (external links, external storage, virtual datasets): name the first."""
    import h5py

    found: list[str] = []

    def visit(group: Any) -> None:
        for key in group:
            link = group.get(key, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                found.append(f"HDF5 link {group.name}/{key} points at the file {link.filename!r}")
                continue
            item = group[key] if isinstance(link, h5py.HardLink) else None
            if isinstance(item, h5py.Group):
                visit(item)
            elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                found.append(f"HDF5 dataset {item.name} keeps its data in other files")

    visit(file)
    return found[0] if found else None


def _saved_model(path: Path) -> str | None:
    for member in path.rglob("*"):
        if member.is_symlink() and not member.resolve().is_relative_to(path.resolve()):
            return f"{member.name} is a link to {member.resolve()}"
    return saved_model_proto.dangerous_op(saved_model_proto.read(path))


def _pt2(path: Path) -> str | None:
    opened = open_zip(path, str(path))
    for member in opened.namelist():
        if "/aotinductor/" in member or member.endswith((".so", ".dll", ".dylib")):
            return f"compiled code in {member!r}"
        if PurePosixPath(member).name.startswith(("custom_obj_", "opaque_obj_")):
            return f"a pickled object in {member!r}"
    for member in pickled_members(opened):
        found = pickle_globals(opened.read(member), f"{path}: {member}")
        if found:
            return f"{member!r} unpickles {found}"
    return None


def pickled_members(opened: zipfile.ZipFile) -> list[str]:
    """Members of a ``.pt2`` archive that ``torch.export.load`` hands to an unpickler."""
    declared: set[str] = set()
    for member in opened.namelist():
        if member.endswith("_config.json"):
            try:
                entries = json.loads(opened.read(member)).get("config", {})
                declared |= {str(e["path_name"]) for e in entries.values() if e.get("use_pickle", True)}
            except (ValueError, AttributeError, KeyError, TypeError) as error:
                raise DamagedFileError(f"{opened.filename}: {member} cannot be read: {error}") from error
    return [
        member
        for member in opened.namelist()
        if PurePosixPath(member).name in declared
        or member.endswith((".pt", ".pkl", ".pth"))
        or opened.open(member).read(4) == b"PK\x03\x04"
    ]


def pickle_globals(data: bytes, name: str) -> str | None:
    """Name the first global, other than those that build tensors, that a pickle (or torch's zip of one) imports."""
    if data[:4] == b"PK\x03\x04":
        inner = open_zip(io.BytesIO(data), name)
        for member in inner.namelist():
            if member.endswith(".pkl"):
                found = pickle_globals(inner.read(member), f"{name}: {member}")
                if found:
                    return found
        return None
    for found in _globals(data, name):
        if not _TENSOR_GLOBALS.fullmatch(found):
            return found.replace(" ", ".")
    return None


def _globals(data: bytes, name: str) -> Iterator[str]:
    """Globals of a pickle as ``module name``; one that cannot be told statically is given as ``unknown``."""
    texts: list[str] = []
    memo: dict[Any, str | None] = {}
    last: str | None = None
    stream = io.BytesIO(data)
    try:
        while stream.tell() < len(data):
            for code, argument, _ in pickletools.genops(stream):
                if code.name in {"GLOBAL", "INST"}:
                    yield str(argument)
                elif code.name == "STACK_GLOBAL":
                    yield f"{texts[-2]} {texts[-1]}" if len(texts) > 1 and last is not None else "unknown"
                elif code.name in {"EXT1", "EXT2", "EXT4"}:
                    yield "unknown"
                if code.name == "MEMOIZE":
                    memo[len(memo)] = last
                elif "PUT" in code.name:
                    memo[argument] = last
                else:
                    last = memo.get(argument) if "GET" in code.name else argument if "UNI" in code.name else None
                    if isinstance(last, str):
                        texts.append(last)
            # torch's old format is several pickles in a row, then raw storages: stop where no pickle starts.
            if data[stream.tell() : stream.tell() + 1] != b"\x80":
                return
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"{name} is not a whole pickle: {error}") from error


def _torchscript(path: Path) -> str | None:
    opened = open_zip(path, str(path))
    for member in opened.namelist():
        if "/code/" in member and member.endswith(".py"):
            found = re.search(rb"(?:ops\.aten\.|torch\.)(save|from_file|set_data|hash_file)\b", opened.read(member))
            if found:
                return f"{member!r} calls {found.group(0).decode()}"
    return None
