"""The command line's contract: one JSON document on stdout on every exit, and the exit codes."""

import json
import os
import subprocess
import sys
from email import message_from_string
from pathlib import Path

import pytest

from edgekit import __version__, cli, errors, toolchains, zoo
from edgekit.jobs import extras


def edgekit(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "edgekit", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code", "says"),
    [
        (["convert", "lenet5", "--target", "tflite-int9"], 2, "usage", "Did you mean 'tflite-int8'?"),
        (["convert", "mobilnet_v2", "--target", "tflite-int8"], 2, "usage", "Did you mean 'mobilenet_v2'?"),
        (["convert", "no/such.keras", "--target", "tflite-int8"], 2, "usage", "no such file"),
        (["convert", "lenet5", "--target", "tflite-int8", "--calibrate", "none.npz"], 2, "usage", "none.npz"),
        (["convert", "lenet5", "--target", "tflite-int8", "--timeout", "0"], 2, "usage", "--timeout"),
        (["convert", "lenet5", "--target", "tflite-int8", "--metric", "topp1"], 2, "usage", "top1"),
        (["convert", "lenet5"], 2, "usage", "--target"),
        (["convert", "lenet5", "--tarket", "x"], 2, "usage", "--target"),
        (["convert", "lenet5", "--target", "tflite-fp32,,tflite-int8"], 2, "usage", "empty name"),
        (["convert", "lenet5", "--target", "", "--dry-run"], 2, "usage", "empty name"),
        (["convert", "lenet5", "--target", "tflite-fp32", "-q", "-v"], 2, "usage", "--quiet and --verbose"),
        (["-q", "convert", "lenet5", "--target", "tflite-fp32", "-v"], 2, "usage", "--quiet and --verbose"),
        (
            ["convert", "lenet5", "--target", "tflite-fp32", "--outputs", "y=classes", "--outputs", "y=boxes"],
            2,
            "usage",
            "--outputs names y more than once",
        ),
        (
            ["convert", "lenet5", "--target", "tflite-fp32", "--input", "x=1x2", "--input", "x=1x3"],
            2,
            "usage",
            "--input names x more than once",
        ),
        (["verify", "nowhere"], 2, "usage", "no such folder"),
        (["inspect", "nowhere.tflite"], 2, "usage", "no such file"),
        (["train", "lenet5:huge"], 2, "usage", "tiny"),
    ],
)
def test_bad_requests_exit_2_with_one_document_and_the_next_step(arguments, exit_code, code, says, tmp_path):
    done = edgekit(*arguments, "--json", EDGEKIT_HOME=str(tmp_path))
    document = json.loads(done.stdout)
    assert done.returncode == exit_code, done.stderr
    assert document["error"]["code"] == code
    assert document["status"] == "FAILED"
    assert document["reason"] == document["error"]["message"] != ""
    assert says in document["error"]["message"] + document["error"]["hint"]
    assert not (tmp_path / "store").exists()


def test_without_json_stdout_stays_empty_on_failure():
    done = edgekit("convert", "mobilnet_v2", "--target", "tflite-int8")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown model 'mobilnet_v2'" in done.stderr


def test_version(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"edgekit {__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["list", "targets"], ["list", "models"], ["convert", "--help"]])
def test_help_and_lists_import_no_framework_and_no_numpy(arguments):
    program = (
        "import sys; from edgekit import cli\n"
        f"code = cli.run({arguments!r})\n"
        "heavy = {'numpy', 'scipy', 'torch', 'tensorflow', 'keras', 'onnx', 'onnxruntime', 'openvino', 'rich'}\n"
        "sys.exit(str(sorted(heavy & set(sys.modules))) if heavy & set(sys.modules) else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(("what", "key"), [("targets", "targets"), ("models", "models"), ("toolchains", "toolchains")])
def test_lists_as_json(what, key, capsys):
    assert cli.run(["list", what, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)[key]
    assert all(row["name"] for row in rows)


def test_cache_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path))
    from edgekit.jobs.store import Store

    Store().make({"step": "x"}, lambda folder: (folder / "f").write_text("abc"))
    monkeypatch.setenv("EDGEKIT_STORE_LIMIT", "500MB")
    assert cli.run(["cache", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["entries"], found["limit_bytes"], found["in_use"]) == (1, 500_000_000, 0)
    assert found["bytes"] > 3
    assert cli.run(["cache"]) == 0
    assert "500,000,000" in capsys.readouterr().out
    assert cli.run(["cache", "list", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["entries"]
    assert cli.run(["cache", "verify"]) == 0
    Store().root.joinpath(row["key"], "files", "f").write_text("abd")
    assert cli.run(["cache", "verify", "--json"]) == 6
    assert cli.run(["cache", "clear"]) == 0
    assert Store().keys() == []


def test_doctor_names_the_install_line(capsys):
    assert cli.run(["doctor", "--json"]) == 0
    rows = {row["extra"]: row for row in json.loads(capsys.readouterr().out)["toolchains"]}
    assert {"keras", "torch", "litert", "onnx", "openvino"} <= set(rows)
    for row in rows.values():
        assert row["works"] == (not row["missing"])
        assert bool(row["install"]) == bool(row["missing"])


def test_every_toolchain_has_an_extra_and_tensorrt_is_installed_on_request_only():
    """From the metadata that a wheel of this checkout carries, not from what happens to be installed."""
    core = pytest.importorskip("hatchling.metadata.core")
    spec = pytest.importorskip("hatchling.metadata.spec")
    manager = pytest.importorskip("hatchling.plugin.manager").PluginManager()
    project = core.ProjectMetadata(str(Path(__file__).parents[2]), manager)
    written = message_from_string(spec.get_core_metadata_constructors()[spec.DEFAULT_METADATA_VERSION](project))
    lines = written.get_all("Requires-Dist")
    found = extras.extras(written.get_all("Provides-Extra"), lines)
    assert set(toolchains.names()) <= set(found)
    assert set(found["onnx"]) | {"tensorrt"} == set(found["tensorrt"])
    assert "torchao" in found["coreml"]
    assert not {"torch", "torchao", "litert-torch"} & {*found["litert"], *found["keras"], *found["onnx"]}
    assert {*found["litert"], "torch", "litert-torch"} == set(found["litert-torch"])
    proprietary = [line for line in lines if line.startswith("tensorrt") and "'all'" in line]
    assert not proprietary and not any(line.startswith("tensorrt>") for line in lines if "'dev'" in line)


def test_the_extra_of_a_module_is_found_by_its_distribution(monkeypatch):
    found = {"keras": ["keras", "tf-keras"], "data": ["opencv-python-headless", "scikit-learn"]}
    monkeypatch.setattr(extras, "installable", lambda: found)
    wanted = {"tf_keras": "keras", "cv2": "data", "sklearn": "data", "nowhere": None}
    assert {module: extras.of_module(module) for module in wanted} == wanted


def test_the_smallest_extra_is_named_and_that_of_a_way_from_one_framework(monkeypatch):
    found = {
        "litert-torch": ["ai-edge-litert", "torch", "litert-torch"],
        "litert": ["ai-edge-litert"],
        "torch": ["torch"],
    }
    monkeypatch.setattr(extras, "installable", lambda: found)
    wanted = {"torch": "torch", "litert_torch": "litert-torch", "ai_edge_litert": "litert"}
    assert {module: extras.of_module(module) for module in wanted} == wanted
    assert extras.of_models("litert", "torch") == "litert-torch"
    assert extras.of_models("onnx", "torch") is None


def test_what_an_audit_does_not_count_is_not_called_none(capsys):
    from edgekit.cli import show

    show.audit({"float_ops": [], "ops_float": None, "ops_float_only": []})
    assert capsys.readouterr().out.splitlines() == [
        "float_ops\tnone of the layers with weights", "ops_float\tnot told", "ops_float_only\tnot told",
    ]  # fmt: skip
    show.audit({"ops_float": {"Gelu": 1}, "ops_float_only": []})
    assert capsys.readouterr().out.splitlines() == ["ops_float\tGelu 1", "ops_float_only\tnone"]


def test_an_unknown_name_is_told_with_the_nearest_and_no_list_of_all():
    many = [f"onnxruntime-{n}" for n in range(20)] + ["tflite-int8", "tflite-int4"]
    error = errors.unknown_name("target", "tflite-int9", many)
    assert str(error) == "unknown target 'tflite-int9'; nearest of 22: tflite-int8, tflite-int4"
    assert error.hint == "Did you mean 'tflite-int8'? See `edgekit list targets`."
    error = errors.unknown_name("target", "zzz", many)
    assert str(error) == f"unknown target 'zzz'; known: {', '.join(sorted(many))}", "where none is near, all are told"
    assert error.hint == "See `edgekit list targets`."
    assert str(errors.unknown_name("suite", "smoek", ["cpu", "smoke"])) == "unknown suite 'smoek'; known: smoke, cpu"


def test_models_are_listed_by_family_with_what_was_measured_alone(capsys):
    assert cli.run(["list", "models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    families = [row["family"] for row in rows]
    assert families == sorted(families, key=zoo.FAMILIES.index)
    by_name = {row["name"]: row for row in rows}
    assert by_name["resnet"]["float"].startswith("top1 0.") and by_name["resnet"]["task"] == "textures"
    assert by_name["resnet:reference"]["float"] is None and by_name["resnet:reference"]["passed"] is None
    good, _, every = by_name["resnet"]["passed"].partition(" of ")
    assert 0 < int(good) <= int(every)
