"""The one entrance for files that somebody hands in: checked, copied, and told about, without a framework.

Runs in a child (``edgekit/steps/describe.py``). What is checked is what is loaded: zips are written anew, so that there
is one reading of them; of a SavedModel the files that TensorFlow reads are copied.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from edgekit.data import archives
from edgekit.errors import DamagedFileError, UnsafeInputError, UnsupportedError, UsageError, with_article
from edgekit.signature import Environment
from edgekit.sources import allowed, documents, exported_program, hdf5, keras_config, saved_model, torchscript
from edgekit.sources.source import Facts


def check(
    path: Path, kind: str, given: str, folder: Path, *, trust: bool, beside: Mapping[str, Path] = MappingProxyType({})
) -> Facts:
    """Check a file and, unless the user trusts it, put the copy that may be loaded into a folder.

    Args:
        path: the file, or the folder of a SavedModel.
        kind: the kind of ``edgekit.sources.source.Source``.
        given: what errors call it.
        folder: where the copy goes.
        trust: whether the user answers for what it contains; damage is an error all the same.
        beside: files that it names (``beside``), by these names.

    Raises:
        DamagedFileError: truncated, altered, or not what it says.
        UnsafeInputError: something in it could run code or reach other files.
        UnsupportedError: something in it that nobody has looked at.
        UsageError: a file of another kind, or without a model.
    """
    if kind == "onnx":
        from edgekit.sources import onnx_model

        return Facts(("onnx", "onnx2tf"), file=onnx_model.check(path, given, folder, beside, trust=trust).name)
    checks: dict[str, Callable[[Path, str, Path, bool], Facts]] = {
        "keras": _keras_archive,
        "h5": _h5,
        "savedmodel": _saved_model,
        "pt2": _pt2,
        "torchscript": _torchscript,
    }
    return checks[kind](path, given, folder, trust)


def beside(path: Path, given: str) -> tuple[str, ...]:
    """Names of the files that an .onnx takes weights from, relative to its folder; raises as ``check`` does."""
    from edgekit.sources import onnx_model  # onnx is not installed everywhere

    return onnx_model.beside(onnx_model.parse(path, given), given)


_BOTH: tuple[Environment, ...] = ("keras-tensorflow", "keras-torch")


def _keras_archive(path: Path, given: str, folder: Path, trust: bool) -> Facts:
    copy = _rewritten(path, given, folder / "model.keras", trust)
    with _opened(copy, given) as opened:
        documents_ = [
            documents.read_json(archives.read(opened, member, given, documents.MOST_BYTES), f"{given}: {member}")
            for member in ("metadata.json", "config.json")
        ]
        if "model.weights.h5" in opened.namelist():
            with tempfile.NamedTemporaryFile(suffix=".h5") as weights:
                with opened.open("model.weights.h5") as stored:
                    shutil.copyfileobj(stored, weights, 1 << 20)
                weights.flush()
                with hdf5.opened(Path(weights.name), f"{given}: model.weights.h5") as file:
                    hdf5.check(file, f"{given}: model.weights.h5", given, trust=trust)
    metadata, config = documents_
    if not isinstance(metadata, dict) or not isinstance(config, dict):
        raise DamagedFileError(f"{given} is not a Keras archive: its configuration is none")
    if not trust:
        keras_config.check(config, given)
    version = str(metadata.get("keras_version", ""))
    old = version[:2] in ("1.", "2.")
    if old:
        keras_config.check_order(config, given)
    return Facts(("tf-keras",) if old else _BOTH, version, _name(copy, trust))


def _h5(path: Path, given: str, folder: Path, trust: bool) -> Facts:
    copy = path if trust else Path(shutil.copyfile(path, folder / "model.h5"))
    with hdf5.opened(copy, given) as file:
        hdf5.check(file, given, given, trust=trust)
        text = hdf5.text(file, "model_config")
        version = hdf5.text(file, "keras_version") or ""
    if text is None:
        raise UsageError(
            f"{given} holds weights only, no model",
            hint="Save the whole model (model.save), or hand in `file.py:function` that builds it and loads them.",
        )
    config = documents.read_json(text, f"{given}: its model configuration")
    if not isinstance(config, dict):
        raise DamagedFileError(f"{given}: its model configuration is {with_article(type(config).__name__)}")
    if not trust:
        keras_config.check(config, given)
    old = version[:2] in ("1.", "2.") and not keras_config.loads_in_keras_3(config)
    if old:
        keras_config.check_order(config, given)
    return Facts(("tf-keras",) if old else _BOTH, version, _name(copy, trust))


def _saved_model(path: Path, given: str, folder: Path, trust: bool) -> Facts:
    try:
        saved_model.check(saved_model.read(path / "saved_model.pb", given), given)
    except (UnsafeInputError, UnsupportedError):
        if not trust:
            raise
    if trust:
        return Facts(("keras-tensorflow",))
    for member in sorted(path.rglob("*")):
        name = member.relative_to(path).as_posix()
        if member.is_symlink():
            raise allowed.unsafe(given, f"{name} is a link to {member.readlink()}")
        if member.is_file() and saved_model.MEMBERS.fullmatch(name):
            (folder / "model" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(member, folder / "model" / name)
    return Facts(("keras-tensorflow",), file="model")


def _pt2(path: Path, given: str, folder: Path, trust: bool) -> Facts:
    copy = _rewritten(path, given, folder / "model.pt2", trust)
    with _opened(copy, given) as opened:
        exported_program.check_archive(opened, given, trust=trust)
    return Facts(("torch",), file=_name(copy, trust))


def _torchscript(path: Path, given: str, folder: Path, trust: bool) -> Facts:
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] != b"PK":
        if start[:1] != b"\x80":
            raise DamagedFileError(f"{given} is neither TorchScript nor a pickle", hint="Fetch or save it again.")
        raise _pickle(given)
    with _opened(path, given) as opened:
        members = opened.namelist()
    if any(member.endswith("models/model.json") for member in members):
        raise UsageError(f"{given} is a torch.export archive", hint="Rename it to .pt2.")
    if not torchscript.is_torchscript(members):
        raise _pickle(given)
    copy = _rewritten(path, given, folder / "model.pt", trust)
    with _opened(copy, given) as opened:
        torchscript.check_archive(opened, given, trust=trust)
    return Facts(("torch",), file=_name(copy, trust))


def _pickle(given: str) -> UnsafeInputError:
    return UnsafeInputError(
        f"{given} is a pickle (torch.save), which runs code when it is loaded and may hold weights without a model",
        hint="Hand in torch.export.save(...) as .pt2, torch.jit.save(...) as .pt, or `file.py:function` that builds "
        "the model and loads the weights with torch.load(..., weights_only=True). --trust does not change this.",
    )


def _rewritten(path: Path, given: str, destination: Path, trust: bool) -> Path:
    """The archive written anew; the one that the user trusts, its checksums held, as it lies."""
    with _opened(path, given) as opened:
        if trust:
            archives.check_sums(opened, given)
            return path
        archives.rewrite(opened, given, destination)
    return destination


def _opened(path: Path, given: str) -> zipfile.ZipFile:
    return archives.open_zip(path, given)


def _name(copy: Path, trust: bool) -> str:
    return "" if trust else copy.name
