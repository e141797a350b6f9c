"""What the store takes a user's function for: the code that it imports, and the versions of what is installed."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit import api, user_code
from edgekit.data.plan import DataPlan
from edgekit.errors import UsageError
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.signature import WHOLE, Signature, TensorSpec
from edgekit.steps import samples
from edgekit.zoo.mlp.spec import SPEC


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text("import yaml\nimport blocks\n\n\ndef build():\n    return blocks.made()\n")
    (tmp_path / "blocks.py").write_text("from layers import one\n\n\ndef made():\n    return one\n")
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "__init__.py").write_text("one = 1\n")
    (tmp_path / "unrelated.py").write_text("two = 2\n")
    return tmp_path / "model.py"


@pytest.mark.parametrize(("changed", "differs"), [("layers/__init__.py", True), ("unrelated.py", False)])
def test_what_is_imported_beside_the_file_counts_and_nothing_else(changed: str, differs: bool, model: Path) -> None:
    before = user_code.sha256(model, "build")
    (model.parent / changed).write_text("one = two = 3\n")
    assert (user_code.sha256(model, "build") != before) == differs
    assert user_code.sha256(model, "other") != user_code.sha256(model, "build")


def test_another_version_of_an_installed_package_is_another_function(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = importlib.metadata.version
    before = user_code.sha256(model, "build")
    for package, differs in (("numpy", False), ("PyYAML", True)):
        with monkeypatch.context() as patched:
            patched.setattr(
                importlib.metadata,
                "version",
                lambda name, p=package: version(name) + "+x" * (name.lower() == p.lower()),
            )
            assert (user_code.sha256(model, "build") != before) == differs


def test_the_users_data_are_another_where_code_beside_their_function_is(model: Path) -> None:
    before = api.plan_for(api.sources.resolve(f"{model}:build"), f"{model}:build", None, "top1").content
    (model.parent / "blocks.py").write_text("def made():\n    return 2\n")
    assert api.plan_for(api.sources.resolve(f"{model}:build"), f"{model}:build", None, "top1").content != before


def test_what_the_users_function_reads_is_part_of_the_answer(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened by Python, listed, opened relative to the current folder, or named for native code to open."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("runs/1.pth", "scale.npy", "native.safetensors", "unread.npz"):
        (tmp_path / name).write_text("1")
    model.write_text(
        "import blocks, pathlib\n"
        "def build():\n"
        "    last = sorted(pathlib.Path(__file__).with_name('runs').iterdir())[-1]\n"
        "    open('written.txt', 'w').close()\n"
        "    return last.read_text(), open('scale.npy').read(), 'native.safetensors'\n"
    )
    reading = (
        "import json; from edgekit import user_code; "
        f"user_code.call({str(model)!r}, 'build'); print(json.dumps(user_code.read({{}})))"
    )
    done = subprocess.run([sys.executable, "-c", reading], capture_output=True, text=True, check=True)
    read = json.loads(done.stdout)
    names = {Path(path).name for path in read}
    assert {"1.pth", "runs", "scale.npy", "native.safetensors", "blocks.py"} <= names
    assert not names & {"unread.npz", "written.txt", tmp_path.name}
    assert user_code.changed(read) == {}
    (tmp_path / "unread.npz").write_text("2")
    assert user_code.changed(read) == {}
    for name in ("runs/2.pth", "scale.npy", "native.safetensors"):
        before = read | user_code.changed(read)
        (tmp_path / name).write_text("2")
        assert user_code.changed(before), name


def test_a_step_whose_code_read_a_file_that_changed_is_made_again(tmp_path: Path) -> None:
    """And the answer to the old file is found again when the file is the old one again."""
    (tmp_path / "data.py").write_text(
        "import numpy as np, pathlib\n"
        "def batches():\n"
        "    yield np.full((4, 2), float(pathlib.Path(__file__).with_name('level.txt').read_text()), np.float32)\n"
    )
    level, data = tmp_path / "level.txt", f"{tmp_path / 'data.py'}:batches"
    signature = Signature((TensorSpec("x", (1, 2), "float32"),), (TensorSpec("y", (1, 2), "float32"),))
    found = []
    for text in ("1", "1", "2", "2", "1"):
        level.write_text(text)
        wanted = samples.Request(DataPlan(evaluate=data, content="fixed"), "test", {WHOLE: signature})
        with Workers() as workers:
            run = Run(workers, Store(tmp_path / "store"), lambda event, label: None)
            made = run.step(samples.run, "data", "samples", wanted)
        assert np.load(made.file("samples.npz"))["x/x"].max() == float(text)
        found.append(made.reused)
    assert found == [False, True, False, True, True]


def test_what_other_code_read_in_the_same_process_is_no_part_of_an_answer(tmp_path: Path) -> None:
    """A request that runs none of it is not made again where those files change; one whose model is still there is."""
    (tmp_path / "model.py").write_text("def build():\n    return open('level.txt').read()\n")
    level = tmp_path / "level.txt"
    level.write_text("1")
    code = f"""
import json
from edgekit import user_code
user_code.call({str(tmp_path / "model.py")!r}, "build")
for arguments in ({{}}, {{}}, {{"source": {{"path": {str(tmp_path / "model.py")!r}}}}}):
    print(json.dumps(user_code.read(arguments)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    ran, other, loaded = map(json.loads, done.stdout.splitlines())
    assert {Path(path).name for path in ran} == {"model.py", "level.txt"}
    assert (other, loaded) == ({}, ran)


def test_samples_of_a_task_are_made_once_whatever_code_of_the_users_ran_before(tmp_path: Path) -> None:
    """One run converts a user's model and one of the zoo; then the user's file changes."""
    data = tmp_path / "data.py"
    of_user = DataPlan(evaluate=f"{data}:batches", content="fixed")
    signature = Signature((TensorSpec("x", (1, 2), "float32"),), (TensorSpec("y", (1, 2), "float32"),))
    tiny, reused = SPEC.configs["tiny"], []
    for level in (1, 2):
        data.write_text(f"import numpy as np\ndef batches():\n    yield np.full((4, 2), {level}, np.float32)\n")
        with Workers() as workers:
            run = Run(workers, Store(tmp_path / "store"), lambda event, label: None)
            run.step(samples.run, "data", "samples", samples.Request(of_user, "test", {WHOLE: signature}))
            of_task = samples.Request(
                DataPlan(task=tiny.task), "selection", {WHOLE: Signature(tiny.inputs, tiny.outputs)}
            )
            reused.append(run.step(samples.run, "data", "samples", of_task).reused)
    assert reused == [False, True]


def test_code_beside_the_file_is_read_again_in_a_process_that_knows_it(model: Path) -> None:
    (model.parent / "blocks.py").write_text("def made():\n    return 'first'\n")
    assert user_code.call(str(model), "build") == "first"
    (model.parent / "blocks.py").write_text("def made():\n    return 'later'  # longer, so that no cached code fits\n")
    assert user_code.call(str(model), "build") == "later"


def test_a_module_beside_one_file_is_not_taken_for_that_of_its_name_beside_another(tmp_path: Path) -> None:
    """In one child, models of several folders: the second was built with the first one's ``blocks.py``, and passed."""
    for folder in ("a", "b", "c"):
        (tmp_path / folder / "parts").mkdir(parents=True)
        (tmp_path / folder / "model.py").write_text(
            "import importlib\nimport blocks\n\n\ndef build():\n"
            "    late = importlib.import_module('parts.late')\n    return blocks.one + late.two\n"
        )
        (tmp_path / folder / "blocks.py").write_text(f"one = {folder!r}\n")
        for name in ("__init__", "late"):
            (tmp_path / folder / "parts" / f"{name}.py").write_text(f"two = {folder!r}\n")
    before = [entry for entry in sys.path if entry not in user_code._folders]
    for folder in "abcab":
        assert user_code.call(str(tmp_path / folder / "model.py"), "build") == 2 * folder
    assert [entry for entry in sys.path if entry not in user_code._folders] == before


def test_a_module_beside_another_file_is_found_by_that_files_code_alone(tmp_path: Path) -> None:
    """``chunk`` is a module of Python's as well; ``own`` is none."""
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "chunk.py").write_text("one = 1\n")
    (tmp_path / "a" / "own.py").write_text("two = 2\n")
    (tmp_path / "a" / "late.py").write_text("three = 3\n")
    late = "def late():\n    from late import three\n    return three\n"
    (tmp_path / "a" / "m.py").write_text(f"import chunk, own\n\n\n{late}\n\ndef build():\n    return late\n")
    (tmp_path / "b" / "m.py").write_text("import chunk\n\n\ndef build():\n    return chunk.__file__\n")
    (tmp_path / "c" / "m.py").write_text("import own\n\n\ndef build():\n    return own.two\n")
    of_a = user_code.call(str(tmp_path / "a" / "m.py"), "build")
    assert Path(user_code.call(str(tmp_path / "b" / "m.py"), "build")).parent == Path(json.__file__).parents[1]
    with pytest.raises(UsageError, match="No module named 'own'"):
        user_code.call(str(tmp_path / "c" / "m.py"), "build")
    assert of_a() == 3, "what its code imports when it is called"


def test_the_program_that_runs_stays_known_where_it_is_the_users_file(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's ``inspect.stack`` ends with a KeyError else, which frameworks call."""
    (model.parent / "blocks.py").write_text("def made():\n    return 'made'\n")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(model), raising=False)
    assert user_code.call(str(model), "build") == "made"
    assert "__main__" in sys.modules


def test_a_function_may_be_defined_in_any_way_that_an_import_sees(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "one, (two, three) = map(make, names)\nfour: object = make()\ntry:\n    from a import five\n"
        "except ImportError:\n    six = None\nif new:\n    def seven():\n        eight = 1\n"
        "if __name__ == '__main__':\n    nine = 1\n"
    )
    for name in ("one", "two", "three", "four", "five", "six", "seven"):
        user_code.check(tmp_path / "m.py", name, "m.py", "makes it")
    for name in ("eight", "nine"):
        with pytest.raises(UsageError, match="has no function"):
            user_code.check(tmp_path / "m.py", name, "m.py", "makes it")
