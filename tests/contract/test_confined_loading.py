"""Hostile files that no check has stopped: loaded and run in a confined child, they find nothing to do.

The frameworks write the files, and load them: what a file tries is really tried. A second run of each in a free child
shows that it is an attack, and not a file that cannot be loaded.
"""

import json
import os
import socket
from pathlib import Path

import pytest

from edgekit.errors import EdgekitError
from edgekit.jobs.confine import kernel
from edgekit.jobs.workers import Confined, Limits, Workers
from edgekit.sources.source import resolve
from edgekit.steps import describe

CHILDREN = Path(__file__).parent / "children"
pytestmark = pytest.mark.skipif(kernel.landlock_version() == 0, reason="this kernel has no Landlock")

#: file, its kind of child, declared inputs, and whether what it did was seen in what it raised.
FILES = [
    ("evil.keras", "keras-tensorflow", (), True),
    ("guard.pt2", "torch", (), True),
    ("write", "keras-tensorflow", (), False),
    ("debug", "keras-tensorflow", (), False),
    ("saves.pt", "torch", ("x=1x2",), False),
    ("maps.pt", "torch", ("x=1x2",), False),
]
#: What it read goes into the model's output, where nothing outside sees it.
READERS = [("read", "keras-tensorflow", ()), ("reads.pt", "torch", ("x=1x2",))]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret").write_text("secret")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield {
            "target": str(folder / "owned"),
            "secret": str(folder / "secret"),
            "port": listening.getsockname()[1],
            "parent": os.getpid(),
        }


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    path = os.pathsep.join(p for p in (str(CHILDREN), os.environ.get("PYTHONPATH")) if p)
    with pytest.MonkeyPatch.context() as patch, Workers(Limits(300, 4 << 30)) as workers:
        patch.setenv("PYTHONPATH", path)
        patch.setenv("HUB_TOKEN", "secret")
        patch.chdir(tmp_path_factory.mktemp("current"))  # where the free children leave what they do
        yield workers


@pytest.fixture(scope="module")
def files(children, places, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    for environment, maker in (
        ("keras-tensorflow", "keras_files"), ("keras-tensorflow", "saved_models"), ("torch", "torch_files")
    ):  # fmt: skip
        children.call(environment, f"hostile_files:{maker}", {"folder": str(folder), **places})
    return folder


@pytest.fixture
def load(children, files, tmp_path):
    """Load a file that nothing has looked at; returns what was raised."""

    def loaded(name, environment, inputs, *, confined):
        source = resolve(str(files / name), inputs=inputs, trust=True)
        out = tmp_path / f"{name} {confined}"
        out.mkdir()
        request = describe.Request(source, environment, materialise=False)
        whom = Confined(name, tmp_path / "home", 1 << 30) if confined else None
        try:
            children.ask(environment, describe.run, out, request, confined=whom)
        except EdgekitError as error:
            return str(error)
        return ""

    return loaded


@pytest.mark.parametrize(("name", "environment", "inputs", "seen"), FILES, ids=[row[0] for row in FILES])
def test_a_file_that_no_check_has_stopped_finds_nothing_to_do(load, places, name, environment, inputs, seen):
    target = Path(places["target"])
    said = load(name, environment, inputs, confined=True)
    assert not target.exists()
    if seen:
        assert "ATTACK " in said, said
        found = json.loads(said[said.index("ATTACK ") + 7 : said.index("}") + 1])
        assert found.pop("token") == "absent"
        assert "DONE" not in found.values(), found
    load(name, environment, inputs, confined=False)
    assert target.exists(), "the file is no attack"
    target.unlink()


@pytest.mark.parametrize(("name", "environment", "inputs"), READERS, ids=[row[0] for row in READERS])
def test_a_file_cannot_read_what_is_outside(load, name, environment, inputs):
    assert load(name, environment, inputs, confined=True) != ""
    assert load(name, environment, inputs, confined=False) == ""


def test_a_pickle_is_not_unpickled_even_where_no_check_has_stopped_it(load, places):
    """PyTorch falls back to its full unpickler where the one for weights refuses; a confined child does not let it."""
    said = load("pickle.pt2", "torch", (), confined=True)
    assert said != "" and not Path(places["target"]).exists()
    load("pickle.pt2", "torch", (), confined=False)
    assert Path(places["target"]).exists(), "the file is no attack"
    Path(places["target"]).unlink()


def test_the_same_files_are_refused_by_the_checks(files, tmp_path):
    from edgekit.errors import UnsafeInputError
    from tests.unit.handed_in import look

    for name in [row[0] for row in (*FILES, *READERS)] + ["pickle.pt2"]:
        with pytest.raises(UnsafeInputError):
            look(files / name, tmp_path)
