"""Every operator of the ML Program evaluator against PyTorch: alone, and from a file that coremltools wrote."""

from __future__ import annotations

import inspect
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit import mil
from edgekit.mil import constexpr, ops_lists
from edgekit.mil.program import OPERATORS
from edgekit.toolchains.coreml.vendor import coremltools

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package
from mil_cases import CASES, as_list, expected_list, i32, normal

torch.set_num_threads(1)

#: Lists and states need a program around them: see ``test_lists_and_states``.
_NEED_A_PROGRAM = {name for name in OPERATORS if name in vars(ops_lists)}


def test_every_operator_has_a_case() -> None:
    assert set(CASES) == set(OPERATORS) - _NEED_A_PROGRAM


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1))
def test_alone(name: str, seed: int) -> None:
    function = OPERATORS[name]
    extra = {"rounded": lambda a: a} if "rounded" in inspect.signature(function).parameters else {}
    for inputs, expected in CASES[name](np.random.default_rng(seed)):
        with np.errstate(all="ignore"):
            found = as_list(function(**inputs, **extra))
        _compare(name, found, expected_list(expected))


def _compare(name: str, found: list[Any], expected: list[Any], *, rtol: float = 3e-5, atol: float = 3e-5) -> None:
    assert len(found) == len(expected), name
    for got, wanted in zip(found, expected, strict=True):
        if wanted is None:
            continue
        assert got.shape == wanted.shape, name
        assert np.dtype(got.dtype).kind == wanted.dtype.kind or wanted.dtype.kind in "iub", name
        np.testing.assert_allclose(np.float64(got), np.float64(wanted), rtol=rtol, atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def ct() -> Any:
    return coremltools()


#: Parameters that are given at run time; the rest are constants of the file.
_VARIABLE = frozenset(
    ("x", "y", "query", "key", "value", "attn_mask", "data", "updates", "update", "input", "a", "b", "cond", "values",
     "ref_tensor", "initial_h", "initial_c")
)  # fmt: skip
#: Not of the file's operator set, or without arguments that vary.
_NOT_IN_A_FILE = frozenset(("fill", "range_1d", "dequantize", "exp2"))


def _varies(key: str, value: Any) -> bool:
    return key in _VARIABLE and (isinstance(value, list) or np.ndim(value) > 0)


def _suite(ct: Any, folder: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """One program with every case: the package, its inputs, and the expected results by output name."""
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, Program

    rng = np.random.default_rng(7)
    cases = [
        (name, number, inputs, expected)
        for name in sorted(set(CASES) - _NOT_IN_A_FILE)
        for number, (inputs, expected) in enumerate(CASES[name](rng))
    ]
    feeds: dict[str, Any] = {}
    for name, number, inputs, _ in cases:
        for key, value in inputs.items():
            if _varies(key, value):
                for place, array in enumerate(value if isinstance(value, list) else [value]):
                    wide = array.astype(np.int32) if array.dtype == np.bool_ else array
                    feeds[f"{name}_{number}_{key}_{place}"] = wide
    kinds = {"f": ct.converters.mil.mil.types.fp32, "i": ct.converters.mil.mil.types.int32}
    specs = {name: mb.TensorSpec(shape=a.shape, dtype=kinds[a.dtype.kind]) for name, a in feeds.items()}
    wanted: dict[str, Any] = {}

    def body(**placeholders: Any) -> Any:
        outputs = []
        for name, number, inputs, expected in cases:
            arguments: dict[str, Any] = {}
            for key, value in inputs.items():
                if not _varies(key, value):
                    arguments[key] = value
                    continue
                arrays = value if isinstance(value, list) else [value]
                taken = [placeholders[f"{name}_{number}_{key}_{i}"] for i in range(len(arrays))]
                taken = [
                    mb.cast(x=v, dtype="bool") if a.dtype == np.bool_ else v for v, a in zip(taken, arrays, strict=True)
                ]
                arguments[key] = taken if isinstance(value, list) else taken[0]
            found = getattr(mb, name)(**arguments)
            for place, (one, array) in enumerate(
                zip(found if isinstance(found, tuple | list) else [found], expected_list(expected), strict=True)
            ):
                if array is None:
                    continue
                output = f"out_{name}_{number}_{place}"
                wanted[output] = array
                outputs.append(mb.cast(x=one, dtype="fp32", name=output))
        return tuple(outputs)

    with _silent():
        program = Program()
        with Function(specs, opset_version=ct.target.iOS18) as function:
            function.set_outputs(list(body(**function.inputs)))
            program.add_function("main", function)
        model = ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS18,
            compute_precision=ct.precision.FLOAT32,
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
        )
        path = folder / "suite.mlpackage"
        model.save(str(path))
    return path, feeds, wanted


def _silent() -> Any:
    import contextlib
    import io

    return contextlib.redirect_stderr(io.StringIO())


@pytest.fixture(scope="module")
def suite(ct: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    return _suite(ct, tmp_path_factory.mktemp("suite"))


def test_from_a_file(suite: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    path, feeds, wanted = suite
    found = mil.load(path).run(feeds)
    assert len(wanted) > len(CASES) - len(_NOT_IN_A_FILE)
    for name, array in wanted.items():
        _compare(name, [found[name]], [array.astype(np.float32)])


@pytest.mark.skipif(platform.system() != "Darwin", reason="Core ML itself runs on macOS only")
def test_evaluator_against_core_ml(ct: Any, suite: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    path, feeds, wanted = suite
    model = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit.CPU_ONLY)
    real, ours = model.predict(feeds), mil.load(path).run(feeds)
    for name in wanted:
        np.testing.assert_allclose(ours[name], real[name], rtol=1e-3, atol=1e-3, err_msg=name)


def _saved(ct: Any, folder: Path, specs: dict[str, Any], body: Any, **options: Any) -> Path:
    """Write a program built with coremltools' builder."""
    from coremltools.converters.mil.mil import Function, Program

    with _silent():
        program = Program()
        with Function(specs, opset_version=ct.target.iOS18) as function:
            function.set_outputs(list(body(function.inputs)))
            program.add_function("main", function)
        chosen = {"compute_precision": ct.precision.FLOAT32, "pass_pipeline": ct.PassPipeline.EMPTY} | options
        chosen |= {"minimum_deployment_target": ct.target.iOS18, "skip_model_load": True}
        model = ct.convert(program, convert_to="mlprogram", **chosen)
        path = folder / "model.mlpackage"
        model.save(str(path))
    return path


def test_loops_branches_and_lists(ct: Any, tmp_path: Path) -> None:
    from coremltools.converters.mil import Builder as mb

    def body(inputs: Any) -> Any:
        x, stop = inputs["x"], inputs["stop"]
        empty = mb.make_list(init_length=4, dynamic_length=True, elem_shape=(3,), dtype="fp32")

        def step(i: Any, total: Any, ls: Any) -> Any:
            total = mb.add(x=total, y=mb.gather(x=x, indices=i, axis=0))
            return mb.add(x=i, y=1), total, mb.list_write(ls=ls, index=i, value=total)

        start = mb.sub(x=mb.squeeze(x=stop, axes=[0]), y=mb.squeeze(x=stop, axes=[0]))
        zero = mb.mul(x=mb.gather(x=x, indices=0, axis=0), y=0.0)
        _, total, ls = mb.while_loop(
            _cond=lambda i, total, ls: mb.less(x=i, y=mb.squeeze(x=stop, axes=[0])),
            _body=step,
            loop_vars=(start, zero, empty),
        )
        ls = mb.list_scatter(ls=ls, indices=i32(3), value=mb.expand_dims(x=total, axes=[0]))
        all_ = mb.list_gather(ls=ls, indices=i32(0, 1, 2, 3), name="all")
        big = mb.greater(x=mb.reduce_sum(x=total, axes=[0], keep_dims=False), y=0.0)
        sign = mb.cond(
            pred=big,
            _true_fn=lambda: mb.mul(x=total, y=1.0),
            _false_fn=lambda: mb.mul(x=total, y=-1.0),
            name="sign",
        )
        length = mb.list_length(ls=ls, name="length")
        return all_, mb.list_read(ls=ls, index=1, name="second"), sign, length

    from coremltools.converters.mil import Builder as builder

    types = ct.converters.mil.mil.types
    specs = {
        "x": builder.TensorSpec(shape=(4, 3), dtype=types.fp32),
        "stop": builder.TensorSpec(shape=(1,), dtype=types.int32),
    }
    program = mil.load(_saved(ct, tmp_path, specs, body))
    for sign in (1, -1):
        x = sign * np.abs(normal(np.random.default_rng(0), 4, 3))
        found = program.run({"x": x, "stop": i32(3)})
        sums = torch.cumsum(torch.from_numpy(x), 0).numpy()
        np.testing.assert_allclose(found["all"], np.concatenate([sums[:3], sums[2:3]]), rtol=1e-6)
        np.testing.assert_allclose(found["second"], sums[1], rtol=1e-6)
        np.testing.assert_allclose(found["sign"], np.abs(sums[2]), rtol=1e-6)
        assert found["length"].tolist() == 4


def test_states_outlive_a_run(ct: Any, tmp_path: Path) -> None:
    class Sum(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(1, 3, dtype=torch.float16))

        def forward(self, x: Any) -> Any:
            self.total.add_(x)
            return self.total * 2

    traced = torch.jit.trace(Sum().eval(), torch.zeros(1, 3, dtype=torch.float16))
    with _silent():
        model = ct.convert(
            traced,
            inputs=[ct.TensorType(name="x", shape=(1, 3), dtype=np.float16)],
            outputs=[ct.TensorType(name="y", dtype=np.float16)],
            states=[ct.StateType(wrapped_type=ct.TensorType(shape=(1, 3), dtype=np.float16), name="total")],
            minimum_deployment_target=ct.target.iOS18,
            skip_model_load=True,
        )
        model.save(str(tmp_path / "sum.mlpackage"))
    program = mil.load(tmp_path / "sum.mlpackage")
    assert {o.type for o in program.block.all_operations()} >= {"read_state", "write_state"}
    states = program.new_states()
    x = np.array([[1, 2, 3]], np.float16)
    assert [program.run({"x": x}, states)["y"][0, 0] for _ in range(3)] == [2, 4, 6]
    assert program.run({"x": x}, program.new_states())["y"][0, 0] == 2


def test_float16_rounds_and_overflows(ct: Any, tmp_path: Path) -> None:
    from coremltools.converters.mil import Builder as mb

    def body(inputs: Any) -> Any:
        half = mb.cast(x=inputs["x"], dtype="fp16")
        square = mb.mul(x=half, y=half)
        return (mb.cast(x=mb.sub(x=square, y=mb.mul(x=half, y=np.float16(1.0))), dtype="fp32", name="y"),)

    types = ct.converters.mil.mil.types
    specs = {"x": mb.TensorSpec(shape=(3,), dtype=types.fp32)}
    program = mil.load(_saved(ct, tmp_path, specs, body))
    x = np.array([1.001, 300.0, 100.0], np.float32)
    found = program.run({"x": x})["y"]
    half = torch.from_numpy(x).half()
    expected = (half * half - half).float().numpy()
    np.testing.assert_array_equal(found, expected)
    assert np.isinf(found[1])
    assert found[0] != np.float32(1.001) ** 2 - np.float32(1.001)


@pytest.mark.parametrize("dtype", ["int8", "int4", "uint4", "uint1", "uint2", "uint3", "uint6", "uint8"])
def test_weight_file_against_apples_writer(ct: Any, tmp_path: Path, dtype: str) -> None:
    """The reader of the weight file, on files that Apple's own writer made."""
    from coremltools.libmilstoragepython import _BlobStorageWriter

    from edgekit.mil import proto
    from edgekit.mil.values import Constants

    signed, bits = dtype.startswith("int"), int(dtype.removeprefix("u").removeprefix("int"))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    values = np.random.default_rng(1).integers(low, high, 21).astype(np.int8 if signed else np.uint8)
    path = tmp_path / "weight.bin"
    writer = _BlobStorageWriter(str(path))
    writer.write_float_data(np.arange(3, dtype=np.float32))
    offset = getattr(writer, f"write_{dtype}_data")(values)
    del writer
    message = proto.mil().Value()
    message.type.tensorType.dataType = getattr(proto.mil(), dtype.upper())
    message.type.tensorType.dimensions.add().constant.size = 21
    message.blobFileValue.fileName, message.blobFileValue.offset = "@model_path/weights/weight.bin", offset
    names = {number: name for name, number in proto.mil().DataType.items()}
    np.testing.assert_array_equal(Constants(tmp_path, names).read(message, "w"), values)


def test_constexpr_against_coremltools(ct: Any) -> None:
    """Our decoders against coremltools' own ``decompress`` (an independent implementation of the same text)."""
    from coremltools.converters.mil.mil.ops.defs.iOS16 import constexpr_ops as old
    from coremltools.converters.mil.mil.ops.defs.iOS18 import compression as new

    rng = np.random.default_rng(3)
    data = rng.integers(-128, 128, (4, 6, 2)).astype(np.int8)
    scale, offset = rng.random((2, 3, 1)).astype(np.float32), rng.integers(-9, 9, (2, 3, 1)).astype(np.int8)
    for shift in (None, offset):
        np.testing.assert_allclose(
            constexpr.constexpr_blockwise_shift_scale(data=data, scale=scale, offset=shift),
            new.constexpr_blockwise_shift_scale.decompress(data, scale, shift),
            rtol=1e-6,
        )
    zero, factor = rng.integers(-9, 9, 6).astype(np.int8), rng.random(6).astype(np.float32)
    np.testing.assert_allclose(
        constexpr.constexpr_affine_dequantize(quantized_data=data, zero_point=zero, scale=factor, axis=np.int32(1)),
        old.constexpr_affine_dequantize.decompress(data, zero, factor, 1),
        rtol=1e-6,
    )
    table, packed = normal(rng, 16), rng.integers(0, 256, 12).astype(np.uint8)
    np.testing.assert_array_equal(
        constexpr.constexpr_lut_to_dense(indices=packed, lut=table, shape=np.array([4, 6])),
        old.constexpr_lut_to_dense.decompress(table, packed, np.array([4, 6])),
    )
    indices = rng.integers(0, 4, (4, 6)).astype(np.uint8)
    for vector, axis in ((1, None), (3, 0), (3, 1)):
        lut = normal(rng, 2, 1, 4, vector)
        np.testing.assert_array_equal(
            constexpr.constexpr_lut_to_dense(
                indices=indices, lut=lut, vector_axis=None if axis is None else np.int32(axis)
            ),
            new.constexpr_lut_to_dense.decompress(indices, lut, axis),
        )
    mask = rng.random((4, 6)) < 0.5
    values = normal(rng, int(mask.sum()))
    np.testing.assert_array_equal(
        constexpr.constexpr_sparse_to_dense(nonzero_data=values, mask=mask.astype(np.uint8)),
        new.constexpr_sparse_to_dense.decompress(values, mask.astype(np.uint8)),
    )
