"""Every target file: it parses, its gate is not looser than the ceilings, its routes exist, its twin is fp32."""

import re
import tomllib

import pytest

from edgekit import catalogue, limits, target, toolchains
from edgekit.errors import UsageError
from edgekit.schemes import FP32, SCHEMES

NAMES = target.names()
SCOPE = (
    "matmuls|all|noconv|nodepthwise|mixed|unrolled|dynamic-cells|per-tensor|symmetric|widened|float-outputs|unsmoothed"
)


def decodes(toolchain, scheme):
    """How routes are named, see ``edgekit/toolchains/__init__.py``, which says which words stand for tools."""
    told = re.search(r"- TOOL: (.*?)\n- SCOPE", toolchains.__doc__, re.DOTALL)[1]
    tool = "|".join(map(re.escape, {*re.findall(r"``([a-z0-9]+)``", told), *toolchains.facts(toolchain).PACKAGES}))
    if scheme.is_float:
        shorter = rf"|cast-wf16(af16)?-({tool})(-({SCOPE}))*" if scheme.weights == "float16" else ""
        return rf"export-[a-z0-9-]+{shorter}"
    method = "weights" if scheme.weights_only else "dynamic" if scheme.dynamic else "ptq"
    numbers = scheme.weights.replace("int", "w")
    numbers += "" if scheme.weights_only else scheme.activations.replace("int", "a")
    return rf"{method}-{numbers}-({tool})(-({SCOPE}))*"


@pytest.mark.parametrize("name", NAMES)
def test_target(name):
    found = target.load(name)
    assert found.gate.beyond_ceilings(found.scheme) == []
    assert found.toolchain in toolchains.names()
    assert found.name.endswith(found.scheme.weights if found.scheme.below_8_bits else found.precision)
    if found.scheme == FP32:
        assert found.float_twin is None
    else:
        assert found.float_twin is not None
        twin = target.load(found.float_twin)
        assert (twin.scheme, twin.format, twin.toolchain) == (FP32, found.format, found.toolchain)
    assert all(len(route.because) > 20 for route in found.routes), "each place in the order cites its reason"


@pytest.mark.parametrize("name", NAMES)
def test_a_gate_says_only_what_is_no_default(name):
    found = target.load(name)
    given = tomllib.loads(catalogue.find("targets", name).read_text()).get("gate", {})
    defaults = limits.with_defaults(found.scheme, {})
    assert [(t, key) for t, keys in given.items() for key in keys if keys[key] == defaults[t][key]] == []


@pytest.mark.parametrize("name", NAMES)
def test_names_of_routes_decode(name):
    found = target.load(name)
    assert [r.name for r in found.routes if not re.fullmatch(decodes(found.toolchain, found.scheme), r.name)] == []


@pytest.mark.parametrize("name", toolchains.names())
def test_routes_of_every_target_exist_and_every_route_is_used(name):
    used = {route.name for t in map(target.load, NAMES) if t.toolchain == name for route in t.routes}
    assert used == set(toolchains.routes(name))
    assert set(toolchains.facts(name).PACKAGES)


def test_the_issue_s_targets_are_there():
    expected = {
        *(f"tflite-{p}" for p in ("fp32", "fp16", "int8", "int8-dynamic", "int16x8")),
        *(f"onnxruntime-{p}" for p in ("fp32", "int8", "int8-dynamic")),
        *(f"openvino-{p}" for p in ("fp32", "fp16", "int8", "int8-weights")),
    }
    assert expected <= set(NAMES)


def test_unknown_keys_and_wrong_values_are_named(tmp_path):
    text = catalogue.find("targets", NAMES[0]).read_text()
    path = tmp_path / "mine.toml"
    path.write_text("surprise = 1\n" + text)
    with pytest.raises(UsageError, match=r"mine\.toml: surprise"):
        target.load(str(path))
    path.write_text(text.replace("schema = 1", "schema = 2"))
    with pytest.raises(UsageError, match="schema = 1"):
        target.load(str(path))
    path.write_text("= nonsense")
    with pytest.raises(UsageError, match="not valid TOML"):
        target.load(str(path))


@pytest.mark.parametrize(
    ("line", "place", "near"),
    [
        ("precison = 'int8'", "precison", "precision"),
        ("[[route]]\nname = 'x'\nbecause = 'y'\nunles = ['gated']", r"route\.\d\.unles", "unless"),
        ("[gate.top1]\ndrop_mx = 0.1", r"gate\.top1\.drop_mx", "drop_max"),
        ("[gate.paritty]\nsqnr_db_min = 1", r"gate\.paritty", "parity"),
    ],
)
def test_the_nearest_of_the_keys_is_named(tmp_path, line, place, near):
    head, routes, rest = catalogue.find("targets", "tflite-fp32").read_text().partition("[[route]]")
    before, after = ("", line) if line.startswith("[") else (line, "")
    path = tmp_path / "mine.toml"
    path.write_text(f"{head}{before}\n{routes}{rest}\n{after}\n")
    with pytest.raises(UsageError, match=rf"mine\.toml: {place}: ") as raised:
        target.load(str(path))
    assert f"Did you mean {near!r}?" in raised.value.hint


def test_a_target_of_the_users_own_is_found_first(tmp_path, monkeypatch):
    (tmp_path / "targets").mkdir()
    text = catalogue.find("targets", "tflite-int8").read_text()
    assert tomllib.loads(text)["precision"] == "int8"
    loose = text + "\n[gate.parity]\nsqnr_db_min = 5.0\n"
    (tmp_path / "targets" / "tflite-int8.toml").write_text(loose)
    monkeypatch.chdir(tmp_path)
    assert target.load("tflite-int8").gate.beyond_ceilings(SCHEMES["int8"]) != []
