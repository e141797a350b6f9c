"""What the store takes a user's function for: the code that it imports, and the versions of what is installed."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from edgekit import api, user_code


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
