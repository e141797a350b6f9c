"""PyTorch files that somebody hands in: exported programs and TorchScript, and the pickles in them."""

import io
import json
import os
import pickle
import tarfile
import zipfile

import pytest

from edgekit.errors import DamagedFileError, UnsafeInputError, UnsupportedError, UsageError
from edgekit.sources import pickles
from edgekit.sources.source import environments
from tests.unit.handed_in import call, look, nested, program, pt2, spec, torch_zip, torchscript


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def refused(path, tmp_path, match):
    with pytest.raises(UnsafeInputError, match=match) as error:
        look(path, tmp_path)
    assert error.value.exit_code == 8 and "--trust" in error.value.hint
    assert not look(path, tmp_path, trust=True).confined


def unknown(path, tmp_path, match):
    with pytest.raises(UnsupportedError, match=match) as error:
        look(path, tmp_path)
    assert error.value.exit_code == 3 and "--trust" in error.value.hint
    assert not look(path, tmp_path, trust=True).confined


# --- exported programs: pickles and code -----------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_code_is_refused(tmp_path, protocol):
    for sample in (pickle.dumps(Evil(), protocol), nested(Evil(), protocol)):
        refused(pt2(tmp_path / "m.pt2", sample), tmp_path, "system")
    refused(pt2(tmp_path / "m.pt2", weights=pickle.dumps(Evil(), protocol)), tmp_path, "weight_0")


def test_pickled_weights_are_refused_whatever_they_hold(tmp_path):
    refused(pt2(tmp_path / "m.pt2", weights=nested({"w": 1})), tmp_path, "a pickled object in 'weight_0'")


@pytest.mark.parametrize("payload", ["sub/weight_0", "../weights/weight_0", "custom_obj_0", "opaque_obj_0", "/weight_0",
                                     "sub/opaque_obj_0", "weight_0/../opaque_obj_0"])  # fmt: skip
def test_a_payload_has_a_name_of_its_own_and_no_folder(tmp_path, payload):
    """``torch.export.load`` joins folder and name; what is pickled is told by how the name begins."""
    path = tmp_path / "m.pt2"
    config = json.dumps({"config": {"w": {"path_name": payload, "use_pickle": False, "tensor_meta": None}}})
    refused(pt2(path, members={"data/weights/model_weights_config.json": config}), tmp_path, "pickled object|no part")
    constants = {"data/constants/model_constants_config.json": config}
    refused(pt2(path, members=constants), tmp_path, "pickled object")


def test_old_formats_of_pickles_are_refused(tmp_path):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as made:
        info = tarfile.TarInfo("pickle")
        info.size = len(data := pickle.dumps(Evil()))
        made.addfile(info, io.BytesIO(data))
    for sample in (tar.getvalue(), pickle.dumps({"w": 1}), b"\x80\x02}q\x00."):
        refused(pt2(tmp_path / "m.pt2", sample), tmp_path, r"model\.pt' unpickles")


@pytest.mark.parametrize(
    "member",
    ["data/aotinductor/model/x.so", "data/aotinductor/model/x.cpp", "data/constants/custom_obj_0",
     "data/constants/opaque_obj_0", "data/executorch/model.pte", "models/other.json", "data/weights/other.pt",
     "data/sample_inputs/other.pt", "code/evil.py", "data/xl_model_weights/x"],
)  # fmt: skip
def test_what_is_no_part_of_a_graph_and_its_weights_is_refused(tmp_path, member):
    refused(pt2(tmp_path / "m.pt2", members={member: b"x"}), tmp_path, "no part of a graph")


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    """Python reads the last, PyTorch the first."""
    evil = json.dumps(program([call("torch.os.system")]))
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = pt2(tmp_path / "m.pt2", twice=[("models/model.json", evil)])
    with pytest.raises(UnsafeInputError, match="2 times"):
        look(path, tmp_path)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as made, pytest.warns(UserWarning, match="Duplicate name"):
        made.writestr("m/data.pkl", pickle.dumps(Evil()))
        made.writestr("m/data.pkl", pickle.dumps([]))
    with pytest.raises(UnsafeInputError, match="2 times"):
        look(pt2(tmp_path / "m.pt2", inner.getvalue()), tmp_path)


def test_archives_in_the_archive_are_written_anew_as_well(tmp_path):
    sample = nested(Evil()) + nested([1])
    source = look(pt2(tmp_path / "m.pt2", sample), tmp_path)
    with zipfile.ZipFile(source.path) as copy:
        assert b"system" not in copy.read("m/data/sample_inputs/model.pt")


# --- exported programs: texts that are run ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    ["torch.os.system", "torch.load", "torch.hub.load", "torch.ops.load_library", "torch.utils.cpp_extension.load",
     "torch.ops.aten.from_file.default", "torch.ops.aten.save.default", "torch.ops.debugprims.load_tensor.default",
     "torch.jit.load", "torch.serialization.load", "_operator.attrgetter", "_operator.methodcaller", "math.__loader__",
     "torch._C._import_functions", "torch.sys.exit", "torch.ops.aten.add", "torch.classes.load_library", "os.system",
     "#custom:op", "torch", "_operator.add.__self__", "torch.ops.aten.__class__"],
)  # fmt: skip
def test_an_operator_is_one_that_computes(tmp_path, target):
    path = pt2(tmp_path / "m.pt2", document=program([call(target, {"as_string": "true"})]))
    if target == "torch.ops.aten.add":
        assert look(path, tmp_path).confined
    elif target == "torch.ops.aten.__class__":
        unknown(path, tmp_path, "operator torch.ops.aten")
    else:
        refused(path, tmp_path, "it calls")


@pytest.mark.parametrize("target", ["torch.ops.mylib.fused.default", "torch.ops.torchvision.nms.default",
                                    "torch.ops.aten.unheard_of.default", "torch.ops.c10d.send.default",
                                    "torch.ops.higher_order.triton_kernel_wrapper_functional",
                                    "torch.ops.higher_order.call_torchbind"])  # fmt: skip
def test_an_operator_on_no_list_is_unsupported(tmp_path, target):
    unknown(pt2(tmp_path / "m.pt2", document=program([call(target)])), tmp_path, "it calls the operator")


def test_operators_in_branches_and_arguments_are_seen(tmp_path):
    branch = {"as_graph": {"name": "true", "graph": {"nodes": [call("torch.os.system")]}}}
    nodes = [call("torch.ops.higher_order.cond", branch)]
    refused(pt2(tmp_path / "m.pt2", document=program(nodes)), tmp_path, "torch.os.system")
    nodes = [call("torch.ops.higher_order.map_impl", {"as_operator": "torch.hub.load"})]
    refused(pt2(tmp_path / "m.pt2", document=program(nodes)), tmp_path, "torch.hub.load")


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('true')", "s0.__class__", "eval(s0)", "lambda: 0", "s0[0]", "'x'", "open(s0)",
     "preview(s0)", "s0;s1", "sympify(s0)", "(1).real", "s0 if s1 else s2", "[s0]", "1..real",
     "FloorDiv('__import__(chr(111))', 1)", "Symbol('open(1)')", "Max(*s0)", "Symbol(**s0)", "f's0'", "b's0'", "s0 # "],
)  # fmt: skip
def test_a_size_is_arithmetic(tmp_path, text):
    values = {"x": {"as_expr": {"expr_str": text, "hint": {"as_int": 1}}}}
    refused(pt2(tmp_path / "m.pt2", document=program(sym_int_values=values)), tmp_path, "is evaluated")


@pytest.mark.parametrize("text", ["s0", "2*s0 + 1", "FloorDiv(s23 - 1, 2) + 1", "Max(1, s0)", "s0**2", "Eq(s0, 4)",
                                  "(s0 > 2) & (u0 <= 1.5e3)", "Mod(s0, 2)", "zuf0 / 2.0",
                                  "Symbol('s23', positive=True, integer=True)", "Float('0.5', precision=53)",
                                  "Add(Mul(Integer(2), Symbol('s0', integer=True)), Integer(-1))"])  # fmt: skip
def test_sizes_of_shapes_pass(tmp_path, text):
    values = {"x": {"as_expr": {"expr_str": text, "hint": None}}}
    assert look(pt2(tmp_path / "m.pt2", document=program(sym_int_values=values)), tmp_path).confined


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('true')", "L['x'].__class__", "True), __import__('os').system('true'), (True",
     "torch.os.system('true')", "L['x'].size()[0] == 3 # )", "L['x'].numpy().tofile('x')", "(lambda: 1)()",
     "[x for x in L]", "L['a\"b'].size()[0] == 1", "math.__loader__", "f'{L}'", "L['x'] if L else 1", "(x := 1)", ")"],
)  # fmt: skip
def test_a_guard_compares_sizes(tmp_path, text):
    refused(pt2(tmp_path / "m.pt2", document=program(guards_code=[text])), tmp_path, "is executed")


@pytest.mark.parametrize("text", ["L['ids'].size()[0] == L['image'].size()[0]", "L['x'].size()[1] <= 4 and 2 <= 3",
                                  "math.isnan(L['x'])", "L['a']['b'].stride()[0] % 2 == 0"])  # fmt: skip
def test_guards_on_sizes_pass(tmp_path, text):
    assert look(pt2(tmp_path / "m.pt2", document=program(guards_code=[text])), tmp_path).confined


EVIL = "x):\n    import os; os.system('true')\ndef g(y"


@pytest.mark.parametrize(
    "document",
    [
        program([call("torch.ops.aten.relu.default", name=EVIL)]),
        program([call("torch.ops.aten.relu.default", {"as_tensor": {"name": EVIL}})]),
        program([{**call("torch.ops.aten.relu.default"), "name": EVIL}]),
        program([{**call("torch.ops.aten.relu.default"), "inputs": [{"name": EVIL, "arg": {"as_int": 1}, "kind": 2}]}]),
        program(inputs=[{"as_tensor": {"name": EVIL}}]),
        program(tensor_values={EVIL: {}}),
        program([call("torch.ops.higher_order.cond", {"as_graph": {"name": EVIL, "graph": {"nodes": []}}})]),
    ],
)
def test_names_are_names(tmp_path, document):
    """They are written into the text of a function that is then executed."""
    refused(pt2(tmp_path / "m.pt2", document=document), tmp_path, "import os")


def test_names_of_arguments_are_names(tmp_path):
    document = program()
    entry = {"inputs": [], "outputs": [], "in_spec": spec(), "out_spec": spec(), "forward_arg_names": [EVIL]}
    document["graph_module"]["module_call_graph"] = [{"fqn": "", "signature": entry}]
    refused(pt2(tmp_path / "m.pt2", document=document), tmp_path, "forward_arg_names")
    entry["forward_arg_names"], document["graph_module"]["module_call_graph"][0]["fqn"] = ["x"], EVIL
    refused(pt2(tmp_path / "m.pt2", document=document), tmp_path, "the fqn")


@pytest.mark.parametrize(
    ("kind", "context", "error"),
    [
        ("collections.defaultdict", json.dumps({"default_factory_module": "antigravity", "default_factory_name": "x",
                                                "dict_context": []}), UnsupportedError),
        ("my.module.Output", "null", UnsupportedError),
        ("collections.namedtuple", '"my.module.Output"', UnsupportedError),
        ("builtins.dict", json.dumps(['a"+__import__("os").system("true")+"']), UnsafeInputError),
        ("builtins.dict", json.dumps({"a": 1}), UnsupportedError),
        ("builtins.dict", "[" * 5000, DamagedFileError),
        ("builtins.dict", '["logits", "a b", 3]', None),
        ("builtins.list", "null", None),
    ],
)  # fmt: skip
def test_arguments_and_results_are_plain_containers(tmp_path, kind, context, error):
    document = program()
    entry = {"inputs": [], "outputs": [], "in_spec": spec(), "out_spec": spec(kind, context)}
    document["graph_module"]["module_call_graph"] = [{"fqn": "", "signature": entry}]
    path = pt2(tmp_path / "m.pt2", document=document)
    if error is None:
        assert look(path, tmp_path).confined
    else:
        with pytest.raises(error):
            look(path, tmp_path)


def test_objects_of_classes_in_cpp_are_unsupported(tmp_path):
    values = {"custom_obj_values": {"o": {"name": "o", "class_fqn": "__torch__.torch.classes.x.Y"}}}
    unknown(pt2(tmp_path / "m.pt2", document=program(**values)), tmp_path, "class in C")


def test_texts_that_are_never_run_may_say_anything(tmp_path):
    metadata = {"stack_trace": 'File "x", line 1\n  os.system("true")', "nn_module_stack": "L__self__,,m.Net"}
    node = {**call("torch.ops.aten.einsum.default", {"as_string": "ij,jk->ik"}), "metadata": metadata}
    source = look(pt2(tmp_path / "m.pt2", document=program([node])), tmp_path)
    assert (source.kind, source.framework, environments(source)) == ("pt2", "torch", ("torch",))


# --- exported programs: damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]", "{}", "null", "\udcff"])
def test_a_graph_that_is_none_is_damaged(tmp_path, text, trust):
    path = pt2(tmp_path / "m.pt2", members={"models/model.json": text.encode("utf-8", "surrogateescape")})
    if trust and text in ("[]", "{}", "null"):
        return  # torch says what is wrong with it
    with pytest.raises(DamagedFileError, match=r"m\.pt2"):
        look(path, tmp_path, trust=trust)


def test_weights_without_their_list_are_damaged(tmp_path):
    for text in ("[]", '{"config": []}', '{"config": {"w": 3}}', '{"config": {"w": {}}}'):
        path = pt2(tmp_path / "m.pt2", members={"data/weights/model_weights_config.json": text})
        with pytest.raises(DamagedFileError, match="weights_config"):
            look(path, tmp_path)


def test_an_archive_without_a_graph_is_damaged(tmp_path):
    with pytest.raises(DamagedFileError, match=r"holds no models/model\.json"):
        look(torch_zip(tmp_path / "m.pt2", {"archive_format": b"pt2"}), tmp_path)


# --- pickles ---------------------------------------------------------------------------------------------------------


def test_a_global_hidden_behind_the_memo_is_seen():
    code = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x30\x30h\x00h\x01\x93."
    assert list(pickles.imported(code, "x")) == ["os system"]
    assert list(pickles.imported(b"\x80\x02\x82\x01.", "x")) == ["unknown"]


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".pkl"])
def test_torch_save_files_are_refused_even_when_trusted(tmp_path, suffix):
    for data in (nested({"w": 1}), pickle.dumps({"w": 1}, 2)):
        (tmp_path / f"m{suffix}").write_bytes(data)
        for trust in (False, True):
            with pytest.raises(UnsafeInputError) as error:
                look(tmp_path / f"m{suffix}", tmp_path, trust=trust)
            assert ".pt2" in error.value.hint and "weights_only" in error.value.hint


@pytest.mark.parametrize("content", [b"not a model at all", b"PK\x03\x04", b"PK\x03\x04" + bytes(60)])
@pytest.mark.parametrize("suffix", [".pt2", ".pt"])
def test_a_file_that_is_not_what_it_says_is_damaged(tmp_path, suffix, content):
    (tmp_path / f"model{suffix}").write_bytes(content)
    for trust in (False, True):
        with pytest.raises(DamagedFileError, match="model"):
            look(tmp_path / f"model{suffix}", tmp_path, trust=trust)


# --- TorchScript -----------------------------------------------------------------------------------------------------


def test_torchscript_is_told_from_a_pickle(tmp_path):
    assert look(torchscript(tmp_path / "m.pt"), tmp_path).kind == "torchscript"


@pytest.mark.parametrize(
    "code",
    [
        "ops.aten.save(x, CONSTANTS.c0)", "torch.save(x, CONSTANTS.c0)", "torch. save(x)", "torch .save(x)",
        "torch\t.\tsave(x)", "y = (torch.\n  save(x))", "(x).save(CONSTANTS.c0)", "x . save(x)", "[x][0].save(x)",
        'torch.from_file("f", True, 4)', "torch.from_file (CONSTANTS.c0, shared=True)", "ops.aten . from_file(x)",
        'getattr(x, "save")(CONSTANTS.c0)', 'getattr(x, "sa" "ve")', 'getattr(x, "sa\\x76e")', "getattr(x, y)",
        "y = torch", "y = ops", "y = ops.aten", "f(torch)", "y = [torch, ops]", "getattr(torch, \"save\")",
        "rpc_sync(x)", "y = rpc_async", "ops.prim.rpc_async(x)", "ops.prim.PythonOp(x)",
        "ops.debugprims.load_tensor(x)",
    ],
)  # fmt: skip
def test_torchscript_that_reaches_out_is_refused(tmp_path, code):
    refused(torchscript(tmp_path / "m.pt", f"def forward(self, x):\n  return {code}\n"), tmp_path, "m.py")


@pytest.mark.parametrize(
    "code",
    ["torch.unheard_of(x)", "ops.mylib.fused(x)", "ops.quantized.linear(x)", "__torch__.torch.classes.x.Y(x)",
     "torch.relu(x) # torch.save(x)", "torch.relu(x)\\\n", "f'{x}'", "torch.relu(x); torch.relu(x)", "'save'",
     '"""torch.save(x)"""', "torch.relu(x) ? 1", "torch\r.relu(x)", "torch\x0c.relu(x)"],
)  # fmt: skip
def test_torchscript_that_its_printer_does_not_write_is_unsupported(tmp_path, code):
    unknown(torchscript(tmp_path / "m.pt", f"def forward(self, x):\n  return {code}\n"), tmp_path, "m.py|operator")


@pytest.mark.parametrize(
    "code",
    ['_0 = "torch.save(x) \\" \\\\ \\303\\251 {}"', 'getattr(self.layers, "0")', "ops.prim.NumToTensor(x)",
     "__torch__.torch.nn.functional.relu(x)", "(self.conv).forward(x, )", "1.5e-05", "2.", "[1, -1]", "{x: y}",
     "torch.mean(x, [2, 3])", "annotate(List[Tensor], [])", "not x", "x @ y", "unchecked_cast(Dict[str, Tensor], d)"],
)  # fmt: skip
def test_torchscript_that_computes_passes(tmp_path, code):
    assert look(torchscript(tmp_path / "m.pt", f"def forward(self, x):\n  _1 = {code}\n  return _1\n"), tmp_path)


def test_every_file_of_code_is_looked_at(tmp_path):
    evil = {"code/__torch__/torch/nn/modules/conv.py": b"def forward(self, x):\n  return torch.save(x, x)\n"}
    refused(torchscript(tmp_path / "m.pt", members=evil), tmp_path, "conv.py")
    unknown(torchscript(tmp_path / "m.pt", members={"model.json": b"{}"}), tmp_path, r"model\.json")
    unknown(torchscript(tmp_path / "m.pt", members={"bytecode.pkl": b""}), tmp_path, "bytecode")


def test_code_that_is_there_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = torchscript(tmp_path / "m.pt", twice=[("code/__torch__/m.py", "ops.aten.save(x)")])
    with pytest.raises(UnsafeInputError, match="2 times"):
        look(path, tmp_path)


def test_an_object_of_a_class_in_cpp_is_unsupported(tmp_path):
    data = b"\x80\x02c__torch__.torch.classes.dist_c10d\nFileStore\n)\x81."
    unknown(torchscript(tmp_path / "m.pt", members={"data.pkl": data}), tmp_path, "FileStore")


def test_code_that_is_no_text_is_damaged(tmp_path):
    with pytest.raises(DamagedFileError, match="no TorchScript"):
        look(torchscript(tmp_path / "m.pt", b"\xff\xfe"), tmp_path)


def test_an_exported_program_called_pt_is_named(tmp_path):
    with pytest.raises(UsageError) as error:
        look(torch_zip(tmp_path / "m.pt", {"models/model.json": b"{}"}), tmp_path)
    assert ".pt2" in error.value.hint
