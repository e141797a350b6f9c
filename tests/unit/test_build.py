"""Derived artifacts: devices, what a machine lacks, manifests, refusals. No GPU and no framework is needed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from edgekit import cli
from edgekit.artifact import contents
from edgekit.artifact import derived as build
from edgekit.artifact import folder as artifact
from edgekit.errors import DamagedFileError, NotRunError, UnsupportedError, UsageError, WrongDeviceError
from edgekit.jobs.workers import Workers
from edgekit.proof.parity import compare
from edgekit.result import Host, Part, Proof, Result, SamplesFacts, SourceFacts

H200 = build.Machine("x86_64", "11.4.0", "NVIDIA H200", "9.0", "13.0")
ORIN = build.Machine("aarch64", "10.3.0", "Orin (nvgpu)", "8.7", "12.6")
HERE = build.Machine("x86_64", None, None, None, None, ("no NVIDIA driver is installed here",))
AUDITED = {
    "weight_bytes": {}, "weight_elements": {}, "activation_types": {}, "ops_total": 1, "ops_quantized": 0,
    "macs_total": 1, "macs_quantized_share": None, "ops_delegated": None, "transposes": 0, "float_ops": (),
    "findings": (),
}  # fmt: skip
LIMITS = {
    "parity": {"sqnr_db_min": 15.0, "cosine_min": 0.98}, "top1": {"drop_max": 0.01}, "map": {"drop_max": 0.01},
    "relative": {"drop_max": 0.02},
}  # fmt: skip
BUILT = {"seconds": 12.5, "layers": 20}


def proven(noise=0.01):
    """What the child answers for eight golden samples."""
    reference = {"logits": np.random.default_rng(0).normal(size=(8, 10))}
    closeness = compare(reference, {"logits": reference["logits"] + noise})
    by = "TensorRT 11.4.0 on NVIDIA H200"
    return build.Executed(by, 8, closeness, closeness)


def result(toolchain="tensorrt"):
    return Result(
        status="PASS",
        proof=Proof(kind="stand-in", by="ONNX Runtime"),
        artifact=None,
        target=f"{toolchain}-int8",
        format=toolchain,
        toolchain=toolchain,
        precision="int8",
        precision_reached="int8",
        framework="torch",
        source=SourceFacts(given="lenet5", kind="zoo", name="lenet5", sha256="0" * 64),
        route="ptq-w8a8-qdq",
        routes_tried=(),
        parts={"main": Part(file="model.onnx", inputs=(), outputs=(), audit=AUDITED, parity=None)},
        gate=LIMITS,
        samples=SamplesFacts(origin="task", seed=0, splits={}),
        tools={},
        cpu_seconds={},
        peak_rss_bytes=0,
        host=Host(system="Linux", machine="x86_64", processor="", cores=2, memory_bytes=1, python="3.11"),
    )


@pytest.fixture
def parent(tmp_path):
    """An artifact whose model is no model: whatever reads it must have checked the rest first."""
    return written(tmp_path, "parent", result())


def written(tmp_path, name, manifest, files=("model.onnx", "golden.npz")):
    contents = {}
    for file in files:
        contents[file] = tmp_path / f"source-{file}"
        contents[file].write_bytes(file.encode())
    artifact.write(tmp_path / name, contents, {}, manifest)
    return tmp_path / name


@pytest.fixture
def derived(tmp_path, parent):
    device = build.load_device("nvidia-gpu")
    manifest = build.describe(parent, artifact.read(parent), device, H200, BUILT, proven())
    return written(tmp_path, "derived", manifest, (build.ENGINE, build.TIMING_CACHE, "golden.npz"))


@pytest.mark.parametrize("name", build.devices())
def test_every_device_file_says_what_it_needs_and_what_to_do(name):
    device = build.load_device(name)
    assert device.title and device.requires.hint
    assert any("driver" in reason for reason in build.obstacles(device, HERE))


def test_unknown_devices_and_wrong_keys_are_named(tmp_path):
    with pytest.raises(UsageError, match="unknown device 'jetson-orion'") as raised:
        build.load_device("jetson-orion")
    assert "'jetson-orin'" in raised.value.hint
    path = tmp_path / "mine.toml"
    path.write_text('schema = 1\ntitle = "x"\nkind = "gpu"\nbuilder = "magic"\n')
    with pytest.raises(UsageError, match=r"mine\.toml: builder"):
        build.load_device(str(path))


@pytest.mark.parametrize(
    ("device", "machine", "says"),
    [
        ("nvidia-gpu", H200, None),
        ("nvidia-gpu", replace(H200, builder_version="10.15.1"), None),
        ("jetson-orin", ORIN, None),
        ("nvidia-gpu", replace(H200, builder_version="8.6.1"), "tensorrt is 8.6.1"),
        ("nvidia-gpu", replace(H200, builder_version="12.0"), "below 12"),
        ("nvidia-gpu", replace(H200, compute_capability="6.1"), "at least 7.5"),
        ("nvidia-gpu", replace(H200, compute_capability="10.0"), None),
        ("jetson-orin", H200, "this machine is x86_64"),
        ("jetson-orin", replace(ORIN, compute_capability="11.0"), "compute capability 11.0, jetson-orin 8.7"),
        ("jetson-orin", replace(ORIN, builder_version="11.4.0"), "below 11"),
    ],
)
def test_obstacles(device, machine, says):
    found = build.obstacles(build.load_device(device), machine)
    assert bool(found) == (says is not None)
    assert says is None or says in "; ".join(found)


def test_a_derived_artifact_names_its_parent_and_its_machine(parent, derived):
    manifest = build.read(derived)
    assert build.is_derived(derived) and not build.is_derived(parent)
    assert contents.faults(derived) == {}
    assert manifest.parent.manifest_sha256 == build.sha256_file(parent / "manifest.json")
    assert (manifest.status, manifest.proof.kind, manifest.artifact) == ("PASS", "runtime", None)
    assert {file.path for file in manifest.files} == {build.ENGINE, build.TIMING_CACHE, "golden.npz"}
    document = json.loads((derived / "manifest.json").read_text())
    assert (document["gpu"], document["builder_version"], document["driver"]) == ("NVIDIA H200", "11.4.0", "13.0")
    build.check_machine(manifest, H200)


def test_limits_that_an_older_manifest_lacks_are_the_defaults(parent):
    """LIMITS are those of the first releases, without any on variation."""
    device = build.load_device("nvidia-gpu")
    made = build.describe(parent, artifact.read(parent), device, H200, BUILT, proven(noise=2.0))
    assert made.status == "FAIL_PARITY" and "SQNR" in made.reason
    reference = 1013 + np.random.default_rng(0).normal(size=(8, 10))
    flat = compare({"logits": reference}, {"logits": np.full_like(reference, 1013)})
    made = build.describe(parent, artifact.read(parent), device, H200, BUILT, replace(proven(), parity=flat))
    assert made.status == "FAIL_PARITY" and "at least 15 dB" in made.reason


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gpu", "NVIDIA L4"),
        ("builder_version", "11.4.1"),
        ("compute_capability", "8.9"),
        ("machine", "aarch64"),
        ("gpu", None),
        ("builder_version", None),
    ],
)
def test_an_engine_of_another_machine_is_refused(derived, field, value):
    with pytest.raises(WrongDeviceError, match=str(value or "none")) as raised:
        build.check_machine(build.read(derived), replace(H200, **{field: value}))
    assert isinstance(raised.value, NotRunError) and raised.value.code == "wrong-device"
    assert "edgekit build" in raised.value.hint


def test_another_driver_is_no_reason_to_refuse(derived):
    build.check_machine(build.read(derived), replace(H200, driver="13.1"))


def test_a_timing_cache_is_used_again_on_the_same_machine_only(derived, parent):
    assert build._old_cache(derived, H200) == str(derived / build.TIMING_CACHE)
    assert build._old_cache(derived, replace(H200, gpu="NVIDIA L4")) is None
    assert build._old_cache(parent, H200) is None
    (derived / build.TIMING_CACHE).write_bytes(b"altered")
    assert build._old_cache(derived, H200) is None


def test_an_altered_engine_is_not_opened(derived):
    (derived / build.ENGINE).write_bytes(b"altered")
    with Workers() as workers:
        found = build.verify(derived, workers)
    assert (found["status"], found["damaged"]) == ("FAIL_INTEGRITY", [build.ENGINE])


def test_a_manifest_of_something_else_is_damaged(parent):
    with pytest.raises(DamagedFileError, match="derived artifact"):
        build.read(parent)


def test_parents_are_checked_before_the_machine(tmp_path, parent, derived):
    with Workers() as workers:
        with pytest.raises(UsageError, match="already"):
            build.build(derived, "nvidia-gpu", workers=workers)
        other = written(tmp_path, "other", result("litert"))
        with pytest.raises(UnsupportedError, match="this one is for litert"):
            build.build(other, "nvidia-gpu", workers=workers)
        (parent / "model.onnx").write_bytes(b"altered")
        with pytest.raises(DamagedFileError, match=r"model\.onnx"):
            build.build(parent, "nvidia-gpu", workers=workers)
        with pytest.raises(UsageError, match="no such folder"):
            build.build(tmp_path / "nowhere", "nvidia-gpu", workers=workers)


def test_devices_are_listed(capsys):
    assert cli.run(["list", "devices", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["devices"]
    assert {"nvidia-gpu", "jetson-orin"} <= {row["name"] for row in rows}


def test_an_engine_may_skip_weights_where_the_recipe_left_two_of_four_out(tmp_path, parent):
    assert not build.sparse(artifact.read(parent))
    manifest = json.loads((parent / "manifest.json").read_text())
    for pattern, expected in (("2:4", True), ("0.5", False)):
        pruning = {"pattern": pattern, "scope": "global", "ramp": 0.5, "layers": [], "left": []}
        steps = [{"kind": "prune", "pruning": pruning}, {"kind": "qat", "pruning": None}]
        sealed = artifact.Sealed.model_validate({**manifest, "recipe": {"name": "x", "steps": steps}})
        assert build.sparse(sealed) == expected
        made = build.describe(parent, sealed, build.load_device("nvidia-gpu"), H200, BUILT, proven())
        assert made.sparse == expected
