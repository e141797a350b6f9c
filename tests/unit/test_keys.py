"""Keys: a step's key changes with all that its result depends on, and with nothing else."""

from __future__ import annotations

import ast
import dis
import functools
import hashlib
import importlib.metadata
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from modulefinder import ModuleFinder
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from edgekit.data.plan import DataPlan
from edgekit.jobs import host, interpreters, keys, wire
from edgekit.jobs.keys import closure, imports
from edgekit.jobs.keys.closure import Code
from edgekit.jobs.run import Given, Run
from edgekit.jobs.store import Store, sha256_json
from edgekit.jobs.workers import Answer, Workers
from edgekit.result import Host
from edgekit.schemes import FP32, SCHEMES
from edgekit.sources.source import Source
from edgekit.steps import audit, golden, latency
from edgekit.toolchains import Options

PACKAGE = Path(__file__).parents[2] / "edgekit"
AT = "edgekit.steps."
ZOO = {"source": Source("lenet5", "zoo", "torch", "lenet5", "0" * 64, config="tiny")}
FILE = {"source": Source("lenet5.pt2", "pt2", "torch", "lenet5", "0" * 64, path=Path("lenet5.pt2"))}
IN_TORCH = ["frameworks.torch", "zoo.lenet5.spec", "zoo.lenet5.pytorch"]

METRICS = [f"proof.metrics.{path.stem}" for path in (PACKAGE / "proof/metrics").glob("[a-z]*.py")]

#: Steps with what each is known to import by a name that its request gives.
STEPS: dict[str, tuple[str, str, dict[str, Any], list[str]]] = {
    "load from the zoo": ("describe:run", "torch", ZOO, IN_TORCH),
    "load in Keras": ("describe:run", "keras-torch", ZOO, ["frameworks.keras", "zoo.lenet5.spec", "zoo.lenet5.keras"]),
    "load a file": ("describe:run", "torch", FILE, ["frameworks.torch"]),
    "load with Keras 2": ("describe:run", "tf-keras", FILE, ["frameworks.tf_keras"]),
    "look at a file": ("describe:examine", "data", {"kind": "pt2", "trust": False}, []),
    "samples of a task": ("samples:run", "data", {"plan": DataPlan(task="digits")}, ["data.tasks.digits", *METRICS]),
    "samples of the user": ("samples:run", "data", {"plan": DataPlan()}, METRICS),
    "reference": (
        "reference:run", "torch", {"sources": {"model": ZOO["source"]}, "task": "digits"},
        [*IN_TORCH, "data.tasks.digits"],
    ),
    "routes": ("convert:routes", "runtime", {"toolchain": "onnx"}, ["toolchains.onnx.routes"]),
    "convert a model": (
        "convert:run", "keras-tensorflow", {"toolchain": "litert", **FILE},
        ["toolchains.litert.routes", "frameworks.keras"],
    ),
    "convert a file": (
        "convert:run", "runtime", {"toolchain": "litert", "source": None}, ["toolchains.litert.routes"],
    ),
    "audit": ("audit:run", "runtime", {"toolchain": "litert"}, ["toolchains.litert.audit"]),
    "execute": (
        "execute:run", "runtime", {"toolchain": "coreml", "task": "scenes"},
        ["toolchains.coreml.session", "data.tasks.scenes"],
    ),
    "score": ("score:run", "runtime", {"task": "scenes"}, ["data.tasks.scenes", *METRICS]),
    "score of the float model": ("score:baseline", "runtime", {"task": None}, METRICS),
    "traits of a file": ("audit:traits", "runtime", {"toolchain": "onnx"}, ["toolchains.onnx.traits"]),
    "traits of a model": ("traits:run", "torch", {**FILE, "toolchain": None}, ["frameworks.torch"]),
    "latency": ("latency:run", "runtime", {"toolchain": "openvino"}, ["toolchains.openvino.session"]),
    "golden data": ("golden:run", "runtime", {"part": None}, []),
}  # fmt: skip

#: Those of them that look at files of others.
CHECKING = {"look at a file", "convert a model", *(case for case in STEPS if case.startswith("load "))}

HERE = Host(
    system="Linux 6.1", machine="x86_64", processor="A", processor_model="A 1", features="avx2", cores=2,
    memory_bytes=8 << 30, python="3.11.7", libc="glibc 2.36",
)  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package's sources."""
    copy = tmp_path_factory.mktemp("tree") / "edgekit"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    return copy


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory") / "imports.json"


def file_of(module: str, tree: Path = PACKAGE) -> Path:
    path = tree.parent.joinpath(*module.split("."))
    return path / "__init__.py" if (path / "__init__.py").is_file() else path.with_suffix(".py")


def key(case: str, code: Code, at: Host = HERE) -> str:
    step, environment, arguments, _ = STEPS[case]
    return sha256_json(keys.material(f"{AT}{step}", environment, arguments, wire.plain(arguments), at, code))


def found_by_python(tree: Path, modules: list[str]) -> set[str]:
    """The package's modules that are imported with some others, by the standard library's reading of the bytecode."""
    finder = ModuleFinder(path=[str(tree.parent)])
    for module in modules:
        finder.import_hook(f"edgekit.{module}")
    return {name for name in finder.modules if name.split(".")[0] == "edgekit" and finder.modules[name].__file__}


@pytest.fixture(scope="module")
def depends(tree: Path) -> dict[str, set[str]]:
    """Modules of each step's closure, found without the code that makes keys."""
    plain = tree.parent / "plain" / "edgekit"
    shutil.copytree(tree, plain)
    for path in plain.rglob("*.py"):  # the compiler drops what stands under a false condition
        path.write_text(path.read_text().replace("if TYPE_CHECKING:", "if False:"))
    bare = [f for f in plain.rglob("*") if f.is_dir() and not (f / "__init__.py").exists()]  # not known to ModuleFinder
    for folder in bare:
        (folder / "__init__.py").touch()
    found = {
        case: found_by_python(plain, ["jobs.child", f"steps.{step.partition(':')[0]}", *by_name])
        for case, (step, _, _, by_name) in STEPS.items()
    }
    added = {".".join(folder.relative_to(plain.parent).parts) for folder in bare}
    return {case: modules - added for case, modules in found.items()}


def test_a_closure_is_what_python_itself_finds(tree: Path, depends: dict[str, set[str]]) -> None:
    code = closure.read(tree)
    found = {case: set(imported(case, code)) for case in STEPS}
    assert found == depends


def imported(case: str, code: Code) -> frozenset[str]:
    step, *rest, _ = STEPS[case]
    return keys.imported(f"{AT}{step}", *rest, code)


def mutated(text: str) -> str:
    """The same module with one constant changed: its first number, or its docstring."""
    tree = ast.parse(text)
    numbers = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) in (int, float)]
    if not numbers:
        return text.replace('"""', '"""Not ', 1)
    node = min(numbers, key=lambda n: (n.lineno, n.col_offset))
    lines = text.encode().splitlines(keepends=True)
    line = lines[node.lineno - 1]
    assert node.end_col_offset is not None
    lines[node.lineno - 1] = line[: node.col_offset] + repr(node.value + 7).encode() + line[node.end_col_offset :]
    return b"".join(lines).decode()


@pytest.mark.parametrize("rest", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_a_changed_constant_changes_the_keys_of_the_steps_that_import_it_and_no_other(
    rest: bool, tree: Path, depends: dict[str, set[str]]
) -> None:
    """Of every fourth module in each run, of the others in `make nightly`."""
    code = closure.read(tree)
    before = {case: key(case, code) for case in STEPS}
    wrong = []
    for module in (module for place, module in enumerate(code.modules) if bool(place % 4) == rest):
        path = file_of(module, tree)
        text = mutated(path.read_text()).encode()
        read = imports.read(module, text, is_package=path.stem == "__init__")
        changed = Code({**code.hashes, module: hashlib.sha256(text).hexdigest()}, {**code.modules, module: read})
        moved = {case for case in STEPS if key(case, changed) != before[case]}
        wrong += [(module, case) for case in moved ^ {case for case in STEPS if module in depends[case]}]
    assert wrong == []


@pytest.mark.parametrize(
    ("module", "unmoved"),
    [
        ("sources/source.py", {"audit", "traits of a file", "latency"}),
        ("signature.py", set()),
        ("sources/lists/torch.toml", set(STEPS) - CHECKING),
    ],
)
def test_a_comment_counts(tree: Path, memory: Path, module: str, unmoved: set[str]) -> None:
    """Answers from a store of before the comment have been given out."""
    before = {case: key(case, closure.read(tree, memory)) for case in STEPS}
    path = tree / module
    text = path.read_text()
    path.write_text(text + "# a comment\n")
    code = closure.read(tree, memory)
    path.write_text(text)
    assert {case for case in STEPS if key(case, code) == before[case]} == unmoved


def write(root: Path, files: Mapping[str, str]) -> Code:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return closure.read(root)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import edgekit.a.b", {"a", "a.b"}),
        ("from edgekit.a import b", {"a", "a.b"}),
        ("from edgekit.a import NAME", {"a"}),
        ("from edgekit import a", {"a"}),
        ("from .a import b", {"a", "a.b"}),
        ("from . import a", {"a"}),
        ("def run():\n    from edgekit.a import b", {"a", "a.b"}),
        ("class C:\n    def run(self):\n        import edgekit.a.b as x", {"a", "a.b"}),
        ("import typing\nif typing.TYPE_CHECKING:\n    from edgekit.a import b", set()),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\nelse:\n    import edgekit.a", {"a"}),
        ("if 1:\n    import edgekit.a\nelif 2:\n    import edgekit.c", {"a", "c"}),
        ("import importlib\nimportlib.import_module('edgekit.a.b')", {"a", "a.b"}),
        ("import importlib\nimportlib.import_module('torch')", set()),
    ],
)
def test_every_form_of_import_is_read(tmp_path: Path, text: str, found: set[str]) -> None:
    code = write(
        tmp_path, {"__init__.py": "", "step.py": text, "a/__init__.py": "", "a/b.py": "", "a/d.py": "", "c.py": ""}
    )
    expected = {"edgekit", "edgekit.step", *(f"edgekit.{name}" for name in found)}
    assert code.closure([("edgekit.step", "run")], {}) == expected


def test_a_package_may_hold_a_module_and_a_function_of_one_name(tmp_path: Path) -> None:
    files = {"__init__.py": "", "a/b.py": "", "c/d.py": "", "step.py": "from edgekit import a\ndef run(): a.b('d')"}
    package = "import importlib\nfrom edgekit.a import b\ndef b(name): importlib.import_module(f'edgekit.c.{name}')"
    code = write(tmp_path, {**files, "a/__init__.py": package})
    assert {"edgekit.a.b", "edgekit.c.d"} <= code.closure([("edgekit.step", "run")], {})


def test_relative_imports_of_packages_and_modules(tmp_path: Path) -> None:
    files = {"__init__.py": "", "a/__init__.py": "from .b import X", "a/b.py": "from ..c import Y", "c.py": ""}
    code = write(tmp_path, {**files, "d.py": "", "a/e.py": "from .. import d"})
    assert code.closure([("edgekit.a", "run")], {}) == {"edgekit", "edgekit.a", "edgekit.a.b", "edgekit.c"}
    assert "edgekit.d" in code.closure([("edgekit.a.e", "run")], {})


KINDS = """
import importlib

def audit(name): return importlib.import_module(f"edgekit.kinds.{name}.audit").audit()
def session(name): return importlib.import_module(f"edgekit.kinds.{name}.session").open()
def sessions(names): return [session(name) for name in names]
class Opener:
    def open(self, name): return session(name)
"""


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ("from edgekit import kinds\ndef run(): kinds.audit('x')", {"x.audit"}),
        ("from edgekit.kinds import sessions\ndef run(): sessions(['x'])", {"x.session"}),
        ("import edgekit.kinds\ndef run(): return edgekit.kinds.Opener().open('x')", {"x.session"}),
        ("from edgekit import kinds\ndef run(): return helper()\ndef helper(): kinds.audit('x')", {"x.audit"}),
        ("from edgekit import kinds\ndef other(): kinds.session('x')\ndef run(): kinds.audit('x')", {"x.audit"}),
        ("from edgekit import kinds\ndef run(): return call(kinds)", {"x.audit", "x.session"}),
        ("from edgekit import again\ndef run(): again.look('x')", {"x.audit"}),
        ("from edgekit import kinds\nTABLE = {'x': kinds.session}\ndef run(): TABLE['x']('x')", {"x.session"}),
        ("from edgekit.kinds import Opener\ndef run(): ...", set()),
    ],
)
def test_imports_by_name_are_followed_from_the_functions_that_reach_them(
    tmp_path: Path, step: str, found: set[str]
) -> None:
    modules = {f"kinds/{kind}/{end}.py": "" for kind in "xy" for end in ("audit", "session")}
    again = {"again.py": "from edgekit.kinds import audit as look"}
    code = write(tmp_path, {"__init__.py": "", "kinds/__init__.py": KINDS, "step.py": step, **modules, **again})
    roots = [("edgekit.step", "run")]
    reached = code.closure(roots, {"edgekit.kinds": frozenset({"x"})})
    assert {m.removeprefix("edgekit.kinds.") for m in reached if m.startswith("edgekit.kinds.")} == found
    anything = code.closure(roots, {})  # where nobody says which, all that are there
    assert {m[len("edgekit.kinds.y.") :] for m in anything if m.startswith("edgekit.kinds.y.")} == {
        m[len("x.") :] for m in found
    }


@pytest.mark.parametrize("name", ["f'edgekit.{a}.{b}'", "f'edgekit.zoo_{a}.spec'", "f'edgekit{a}'"])
def test_an_import_by_name_that_cannot_be_followed_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be followed"):
        imports.read("edgekit.x", f"import importlib\nimportlib.import_module({name})".encode(), is_package=False)


def test_imports_by_a_name_that_is_put_together_elsewhere_are_known() -> None:
    """Of what is not written as an f-string, keys know nothing: each such place is looked at once, and named here."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
                name = ast.unparse(node.args[0]).strip("f'")
                if not name.startswith("edgekit.") and not isinstance(node.args[0], ast.Constant):
                    found.add((path.relative_to(PACKAGE).as_posix(), name))
    assert found == {
        ("__init__.py", "_HOMES[name]"),  # public names, for users: nothing inside imports them
        ("jobs/child.py", "module"),  # the step itself
        ("mil/proto.py", "{_PACKAGE}.{name}"),  # coremltools
        ("toolchains/litert/session.py", "module"),  # an interpreter
        ("toolchains/tensorrt/builder.py", "module"),  # TensorRT or TensorRT-RTX
    }


def test_files_that_lie_beside_a_module_are_part_of_it_or_known() -> None:
    modules = keys.installed().modules
    reading = {m for m in in_children() if "__file__" in file_of(m).read_text() and not m.startswith("edgekit.jobs.")}
    assert {m for m in reading if not modules[m].data} <= {
        "edgekit.catalogue",  # what the user hands in: steps get it as arguments
        "edgekit.data.tasks",  # names, to tell of an unknown one
        "edgekit.toolchains",  # likewise
        "edgekit.frameworks.brought.faults",  # likewise: a line there is none of the user's
        "edgekit.user_code",  # the package's own folder, which is in the key; what the user's code reads is noted
        "edgekit.zoo",  # weights are in the hash of their source
    }


def test_what_was_read_is_remembered_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, memory = tmp_path / "edgekit", tmp_path / "home" / "imports.json"
    write(root, {"__init__.py": "", "a.py": "import edgekit.b", "b.py": "PACKAGES = ('x',)\nMEASURES = True"})
    parsed = []
    read = imports.read
    monkeypatch.setattr(imports, "read", lambda name, *rest, **more: parsed.append(name) or read(name, *rest, **more))
    first = closure.read(root, memory)
    assert (first.modules["edgekit.b"].packages, first.modules["edgekit.b"].measures) == (("x",), True)
    assert len(parsed) == 3
    assert closure.read(root, memory) == first
    assert len(parsed) == 3
    (root / "b.py").write_text("")
    assert closure.read(root, memory).modules["edgekit.b"].packages == ()
    assert parsed[3:] == ["edgekit.b"]
    memory.write_text("{")
    assert closure.read(root, memory).modules.keys() == first.modules.keys()
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert closure.read(root, blocked / "imports.json").modules.keys() == first.modules.keys()  # it cannot be written


# Versions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distribution", "moved"),
    [
        # LiteRT's routes are one module's, and onnx2tf is given what it folded.
        ("onnxruntime", {"routes", "traits of a file", "convert a model", "convert a file"}),
        ("openvino", {"latency", "routes"}),  # NNCF quantizes ONNX files too, and is driven from there
        ("ai-edge-litert", {"convert a model", "convert a file", "audit"}),
        ("scikit-learn", {"samples of a task", "reference"}),
        ("keras", {"load in Keras", "convert a model"}),
        ("numpy", set(STEPS)),
        ("pytest", set()),
    ],
)
def test_another_version_changes_the_keys_of_the_steps_that_use_it(
    monkeypatch: pytest.MonkeyPatch, distribution: str, moved: set[str]
) -> None:
    code = keys.installed()
    before = {case: key(case, code) for case in STEPS}
    version = interpreters._version
    monkeypatch.setattr(interpreters, "_version", lambda name: "0.0.1" if name == distribution else version(name))
    assert {case for case in STEPS if key(case, code) != before[case]} == moved


#: Distributions that no statement imports: a vendor's own compiler or writer, and those that are looked up in a table.
INDIRECT = {"litert-converter", "onnx-ir", "onnxscript", "tensorrt", "tensorrt-rtx", "tflite-runtime"}
#: An architecture's implementations are imported by the loaders of their frameworks alone.
LOADERS = {"pytorch": "edgekit.frameworks.torch", "keras": "edgekit.frameworks.keras"}


#: What has an environment of its own, and is not installed beside the others.
ELSEWHERE = {"onnx2tf": ["onnx2tf"]}


@functools.cache
def distributions() -> dict[str, list[str]]:
    return {**ELSEWHERE, **importlib.metadata.packages_distributions()}


@functools.cache
def third_party(path: Path) -> set[str]:
    """Distributions that a file imports, from its bytecode; the compiler drops what stands under a false condition."""
    text = path.read_text().replace("if TYPE_CHECKING:", "if False:")
    names = {
        str(instruction.argval).partition(".")[0]
        for code in code_objects(compile(text, str(path), "exec"))
        for instruction in dis.get_instructions(code)
        if instruction.opname == "IMPORT_NAME"
    }
    names |= set(re.findall(r'(?:import_module|find_spec)\("(\w+)"\)', text))
    ours = names - sys.stdlib_module_names - {"edgekit"}
    return {re.sub("[-_.]+", "-", distribution.lower()) for name in ours for distribution in distributions()[name]}


def code_objects(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from code_objects(constant)


def in_children() -> list[str]:
    """Every module that some step may import."""
    steps = [f"edgekit.steps.{path.stem}" for path in (PACKAGE / "steps").glob("*.py") if path.stem != "__init__"]
    return sorted(keys.installed().closure([(step, closure.ALL) for step in steps], {}))


def test_packages_name_every_distribution_that_a_module_imports() -> None:
    """A module's own ``PACKAGES`` and those of the folders that it lies in."""
    modules = keys.installed().modules
    missing = {}
    for module in in_children():
        parts = module.split(".")
        scope = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
        if parts[1:2] == ["zoo"] and parts[-1] in LOADERS:
            scope.append(LOADERS[parts[-1]])
        declared = {package for name in scope if name in modules for package in modules[name].packages}
        missing[module] = third_party(file_of(module)) - declared
    assert {module: packages for module, packages in missing.items() if packages} == {}


def test_packages_name_nothing_that_is_not_used() -> None:
    unused = {}
    for module in in_children():
        file = file_of(module)
        used = map(third_party, file.parent.rglob("*.py") if file.stem == "__init__" else [file])
        unused[module] = set(keys.installed().modules[module].packages).difference(INDIRECT, *used)
    assert {module: packages for module, packages in unused.items() if packages} == {}


@pytest.mark.parametrize("case", STEPS)
def test_a_key_holds_the_versions_of_all_that_its_modules_import(case: str) -> None:
    step, environment, arguments, _ = STEPS[case]
    tools = keys.material(f"{AT}{step}", environment, arguments, {}, HERE)["tools"]
    used = set().union(*(third_party(file_of(module)) for module in imported(case, keys.installed())))
    assert used <= tools.keys()
    assert tools["numpy"] == importlib.metadata.version("numpy")


# Measurements ----------------------------------------------------------------------------------------------------

OTHERS = {
    "system": "Linux 6.2", "machine": "aarch64", "processor": "B", "processor_model": "A 2", "features": "avx2 avx512f",
    "cores": 4, "memory_bytes": 16 << 30, "python": "3.12.0", "libc": "glibc 2.39",
}  # fmt: skip
#: Whatever computes with floating point depends on these.
OF_THE_PROCESSOR = {"machine", "processor", "processor_model", "features", "python", "libc"}


class Counting(Workers):
    """Answers every request, of how many rows there are or of how long it took, with how many requests there were."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def call(self, environment: str, step: str, arguments: Mapping[str, Any], **options: Any) -> Answer[Any]:
        self.count += 1
        if step.endswith("golden:run"):
            return Answer({"samples": self.count}, 0.1, 1)
        times = {"float_cpu_ms": self.count, "artifact_cpu_ms": 1, "ratio": 1, "ratio_ci95": [1, 1], "noisy": False}
        return Answer({**times, "blocks": 1, "runs_per_block": [1, 1], "wall_over_cpu": 1}, 0.1, 1)


TIMED = latency.Request("onnx", {}, Options(SCHEMES["int8"]), {}, Options(FP32), {}, {})
RECORDED = golden.Request(None, Given(Path("a"), "a"), Given(Path("b"), "b"), Given(Path("c"), "c"), 8)


@pytest.mark.parametrize("fact", OTHERS)
@pytest.mark.parametrize(("step", "request_", "measures"), [(latency.run, TIMED, True), (golden.run, RECORDED, False)])
def test_two_hosts_share_no_measurement_and_unlike_processors_nothing(
    tmp_path: Path, fact: str, step: Any, request_: Any, measures: bool
) -> None:
    other = HERE.model_copy(update={fact: OTHERS[fact]})
    with Counting() as workers:
        store = Store(tmp_path)
        runs = [Run(workers, store, lambda *_: None, at) for at in (HERE, other, HERE)]
        answers = [run.step(step, "runtime", "step", request_) for run in runs]
    assert (answers[0].reused, answers[2].reused) == (False, True)
    assert answers[0].value == answers[2].value
    assert answers[1].reused == (not measures and fact not in OF_THE_PROCESSOR)


def test_no_step_depends_on_what_judges_it() -> None:
    """Moving a limit runs nothing again."""
    judging = {"edgekit.schemes", "edgekit.limits", "edgekit.target", "edgekit.proof.judge", "edgekit.proof.precision"}
    assert {case: found for case in STEPS if (found := imported(case, keys.installed()) & judging)} == {}


def test_a_path_that_says_nothing_of_its_content_is_in_no_key(tmp_path: Path) -> None:
    with Counting() as workers, pytest.raises(TypeError, match="says nothing"):
        request = audit.Request("onnx", tmp_path / "model.onnx")
        Run(workers, Store(tmp_path), lambda *_: None, HERE).step(audit.run, "runtime", "audit", request)


def test_every_fact_of_the_host_is_in_the_key_of_a_measurement() -> None:
    assert OTHERS.keys() == Host.model_fields.keys()


def test_measurements_are_declared() -> None:
    """Whatever reads a clock in a step measures this machine; what each step costs is measured around all of them."""
    code = keys.installed()
    steps = {module for case in STEPS for module in imported(case, code)}
    clocks = {"time", "timeit", "resource", "psutil"}
    reading = {
        module
        for module in steps
        for node in ast.walk(ast.parse(file_of(module).read_text()))
        if isinstance(node, ast.Import) and clocks & {alias.name for alias in node.names}
    }
    measuring = {module for module in steps if code.modules[module].measures}
    around = {module for module in steps if module.startswith("edgekit.jobs.")}
    assert reading - around == measuring == {"edgekit.proof.latency"}


# The host ------------------------------------------------------------------------------------------------------------

X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
stepping\t: 1
cpu MHz\t\t: 2596.132
flags\t\t: fpu sse2 avx

processor\t: 1
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
stepping\t: 1
cpu MHz\t\t: 1500.000
flags\t\t: fpu sse2 avx
"""
ARM = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd03
CPU revision\t: 4

processor\t: 1
Features\t: fp asimd
CPU implementer\t: 0x41
CPU variant\t: 0x1
CPU part\t: 0xd08
CPU revision\t: 4
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (X86, ("AMD EPYC", "AuthenticAMD 25 17 1", "avx fpu sse2")),
        (ARM, ("", "0x41 0xd03+0xd08 0x0+0x1 4", "asimd fp")),
    ],
)
def test_a_processor_is_told_by_more_than_its_name(text: str, expected: tuple[str, str, str]) -> None:
    assert host.from_cpuinfo(text) == expected


def test_other_systems_are_asked_through_a_library() -> None:
    name, model, features = host.from_library()
    assert name or model
    assert set(features.split()) & set(host.host().features.split())


def test_this_host_is_known() -> None:
    here = host.host()
    assert here.cores >= 1
    assert here.memory_bytes > 1 << 28
    assert all((here.system, here.machine, here.processor, here.features, here.python))
