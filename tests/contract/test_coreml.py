"""The Core ML toolchain: packages that are the same every time, and what happens to those that are damaged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import cli, mil
from edgekit.errors import DamagedFileError, EdgekitError, NotRunError, UnsafeInputError, UnsupportedError, UsageError
from edgekit.jobs.store import sha256_file
from edgekit.jobs.workers import Workers
from edgekit.mil import proto
from edgekit.schemes import SCHEMES
from edgekit.toolchains.coreml.passes.activations import scale_and_zero_point
from edgekit.toolchains.coreml.vendor import coremltools
from tests.contract.conftest import inside

#: Runs in a child: the parent must not import torch for it, and hash order differs from child to child.
_CONVERT = """
import sys
from pathlib import Path
import numpy as np, torch
from edgekit.schemes import SCHEMES
from edgekit.sources import source
from edgekit.frameworks import torch as frameworks
from edgekit.toolchains import Request
from edgekit.toolchains.coreml.audit import audit
from edgekit.toolchains.coreml.routes import ROUTES
from edgekit.toolchains import Options
from edgekit.toolchains import Options
from edgekit.toolchains.coreml.session import open_session
torch.set_num_threads(1)
root = Path(sys.argv[1])
loaded = frameworks.load(source.resolve("lenet5@torch"))
rng = np.random.default_rng(0)
samples = {"image": rng.random((8, *loaded.signature.inputs[0].shape[1:]), np.float32)}
names = tuple(t.name for t in loaded.signature.inputs)
samples = {names[0]: samples["image"]}
whole = {names[0]: samples[names[0]][:, None]}
outputs = tuple(t.name for t in loaded.signature.outputs)
np.savez(root / "reference.npz", **{"in": samples[names[0]], "out": loaded.run(samples)[outputs[0]]})
float_file = None
for route, precision in (
    ("export-torch-trace", "fp32"),
    ("export-torch-trace", "fp16"),
    ("ptq-w8a8-coremltools", "int8"),
    ("weights-w8-coremltools", "int8-weights"),
):
    folder = root / precision
    folder.mkdir()
    request = Request(folder, SCHEMES[precision], False, whole, float_file, names, outputs, "iOS17")
    made = ROUTES[route].convert(loaded, request)
    float_file = float_file or made.file
"""


def _converted(folder: Path, seed: str) -> Path:
    environment = os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _CONVERT, str(folder)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _converted(tmp_path_factory.mktemp("first"), "1")


def _hashes(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_opening_a_package_does_not_break_its_seal(packages: Path, tmp_path: Path) -> None:
    """coremltools writes the manifest again when it opens a package."""
    ct = coremltools()
    found = next(packages.rglob("*.mlpackage"))
    shutil.copytree(found, own := tmp_path / found.name)
    before = _hashes(own)
    ct.models.MLModel(str(own), skip_model_load=True)
    assert _hashes(own) == before


def test_packages_are_the_same_in_every_process(packages: Path, tmp_path: Path) -> None:
    again = _converted(tmp_path, "2")
    first = {k: v for k, v in _hashes(packages).items() if not k.endswith(".npz")}
    second = {k: v for k, v in _hashes(again).items() if not k.endswith(".npz")}
    assert first == second
    assert len(first) == 12


@pytest.mark.parametrize(
    ("precision", "least", "kind", "computes"),
    [("fp32", 95, "float32", "f32"), ("fp16", 45, "float16", "f16"), ("int8", 20, "int8", "int8"),
     ("int8-weights", 30, "int8", "f32")],
)  # fmt: skip
def test_file_is_what_it_claims(packages: Path, precision: Any, least: float, kind: str, computes: str) -> None:
    from edgekit.proof.precision import shortfall
    from edgekit.toolchains import Options
    from edgekit.toolchains.coreml.audit import audit
    from edgekit.toolchains.coreml.session import open_session

    file = packages / precision / "model.mlpackage"
    with np.load(packages / "reference.npz") as stored:
        samples, expected = stored["in"], stored["out"]
    session = open_session(file, Options(SCHEMES[precision]))
    (name,) = session.program.inputs  # type: ignore[attr-defined]
    found = np.concatenate([next(iter(session.run({name: samples[i : i + 1]}).values())) for i in range(8)])
    noise = float(((found - expected) ** 2).sum())
    assert 10 * np.log10(float((expected**2).sum()) / noise) >= least
    assert session.precision == computes
    looked = audit(file)
    assert shortfall(SCHEMES[precision], looked) == ""
    assert looked.weight_elements[kind] > 0.9 * sum(looked.weight_elements.values())
    assert looked.macs_total > 0
    bound = session.bind({name: samples[:1]})
    np.testing.assert_array_equal(next(iter(bound().values())), found[:1])  # type: ignore[attr-defined]


def test_a_scale_covers_the_range_and_keeps_zero() -> None:
    for low, high in ((-1.0, 3.0), (0.0, 6.0), (-2.0, 0.0)):
        scale, zero = scale_and_zero_point(low, high)
        assert -128 <= zero <= 127
        assert (-128 - zero) * scale <= low + scale
        assert (127 - zero) * scale >= high - scale
    assert scale_and_zero_point(0.0, 0.0) == (1.0, 0)


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> Path:
    """Packages and refusals of ``children/coreml_routes.py``."""
    folder = tmp_path_factory.mktemp("routes")
    inside(workers, "coreml_routes.py", str(folder), environment="torch")
    return folder


def test_recurrent_layers_taken_apart_are_int8_and_close(routes: Path) -> None:
    from edgekit.proof.precision import shortfall
    from edgekit.toolchains import Options
    from edgekit.toolchains.coreml.audit import audit
    from edgekit.toolchains.coreml.session import open_session

    whole, apart = (routes / case / "model.mlpackage" for case in ("lstm", "unrolled"))
    assert any(o.type == "lstm" for o in mil.load(whole).block.all_operations())
    looked = audit(apart)
    assert shortfall(SCHEMES["int8"], looked) == "" and looked.float_ops == ()
    assert looked.macs_quantized == looked.macs_total > 0
    kept = {o.type: o for o in mil.load(apart).block.all_operations() if o.type in ("add", "mul", "sigmoid", "tanh")}
    assert set(kept) == {"add", "mul", "sigmoid", "tanh"}, "gates are there, in float"
    with np.load(routes / "lstm.npz") as stored:
        samples, expected = stored["x"], stored["y"]
    for file, least in ((whole, 95), (apart, 30)):
        session = open_session(file, Options(SCHEMES["int8"]))
        found = np.concatenate([session.run({"x": row[None]})["y"] for row in samples])
        noise = float(((found - expected) ** 2).sum())
        assert 10 * np.log10(float((expected**2).sum()) / noise) >= least


def test_what_coremltools_does_not_know_is_taken_apart_in_the_exported_program(routes: Path) -> None:
    from edgekit.toolchains import Options
    from edgekit.toolchains.coreml.session import open_session

    kind, message, _ = json.loads((routes / "outcome.json").read_text())["unknown-traced"]
    assert kind == "UnsupportedError" and "not implemented" in message, (
        "tracing is still refused: the next route does it"
    )
    session = open_session(routes / "unknown" / "model.mlpackage", Options(SCHEMES["fp32"]))
    with np.load(routes / "unknown.npz") as stored:
        for x, y in zip(stored["x"], stored["y"], strict=True):
            np.testing.assert_allclose(session.run({"x": x[None]})["y"][0], y, rtol=1e-5, atol=1e-5)


def test_cells_that_come_unrolled_keep_their_sums_in_float(routes: Path) -> None:
    """Two ways to one program: taken apart by the route, or in the float file already (as Keras's layers are)."""
    from edgekit.toolchains.coreml.audit import audit

    ways = [audit(routes / case / "model.mlpackage") for case in ("exported-int8", "unrolled")]
    assert ways[0].macs_quantized == ways[0].macs_total == ways[1].macs_total
    assert ways[0].ops_quantized == ways[1].ops_quantized > 0


@pytest.mark.parametrize(
    ("case", "error", "says", "hint"),
    [
        ("activations", "UnsupportedError", "no lstm with int8 activations", "coreml-int8-weights"),
        ("unrolled-old", "UnsupportedError", "int8 activations need iOS17; the file is for iOS16", "Raise minimum"),
        ("shuffle-old", "UnsupportedError", "more than iOS15 has: No available version for pixel_unshuffle", "Raise"),
        ("no-such-target", "UsageError", "'iOS99' is not known; allowed: iOS15", "Correct"),
        ("no-samples", "UsageError", "needs calibration samples", "--calibrate"),
    ],
)
def test_what_a_route_cannot_do_is_said(routes: Path, case: str, error: str, says: str, hint: str) -> None:
    kind, message, next_step = json.loads((routes / "outcome.json").read_text())[case]
    assert kind == error and says in message and hint in next_step
    assert not list((routes / case).iterdir()), "nothing is left behind"


def test_the_same_operator_converts_where_the_system_has_it(routes: Path) -> None:
    assert mil.load(routes / "shuffle" / "model.mlpackage").opset == 6


@pytest.fixture
def copy(packages: Path, tmp_path: Path) -> Path:
    shutil.copytree(packages / "int8" / "model.mlpackage", tmp_path / "m.mlpackage")
    return tmp_path / "m.mlpackage"


def _edit(package: Path, change: Callable[[Any], None]) -> None:
    path = package / "Data/com.apple.CoreML/model.mlmodel"
    spec = proto.model()
    spec.ParseFromString(path.read_bytes())
    change(spec)
    path.write_bytes(spec.SerializeToString())


def _block(spec: Any) -> Any:
    function = spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset]


def _manifest_path(package: Path, path: str) -> None:
    manifest = json.loads((package / "Manifest.json").read_text())
    for item in manifest["itemInfoEntries"].values():
        item["path"] = path
    (package / "Manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/passwd", "com.apple.CoreML/../../../x", "..\\..\\x"])
def test_manifest_that_points_outside(copy: Path, path: str) -> None:
    _manifest_path(copy, path)
    with pytest.raises(UnsafeInputError, match="outside"):
        mil.load(copy)


def test_weights_outside(copy: Path) -> None:
    def change(spec: Any) -> None:
        for operation in _block(spec).operations:
            for value in operation.attributes.values():
                if value.WhichOneof("value") == "blobFileValue":
                    value.blobFileValue.fileName = "@model_path/weights/../../../../secret"

    _edit(copy, change)
    with pytest.raises(UnsafeInputError, match="weights"):
        mil.load(copy)


@pytest.mark.parametrize("part", ["", "com.apple.CoreML", "com.apple.CoreML/weights/weight.bin",
                                  "com.apple.CoreML/model.mlmodel", "com.apple.CoreML/weights"])  # fmt: skip
@pytest.mark.parametrize("listed", [True, False])
def test_links_out_of_the_package(copy: Path, part: str, listed: bool) -> None:
    """A link is what an unpacked archive makes of a path that would have been refused."""
    inside, outside = copy / "Data" / part, copy.parent / "outside"
    shutil.move(inside, outside)
    inside.symlink_to(outside)
    if not listed:
        manifest = json.loads((copy / "Manifest.json").read_text())
        root = manifest["rootModelIdentifier"]
        manifest["itemInfoEntries"] = {root: manifest["itemInfoEntries"][root]}
        (copy / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UnsafeInputError, match=r"outside|link"):
        mil.load(copy)


def test_missing_parts(copy: Path) -> None:
    weights = copy / "Data/com.apple.CoreML/weights/weight.bin"
    content = weights.read_bytes()
    weights.unlink()
    with pytest.raises(DamagedFileError, match=r"weight\.bin.*missing"):
        mil.load(copy)
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedFileError, match=r"weight file|lies at byte"):
        mil.load(copy)
    weights.write_bytes(content[:40])
    with pytest.raises(DamagedFileError, match="weight file"):
        mil.load(copy)
    shutil.rmtree(weights.parent)
    with pytest.raises(DamagedFileError, match="missing"):
        mil.load(copy)
    (copy / "Manifest.json").write_text("{")
    with pytest.raises(DamagedFileError, match="Manifest"):
        mil.load(copy)
    with pytest.raises(UsageError, match="not a folder"):
        mil.load(copy / "nothing")


def test_wrong_offset_and_size(copy: Path) -> None:
    def moved(spec: Any) -> None:
        values = [v for o in _block(spec).operations for v in o.attributes.values()]
        value = next(v for v in values if v.WhichOneof("value") == "blobFileValue")
        value.blobFileValue.offset += 64

    _edit(copy, moved)
    with pytest.raises(DamagedFileError, match=r"weight file|takes"):
        mil.load(copy)


def test_wrong_shape(copy: Path) -> None:
    def grown(spec: Any) -> None:
        for operation in _block(spec).operations:
            if operation.type == "const" and operation.attributes["val"].WhichOneof("value") == "blobFileValue":
                kind = operation.attributes["val"].type.tensorType
                kind.dimensions[0].constant.size += 1
                return

    _edit(copy, grown)
    with pytest.raises(DamagedFileError, match="takes"):
        mil.load(copy)


def test_truncated_protobuf(copy: Path) -> None:
    path = copy / "Data/com.apple.CoreML/model.mlmodel"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedFileError, match="parsed"):
        mil.load(copy)
    path.write_bytes(b"")
    with pytest.raises(DamagedFileError, match="empty"):
        mil.load(copy)


def test_unknown_operator_is_named(copy: Path) -> None:
    def renamed(spec: Any) -> None:
        next(o for o in _block(spec).operations if o.type == "conv").type = "fold_paper"

    _edit(copy, renamed)
    with pytest.raises(NotRunError, match="fold_paper") as caught:
        mil.load(copy)
    assert caught.value.exit_code == 9


def test_operator_newer_than_the_deployment_target(copy: Path) -> None:
    def older(spec: Any) -> None:
        function = spec.mlProgram.functions["main"]
        function.block_specializations["CoreML6"].CopyFrom(_block(spec))
        function.opset = "CoreML6"
        spec.specificationVersion = 7

    _edit(copy, older)
    with pytest.raises(UnsupportedError, match=r"quantize.*iOS17.*iOS16"):
        mil.load(copy)


def test_operator_set_that_does_not_fit_the_version(copy: Path) -> None:
    _edit(copy, lambda spec: setattr(spec, "specificationVersion", 6))
    with pytest.raises(DamagedFileError, match="version 6"):
        mil.load(copy)


def test_value_that_is_nowhere_computed(copy: Path) -> None:
    def removed(spec: Any) -> None:
        block = _block(spec)
        place = next(i for i, o in enumerate(block.operations) if o.type == "conv")
        del block.operations[place]

    _edit(copy, removed)
    with pytest.raises(DamagedFileError, match="not known there"):
        mil.load(copy)


def test_another_kind_of_model(copy: Path) -> None:
    _edit(copy, lambda spec: spec.identity.SetInParent())
    with pytest.raises(UnsupportedError, match="identity"):
        mil.load(copy)


def test_inputs_are_checked(packages: Path) -> None:
    program = mil.load(packages / "fp32" / "model.mlpackage")
    (name,) = program.inputs
    shape = program.inputs[name].shape
    with pytest.raises(UsageError, match="takes"):
        program.run({})
    with pytest.raises(UsageError, match="shape"):
        program.run({name: np.zeros((2, *shape), np.float32)})


def test_run_command(packages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = packages / "fp32" / "model.mlpackage"
    program = mil.load(package)
    (name,) = program.inputs
    x = np.random.default_rng(0).random(program.inputs[name].shape, np.float32)
    np.savez(tmp_path / "x.npz", **{name: x})
    arguments = ["run", str(package), "--input", str(tmp_path / "x.npz"), "-o", str(tmp_path / "y.npz"), "--json"]
    assert cli.run(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["by"] == "ML Program evaluator"
    expected = program.run({name: x})
    with np.load(tmp_path / "y.npz") as stored:
        for output, array in expected.items():
            np.testing.assert_array_equal(stored[output], array)
    assert cli.run(["run", str(package), "--input", str(package / "Manifest.json"), "--json"]) == 2


def test_mutated_packages_neither_crash_nor_hang(packages: Path, tmp_path: Path) -> None:
    """500 packages with flipped, removed or repeated bytes: they run, or raise an error of ours."""
    rng = np.random.default_rng(11)
    source = packages / "int8" / "model.mlpackage"
    files = [p.relative_to(source) for p in sorted(source.rglob("*")) if p.is_file()]
    weights = [0.7 if p.name == "model.mlmodel" else 0.3 / (len(files) - 1) for p in files]
    program = mil.load(source)
    inputs = {name: np.zeros(kind.shape, np.float32) for name, kind in program.inputs.items()}
    copy = tmp_path / "m.mlpackage"
    shutil.copytree(source, copy)
    refused, start = 0, time.process_time()
    for _ in range(500):
        file = files[int(rng.choice(len(files), p=weights))]
        content = (source / file).read_bytes()
        (copy / file).write_bytes(_mutated(content, rng))
        try:
            mutant = mil.load(copy)
            mutant.run(inputs if set(mutant.inputs) == set(inputs) else {})
        except EdgekitError as error:
            refused += 1
            assert str(error)
        finally:
            (copy / file).write_bytes(content)
    assert refused > 50
    assert time.process_time() - start < 40


def _mutated(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    kind = rng.integers(0, 4)
    place = int(rng.integers(0, len(data)))
    if kind == 0:
        data[place] ^= 1 << int(rng.integers(0, 8))
    elif kind == 1:
        for at in rng.integers(0, len(data), 8):
            data[int(at)] = int(rng.integers(0, 256))
    elif kind == 2:
        del data[place : place + int(rng.integers(1, 64))]
    else:
        data[place:place] = data[place : place + int(rng.integers(1, 64))]
    return bytes(data)
