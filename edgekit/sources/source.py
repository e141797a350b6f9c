"""What a user hands in: recognised by its name and hashed, nothing of it parsed.

``resolve`` turns the text of the command line into a ``Source``. What is in a file, and whether it may be loaded, is
told in a child (``edgekit/sources/check.py``); ``with_facts`` adds it. ``environments`` says which kinds of child
process can load the source; ``edgekit/frameworks`` loads it there.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from edgekit import user_code, zoo
from edgekit.errors import DamagedFileError, UnsafeInputError, UsageError, nearest, unknown_name
from edgekit.signature import WHOLE, Environment, Framework, TensorSpec

Kind = Literal["zoo", "keras", "h5", "savedmodel", "pt2", "torchscript", "onnx", "python"]

ALLOWED = (
    "a zoo name (see `edgekit list models`), .keras, .h5, a SavedModel folder, .pt2, TorchScript .pt or .jit, .onnx, "
    "or file.py:function"
)
#: What stands in a file that hands in a model of ``save_pretrained``.
_HUGGING_FACE = (
    "Write a file whose function returns AutoModel.from_pretrained({0!r}) (or the class for your task), with "
    "model.example_inputs, a dict of tensors as its tokenizer gives them; convert file.py:function."
)
#: Endings of files that hold weights and no model.
_WEIGHTS = (".safetensors", ".npz", ".msgpack")
DTYPES = ("float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")
_ZOO = re.compile(r"(?P<name>\w+)(:(?P<config>\w+))?(@(?P<framework>\w+))?")
#: Endings of models that are one file each.
_FILES = {".keras", ".h5", ".hdf5", ".pt2", ".onnx"}
_PICKLES = {".pt", ".pth", ".jit", ".torchscript", ".bin", ".ckpt", ".pkl", ".pickle"}

_LOADERS: tuple[Environment, ...] = ("keras-tensorflow", "keras-torch", "torch", "tf-keras", "onnx", "onnx2tf")
#: What is not ours and is loaded by a framework: never without a look at it, never outside of a confined child.
FILES: tuple[Kind, ...] = ("keras", "h5", "savedmodel", "pt2", "torchscript", "onnx")


@dataclass(frozen=True)
class Facts:
    """What is known of a file before a framework loads it; said by a child that is not believed.

    Attributes:
        environments: kinds of child process that can load it, the preferred one first.
        keras_version: version that wrote a ``.keras`` or ``.h5``; empty where it does not apply.
        file: name of the copy that was checked and is to be loaded; empty where the user trusts the file as it lies
            (of an .onnx there is always one, with all weights inside).
    """

    environments: tuple[Environment, ...]
    keras_version: str = ""
    file: str = ""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for what are no facts."""
        if not set(self.environments) <= set(_LOADERS) or not self.environments:
            raise ValueError(f"unknown environments {self.environments}")
        if self.file not in ("", Path(self.file).name):
            raise ValueError(f"the file {self.file!r}")


@dataclass(frozen=True)
class Source:
    """A model as the user handed it in.

    Attributes:
        given: the text of the command line.
        kind: what it is.
        framework: whose model it is; None while that is open (zoo name without ``@``, a Python function that could
            return either): see ``with_framework`` and ``edgekit.frameworks.python_file.identify``.
        name: short name for the artifact's folder.
        sha256: of the content: a file's bytes, a folder's names and bytes, a Python file with the files beside it
            that it imports, a zoo model's facts, code and weights.
        path: absolute path; None for the zoo.
        function: name of the Python function.
        config: configuration of the zoo model.
        inputs: inputs declared with ``--input``, batch 1.
        shown: inputs as samples that were handed in show them, batch 1, for what nothing else says.
        trust: whether the user answers for code in the file.
        keras_version: version that wrote a ``.keras`` or ``.h5``; empty where it does not apply.
        loaders: kinds of child process that can load a file, as its content says; empty before it was looked at.
        confined: whether it is a file of others that is loaded in confined children only.
        weights: file whose weights replace those of a freshly built model (``frameworks.*.materialise``).
        part: which part of a model that is deployed as several.
    """

    given: str
    kind: Kind
    framework: Framework | None
    name: str
    sha256: str
    path: Path | None = None
    function: str | None = None
    config: str | None = None
    inputs: tuple[TensorSpec, ...] = ()
    shown: tuple[TensorSpec, ...] = ()
    trust: bool = False
    keras_version: str = ""
    loaders: tuple[Environment, ...] = ()
    confined: bool = False
    weights: Path | None = None
    part: str = WHOLE

    @property
    def untrusted_bytes(self) -> int | None:
        """Size of a file of others; None for what needs no confined child."""
        return size(self) if self.confined else None

    def identity(self) -> dict[str, Any]:
        """What a result depends on: the content and what the user declared about it, not where it lies.

        Code is named by its place as well: the files that it reads lie around it.
        """
        inputs = [{**asdict(t), "shape": list(t.shape)} for t in (*self.inputs, *self.shown)]
        said = {"sha256": self.sha256, "kind": self.kind, "inputs": inputs, "trust": self.trust, "part": self.part}
        return said | ({"path": str(self.path)} if self.kind == "python" else {})

    def named(self, error: Exception) -> str:
        """What a framework says of the file, on one line, with the name that the user gave it."""
        text = " ".join(str(error).split()) or type(error).__name__
        return (text.replace(str(self.path), self.given) if self.path else text)[:500]


def resolve(text: str, *, inputs: Sequence[str] = (), trust: bool = False) -> Source:
    """Recognise and hash what the user typed.

    Args:
        text: a zoo name (``lenet5``, ``lenet5@torch``, ``lenet5:reference@keras``), a path, or ``file.py:function``.
        inputs: declarations ``name=1x3x224x224:float32``; the type may be left out (float32).
        trust: load files that could run code.

    Raises:
        UsageError: unknown name (nearest match in the hint), missing file, wrong extension, bad declaration.
        DamagedFileError: the file is empty.
        UnsafeInputError: a link in a folder, or no file at all, and ``trust`` is not given.
    """
    declared = parse_inputs(inputs)
    python = re.fullmatch(r"(?s)(?P<path>.+\.py)(:(?P<function>[^:/]*))?", text)
    zoo_name = _ZOO.fullmatch(text)
    if python:
        found = _python(text, Path(python["path"]), python["function"] or "")
    elif zoo_name and (zoo_name["name"] in zoo.names() or not Path(text).exists()):
        found = _zoo(text, zoo_name["name"], zoo_name["config"] or "tiny", zoo_name["framework"])
    else:
        found = _file(text, Path(text), trust)
    return replace(found, inputs=declared, trust=trust)


def parse_inputs(declarations: Sequence[str], option: str = "--input") -> tuple[TensorSpec, ...]:
    """Read several declarations; raises ``UsageError`` where one cannot be read, or names what another names."""
    declared = tuple(parse_input(declaration) for declaration in declarations)
    if repeated := sorted(name for name, count in Counter(t.name for t in declared).items() if count > 1):
        raise UsageError(f"{option} names {', '.join(repeated)} more than once", hint="Give each input one shape.")
    return declared


def parse_input(declaration: str) -> TensorSpec:
    """Read ``name=1x3x224x224:float32``: the shape of one sample as a run takes it, a batch of 1 included."""
    match = re.fullmatch(r"(?P<name>[^=]+)=(?P<shape>\d+(x\d+)*)(:(?P<dtype>\w+))?", declaration.strip())
    if not match:
        bare = re.fullmatch(r"\d+(x\d+)*(:\w+)?", declaration.strip())
        raise UsageError(
            f"--input {declaration!r} {'names no input' if bare else 'cannot be read'}",
            hint=f"Write it as x={declaration.strip()}, with the input's name: that of forward's parameter, or of "
            "Keras's input."
            if bare
            else "Write it as name=1x3x224x224:float32.",
        )
    shape = tuple(int(n) for n in match["shape"].split("x"))
    dtype = match["dtype"] or "float32"
    if dtype not in DTYPES:
        raise UsageError(
            f"--input {declaration!r}: unknown type {dtype!r}; allowed: {', '.join(DTYPES)}",
            hint=f"Write --input {match['name']}={match['shape']}:{nearest(dtype, DTYPES)}.",
        )
    if 0 in shape:
        raise UsageError(
            f"--input {declaration!r}: shape {shape} has a zero",
            hint="Give the shape of one sample, a batch of 1 first.",
        )
    return TensorSpec(match["name"], shape, dtype)


def with_framework(source: Source, framework: Framework) -> Source:
    """The same source with its framework decided (a zoo name without ``@``, an identified Python function)."""
    if source.framework not in (None, framework):
        raise UsageError(
            f"{source.given} is a {source.framework} model, not {framework}", hint="Leave out what is behind the @."
        )
    if source.kind == "zoo":
        assert source.config is not None
        return replace(source, framework=framework, sha256=_zoo_sha256(source.name, source.config, framework))
    return replace(source, framework=framework)


def parts(source: Source) -> tuple[Source, ...]:
    """The source once per part, in the order in which a step calls them; just itself where the model is one."""
    if source.kind != "zoo":
        return (source,)
    assert source.config is not None
    names = zoo.architecture(source.name).configs[source.config].parts
    return tuple(replace(source, part=name) for name in names) or (source,)


def with_weights(source: Source, weights: Path) -> Source:
    """The same source whose freshly built model takes its weights from a file; the hash covers both."""
    digest = hashlib.sha256(f"{source.sha256}\0{file_sha256(weights)}".encode()).hexdigest()
    return replace(source, weights=weights.resolve(), sha256=digest)


def with_facts(source: Source, facts: Facts, folder: Path) -> Source:
    """The same file after a look at it: what can load it, and the copy that was checked.

    Args:
        source: the file.
        facts: what was found.
        folder: where the copy lies.
    """
    found = replace(source, keras_version=facts.keras_version, loaders=facts.environments)
    return replace(found, path=folder / facts.file, confined=not source.trust) if facts.file else found


def with_files(source: Source, files: Mapping[str, str]) -> Source:
    """The same file with others that it names beside it, by their hashes: the content is all of them."""
    if not files:
        return source
    text = "".join(f"\0{name}\0{sha256}" for name, sha256 in sorted(files.items()))
    return replace(source, sha256=hashlib.sha256(f"{source.sha256}{text}".encode()).hexdigest())


def environments(source: Source) -> tuple[Environment, ...]:
    """Kinds of child process that can load the source, the preferred one first."""
    if source.loaders:
        return source.loaders
    if source.framework is None:
        return ("torch", "keras-tensorflow", "keras-torch")
    if source.framework == "torch":
        return ("torch",)
    if source.framework == "onnx":
        return ("onnx", "onnx2tf")
    return ("keras-tensorflow", "keras-torch")


def _zoo(text: str, name: str, config: str, framework: str | None) -> Source:
    configs = zoo.architecture(name).configs
    if config not in configs:
        raise unknown_name("model", f"{name}:{config}", [f"{name}:{c}" for c in configs])
    if framework is None:
        return Source(text, "zoo", None, name, _zoo_sha256(name, config, None), config=config)
    if framework not in ("keras", "torch"):
        raise UsageError(
            f"unknown framework {framework!r} in {text!r}; allowed: keras, torch",
            hint=f"Write {name}@{nearest(framework, ('keras', 'torch'))}.",
        )
    chosen: Framework = "keras" if framework == "keras" else "torch"
    return Source(text, "zoo", chosen, name, _zoo_sha256(name, config, chosen), config=config)


#: Framework -> the file of an architecture's folder that only the other one imports.
_OTHERS_CODE = {"keras": "pytorch.py", "torch": "keras.py"}


def _zoo_sha256(name: str, config: str, framework: Framework | None) -> str:
    weights = zoo.weights_path(name, config)
    code = [path for path in sorted((zoo.ROOT / name).glob("*.py")) if path.name != _OTHERS_CODE.get(str(framework))]
    files = [*code, *sorted(zoo.ROOT.glob("*.py")), *([weights] if weights else [])]
    return _files_sha256(files, zoo.ROOT, f"{name}:{config}@{framework}")


def _python(text: str, path: Path, function: str) -> Source:
    _existing(path)
    user_code.check(path, function, text, "takes no arguments and returns the model")
    files = user_code.files(path)
    return Source(
        text,
        "python",
        _guess_framework(files),
        f"{path.stem}-{function}",
        user_code.sha256(path, function),
        path=path.resolve(),
        function=function,
    )


def _guess_framework(files: Iterable[Path]) -> Framework | None:
    """Which framework the files import; None where it is neither or both, so that only running tells."""
    imported = set().union(*(user_code.imports(path) for path in files))
    keras = bool(imported & {"keras", "tensorflow", "tf_keras", "keras_hub"})
    torch = bool(imported & {"torch", "torchvision", "timm", "transformers"})
    if keras == torch:
        return None
    return "keras" if keras else "torch"


def _file(text: str, path: Path, trust: bool) -> Source:
    _existing(path)
    kind, framework = _kind(path)
    name = path.resolve().stem if path.is_file() else path.resolve().name
    return Source(text, kind, framework, name, sha256(path, trust=trust), path=path.resolve())


def size(source: Source) -> int:
    """Bytes of a file, or of all files of a folder."""
    path = source.path
    assert path is not None
    files = (member for member in path.rglob("*") if member.is_file()) if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files)


def sha256(path: Path, *, trust: bool = False) -> str:
    """Hash of a file's bytes, or of the names and bytes of a folder's files.

    Raises:
        UnsafeInputError: something in the folder is a link or no file, unless ``trust``.
    """
    if not path.is_dir():
        return file_sha256(path)
    files = []
    for member in sorted(path.rglob("*")):
        found = member.stat() if trust else member.lstat()
        if stat.S_ISREG(found.st_mode):
            files.append(member)
        elif not stat.S_ISDIR(found.st_mode):
            what = f"is a link to {member.readlink()}" if member.is_symlink() else "is no file"
            raise UnsafeInputError(
                f"{member} {what}",
                hint="Hand in a folder of files, or pass --trust if you know where it comes from.",
            )
    return _files_sha256(files, path, "")


def _kind(path: Path) -> tuple[Kind, Framework]:
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "savedmodel", "keras"
        if path.suffix.lower() in _FILES:
            inside = sorted(member for member in path.iterdir() if member.suffix == path.suffix)
            raise UsageError(
                f"{path} is a folder, and a model of this ending is a file",
                hint=f"Give the file in it: {inside[0]}." if inside else f"Allowed: {ALLOWED}.",
            )
        if (path / "config.json").is_file():
            raise UsageError(
                f"{path} is a folder of Hugging Face, which holds no code", hint=_HUGGING_FACE.format(str(path))
            )
        inside = sorted(member for member in path.iterdir() if member.suffix.lower() in _FILES)
        if inside:
            raise UsageError(f"{path} is a folder, not a SavedModel", hint=f"Give the file in it: {inside[0]}.")
        what = "an empty folder" if not any(path.iterdir()) else "a folder without saved_model.pb"
        raise UsageError(f"{path} is {what}, not a SavedModel", hint=f"Allowed: {ALLOWED}.")
    if not path.is_file():
        raise UsageError(f"{path} is neither a file nor a folder", hint=f"Allowed: {ALLOWED}.")
    if path.stat().st_size == 0:
        raise DamagedFileError(f"{path} is empty (0 bytes)")
    suffix = path.suffix.lower()
    if suffix == ".keras":
        return "keras", "keras"
    if suffix in (".h5", ".hdf5"):
        return "h5", "keras"
    if suffix == ".pt2":
        return "pt2", "torch"
    if suffix == ".onnx":
        return "onnx", "onnx"
    if suffix in _PICKLES:
        return "torchscript", "torch"
    hint = (
        "Weights alone: hand in file.py:function, which makes the model and loads them. " if suffix in _WEIGHTS else ""
    )
    raise UsageError(f"{path} has the extension {suffix or '(none)'!r}", hint=f"{hint}Allowed: {ALLOWED}.")


def _existing(path: Path) -> None:
    if path.exists():
        return
    folder = path.parent
    beside = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    raise UsageError(
        f"no such file or folder: {path}",
        hint=f"Did you mean {folder / close[0]}?" if close else f"Allowed: {ALLOWED}.",
    )


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_sha256(files: Iterable[Path], root: Path, salt: str) -> str:
    """Hash of the files' relative names and contents, and of ``salt``."""
    digest = hashlib.sha256(salt.encode())
    for file in files:
        digest.update(f"\0{file.relative_to(root).as_posix()}\0{file_sha256(file)}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


KINDS: tuple[Kind, ...] = get_args(Kind)
