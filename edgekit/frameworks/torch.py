"""PyTorch sources: zoo, ``.pt2``, TorchScript and ``file.py:function``. Imported in a torch child only."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit import zoo
from edgekit.errors import DamagedFileError, NoShapeError, UnsupportedError, UsageError, did_you_mean, with_article
from edgekit.frameworks import LoadedModel, python_file
from edgekit.frameworks.brought import faults, watching_torch
from edgekit.frameworks.brought import torch as brought
from edgekit.frameworks.loaded import (
    Arrays,
    Found,
    Loaded,
    check_finite,
    example,
    merge_inputs,
    named,
    ones,
    output_specs,
    zeros,
)
from edgekit.frameworks.of_keras import outputs as keras_outputs
from edgekit.frameworks.widths import torch as widths
from edgekit.signature import Signature, State, TensorSpec
from edgekit.sources.source import Source, with_weights
from edgekit.user_code import source_line

#: Distributions whose versions change what is done here.
PACKAGES = ("safetensors", "torch")

SEED = 0
#: See ``brought/watching``.
watch = watching_torch.watch


def load(source: Source) -> Loaded:
    """Load a PyTorch source on the CPU, in evaluation mode.

    Raises:
        UsageError: an input's shape cannot be found, a weight is NaN, the model returns no tensors.
        DamagedFileError: the file cannot be read.
    """
    loaders = {"zoo": _zoo, "pt2": _pt2, "torchscript": _torchscript, "python": _python}
    with torch.no_grad():
        loaded = loaders[source.kind](source)
    trained = {name for name, _ in loaded.native.named_parameters()}
    check_finite((name, _array(t), name in trained) for name, t in _weights(loaded.native).items())
    return loaded


def torch_export(loaded: LoadedModel, batch: int = 1) -> torch.export.ExportedProgram:
    """A fresh ``torch.export`` program of static shapes (a program must not be lowered twice).

    Works for Keras models on the torch backend too. Inputs are the signature's, in its order, of so many samples.
    """
    args = tuple(torch.from_numpy(a.repeat(batch, axis=0)) for a in example(loaded))
    if loaded.kind == "torchscript":
        return _export_script(loaded.native, args)
    try:
        with torch.no_grad():
            return torch.export.export(exportable(loaded), args, strict=False)
    except torch.fx.experimental.symbolic_shapes.GuardOnDataDependentSymNode as error:
        raise data_dependent(error) from error


def exportable(loaded: LoadedModel) -> torch.nn.Module:
    """A module that can be exported: one that takes its inputs in order, and whose layers may have any name.

    An exported module is a ``torch.fx.GraphModule``, which has properties ``code`` and ``graph`` at its top: a module
    with a layer of that name is put inside another.
    """
    if loaded.framework != "torch":
        return _KerasModule(loaded.native)
    module = loaded.native
    members = {name.partition(".")[0] for name in module.state_dict()}
    taken = any(isinstance(getattr(torch.fx.GraphModule, name, None), property) for name in members)
    return _Within(module).eval() if taken else module


@contextmanager
def tracing(loaded: LoadedModel) -> Iterator[None]:
    """Refuse a model that is traced while this is open, where its course depends on its data.

    A trace keeps the branch that its example takes, and says no more than a warning. It warns of comparisons of shapes
    as well, which are the same for all inputs: torch.export tells the one from the other.

    Raises:
        UnsupportedError: a number that Python read from a tensor depends on the inputs.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        yield
    read = [one for one in said if "Converting a tensor to a Python" in str(one.message)]
    if not read:
        return
    try:
        program = torch_export(loaded)
    except UnsupportedError:
        raise
    except Exception:  # torch.export knows less than a trace, and that is why there is a trace
        return
    if any(node.target is torch.ops.aten._local_scalar_dense.default for node in program.graph.nodes):
        raise _data_dependent(f"{Path(read[-1].filename).name}:{read[-1].lineno}")


def data_dependent(error: Exception) -> UnsupportedError:
    """Say that a model's course depends on its data, and in which of its lines."""
    return _data_dependent(source_line(str(error)))


def _data_dependent(line: str | None) -> UnsupportedError:
    return UnsupportedError(
        f"this model cannot be exported: its course depends on the data{f' ({line})' if line else ''}",
        hint="Replace the branch by torch.where or torch.cond, or hand in the part of the model without it.",
    )


def materialise(loaded: Loaded, folder: Path) -> Source:
    """Save the weights of a freshly built model once, so that other processes load the same ones.

    Only a zoo model without shipped weights or a Python function needs it; other sources come back unchanged.
    """
    source = loaded.source
    if source.kind not in ("zoo", "python") or source.weights:
        return source
    return with_weights(source, save_weights(loaded, folder))


def save_weights(loaded: LoadedModel, folder: Path) -> Path:
    """Write all weights into a file that ``Source.weights`` may name, whatever kind the source is."""
    from safetensors.torch import save_file

    state = {name: t.detach().clone().contiguous() for name, t in loaded.native.state_dict().items()}
    path = folder / "checkpoint.safetensors"
    save_file(state, path)
    return path


def save_others(loaded: LoadedModel, arrays: Sequence[NDArray[Any]], folder: Path) -> Path:
    """The same of other weights, in the order of the module's state, whose shapes may be smaller."""
    from safetensors.torch import save_file

    names = [name for name, tensor in loaded.native.state_dict().items() if torch.is_tensor(tensor)]
    path = folder / "checkpoint.safetensors"
    save_file({name: torch.tensor(array) for name, array in zip(names, arrays, strict=True)}, path)
    return path


class _KerasModule(torch.nn.Module):
    """A Keras model on the torch backend with its inputs as positional arguments, which ``torch.export`` wants."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.m = model

    def forward(self, *xs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(keras_outputs.forward(self.m, xs))


class _Within(torch.nn.Module):
    """A model one level below the top."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.m = model

    def forward(self, *xs: torch.Tensor) -> Any:
        return self.m(*xs)


def _zoo(source: Source) -> Loaded:
    from edgekit.zoo import weights

    assert source.config is not None
    config = zoo.architecture(source.name).configs[source.config]
    torch.manual_seed(SEED)
    whole = importlib.import_module(f"edgekit.zoo.{source.name}.pytorch").build(**config.settings).eval()
    model = whole.get_submodule(source.part) if config.parts else whole
    notes: tuple[str, ...] = ()
    shipped = zoo.weights_path(source.name, source.config)
    if source.weights:
        _load_state(model, source.weights)
    elif shipped:
        weights.load_torch(whole, weights.read(shipped))
    else:
        notes = (f"{source.name}:{source.config} ships no weights: they are random, from seed {SEED}.",)
    signature = config.signature("torch", source.part)
    call = _caller(model, [s.name for s in signature.outputs])
    return Loaded(model, "torch", source, signature, notes, call, probed=config.task is None)


def _python(source: Source) -> Loaded:
    with torch.enable_grad():  # type: ignore[no-untyped-call]  # the user's function may train the model
        model = python_file.model_from(source)
    if python_file.framework_of(model) != "torch":
        raise UsageError(f"{source.given} returned a Keras model", hint="It is loaded in a Keras child.")
    model.eval()
    were = brought.types(model)
    notes = brought.plain(source.given, model)
    if source.weights:
        _load_state(model, source.weights)
    brought.on_meta(source.given, model)
    names, found, sample, fixed = _asked(source, model, were)
    with brought.whole_windows(model) as cut:
        loaded = _finish(source, model, model, names, found, sample)
    if cut:
        fixed = (*fixed, f"The window of {', '.join(cut)} is larger than what it pools: it is cut to that.")
    loaded = replace(loaded, notes=(*notes, *fixed, *loaded.notes))
    states = _states(source, getattr(model, "streaming_state", None) or {}, loaded.signature)
    return replace(loaded, signature=replace(loaded.signature, state=states))


def _pt2(source: Source) -> Loaded:
    assert source.path is not None
    try:
        program = torch.export.load(str(source.path))
    except Exception as error:  # its parsers raise whatever they happen to
        raise DamagedFileError(f"torch.export cannot load {source.given}: {source.named(error)}") from error
    if source.weights:
        _load_state(program, source.weights)
    names = [str(name) for name in program.graph_signature.user_inputs]
    values = {n.name: n.meta["val"] for n in program.graph.nodes if n.op == "placeholder"}
    found = _declared({name: values[name] for name in names})
    return _finish(source, program.module(), program, names, found)


def _torchscript(source: Source) -> Loaded:
    try:
        module = torch.jit.load(str(source.path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except Exception as error:  # its parsers raise whatever they happen to
        raise DamagedFileError(f"TorchScript cannot load {source.given}: {source.named(error)}") from error
    if source.weights:
        _load_state(module, source.weights)
    names = [argument.name for argument in module.forward.schema.arguments[1:]]
    return _finish(source, module, module, names, [None] * len(names))


def _finish(
    source: Source,
    module: Any,
    program: Any,
    names: Sequence[str],
    found: Sequence[Found | None],
    sample: Arrays | None = None,
) -> Loaded:
    """Run one sample to learn the outputs: an example, zeros (safe for all tables), or ones (no padding)."""
    inputs, notes = merge_inputs(found, names, source.inputs, source.shown)
    tried = [sample] if sample else [zeros(inputs), ones(inputs)]
    try:
        sample, returned = _first_run(module, tried)
    except Exception as error:  # the user's model may raise anything
        shapes = ", ".join(f"{t.name}={'x'.join(map(str, t.shape))}:{t.dtype}" for t in inputs)
        said = "its example_inputs" if source.kind == "python" else "the inputs that it was exported with"
        shown = "the samples of --calibrate or --evaluate, whose shapes these are" if source.shown else said
        hint = f"Check {'--input' if source.inputs else shown}."
        raise UsageError(f"{source.given} does not run on {shapes}: {faults.told(error, module)}", hint=hint) from error
    outputs = named(returned, torch.is_tensor, lenient=True)
    if not outputs:
        raise UsageError(
            f"{source.given} returns no tensor, but {with_article(type(returned).__name__)}",
            hint="Return a tensor, or a tuple, list or dict of tensors.",
        )
    for name, tensor in outputs:
        if tensor.is_complex():
            raise UnsupportedError(
                f"the output {name!r} of {source.given} holds complex numbers ({str(tensor.dtype)[6:]}), "
                "which no format has",
                hint="Return torch.view_as_real of it: real and imaginary parts along one more axis.",
            )
    called = brought.apart([name for name, _ in outputs], [t.name for t in inputs])
    doubled = [f"The output {n} has the name of an input: it is {o} in the file." for n, o in called.items() if n != o]
    outputs, notes = [(called[name], tensor) for name, tensor in outputs], (*notes, *doubled)
    beside = brought.others(returned)
    if source.kind == "python" and (beside or brought.holds_records(returned)):
        brought.taking(module, names)  # exporters take tensors alone
        left_out = [f"Output {what}, which is no tensor: it is not in the file." for what in beside]
        notes = (*notes, *(note for note in left_out if "is None," not in note))
    call = _caller(module, [name for name, _ in outputs])
    specs = output_specs([name for name, _ in outputs], [_array(t) for _, t in outputs])
    native = module if source.kind != "pt2" else program.module(check_guards=False)
    return Loaded(native, "torch", source, Signature(inputs, specs), notes, call, sample=sample)


def _first_run(module: Any, tried: Sequence[Arrays]) -> tuple[Arrays, Any]:
    """The first sample that a module runs on, and what it returns; the error of the first where it runs on none."""
    errors: list[Exception] = []
    for sample in tried:
        try:
            return sample, module(*map(torch.from_numpy, sample))
        except Exception as error:  # the user's model may raise anything
            errors.append(error)
    raise errors[0]


def _caller(module: Any, names: Sequence[str]) -> Any:
    """One forward pass without gradients; outputs by the names seen when the model was loaded."""

    def call(arrays: Arrays) -> Arrays:
        with torch.no_grad():
            outputs = named(module(*(torch.from_numpy(a) for a in arrays)), torch.is_tensor, lenient=True)
        if len(outputs) != len(names):
            raise UsageError(
                f"the model returned {len(outputs)} outputs, and {len(names)} when it was loaded",
                hint="A file always has the same outputs: return each of them for all inputs.",
            )
        return [_array(tensor) for _, tensor in outputs]

    return call


def _array(tensor: torch.Tensor) -> NDArray[np.generic]:
    tensor = tensor.detach()
    found: NDArray[np.generic] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()
    return found


def _weights(module: Any) -> Mapping[str, torch.Tensor]:
    return {name: t for name, t in module.state_dict().items() if torch.is_tensor(t)}


def _asked(
    source: Source, model: torch.nn.Module, were: frozenset[torch.dtype]
) -> tuple[list[str], list[Found | None], Arrays | None, tuple[str, ...]]:
    """Inputs of a module, as its parameters, its examples and ``--input`` name them, one sample, and what was fixed.

    ``example_inputs`` is a tensor, or a tuple or dict of them. A parameter that has a default (all of a Hugging Face
    model do) is an input where an example or ``--input`` names it. A number or text among the examples (a sampling
    rate) is no input: the file computes with that value.

    Raises:
        UsageError: nothing names an input.
    """
    needed, optional = brought.parameters(model)
    known = [*needed, *optional]
    examples = getattr(model, "example_inputs", None)
    brought.check_arrays((spec.name for spec in source.shown), known, optional if examples is None else ())
    examples = (examples,) if torch.is_tensor(examples) else examples
    if isinstance(examples, Mapping):
        if strange := [str(name) for name in examples if name not in known]:
            raise UsageError(
                f"example_inputs of {source.given} names {strange[0]!r}; the parameters of forward are "
                f"{', '.join(known)}",
                hint=f"{did_you_mean(strange[0], known)}Call it as forward does.",
            )
        given = {name: examples[name] for name in known if name in examples}
    else:
        given = dict(zip(known, examples or (), strict=False))
    fixed = {name: value for name, value in given.items() if isinstance(value, bool | int | float | str)}
    given = {name: value for name, value in given.items() if torch.is_tensor(value)}
    needed, optional = ([name for name in side if name not in fixed] for side in (needed, optional))
    said = {*given, *(spec.name for spec in (*source.inputs, *source.shown))}
    names = [*needed, *(name for name in optional if name in said)]
    if examples is not None and not source.inputs:
        names = [name for name in names if name in given]
    if not names and source.inputs:
        strange = [spec.name for spec in source.inputs]
        raise UsageError(
            f"--input {strange[0]!r}: the parameters of forward are {', '.join(known) or '(none)'}",
            hint=f"{did_you_mean(strange[0], known)}Call it as forward does.",
        )
    if not names:
        raise NoShapeError(
            f"{source.given}: every parameter of forward has a default ({', '.join(optional) or 'it has none'}), and "
            "nothing says which are inputs",
            hint=f"Name them: --input {(optional or ['x'])[0]}=1x16:int64 (with your own shape), or an attribute "
            "example_inputs, a dict of tensors.",
        )
    by_place = names == [*needed, *optional][: len(names)] and not set(names).intersection(brought.by_name(model))
    if fixed or not by_place or len(names) > len(needed):
        brought.taking(model, names, fixed)
    found = [
        Found(n, tuple(given[n].shape), _dtype(given[n], were), example=True) if n in given else None for n in names
    ]
    whole = all(name in given for name in names) and not source.inputs
    notes = tuple(f"{name} is {value!r} in the file, as in its example." for name, value in fixed.items())
    sample = [_array(given[n]).astype(f.dtype) for n, f in zip(names, found, strict=True) if f] if whole else None
    return names, found, sample, notes


def _states(source: Source, said: Any, signature: Signature) -> tuple[State, ...]:
    """What a module's attribute ``streaming_state`` says: by input, the output that goes into it at the next step.

    With an initial value it is a pair of both, ``{"state": ("next", torch.ones(2, 1, 64))}``; else it is 0.

    Raises:
        UsageError: an input or output of that name is missing, they are not alike, or the value does not fit.
    """
    where = f"streaming_state of {source.given}"
    inputs, outputs = ({t.name: t for t in side} for side in (signature.inputs, signature.outputs))
    if not isinstance(said, Mapping):
        raise UsageError(f"{where} is {with_article(type(said).__name__)}", hint='Give a dict: {"state": "next"}.')
    found = []
    for name, value in said.items():
        output, initial = value if isinstance(value, tuple) else (value, 0.0)
        if name not in inputs or output not in outputs:
            known = f"inputs are {', '.join(inputs)}, outputs {', '.join(outputs)}"
            raise UsageError(
                f"{where}: {output!r} cannot go into {name!r}; {known}", hint="Name an input and its output."
            )
        into, out = inputs[name], outputs[output]
        if (into.shape, into.dtype) != (out.shape, out.dtype):
            raise UsageError(
                f"{where}: {output!r} is {out.dtype} {out.shape}, {name!r} is {into.dtype} {into.shape}",
                hint="Return the state as it is taken.",
            )
        found.append(State(output, name, _initial(where, torch.as_tensor(initial), into)))
    return tuple(found)


#: The next step where a state's first value is none.
_BEGIN = "Give one finite number, or as many as the state has."


def _initial(where: str, value: torch.Tensor, into: TensorSpec) -> float | tuple[float, ...]:
    """A state's first value: a number, also where all elements are one."""
    if value.ndim and tuple(value.shape) not in (into.shape, into.row):
        raise UsageError(
            f"{where}: {into.name!r} begins with {tuple(value.shape)}; it has shape {into.shape}", hint=_BEGIN
        )
    values = value.detach().reshape(-1).tolist()
    if not all(map(math.isfinite, values)):
        raise UsageError(f"{where}: {into.name!r} begins with NaN or infinity", hint=_BEGIN)
    return float(values[0]) if len(set(values)) == 1 else tuple(map(float, values))


def _dtype(tensor: torch.Tensor, were: frozenset[torch.dtype] = frozenset()) -> str:
    """NumPy's name; halves are converted in float32, and so are types that the model's weights were of."""
    other = tensor.dtype in (torch.float16, torch.bfloat16, *were)
    return "float32" if other else str(tensor.dtype).removeprefix("torch.")


def _declared(values: Mapping[str, torch.Tensor]) -> list[Found]:
    """Inputs of an exported program; a batch is what its first axes are called, wherever that stands."""
    called = {name: [n if isinstance(n, int) else str(n) for n in t.shape] for name, t in values.items()}
    batches = {shape[0] for shape in called.values() if shape and isinstance(shape[0], str)}
    return [
        Found(
            name,
            tuple(n if isinstance(n, int) else None for n in shape),
            _dtype(values[name]),
            batches=tuple(axis for axis, n in enumerate(shape) if n in batches),
        )
        for name, shape in called.items()
    ]


def _load_state(model: Any, path: Path) -> None:
    """Load weights over those of a module, which becomes as narrow as they are, or of an exported program."""
    from safetensors.torch import load_file

    given = load_file(path)
    if not isinstance(model, torch.export.ExportedProgram):
        widths.narrow(model, {name: tuple(tensor.shape) for name, tensor in given.items()})
        model.load_state_dict(given)
        return
    for name, tensor in model.state_dict.items():
        tensor.data.copy_(given[name])


def _export_script(module: Any, args: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    try:
        from torch._export.converter import TS2EPConverter

        program: torch.export.ExportedProgram = TS2EPConverter(module, args).convert()
    except Exception as error:  # the converter is experimental and raises many types
        raise UnsupportedError(
            f"this TorchScript file cannot be turned into an exported program: {str(error)[:300]}",
            hint="Hand in torch.export.save(...) as .pt2, or `file.py:function` that builds the model.",
        ) from error
    return program
