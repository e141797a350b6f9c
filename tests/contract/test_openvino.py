"""The OpenVINO toolchain on real conversions of small models, and its known traps."""

from __future__ import annotations

import shutil
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("openvino")
sys.path.insert(0, str(Path(__file__).parent))
import exchange
from exchange_child import MODELS, ROUTES

import openvino as ov  # isort: skip
from openvino import opset13 as opset  # isort: skip

from edgekit import toolchains
from edgekit.errors import DamagedFileError, UsageError
from edgekit.jobs.workers import Workers
from edgekit.proof.precision import shortfall
from edgekit.schemes import SCHEMES
from edgekit.toolchains.openvino import quantize, session
from edgekit.toolchains.openvino.compact import compact
from edgekit.toolchains.openvino.passes import ranges

TORCH = ROUTES["openvino", "torch"]
LEAST_DB = {"fp32": 120, "fp16": 60, "int8": 28, "int8-weights": 38}
#: Nothing quantizes the input of the recurrent cell, which is looked up in a table: it computes in float.
SHORT = {("lstm", "ptq-w8a8-nncf"), ("lstm", "ptq-w8a8-nncf-all")}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> Path:
    return exchange.convert("openvino", "torch", tmp_path_factory.mktemp("openvino") / "first", workers)


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> Path:
    return exchange.convert("openvino", "keras", tmp_path_factory.mktemp("openvino_keras"), workers)


def file_of(files: Path, model: str, route: str) -> Path:
    return files / model / route / "model.xml"


@pytest.mark.parametrize("route", TORCH)
@pytest.mark.parametrize("model", MODELS["torch"])
def test_route_is_close_and_is_what_it_claims(files: Path, model: str, route: str) -> None:
    file, precision = file_of(files, model, route), TORCH[route]
    audit = toolchains.audit("openvino", file)
    assert bool(shortfall(SCHEMES[precision], audit)) == ((model, route) in SHORT), shortfall(SCHEMES[precision], audit)
    assert (
        exchange.sqnr(files, model, toolchains.open_session("openvino", file, toolchains.Options(SCHEMES[precision])))
        >= LEAST_DB[precision]
    )
    assert [t.name for t in audit.outputs] == ["logits"]
    assert [(t.name, t.dtype) for t in audit.inputs] == [
        ("image", "float32") if model == "conv" else ("tokens", "int32")
    ]
    assert all(n > 0 for t in audit.inputs for n in t.shape)
    assert audit.macs_total > 50_000


@pytest.mark.parametrize("model", MODELS["torch"])
def test_float_is_executed_in_float32_also_where_the_cpu_has_less(files: Path, model: str) -> None:
    for route in ("export-torch-trace", "cast-wf16-openvino", "weights-w8-nncf"):
        assert (
            toolchains.open_session(
                "openvino", file_of(files, model, route), toolchains.Options(SCHEMES[TORCH[route]])
            ).precision
            == "f32"
        )


def test_fp16_differs_from_fp32_by_the_rounding_of_weights_only(files: Path) -> None:
    import openvino

    core = openvino.Core()
    small = [
        n
        for n in core.read_model(file_of(files, "conv", "cast-wf16-openvino")).get_ops()
        if n.get_type_name() == "Constant"
    ]
    assert {n.get_element_type().get_type_name() for n in small} >= {"f16"}
    assert (
        60
        <= exchange.sqnr(
            files,
            "conv",
            toolchains.open_session(
                "openvino", file_of(files, "conv", "cast-wf16-openvino"), toolchains.Options(SCHEMES["fp16"])
            ),
        )
        <= 100
    )


@pytest.mark.parametrize("route", ["cast-wf16-openvino", "cast-wf16-openvino-widened"])
def test_equal_float16_weights_are_stored_once_and_widened_once_by_a_route_of_its_own(
    tmp_path: Path, route: str
) -> None:
    import openvino
    from openvino import opset13

    from edgekit.toolchains import Request

    rng, width = np.random.default_rng(0), 256
    weights = rng.normal(size=(width, width)).astype(np.float32) / width**0.5
    x = h = opset13.parameter([1, width], np.float32)
    for _ in range(2):
        h = opset13.tanh(opset13.matmul(h, opset13.constant(weights.copy()), False, True))
    for node, name in ((x, "x"), (h, "y")):
        node.output(0).get_tensor().set_names({name})
    openvino.save_model(openvino.Model([h], [x], "model"), tmp_path / "float.xml", compress_to_fp16=False)
    request = Request(tmp_path, SCHEMES["fp16"], False, None, tmp_path / "float.xml", ("x",), ("y",))
    converted = toolchains.routes("openvino")[route].convert(None, request)
    made, once = converted.file, route.endswith("widened")
    assert any("widened once" in note for note in converted.notes) == once
    halves = [n for n in openvino.Core().read_model(made).get_ops() if n.get_element_type() == openvino.Type.f16]
    assert len(halves) == 1 and made.with_suffix(".bin").stat().st_size < 2.1 * width**2
    assert ('name="decompression"' in made.read_text()) != once
    sample = {"x": rng.normal(size=(1, width)).astype(np.float32)}
    wide, small = (
        toolchains.open_session("openvino", file, toolchains.Options(SCHEMES["fp16"])).run(sample)["y"]
        for file in (tmp_path / "float.xml", made)
    )
    assert 0 < np.abs(wide - small).max() < 1e-3


def test_int8_is_what_really_runs(files: Path) -> None:
    conv = toolchains.open_session(
        "openvino", file_of(files, "conv", "ptq-w8a8-nncf"), toolchains.Options(SCHEMES["int8"])
    )
    assert conv.precision == "int8", conv.executed
    cell = toolchains.open_session(
        "openvino", file_of(files, "lstm", "ptq-w8a8-nncf"), toolchains.Options(SCHEMES["int8"])
    )
    assert cell.executed["RNNSeq:f32"] == 2 and cell.precision == "int8 x1, f32 x2"
    unrolled = toolchains.open_session(
        "openvino", file_of(files, "lstm", "ptq-w8a8-nncf-unrolled"), toolchains.Options(SCHEMES["int8"])
    )
    assert (
        unrolled.precision == "int8"
        and toolchains.audit("openvino", file_of(files, "lstm", "ptq-w8a8-nncf-unrolled")).ops_quantized >= 25
    )


def test_a_port_is_called_as_in_the_file_also_where_the_compiler_gives_it_more_names(tmp_path: Path) -> None:
    import openvino
    from openvino import opset13

    tokens = opset13.parameter([1, 4], np.int32)
    wide = opset13.convert(tokens, "i64")  # dropped by the compiler
    rows = opset13.gather(opset13.constant(np.eye(8, 3, dtype=np.float32)), wide, opset13.constant(np.int64(0)))
    for node, name in ((tokens, "tokens"), (wide, "a"), (rows, "rows")):
        node.output(0).get_tensor().set_names({name})
    openvino.save_model(openvino.Model([rows], [tokens], "model"), tmp_path / "model.xml", compress_to_fp16=False)
    session = toolchains.open_session("openvino", tmp_path / "model.xml", toolchains.Options(SCHEMES["fp32"]))
    found = session.run({"tokens": np.array([[0, 1, 2, 3]], np.int32)})
    np.testing.assert_array_equal(found["rows"], np.eye(8, 3, dtype=np.float32)[None, :4])


def test_recurrent_weights_are_stored_in_int8(files: Path) -> None:
    audit = toolchains.audit("openvino", file_of(files, "lstm", "weights-w8-nncf"))
    assert audit.weight_elements["int8"] == 2 * 4 * 24 * (16 + 24)
    assert audit.macs_quantized_share == 0.0 and audit.float_weights == ()


@pytest.mark.nightly  # ONNX files are made twice in every run
def test_files_tell_nothing_of_the_machine_and_do_not_differ(files: Path, tmp_path: Path) -> None:
    """Under the names that are handed out: before, OpenVINO counts what the process has made."""
    again = exchange.convert_alone("openvino", "torch", tmp_path / "second", seed="7")
    for model in MODELS["torch"]:
        for route in TORCH.keys() - exchange.outcome(files, model).keys():
            made = []
            for folder in (files, again):
                file, shorter = file_of(folder, model, route), tmp_path / f"{model}-{route}-{len(made)}"
                shorter.mkdir()
                xml = shorter / file.name if compact(file, shorter) else file
                made.append((xml.read_bytes(), xml.with_suffix(".bin").read_bytes()))
            assert made[0] == made[1], (model, route)
            assert "conversion_parameters" not in file_of(files, model, route).read_text()


def test_no_telemetry_in_this_process() -> None:
    assert sys.modules["openvino_telemetry"] is None


def test_keras_outputs_keep_their_order_and_loops_stay_loops(keras_files: Path) -> None:
    session = toolchains.open_session(
        "openvino", file_of(keras_files, "outputs", "export-saved-model"), toolchains.Options(SCHEMES["fp32"])
    )
    assert exchange.sqnr(keras_files, "outputs", session) >= 120
    assert (
        exchange.sqnr(
            keras_files,
            "gelu",
            toolchains.open_session(
                "openvino", file_of(keras_files, "gelu", "export-saved-model"), toolchains.Options(SCHEMES["fp32"])
            ),
        )
        >= 120
    )
    loop = toolchains.audit("openvino", file_of(keras_files, "lstm", "export-saved-model"))
    assert sum("while" in name for name in loop.float_ops) == 4  # both directions, input and state
    whole = toolchains.open_session(
        "openvino", file_of(keras_files, "attention", "export-saved-model"), toolchains.Options(SCHEMES["fp32"])
    )
    assert exchange.sqnr(keras_files, "attention", whole) >= 120


def test_sessions_check_inputs_and_bind(files: Path) -> None:
    session = toolchains.open_session(
        "openvino", file_of(files, "lstm", "export-torch-trace"), toolchains.Options(SCHEMES["fp32"])
    )
    tokens = np.arange(12, dtype=np.int64)[None]
    assert session.run({"tokens": tokens})["logits"].shape == (1, 5)
    session.bind({"tokens": tokens})()
    for wrong in ({"x": tokens}, {"tokens": tokens[:, :5]}, {"tokens": tokens.astype(np.float32)}):
        with pytest.raises(UsageError):
            session.run(wrong)


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_truncated_files_are_damaged(files: Path, tmp_path: Path, suffix: str) -> None:
    for part in (".xml", ".bin"):
        shutil.copy(file_of(files, "conv", "ptq-w8a8-nncf").with_suffix(part), tmp_path / f"model{part}")
    damaged = tmp_path / f"model{suffix}"
    content = damaged.read_bytes()
    for length in (0, len(content) // 2, len(content) - 9):
        damaged.write_bytes(content[:length])
        with pytest.raises(DamagedFileError):
            toolchains.audit("openvino", tmp_path / "model.xml")
        with pytest.raises(DamagedFileError):
            toolchains.open_session("openvino", tmp_path / "model.xml", toolchains.Options(SCHEMES["int8"]))


def test_nan_in_a_constant_is_found(files: Path, tmp_path: Path) -> None:
    for part in (".xml", ".bin"):
        shutil.copy(file_of(files, "conv", "export-torch-trace").with_suffix(part), tmp_path / f"model{part}")
    content = bytearray((tmp_path / "model.bin").read_bytes())
    content[:4] = np.float32(np.nan).tobytes()  # the first constant is the first convolution's weight
    (tmp_path / "model.bin").write_bytes(content)
    assert any("NaN" in finding for finding in toolchains.audit("openvino", tmp_path / "model.xml").findings)


@pytest.mark.parametrize(
    ("model", "route"), [("conv", "export-torch-trace"), ("conv", "ptq-w8a8-nncf"), ("lstm", "ptq-w8a8-nncf-unrolled")]
)
def test_layers_keep_their_names_until_a_file_is_chosen_and_are_found_again(
    files: Path, tmp_path: Path, model: str, route: str
) -> None:
    import openvino

    def layers(file: Path) -> list[str]:
        return [node.get_friendly_name() for node in openvino.Core().read_model(file).get_ordered_ops()]

    file = file_of(files, model, route)
    full = layers(file)
    assert len(set(full)) == len(full)
    assert [name for name in full if "/aten::" in name or "aten." in name], full
    names = compact(file, tmp_path)
    if names is None:  # nothing to gain
        return
    assert [names.operators.get(name, name) for name in layers(tmp_path / file.name)] == full
    before, after = (sum(p.stat().st_size for p in folder.glob("model.*")) for folder in (file.parent, tmp_path))
    assert after < before
    sessions = (
        toolchains.open_session("openvino", one, toolchains.Options(SCHEMES[TORCH[route]]))
        for one in (file, tmp_path / file.name)
    )
    assert exchange.same_outputs(files, model, *sessions)


def test_a_kernel_answers_zeros_on_one_thread(tmp_path: Path) -> None:
    """Two int8 products without biases are one kernel of OpenVINO 2026.4 on one thread, and it answers zeros.

    On two it is mostly right, and not on every machine. A file is proven on one thread, so that the gate sees it. Once
    it is right, this says so.
    """
    import nncf
    import openvino
    from openvino import opset13

    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(32, 24)).astype(np.float32), rng.normal(size=(10, 32)).astype(np.float32)
    x = opset13.parameter([1, 24], np.float32)
    h = opset13.relu(opset13.matmul(x, opset13.constant(first), False, True))
    y = opset13.matmul(h, opset13.constant(second), False, True)
    for node, name in ((x, "x"), (y, "y")):
        node.output(0).get_tensor().set_names({name})
    samples = rng.normal(size=(32, 1, 24)).astype(np.float32)
    quantized = nncf.quantize(openvino.Model([y], [x], "model"), nncf.Dataset([{"x": row} for row in samples]))
    openvino.save_model(quantized, tmp_path / "model.xml", compress_to_fp16=False)
    session = toolchains.open_session("openvino", tmp_path / "model.xml", toolchains.Options(SCHEMES["int8"]))
    assert not session.run({"x": samples[0]})["y"].any()
    assert np.abs(np.maximum(samples[0] @ first.T, 0) @ second.T).min() > 0


def test_squeeze_and_excitation_is_quantized_too() -> None:
    """NNCF by itself leaves these products in float."""
    import nncf
    import openvino as ov
    from openvino import opset13 as opset

    from edgekit.toolchains.openvino.nncf import quantize

    def gated() -> ov.Model:
        rng = np.random.default_rng(0)

        def conv(x: ov.Output, filters: int, channels: int) -> ov.Output:
            weights = rng.standard_normal((filters, channels, 1, 1), dtype=np.float32)
            made = opset.convolution(x, opset.constant(weights), [1, 1], [0, 0], [0, 0], [1, 1])
            return opset.add(made, opset.constant(np.zeros((1, filters, 1, 1), np.float32)))

        x = opset.parameter([1, 16, 8, 8], np.float32, name="x")
        h = opset.relu(conv(x, 16, 16))
        mean = opset.reduce_mean(h, opset.constant(np.array([2, 3])), keep_dims=True)
        gate = opset.sigmoid(conv(opset.relu(conv(mean, 4, 16)), 16, 4))
        return ov.Model([conv(opset.multiply(h, gate), 16, 16)], [x])

    def quantized(model: ov.Model) -> list[bool]:
        """Of every convolution, whether its data input is quantized."""
        convs = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
        return [node.input_value(0).get_node().get_type_name() == "FakeQuantize" for node in convs]

    samples = {"x": np.random.default_rng(1).standard_normal((8, 1, 16, 8, 8), dtype=np.float32)}
    assert quantized(quantize(gated(), samples)) == [True] * 4
    theirs = nncf.quantize(gated(), nncf.Dataset(list(samples["x"])))
    assert quantized(theirs).count(False) == 2


def test_operators_times_leave_the_first_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plug-in's counters are means of all runs so far, and the first makes the kernels."""

    class Counting:
        def __init__(self, *_: object) -> None:
            self.took: list[float] = []

        def run(self, _: object) -> None:
            self.took.append(1e-3 if self.took else 0.1)

        def counters(self) -> list[SimpleNamespace]:
            mean = timedelta(seconds=sum(self.took) / len(self.took))
            done = session.ov.ProfilingInfo.Status.EXECUTED
            return [SimpleNamespace(node_name="conv", node_type="c", exec_type="x", status=done, real_time=mean)]

    monkeypatch.setattr(session, "OpenVinoSession", Counting)
    [(name, _, took)] = session.profile(Path("model.xml"), toolchains.Options(SCHEMES["fp32"]), {})
    assert (name, took) == ("conv", pytest.approx(1.0, rel=0.01))


def joined(*, read_out: bool, both: bool = False) -> ov.Model:
    """A convolution, a grid that a sum alone reads, and another behind the sum; on its other side the same, or not."""
    rng = np.random.default_rng(0)

    def grid(value, bounds, levels=256):
        least, most = (opset.constant(np.full([1] * 4, bound, np.float32)) for bound in bounds)
        return opset.fake_quantize(value, least, most, least, most, levels)

    x = opset.parameter([1, 8, 6, 6], np.float32, name="x")
    weights = np.clip(rng.normal(size=(8, 8, 1, 1)) * 0.3, -1, 1).astype(np.float32)
    weights[:, 0] = 1
    steps = grid(opset.constant(weights), (-1.0, 1.0), 255)
    ones, zeros = np.ones(2, np.int64), np.zeros(2, np.int64)
    first = opset.convolution(grid(x, (-4.0, 4.0 * 127 / 128)), steps, ones, zeros, zeros, ones)
    taken = grid(first, (-4.0, 4.0 * 127 / 128))
    product = opset.convolution(taken, steps, ones, zeros, zeros, ones)
    biased = opset.add(product, opset.constant(rng.normal(size=(1, 8, 1, 1)).astype(np.float32)))
    biased.set_friendly_name("projection")
    coarse = grid(biased, (-16.0, 16.0 * 127 / 128))
    other = opset.add(opset.convolution(taken, steps, ones, zeros, zeros, ones), opset.constant(np.float32(0.1)))
    other.set_friendly_name("other")
    total = opset.add(coarse, grid(other, (-4.0, 4.0 * 127 / 128)) if both else taken)
    last = grid(total, (-8.0, 8.0 * 127 / 128))
    out = opset.convolution(last, steps, ones, zeros, zeros, ones)
    return ov.Model([opset.result(one) for one in ((out, coarse) if read_out else (out,))], [x])


def test_what_a_sum_alone_reads_is_not_rounded_and_has_no_range(tmp_path: Path) -> None:
    """The CPU joins it to the convolution ahead of it; where it is read out, it is rounded as the file says."""
    ov.save_model(joined(read_out=False), tmp_path / "model.xml", compress_to_fp16=False)
    names = {one.tensor for one in toolchains.ranges_of("openvino", tmp_path / "model.xml")}
    assert "projection" not in names and len(names) == 3
    ov.save_model(joined(read_out=True), tmp_path / "other.xml", compress_to_fp16=False)
    assert "projection" in {one.tensor for one in toolchains.ranges_of("openvino", tmp_path / "other.xml")}
    ov.save_model(joined(read_out=False, both=True), tmp_path / "both.xml", compress_to_fp16=False)
    names = {one.tensor for one in toolchains.ranges_of("openvino", tmp_path / "both.xml")}
    assert "other" in names and "projection" not in names, "of two the first is joined"


def test_a_quantized_file_calls_operators_as_the_float_file_does(tmp_path: Path) -> None:
    """Keras's operators have a type and a number for names: numbered anew, a range would go to another one."""
    rng = np.random.default_rng(0)
    x = y = opset.parameter([1, 16], np.float32, name="x")
    for i in range(3):  # the constants are called as Keras's are, by what they were folded from
        weights = opset.constant(rng.standard_normal((16, 16), dtype=np.float32))
        weights.set_friendly_name(f"Transpose_{3 * i}")
        y = opset.matmul(y, weights, False, True)
        y.set_friendly_name(f"Transpose_{3 * i + 1}")
        y = opset.tanh(y)
        y.set_friendly_name(f"Transpose_{3 * i + 2}")
    model = ov.Model([y], [x], "model")
    for port, name in ((model.inputs[0], "x"), (model.outputs[0], "y")):
        port.get_tensor().set_names({name})
    ov.save_model(model, tmp_path / "float.xml", compress_to_fp16=False)
    samples = {"x": rng.standard_normal((16, 1, 16), dtype=np.float32)}
    request = toolchains.Request(
        tmp_path, SCHEMES["int8"], False, samples, tmp_path / "float.xml", ("x",), ("y",), whole=False
    )
    made = quantize.static(None, request).file

    def values(file: Path, names: list[str]) -> dict[str, np.ndarray]:
        return {name: rows[0] for name, rows in ranges.values(file, names, {"x": samples["x"][:1]}).items()}

    names = [one.tensor for one in ranges.read(made)]
    assert len(names) >= 3
    wanted, found = values(tmp_path / "float.xml", names), values(made, names)
    assert list(wanted) == list(found)
    for name, value in wanted.items():
        assert np.corrcoef(value.ravel(), found[name].ravel())[0, 1] > 0.99, name
