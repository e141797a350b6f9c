"""Live models as files, in a form that a process without their code loads.

A Keras model becomes ``.keras``. A PyTorch module becomes what ``torch.export`` reads of it (``.pt2``): its class may
stand in a notebook, where no other process can import it, and a pickle of it could not be looked at before it is
loaded. What that costs: nothing trains it (``--recipe``), and its course may not depend on its data. Equal models are
equal files, so that the store knows them again.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.data.rows import stored
from edgekit.errors import EdgekitError, UnsupportedError, UsageError, WrongTypeError, did_you_mean
from edgekit.handed.samples import PLACE
from edgekit.signature import TensorSpec

ALLOWED = "a zoo name, a path, file.py:function, a torch.nn.Module or a Keras model"
#: What is taken as a model beside text and paths: class, and the package that it comes from.
_TORCH, _KERAS, _TF_KERAS = ("Module", "torch"), ("Model", "keras"), ("Model", "tf_keras")


@dataclass(frozen=True)
class Called:
    """A live model: in words, and as a part of a file name."""

    words: str
    name: str


@dataclass(frozen=True)
class Examples:
    """What shows the inputs of a PyTorch module: its caller's, declarations, or files of samples, the first row."""

    given: object
    declared: tuple[TensorSpec, ...]
    files: Sequence[Path]


def written(model: object, folder: Callable[[], Path], examples: Examples) -> tuple[str, Called | None]:
    """A model as the text of a source, and what a live one is called, which is written into the folder.

    Raises:
        WrongTypeError: something else, or example inputs for what needs none.
        UsageError: a PyTorch module without any example.
        UnsupportedError: its exporter cannot write it.
    """
    kinds = {(found.__name__, found.__module__.partition(".")[0]) for found in type(model).__mro__}
    keras = next((name for kind, name in ((_KERAS, "model.keras"), (_TF_KERAS, "model.h5")) if kind in kinds), None)
    if examples.given is not None and (keras or _TORCH not in kinds):
        raise UsageError(
            "example_inputs are for a torch.nn.Module, whose inputs nothing else tells",
            hint='Give shapes with inputs=["x=1x3x224x224:float32"].',
        )
    if isinstance(model, str | Path):
        return str(model), None
    if keras:  # first: on the torch backend it is a Module as well
        return _saved(model, folder() / keras), _called(model, "keras.Model")
    if _TORCH in kinds:
        with _unheard():
            return _exported(model, folder() / "model.pt2", examples), _called(model, "torch.nn.Module")
    raise WrongTypeError(f"an object of type {type(model).__qualname__} is no model", hint=f"Give {ALLOWED}.")


def _called(model: Any, kind: str) -> Called:
    own = getattr(model, "name", None) if kind == "keras.Model" else None
    name = own if isinstance(own, str) else type(model).__name__
    return Called(f"{name} ({kind})", re.sub(r"\W+", "_", name) or "model")


def _saved(model: Any, path: Path) -> str:
    """Let Keras save it; of a ``.keras`` file the date goes, so that equal models are equal files."""
    try:
        model.save(path)
    except Exception as error:  # Keras and the user's own get_config raise anything
        raise UnsupportedError(
            f"Keras cannot save {model.name}: {' '.join(str(error).split())[:300]}",
            hint="Hand in file.py:function, which builds it.",
        ) from error
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            members = {member: archive.read(member) for member in archive.infolist()}
        with zipfile.ZipFile(path, "w") as archive:
            for member, data in members.items():
                if member.filename == "metadata.json":
                    data = json.dumps({**json.loads(data), "date_saved": ""}).encode()
                archive.writestr(zipfile.ZipInfo(member.filename), data)
    return str(path)


def _exported(model: Any, path: Path, examples: Examples) -> str:
    import torch

    from edgekit.frameworks.brought import torch as brought

    if getattr(model, "streaming_state", None):
        raise UnsupportedError(
            f"{type(model).__name__} has a streaming_state, which no exported program holds",
            hint="Hand in file.py:function, which returns it.",
        )
    tensors = [*model.parameters(), *model.buffers()]
    if any(type(t.data) is not torch.Tensor or t.dtype in _halves(torch) or t.device.type != "cpu" for t in tensors):
        model = copy.deepcopy(model).to("cpu")
        brought.plain(type(model).__name__, model)
    needed, optional = brought.parameters(model)
    found = _examples(examples, needed, optional, torch)
    with _evaluating(model), _taking(model, list(found), needed, optional), torch.no_grad():
        try:
            program = torch.export.export(model, tuple(found.values()), strict=False)
        except EdgekitError:
            raise
        except Exception as error:  # torch.export and the user's own code raise anything
            said = " ".join(str(error).split())[:300]
            shapes = ", ".join(f"{name}={'x'.join(map(str, t.shape))}" for name, t in found.items())
            raise UnsupportedError(
                f"torch.export cannot read {type(model).__name__} on {shapes}: {type(error).__name__}: {said}",
                hint="Check example_inputs; for a course that depends on the data hand in the part without it.",
            ) from error
    torch.export.save(program, path)
    return str(path)


def _halves(torch: Any) -> tuple[Any, Any]:
    return torch.float16, torch.bfloat16


#: Of torch: its trace of each tensor, which pytest would show, and what its modules say about each other.
_LOGS = ("torch.__trace", "torch.utils._pytree")


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Without what torch's exporter says of itself on the caller's terminal: what matters is an error, or a note."""
    loggers = [logging.getLogger(name) for name in _LOGS]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """In evaluation mode; afterwards each module is in its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def _taking(model: Any, names: list[str], needed: list[str], optional: list[str]) -> Iterator[None]:
    """Taking the named parameters of ``forward`` alone, where these are not simply those that it needs."""
    from edgekit.frameworks.brought import torch as brought

    own = type(model)
    if names != needed or optional:
        brought.taking(model, names)
    try:
        yield
    finally:
        model.__class__ = own


def _examples(examples: Examples, needed: list[str], optional: list[str], torch: Any) -> dict[str, Any]:
    """A tensor for each input: the caller's, as declared, or the first sample of what was handed in."""
    known = [*needed, *optional]
    found = _by_name(examples.given, known, torch)
    for spec in examples.declared:
        if spec.name not in known:
            raise UsageError(
                f"--input {spec.name!r}: the parameters of forward are {', '.join(known)}",
                hint=f"{did_you_mean(spec.name, known)}Call it as forward does.",
            )
        if spec.name not in found or tuple(found[spec.name].shape) != spec.shape:
            found[spec.name] = torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype))
    if not found:
        found = next(filter(None, (_first(path, needed or optional[:1], known, torch) for path in examples.files)), {})
    if missing := [name for name in needed if name not in found]:
        raise UsageError(
            f"a PyTorch module does not say what it takes: nothing shows {', '.join(missing)}",
            hint="Give example_inputs=, samples as arrays, or shapes: "
            + f'inputs=["{missing[0]}=1x3x224x224:float32"].',
        )
    if not found:
        raise UsageError(
            f"every parameter of forward has a default ({', '.join(optional)}), and nothing says which are inputs",
            hint=f"Give example_inputs={{{(optional or ['x'])[0]!r}: ...}}.",
        )
    return {name: found[name] for name in known if name in found}


def _by_name(given: object, known: list[str], torch: Any) -> dict[str, Any]:
    """What was given as a tensor, a sequence in the order of ``forward``, or a mapping, by the parameters' names."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        if unknown := [str(name) for name in given if name not in known]:
            raise UsageError(
                f"example_inputs names {unknown[0]!r}; the parameters of forward are {', '.join(known)}",
                hint=f"{did_you_mean(unknown[0], known)}Call it as forward does.",
            )
        named = {str(name): value for name, value in given.items()}
    else:
        values = list(given) if isinstance(given, tuple | list) else [given]
        if len(values) > len(known):
            raise UsageError(f"{len(values)} example_inputs; the parameters of forward are {', '.join(known)}")
        named = dict(zip(known, values, strict=False))
    return {name: _tensor(value, name, torch) for name, value in named.items()}


def _tensor(value: Any, name: str, torch: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.array(value))
    if not torch.is_tensor(value):
        raise WrongTypeError(
            f"example_inputs: {name} is of type {type(value).__qualname__}", hint="Give a tensor or a NumPy array."
        )
    value = value.detach().cpu()
    return value.float() if value.dtype in _halves(torch) else value


def _first(path: Path, needed: list[str], known: list[str], torch: Any) -> dict[str, Any]:
    """The first sample of a file for each input; nothing where its arrays are not told apart."""
    from edgekit.frameworks.brought import torch as brought

    rows = stored(path, "")
    brought.check_arrays(rows, known, [name for name in known if name not in needed])
    named = {name: rows[name] for name in known if name in rows}
    if not named and f"{PLACE}0" in rows:
        named = {name: rows[f"{PLACE}{i}"] for i, name in enumerate(needed) if f"{PLACE}{i}" in rows}
    if not named and len(needed) == 1 and "x" in rows:
        named = {needed[0]: rows["x"]}
    return {name: torch.from_numpy(np.array(own[0])[None]) for name, own in named.items() if len(own)}
