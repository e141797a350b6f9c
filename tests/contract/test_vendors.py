"""Faults of vendors' releases that we work around: each is reproduced here without the workaround.

A test that fails here says that the fault is gone, or that another release is installed: the workaround in that
toolchain's ``vendor`` module then goes, or its ``last`` is raised.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from edgekit import toolchains
from edgekit.jobs.workers import Workers
from edgekit.toolchains._shared.vendors import Fault
from tests.contract.conftest import parameters

CHILD = "tests.contract.children.vendor_faults"
Call = Callable[..., Any]
#: What several toolchains have under them.
SHARED = "_shared"


def faults(name: str) -> dict[str, Fault]:
    """Every fault that a toolchain declares, or what several share."""
    module = "torch_graph" if name == SHARED else "vendor"
    if not (Path(toolchains.__file__).parent / name / f"{module}.py").is_file():
        return {}
    declared = vars(importlib.import_module(f"edgekit.toolchains.{name}.{module}"))
    return {key: value for key, value in declared.items() if isinstance(value, Fault)}


def executorch(call: Call, folder: Path) -> dict[str, bool]:
    found = call("torch", "lower", folder=str(folder))
    norms = [call("torch", "constant_group", folder=str(folder), of=of) for of in ("group", "instance")]
    knots = call("torch", "knotted_parts")
    moved, shared = (call("torch", "marks", folder=str(folder), of=of) for of in ("moved", "shared"))
    assert all(norm["mended"] == 0 and norm["error"] < 1e-4 for norm in norms), "the workaround works"
    assert min(moved["mended"], shared["mended"]) > 30 and not knots["mended"], "the workaround works"
    return {
        "KNOTTED_PARTS": knots["as it comes"],
        "INTEGER_MARKS": "a move to other scales: StaticSlice 0/" in moved["as it comes"],
        "SHARED_SCALES": shared["as it comes"] < 15,
        "TRANSPOSES": found["types"].count("StaticTranspose") > 2,
        "FLOAT32_CONVOLUTIONS": found["weights"]["float32"] == 8 * 27 + 8,
        "KEPT_PROGRAMS": found["kept"] > 0,
        "GROUP_VARIANCE": all(norm["as it comes"] > 0 for norm in norms),
        "TRAINED_PATTERNS": call("torch", "patterns", mended=False) > 0 == call("torch", "patterns", mended=True),
    }


def _shared(call: Call, folder: Path) -> dict[str, bool]:
    asked = {mended: call("torch", "asked", mended=mended) for mended in (True, False)}
    assert asked[True] == {"lists": 1, "types": 1}, "the workaround works"
    return {
        "COPIED_HISTORY": not call("torch", "history"),
        "ASKED_AGAIN": min(asked[False].values()) > 1,
    }


def coreml(call: Call, folder: Path) -> dict[str, bool]:
    return {
        "INT_OF_ARRAYS": "0-dimensional" in call("torch", "core_ml", which="int"),
        "SECOND_NAMES": "Unsupported fx node subtract" in call("torch", "core_ml", which="name"),
        "EAGER_IMPORTS": call("data", "eager"),
    }


def litert(call: Call, folder: Path) -> dict[str, bool]:
    found = call("keras-tensorflow", "packed_constant")
    assert found["mended"] == "", "the workaround works"
    return {"CONSTANT_RANKS": "must be the same as the tensor rank (3)" in found["as it comes"]}


def openvino(call: Call, folder: Path) -> dict[str, bool]:
    found = call("runtime", "open_vino", folder=str(folder))
    return {"TELEMETRY": found["sent"] > 0 and any("openvino_ga_cid" in path for path in found["written"])}


def onnx(call: Call, folder: Path) -> dict[str, bool]:
    times, mask = call("runtime", "norms"), call("torch", "trained_mask")
    assert mask["error"] < 1e-5, "the workaround works"
    return {
        "TELEMETRY": call("runtime", "onnx_runtime_names_its_switch"),
        "SLOW_FUSED_NORM": times["Add"] > 1.3 * times["Sum"],
        "OTHER_ATTENTION": "Cannot view a tensor" in mask["ended"],
        "LOST_EPSILONS": call("torch", "epsilons") == {"as it comes": [], "exact": ["Add", "Mul", "Sub"]},
    }


#: Toolchain -> which of its faults children see.
CANARIES = {found.__name__: found for found in (_shared, executorch, coreml, litert, openvino, onnx)}


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Fresh children: some canaries leave their process changed."""
    with Workers() as made:
        yield made


#: ExecuTorch's take longest; like all of them they change with its version alone, which is pinned.
@pytest.mark.parametrize("name", parameters([SHARED, *toolchains.names()], "executorch".__eq__))
def test_every_fault_is_there(name: str, workers: Workers, tmp_path: Path) -> None:
    declared = faults(name)
    for key, fault in declared.items():
        try:
            version = metadata.version(fault.package)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{fault.package} is not installed")
        assert fault.here(), f"{name}.{key}: {fault.package} {version}; seen in {fault.first} to {fault.last}"

    def call(environment: str, function: str, **arguments: Any) -> Any:
        return workers.call(environment, f"{CHILD}:{function}", arguments).value

    found = CANARIES[name](call, tmp_path) if declared else {}
    assert found == dict.fromkeys(declared, True), "a fault that is gone needs no workaround"


def test_a_release_is_told_by_its_major_and_minor_number(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Fault("something", "package", "1.9", "1.31")
    for version, here in (("1.8.2", False), ("1.9", True), ("1.31.1+cpu", True), ("1.32.0", False), ("2.0", False)):
        monkeypatch.setattr(metadata, "version", lambda package, version=version: version)
        assert fault.here() == here, version


def test_onnx_runtime_tells_nobody_what_it_runs(tmp_path: Path, workers: Workers) -> None:
    """From 1.29 on it writes an identifier into the home folder and sends usage data, unless told not to."""
    assert toolchains.variables()["ORT_DISABLE_TELEMETRY"] == "1"
    assert workers.call("runtime", f"{CHILD}:open_session", {"folder": str(tmp_path)}).value == []
