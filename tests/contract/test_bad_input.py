"""Bad input through the command line: the right exit code, one document with the next step, and nothing left behind.

Unknown names and missing files are in ``tests/unit/test_cli.py``; Ctrl-C, foreign folders and a full disk under the
artifact in ``test_convert.py``.
"""

import json
import os
import re
import shutil
import site
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit import api, cli
from edgekit.jobs.store import Store

CHILDREN = Path(__file__).parent / "children"


def images(count=40, value=None):
    x = np.random.default_rng(0).standard_normal((count, 3, 8, 8)).astype("float32")
    if value is not None:
        x[7, 0, 0, 0] = value
    return x


#: Data files: the model takes 3x8x8 floats called x and tells four classes.
DATA = {
    "good.npz": {"x": images(), "y": np.arange(40) % 4},
    "shape.npz": {"x": images()[:, :, :7], "y": np.arange(40) % 4},
    "dtype.npz": {"x": images().astype("int32"), "y": np.arange(40) % 4},
    "nan.npz": {"x": images(value=np.nan), "y": np.arange(40) % 4},
    "empty.npz": {"x": images(0), "y": np.arange(0)},
    "labels.npz": {"x": images(), "y": np.arange(40) % 5},
    "names.npz": {"image": images(), "mask": images(), "y": np.arange(40) % 4},
    "unlabelled.npz": {"x": images()},
}


@pytest.fixture(scope="module")
def files(workers, tmp_path_factory):
    """Good models in every kind of file, and the same ones damaged."""
    folder = tmp_path_factory.mktemp("bad")
    for name in ("bad_torch.py", "bad_keras.py", "bad_files.py"):
        shutil.copy(CHILDREN / name, folder)
    for name, arrays in DATA.items():
        np.savez(folder / name, **arrays)
    for environment, function in (("torch", "torch_files"), ("keras-tensorflow", "keras_files")):
        arguments = {"path": str(folder / "bad_files.py"), "function": function}
        workers.call(environment, "edgekit.user_code:call", arguments)
    (folder / "no_images").mkdir()
    for path in ("good.keras", "good.h5", "good.pt2", "good.pt", "good.npz"):
        content = (folder / path).read_bytes()
        (folder / f"cut_{path}").write_bytes(content[: len(content) * 3 // 5])
        flipped = bytearray(content)
        flipped[len(content) * 2 // 5] ^= 4
        (folder / f"bit_{path}").write_bytes(bytes(flipped))
    for name, file in (("cut_saved_model", "saved_model.pb"), ("bit_saved_model", "variables/*.data*")):
        shutil.copytree(folder / "saved_model", folder / name)
        [path] = (folder / name).glob(file)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(bytes(content[: len(content) // 3] if name.startswith("cut") else content))
    return folder


@pytest.fixture
def edgekit(files, workers, store, tmp_path, monkeypatch, capsys):
    """The command line on shared children; checks what holds for every refusal."""
    monkeypatch.chdir(files)
    convert = api.convert

    def shared(*arguments, **options):
        return convert(*arguments, **{**options, "workers": workers, "store": store, "latency": False})

    def run(text, *, own_children=False):
        with monkeypatch.context() as patch:
            patch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
            if not own_children:
                patch.setattr(api, "convert", shared)
            code = cli.run(["convert", *text.split(), "-o", str(tmp_path / "out" / "artifact"), "--json"])
        document = json.loads(capsys.readouterr().out)
        assert (document["status"] == "PASS") == (code == 0)
        if code:
            assert document["error"]["message"] == document["reason"] != ""
            assert list((tmp_path / "out").rglob("*")) == [] or document["rejected"]
        for root in (store.root, tmp_path / "home" / "store"):
            assert list(root.glob("tmp-*")) == []
        return code, document

    return run


FP32, INT8 = "--target onnxruntime-fp32", "--target onnxruntime-int8 --calibrate good.npz"
GOOD = f"bad_torch.py:good {FP32}"
SVD, BRANCH = r"linalg_svd.*bad_torch.py:\d+: return torch.linalg", r"bad_torch.py:\d+: if x.mean\(\) > 0"
REFUSED = [
    # data: shapes, types, values, labels, counts
    (f"bad_torch.py:good {INT8} --evaluate shape.npz", 2, "usage", r"shape \(40, 3, 7, 8\); needed: \(samp", ""),
    (f"{GOOD} --evaluate dtype.npz", 2, "usage", r"is int32; the model takes float32", "floats"),
    (f"{GOOD} --evaluate nan.npz", 2, "usage", r"NaN or infinity in sample 7 \(1 in all\)", ""),
    (f"{GOOD} --evaluate labels.npz", 2, "usage", r"label 4 of sample 4 .* so 0 to 3", "Number the classes"),
    (f"{GOOD} --evaluate names.npz", 2, "usage", r"image, mask; the model's inputs are x", "Name the arrays"),
    (f"{GOOD} --evaluate good.npz --metric binary", 2, "usage", "binary scores one unit", "--metric top1"),
    (f"{GOOD} --evaluate good.npz --metric mae", 2, "usage", "the output has shape", "the output's shape"),
    (f"{GOOD} --evaluate good.npz --metric map", 2, "usage", "map scores the outputs boxes", "--outputs NAME=boxes"),
    (f"mlp@torch {FP32} --metric auc", 2, "usage", "--metric auc: there are no labelled samples", "with --evaluate"),
    (f"{GOOD} --outputs nothing=classes", 2, "usage", "--outputs names 'nothing'; the model's outputs are", ""),
    (f"{GOOD} --outputs output", 2, "usage", "is not NAME=ROLE; roles are classes, scored, scores", ""),
    ("bad_torch.py:good --target onnxruntime-int8 --calibrate empty.npz", 2, "usage", "empty.npz is empty", ""),
    ("bad_torch.py:good --target onnxruntime-int8 --calibrate no_images", 2, "usage", "no_images", ""),
    ("bad_torch.py:good --target onnxruntime-int8", 2, "usage", "needs calibration samples", "--calibrate"),
    (f"{GOOD} --evaluate cut_good.npz", 2, "damaged-file", "cut_good.npz", ""),
    (f"{GOOD} --evaluate bit_good.npz", 2, "damaged-file", "bit_good.npz", ""),
    # declared inputs
    (f"bad_torch.py:good {FP32} --input x=1x3x9x9", 2, "usage", r"does not run on x=1x3x9x9:float32", "--input"),
    (f"bad_torch.py:good {FP32} --input x=1x3x8x8:int32", 2, "usage", r"int32", "--input"),
    (f"bad_torch.py:good {FP32} --input x=1x3x8x8 --input z=1x3", 2, "usage", r"'z': the model's inputs are x", ""),
    # models
    (f"bad_torch.py:goood {FP32}", 2, "usage", "has no function 'goood'", "bad_torch.py:good"),
    (f"bad_torch.py:nan_weights {FP32}", 2, "usage", r"head\.weight", ""),
    (f"nan.keras {FP32}", 2, "usage", "kernel", ""),
    *[(f"cut_good.{kind} {FP32}", 2, "damaged-file", f"cut_good.{kind}", "") for kind in ("keras", "h5", "pt2", "pt")],
    *[(f"bit_good.{kind} {FP32}", 2, "damaged-file", f"bit_good.{kind}", "") for kind in ("keras", "pt2", "pt")],
    (f"cut_saved_model {FP32}", 2, "damaged-file", "cut_saved_model", ""),
    (f"bit_saved_model {FP32}", 2, "damaged-file", "bit_saved_model", ""),
    # operators that the target lacks, where the model uses them, and a course that depends on the data
    ("bad_torch.py:Spectrum --target tflite-fp32", 3, "unsupported", SVD, "Replace"),
    ("bad_torch.py:Spectrum --target onnxruntime-fp32", 3, "unsupported", SVD, "Replace"),
    ("bad_torch.py:Spectrum --target openvino-fp32", 3, "unsupported", SVD, "Replace"),
    ("bad_torch.py:Spectrum --target openvino-int8-weights", 3, "unsupported", SVD, "another format"),
    ("bad_keras.py:spectrum --target tflite-fp32", 3, "unsupported", r"Svd \(at functional.*/Svd", "Replace"),
    ("bad_keras.py:spectrum --target onnxruntime-fp32", 3, "unsupported", r"Svd \(at functional.*/Svd", "Replace"),
    ("bad_torch.py:Branches --target tflite-fp32", 3, "unsupported", BRANCH, "torch.where"),
    ("bad_torch.py:Branches --target onnxruntime-fp32", 3, "unsupported", BRANCH, "torch.where"),
    # OpenVINO traces the model: its file would hold one branch only, without an error.
    ("bad_torch.py:Branches --target openvino-fp32", 3, "unsupported", BRANCH, "torch.where"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "exit_code", "error", "says", "hint"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(edgekit, text, exit_code, error, says, hint):
    code, document = edgekit(text)
    assert code == exit_code, document["reason"]
    assert document["error"]["code"] == error
    assert re.search(says, document["reason"], re.DOTALL), document["reason"]
    assert hint in document["error"]["hint"], document["error"]["hint"]


def test_a_dynamic_batch_is_fixed_and_said(edgekit):
    for name in ("good.keras", "good.pt2"):
        code, document = edgekit(f"{name} {FP32}")
        assert code == 0
        assert any(re.fullmatch(r"Dynamic batch of input '\w+' fixed to 1\.", note) for note in document["notes"])
        assert document["parts"]["model"]["inputs"][0]["shape"][0] == 1
        shutil.rmtree(document["artifact"])


def test_a_fixed_batch_is_kept_and_said(edgekit):
    code, document = edgekit(f"batch4.keras {FP32}")
    assert (code, document["parts"]["model"]["inputs"][0]["shape"]) == (0, [4, 3, 8, 8]), document["reason"]
    assert "Axis 0 of input 'x' is fixed to 4, as in the model." in document["notes"]
    shutil.rmtree(document["artifact"])


def test_a_file_of_others_becomes_a_core_ml_package(edgekit):
    """Its parts are copied in C++, where the child that does it is confined."""
    code, document = edgekit("good.pt2 --target coreml-fp32")
    assert (code, document["status"]) == (0, "PASS"), document["reason"]


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("bad_torch.py:Sleeps --timeout 20", "did not finish within 20 s", "--timeout"),
        ("bad_torch.py:Eats --memory-limit 1500", "more than 1500 MiB of memory", "--memory-limit"),
    ],
)
def test_a_converter_that_hangs_or_eats_memory_is_ended(edgekit, text, says, hint):
    code, document = edgekit(f"{text} --target openvino-fp32".replace("openvino", "onnxruntime"), own_children=True)
    assert (code, document["error"]["code"]) == (6, "failed")
    assert says in document["reason"]
    assert hint in document["error"]["hint"]


def test_an_output_folder_that_cannot_be_written(edgekit, files, tmp_path, monkeypatch):
    (tmp_path / "out").write_text("a file where a folder is needed")
    code, document = edgekit(GOOD)
    assert (code, document["error"]["code"]) == (2, "usage")
    assert "cannot be written" in document["reason"]
    assert "-o" in document["error"]["hint"]


def test_a_full_disk_under_the_store_is_the_users_error(files, tmp_path):
    """A limit on the size of written files, which children inherit, is what a full disk looks like to a program."""
    program = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from edgekit import cli\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"sys.exit(cli.run({[*GOOD.split(), '-o', str(tmp_path / 'a'), '--evaluate', 'good.npz', '--json']!r}))"
    ).replace("cli.run([", "cli.run(['convert', ")
    environment = {**os.environ, "EDGEKIT_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, cwd=files)
    document = json.loads(done.stdout)
    assert (done.returncode, document["error"]["code"]) == (2, "usage"), document
    assert "EDGEKIT_HOME" in document["error"]["hint"]
    assert not (tmp_path / "a").exists()
    assert list((tmp_path / "home" / "store").glob("tmp-*")) == []


@pytest.mark.parametrize(
    ("package", "target", "extra"),
    [("onnxruntime", "onnxruntime-fp32", "onnx"), ("openvino", "openvino-fp32", "openvino")],
)
def test_a_missing_package_gives_its_install_line(files, tmp_path, package, target, extra):
    """An environment that really lacks it: all installed packages but that one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    [packages] = (tmp_path / "venv").glob("lib/python*/site-packages")
    for path in [p for folder in site.getsitepackages() for p in Path(folder).iterdir()]:
        if not re.match(rf"{package}($|-)", path.name) and not (packages / path.name).exists():
            (packages / path.name).symlink_to(path)
    root = str(Path(api.__file__).parents[1])
    environment = {**os.environ, "EDGEKIT_HOME": str(tmp_path / "home"), "PYTHONPATH": root}
    arguments = ["convert", "bad_torch.py:good", "--target", target, "-o", str(tmp_path / "a"), "--json"]
    done = subprocess.run(
        [str(tmp_path / "venv" / "bin" / "python"), "-m", "edgekit", *arguments],
        env=environment, capture_output=True, cwd=files,
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert (done.returncode, document["error"]["code"]) == (7, "missing-dependency"), document["reason"]
    assert document["error"]["hint"] == f"Run: pip install 'edgekit[{extra}]'"
    assert not (tmp_path / "a").exists()


def test_a_store_that_cannot_be_written(files, tmp_path, monkeypatch, capsys):
    (tmp_path / "home").write_text("a file where a folder is needed")
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(files)
    assert cli.run(["convert", *GOOD.split(), "--json"]) == 2
    assert "EDGEKIT_HOME" in json.loads(capsys.readouterr().out)["error"]["hint"]
    assert Store().keys() == []
