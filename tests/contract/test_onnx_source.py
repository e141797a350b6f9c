"""ONNX models as sources: converted and proven against ONNX Runtime without its optimizer, or refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.errors import (
    DamagedFileError,
    EdgekitError,
    MissingDependencyError,
    UnsafeInputError,
    UnsupportedError,
    UsageError,
)
from edgekit.jobs import interpreters
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.sources.allowed import lists
from tests.contract import onnx_models

GOOD, REFUSED = onnx_models.GOOD, onnx_models.REFUSED


@pytest.fixture
def convert(workers: Workers, store: Store, tmp_path: Path) -> Any:
    def made(file: Path, target: str, **more: Any) -> edgekit.Result:
        name = f"{file.stem}-{target}"
        return edgekit.convert(
            str(file), target, output=tmp_path / name, latency=False, workers=workers, store=store, **more
        )

    return made


#: What others show already.
_NIGHTLY = ("mlp", "opset21", "float16", "slashes", "two_in_three_out")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.nightly] if n in _NIGHTLY else []) for n in GOOD])
def test_it_is_proven_against_onnx_runtime_without_its_optimizer(convert: Any, tmp_path: Path, name: str) -> None:
    make, options = GOOD[name]
    result = convert(onnx_models.write(make(), tmp_path), "onnxruntime-fp32", **options)
    assert result.status == "PASS", result.reason
    assert (result.framework, result.source.kind, result.route) == ("onnx", "onnx", "export-onnx")
    assert result.parity.reference == f"ONNX Runtime {onnxruntime.__version__}, no optimizations"
    assert result.parity.sqnr_db > 100
    second = result.source.second
    assert second is not None and second.by == f"onnx.reference {onnx.__version__}"
    assert second.sqnr_db is not None and second.sqnr_db > 100, second.reason


@pytest.mark.parametrize("target", ["openvino-fp32", "tensorrt-fp32", "onnxruntime-int8-dynamic"])
def test_other_formats_start_from_the_same_graph(convert: Any, tmp_path: Path, target: str) -> None:
    make, options = GOOD["tokens"]
    result = convert(onnx_models.write(make(), tmp_path), target, **options)
    assert result.status == "PASS", result.reason
    assert "no optimizations" in result.parity.reference


@pytest.mark.parametrize(
    "target",
    ["onnxruntime-int8", *(pytest.param(t, marks=pytest.mark.nightly) for t in ("openvino-int8", "tensorrt-int8"))],
)
def test_static_int8_of_two_inputs_that_share_a_weight(convert: Any, tmp_path: Path, target: str) -> None:
    file, samples = onnx_models.write(onnx_models.two_in_three_out(), tmp_path), tmp_path / "samples.npz"
    rng = np.random.default_rng(0)
    np.savez(samples, a=rng.normal(size=(64, 16)).astype("f4"), b=rng.normal(size=(64, 16)).astype("f4"))
    # Of the 16 that calibration holds out two are near ties: the largest of eight values leads by less than twice the
    # error of a file with 35 dB, and two of 16 places are more than a tenth. A share takes more samples than that.
    more = tmp_path / "evaluate.npz"
    np.savez(more, a=rng.normal(size=(512, 16)).astype("f4"), b=rng.normal(size=(512, 16)).astype("f4"))
    result = convert(file, target, calibrate=str(samples), evaluate=str(more), outputs=["share=classes"])
    assert result.status == "PASS", result.reason
    assert result.parity.sqnr_db > 20
    assert result.parity.samples > 300


@pytest.mark.parametrize("named", ["ids", "x"])
def test_samples_show_the_lengths_that_a_graph_leaves_open(convert: Any, tmp_path: Path, named: str) -> None:
    """Whole numbers of another width are taken, as for a model of any other kind."""
    np.savez(tmp_path / "words.npz", **{named: np.random.default_rng(0).integers(0, 50, (64, 12), "int32")})
    file = onnx_models.write(onnx_models.tokens(), tmp_path)
    result = convert(file, "onnxruntime-fp32", calibrate=str(tmp_path / "words.npz"))
    assert result.status == "PASS", result.reason
    [part] = result.parts.values()
    assert (part.inputs[0].shape, part.inputs[0].dtype) == ((1, 12), "int64")


def test_the_artifact_answers_as_the_model_does_outside_of_edgekit(convert: Any, tmp_path: Path) -> None:
    """The verdict by hand: the given file and the artifact, each by ONNX Runtime itself, on samples of our own."""
    make, options = GOOD["tokens"]
    file = onnx_models.write(make(), tmp_path)
    result = convert(file, "onnxruntime-fp32", **options)
    ids = np.random.default_rng(7).integers(0, 50, (1, 12))
    [[given], [made]] = (
        onnxruntime.InferenceSession(str(path)).run(None, {"ids": ids})
        for path in (file, Path(result.artifact) / "model.onnx")
    )
    assert 10 * np.log10((given**2).sum() / max(((given - made) ** 2).sum(), 1e-30)) > 100


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_sentence(convert: Any, tmp_path: Path, name: str) -> None:
    make, code, said = REFUSED[name]
    with pytest.raises(EdgekitError) as error:
        convert(onnx_models.write(make(), tmp_path), "onnxruntime-fp32")
    assert error.value.code == code
    assert said in f"{error.value} {error.value.hint}" and error.value.hint
    assert str(error.value).isprintable()


def test_an_operator_of_onnx_runtimes_own_has_no_second_opinion_and_says_so(convert: Any, tmp_path: Path) -> None:
    file = onnx_models.write(onnx_models.contrib(), tmp_path)
    result = convert(file, "onnxruntime-fp32")
    assert result.status == "PASS", result.reason
    assert result.source.second.sqnr_db is None
    assert result.source.second.reason == "it has no com.microsoft.FusedMatMul"
    with pytest.raises(UnsupportedError, match="FusedMatMul"):
        convert(file, "tensorrt-int8", calibrate=_samples(tmp_path))


def _samples(folder: Path) -> str:
    np.savez(folder / "x.npz", x=np.random.default_rng(0).normal(size=(64, 16)).astype("f4"))
    return str(folder / "x.npz")


# --- weights beside the model ------------------------------------------------------------------------------------


def _with_weights_beside(folder: Path, location: str, into: str | None = None) -> Path:
    model = onnx_models.mlp()
    [tensor] = [t for t in model.graph.initializer if t.name == "w1"]
    data = folder / (into or location)
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_bytes(b"\0" * 8 + numpy_helper.to_array(tensor).tobytes())
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "8"), ("length", str(16 * 32 * 4))):
        tensor.external_data.add(key=key, value=value)
    return onnx_models.write(model, folder)


@pytest.mark.parametrize("location", ["m.onnx.data", "other.bin", "below/weights"])
def test_weights_beside_a_model_come_in_under_any_name(convert: Any, tmp_path: Path, location: str) -> None:
    result = convert(_with_weights_beside(tmp_path, location), "onnxruntime-fp32")
    assert result.status == "PASS", result.reason
    made = onnx.load(Path(result.artifact) / "model.onnx")
    before = result.source.sha256
    data = tmp_path / location
    data.write_bytes(data.read_bytes()[:-4] + b"\0\0\0\1")
    assert convert(tmp_path / "m.onnx", "onnxruntime-fp32").source.sha256 != before
    assert all(t.data_location == TensorProto.DEFAULT for t in made.graph.initializer)


def test_weights_elsewhere_are_not_read(convert: Any, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(UnsafeInputError, match="outside of its own folder"):
        convert(_with_weights_beside(inner, "../other.bin"), "onnxruntime-fp32")
    with pytest.raises(UnsafeInputError, match="outside of its own folder"):
        convert(_with_weights_beside(inner, "/etc/hostname", "unused"), "onnxruntime-fp32")
    file = _with_weights_beside(inner, "linked.bin", "../real.bin")
    (inner / "linked.bin").symlink_to(tmp_path / "real.bin")
    with pytest.raises(UnsafeInputError, match="is a link"):
        convert(file, "onnxruntime-fp32")


def test_weights_that_are_not_there_are_named(convert: Any, tmp_path: Path) -> None:
    file = _with_weights_beside(tmp_path, "other.bin")
    (tmp_path / "other.bin").write_bytes(b"\0" * 100)
    with pytest.raises(DamagedFileError, match=r"'w1' from bytes 8 to 2056 of 'other\.bin', which has 100"):
        convert(file, "onnxruntime-fp32")
    (tmp_path / "other.bin").unlink()
    with pytest.raises(DamagedFileError, match=r"'other\.bin', which is not there"):
        convert(file, "onnxruntime-fp32")


# --- what is no ONNX, and what cannot be asked of it -------------------------------------------------------------


@pytest.mark.parametrize("content", [b"\x08", b"not a model", b"\0" * 64, b""])
def test_what_is_no_model_is_damaged(convert: Any, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(content)
    with pytest.raises(DamagedFileError):
        convert(file, "onnxruntime-fp32")


def test_a_truncated_model_is_damaged(convert: Any, tmp_path: Path) -> None:
    file = onnx_models.write(onnx_models.mlp(), tmp_path)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DamagedFileError):
        convert(file, "onnxruntime-fp32")


def test_shapes_are_told_by_name(convert: Any, tmp_path: Path) -> None:
    file = onnx_models.write(onnx_models.tokens(), tmp_path)
    with pytest.raises(UsageError, match=r"axis 1 of 'ids' \(sequence\)") as error:
        convert(file, "onnxruntime-fp32")
    assert error.value.hint.startswith("--input ids=1x16:int64")
    with pytest.raises(UsageError, match="takes int64, not float32"):
        convert(file, "onnxruntime-fp32", inputs=["ids=1x12"])
    fixed = onnx_models.write(onnx_models.mlp(), tmp_path)
    with pytest.raises(UsageError, match="the model takes 1x16"):
        convert(fixed, "onnxruntime-fp32", inputs=["x=1x15"])


def test_it_cannot_be_trained_and_says_what_can(convert: Any, tmp_path: Path) -> None:
    file = onnx_models.write(onnx_models.mlp(), tmp_path)
    data = _samples(tmp_path)
    for options in ({"qat": 1}, {"prune": "0.5"}, {"prune": "channels:0.5"}):
        with pytest.raises(UnsupportedError, match="an onnx source cannot be trained") as error:
            convert(file, "onnxruntime-int8", calibrate=data, train=data, evaluate=data, **options)
        assert "file.py:function" in error.value.hint


@pytest.mark.parametrize("target", ["executorch-fp32", "executorch-int8-dynamic", "coreml-fp16"])
def test_formats_that_do_not_read_it_say_what_to_hand_in(convert: Any, tmp_path: Path, target: str) -> None:
    file, said = onnx_models.write(onnx_models.mlp(), tmp_path), ""
    try:
        result = convert(file, target)
        assert result.status == "UNSUPPORTED"
        said = f"{result.error.message} {result.error.hint}"
    except UnsupportedError as error:
        said = f"{error} {error.hint}"
    assert "has no route for an .onnx" in said and "the model that it was exported from" in said


def test_litert_names_what_has_to_be_installed(convert: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "of", lambda name: None)
    with pytest.raises(MissingDependencyError, match="onnx2tf is not installed") as error:
        convert(onnx_models.write(onnx_models.mlp(), tmp_path), "tflite-fp32")
    assert "edgekit doctor --install onnx2tf" in error.value.hint and error.value.exit_code == 7


def test_requirements_of_an_importer_are_its_own_pins() -> None:
    lines = ["numpy>=2.1", "psutil>=6", "onnx2tf==2.6.*; extra == 'onnx2tf'", "onnx==1.23.*; extra == 'onnx'"]
    assert interpreters.requirements("onnx2tf", lines) == ["numpy", "psutil", "onnx2tf==2.6.*"]
    assert interpreters.requirements("onnx", lines) == ["numpy>=2.1", "psutil>=6", "onnx==1.23.*"]


@pytest.mark.parametrize("name", ["tokens", "two_in_three_out", "ir3", "bfloat16"])
def test_litert_by_onnx2tf(convert: Any, tmp_path: Path, name: str) -> None:
    if interpreters.of("onnx2tf") is None:
        pytest.skip("onnx2tf has no environment here (`edgekit doctor --install onnx2tf`, Python 3.12 or later)")
    make, options = GOOD[name]
    result = convert(onnx_models.write(make(), tmp_path), "tflite-fp32", **options)
    assert result.status == "PASS", result.reason
    assert result.route == "export-onnx2tf" and result.parity.sqnr_db > 100
    assert not {"SHAPE", "PACK"} & set(result.audit.ops_float or {})  # shapes are constants
    assert "no optimizations" in result.parity.reference


def test_what_onnx2tf_does_not_know_is_named(convert: Any, tmp_path: Path) -> None:
    if interpreters.of("onnx2tf") is None:
        pytest.skip("onnx2tf has no environment here (`edgekit doctor --install onnx2tf`, Python 3.12 or later)")
    result = convert(onnx_models.write(onnx_models.if_and_loop(), tmp_path), "tflite-fp32")
    assert result.status == "UNSUPPORTED" and "onnx2tf cannot convert If" in result.reason


def test_the_lists_name_operators_that_onnx_runtime_has() -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    known = {schema.name for schema in get_all_operator_schema() if schema.domain == "com.microsoft"}
    listed = lists("onnx")
    assert listed["microsoft"] | listed["quantized"] | listed["refused"] <= known
    assert not listed["microsoft"] & listed["quantized"]


def test_half_precision_is_computed_in_float32(convert: Any, tmp_path: Path) -> None:
    result = convert(onnx_models.write(GOOD["bfloat16"][0](), tmp_path), "onnxruntime-fp32")
    assert any("holds bfloat16" in note for note in result.notes)
    kinds = {t.data_type for t in onnx.load(Path(result.artifact) / "model.onnx").graph.initializer}
    assert kinds == {TensorProto.FLOAT}
    assert helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16).itemsize == 2
