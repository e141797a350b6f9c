"""SavedModels that somebody hands in: which operators their graphs hold, and which of them would be reached."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import DamagedFileError, UnsafeInputError, UnsupportedError
from edgekit.sources import saved_model as reading
from edgekit.sources.protobuf import Message, RepeatedFieldError
from tests.unit.handed_in import SAVERS, field, look, node, objects, saved_model, varint


def refused(folder, tmp_path, match):
    with pytest.raises(UnsafeInputError, match=match) as error:
        look(folder, tmp_path)
    assert error.value.exit_code == 8 and "--trust" in error.value.hint
    assert not look(folder, tmp_path, trust=True).confined


# --- operators -------------------------------------------------------------------------------------------------------


REACHES_OUT = """
ReadFile WriteFile MatchingFiles WholeFileReaderV2 TextLineReader TFRecordReaderV2 FixedLengthRecordReader
TextLineDataset TFRecordDataset SaveDatasetV2 LoadDataset CacheDatasetV2 ParallelMapDataset Iterator PyFunc
PyFuncStateless EagerPyFunc PrintV2 Print DebugIdentity DebugIdentityV2 DebugIdentityV3 DumpTensor
LoadAndRemapMatrix GenerateVocabRemapping InitializeTableFromTextFile InitializeTableFromTextFileV2
InitializeTableFromDataset ImmutableConst FixedUnigramCandidateSampler Skipgram DecodeProtoV2 EncodeProto
CreateSummaryFileWriter WriteSummary WriteImageSummary ImportEvent CalibrationStatisticsSaver DistributedSave Save
SaveSlices Restore RestoreSlice RpcCall RpcServerStart RemoteCall _Send _HostRecv CollectiveReduceV2 LMDBReader
FileSystemSetConfiguration XlaHostCompute XlaCustomCall TPUExecute Abort MlirPassthroughOp RecordInput SqlDataset
"""


@pytest.mark.parametrize("op", REACHES_OUT.split())
@pytest.mark.parametrize("where", ["main", "function"])
def test_an_operator_that_reaches_out_is_refused(tmp_path, op, where):
    main, functions = (["Const", op], {}) if where == "main" else (["Const"], {"f": [node("Relu"), node(op)]})
    refused(saved_model(tmp_path / "m", main, functions), tmp_path, f"operator {op}")


@pytest.mark.parametrize(
    "op", ["NewOperator", "TensorForestTreePredict", "DecodeJpeg", "XlaCallModule", "RegexReplace"]
)
def test_an_operator_on_no_list_is_unsupported(tmp_path, op):
    with pytest.raises(UnsupportedError, match=f"operator {op}") as error:
        look(saved_model(tmp_path / "m", ["Const"], {"f": [node(op)]}), tmp_path)
    assert error.value.exit_code == 3 and "--trust" in error.value.hint


def test_what_reaches_out_is_said_before_what_nobody_knows(tmp_path):
    refused(saved_model(tmp_path / "m", ["NewOperator"], {"f": [node("WriteFile")]}), tmp_path, "WriteFile")


def test_a_function_may_not_stand_for_an_operator_that_reaches_out(tmp_path):
    functions = {"WriteFile": [node("Relu")], "f": [node("WriteFile")]}
    refused(saved_model(tmp_path / "m", ["Const"], functions), tmp_path, "WriteFile")


def test_a_call_of_what_the_file_does_not_hold_is_unsupported(tmp_path):
    folder = saved_model(tmp_path / "m", ["Const"], {"f": [node("PartitionedCall", "WriteFile")]})
    with pytest.raises(UnsupportedError, match="'WriteFile', which the file does not hold"):
        look(folder, tmp_path)


# --- fields that are there twice: a protocol buffer's readers differ in which of them counts -------------------------


def test_an_operator_that_is_named_twice_is_refused(tmp_path):
    twice = field(1, "n") + field(2, "Relu") + field(2, "WriteFile")
    refused(saved_model(tmp_path / "m", [twice]), tmp_path, "field 2 of an operator is there 2 times")
    refused(saved_model(tmp_path / "f", ["Const"], {"f": [twice]}), tmp_path, "field 2 of an operator")


def test_graphs_libraries_and_attributes_that_are_there_twice_are_refused(tmp_path):
    hidden = field(1, node("WriteFile"))
    refused(saved_model(tmp_path / "a", more=field(2, hidden)), tmp_path, "field 2 of a graph")
    refused(saved_model(tmp_path / "b", graph=field(2, b"")), tmp_path, "field 2 of a graph is there 2 times")
    attribute = field(5, field(1, "f") + field(2, field(10, field(1, "g"))))
    again = {"f": [node("PartitionedCall", "g", more=attribute)], "g": [node("Relu")]}
    refused(saved_model(tmp_path / "c", ["Const"], again), tmp_path, "attribute 'f'")
    refused(saved_model(tmp_path / "d", more=field(7, objects("x"))), tmp_path, "field 7 of a graph")
    folder = saved_model(tmp_path / "e")
    twice = b"".join(field(1, field(1, field(1, "f")) + field(3, node(op))) for op in ("Relu", "Relu6"))
    meta = field(2, field(1, node("Const")) + field(2, twice))
    (folder / "saved_model.pb").write_bytes(field(2, meta))
    refused(folder, tmp_path, "function 'f' is there twice")


def test_two_operators_of_one_name_are_refused(tmp_path):
    folder = saved_model(tmp_path / "m", [node("Relu", name="x"), node("Relu6", name="x")])
    refused(folder, tmp_path, "two operators have the same name")


@pytest.mark.parametrize(
    "data",
    [
        varint(2 << 3 | 2 | 1 << 40) + b"\x00",  # a field number beyond what there is: some readers cut it off
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # longer than the file
        b"\x12" + b"\x80" * 12,  # a number without end
        b"\x13\x14",  # groups
        b"\x10\x05",  # the graphs' field as a number
        b"\x00\x01",  # field 0
        b"",
    ],
)
def test_a_protocol_buffer_that_is_none_is_damaged(tmp_path, data):
    folder = saved_model(tmp_path / "m")
    (folder / "saved_model.pb").write_bytes(data)
    for trust in (False, True):
        with pytest.raises(DamagedFileError, match=r"saved_model\.pb"):
            look(folder, tmp_path, trust=trust)


# --- saving and restoring --------------------------------------------------------------------------------------------


def test_a_saved_model_may_save_and_restore_its_own_variables(tmp_path):
    main = ["MatMul", node("StatefulPartitionedCall", "__inference__traced_save_12", name="save")]
    folder = saved_model(tmp_path / "m", main, {**SAVERS, "f": [node("MatMul")]}, results=["n0:0"], spoken=["f"])
    assert look(folder, tmp_path).confined


@pytest.mark.parametrize(
    ("functions", "spoken", "match"),
    [
        ({"f": [node("RestoreV2")]}, ["f"], "objects call function 'f'"),
        ({**SAVERS}, ["__inference__traced_save_12"], "objects call function '__inference__traced_save_12'"),
        ({**SAVERS, "f": [node("PartitionedCall", "__inference__traced_save_12")]}, ["f"], "objects call function 'f'"),
        ({**SAVERS, "f": [node("__inference__traced_restore_13")]}, ["f"], "objects call function 'f'"),
        (
            {**SAVERS, "f": [node("While", "g")], "g": [node("If", "__inference__traced_save_12")]},
            ["f"],
            "function 'f'",
        ),
    ],
)
def test_objects_may_not_call_what_saves_or_restores(tmp_path, functions, spoken, match):
    """TensorFlow calls functions of the object graph when it loads: initializers, restorers of checkpoints."""
    refused(saved_model(tmp_path / "m", ["Const"], functions, spoken=spoken), tmp_path, match)


def collection(key, *names):
    return field(4, field(1, key) + field(2, field(1, b"".join(field(1, name) for name in names))))


WRITES = [
    node("Const", name="path"),
    node("SaveV2", name="write", inputs=["path"]),
    node("Identity", name="result", inputs=["x", "^write"]),
]


@pytest.mark.parametrize("spoken", [None, ()], ids=["TensorFlow 1", "TensorFlow 2"])
def test_a_signature_may_not_reach_what_saves(tmp_path, spoken):
    folder = saved_model(tmp_path / "m", WRITES, results=["result:0"], spoken=spoken)
    refused(folder, tmp_path, "'write' saves or restores when")
    inside = {"f": [node("SaveV2")]}
    main = [node("PartitionedCall", "f", name="call"), node("Identity", name="result", inputs=["call:1"])]
    refused(saved_model(tmp_path / "f", main, inside, results=["result"], spoken=spoken), tmp_path, "'call' saves")


@pytest.mark.parametrize("key", ["saved_model_main_op", "legacy_init_op", "table_initializer"])
def test_an_initializer_may_not_reach_what_saves(tmp_path, key):
    main = [*WRITES[:2], node("NoOp", name="init", inputs=["^write"])]
    folder = saved_model(tmp_path / "m", main, spoken=None, more=collection(key, "init"))
    refused(folder, tmp_path, "'write' saves or restores when")


def test_the_initializers_signature_may_not_reach_what_saves(tmp_path):
    main = [*WRITES[:2], node("NoOp", name="init", inputs=["^write"])]
    result = field(2, field(1, "__saved_model_init_op") + field(2, field(1, "init")))
    folder = saved_model(
        tmp_path / "m", main, spoken=None, more=field(5, field(1, "__saved_model_init_op") + field(2, result))
    )
    refused(folder, tmp_path, "'write' saves or restores when")


def saver(restore="restore_all", filename="path:0"):
    return field(3, field(1, filename) + field(2, "write:0") + field(3, restore))


def test_a_model_of_tensorflow_1_may_restore_its_own_variables(tmp_path):
    main = [
        node("PlaceholderWithDefault", name="path"),
        node("RestoreV2", name="restore", inputs=["path", "names"]),
        node("Assign", name="assign", inputs=["variable", "restore:1"]),
        node("NoOp", name="restore_all", inputs=["^assign"]),
        node("SaveV2", name="write", inputs=["path", "variable"]),
        node("VariableV2", name="variable"),
        node("Identity", name="result", inputs=["variable"]),
    ]
    folder = saved_model(tmp_path / "m", main, spoken=None, results=["result:0"], more=saver())
    assert look(folder, tmp_path).confined


@pytest.mark.parametrize(
    ("main", "more", "match"),
    [
        (WRITES, saver("write"), "'write' is run to restore"),
        ([node("Const", name="path"), node("Const", name="other"), node("RestoreV2", name="r", inputs=["other"])],
         saver("r"), "'r' is run to restore"),
        ([node("StringJoin", name="path"), node("RestoreV2", name="r", inputs=["path"])], saver("r"), "'path' says"),
        ([node("Const", name="path"), node("PartitionedCall", "__inference__traced_save_12", name="r")], saver("r"),
         "'r' is run to restore"),
    ],
    ids=["a save in its place", "another path", "a path that is put together", "a function that saves"],
)  # fmt: skip
def test_a_model_of_tensorflow_1_restores_nothing_else(tmp_path, main, more, match):
    refused(saved_model(tmp_path / "m", main, SAVERS, spoken=None, more=more), tmp_path, match)


# --- the folder ------------------------------------------------------------------------------------------------------


def test_only_what_tensorflow_reads_is_copied(tmp_path):
    folder = saved_model(tmp_path / "m")
    for name in ("variables/variables.index", "variables/variables.data-00000-of-00001", "assets/words.txt",
                 "fingerprint.pb", "keras_metadata.pb", "saved_model.pbtxt", "saved_model.cpb", "README.md",
                 "variables/other", "evil.so"):  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    copy = Path(look(folder, tmp_path).path)
    found = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert found == {"saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001",
                     "assets/words.txt", "fingerprint.pb", "keras_metadata.pb"}  # fmt: skip
    assert not os.path.samefile(copy / "saved_model.pb", folder / "saved_model.pb")


# --- the reader ------------------------------------------------------------------------------------------------------


def test_the_proto_is_read_without_tensorflow(tmp_path):
    folder = saved_model(
        tmp_path / "m", ["MatMul"], {"f": [node("Relu", "g")], "g": []}, results=["n0:0"], spoken=["f"]
    )
    [graph] = reading.read(folder / "saved_model.pb", "m")
    assert [n.op for n in graph.nodes.values()] == ["MatMul"]
    assert {name: [n.op for n in nodes] for name, nodes in graph.functions.items()} == {"f": ["Relu"], "g": []}
    assert graph.functions["f"][0].calls == {"g"}
    assert graph.signatures == {"serving_default": {"n0"}}
    assert graph.objects == {"f"}


@given(st.integers(0, 400))
@settings(deadline=None)
def test_a_truncated_saved_model_never_passes(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("m")
    path = saved_model(folder, ["MatMul"] * 9, SAVERS) / "saved_model.pb"
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(DamagedFileError, match=r"saved_model\.pb"):
        look(folder, folder.parent)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_no_bytes_do_more_than_say_that_they_are_no_message(data):
    try:
        message = Message(data)
        for number in message.fields:
            message.has(number)
            message.texts(number)
            message.message(number).message(number)
    except (ValueError, RepeatedFieldError):
        pass
