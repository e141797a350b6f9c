"""Models as people bring them are converted as they are, or refused with the reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.errors import EdgekitError, UnsupportedError, UsageError
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers

MODELS = Path(__file__).parent / "children" / "brought_models.py"
IDS = ("input_ids=1x6:int64", "attention_mask=1x6:int64")


@pytest.fixture
def convert(workers: Workers, store: Store, tmp_path: Path) -> Any:
    def made(function: str, target: str, **more: Any) -> edgekit.Result:
        return edgekit.convert(
            f"{MODELS}:{function}", target, output=tmp_path / "out", latency=False, workers=workers, store=store, **more
        )

    return made


@pytest.mark.parametrize(
    ("function", "target", "more", "said"),
    [
        ("bfloat16", "onnxruntime-fp32", {}, "were bfloat16"),
        ("quantized_weights", "onnxruntime-fp32", {}, "2 weights were quantized already"),
        ("float64", "onnxruntime-fp32", {}, "were float64"),
        ("none_among_outputs", "tflite-fp32", {}, ""),
        ("by_name_alone", "onnxruntime-fp32", {}, ""),
        pytest.param("by_name_alone", "tflite-fp32", {}, "", marks=pytest.mark.nightly),
        ("dataclass_as_output", "onnxruntime-fp32", {}, ""),
        ("space_in_a_name", "tflite-fp32", {}, ""),
        ("a_number_among_outputs", "onnxruntime-fp32", {}, "Output output_1 is 3.5, which is no tensor"),
        ("rate", "onnxruntime-fp32", {}, "sr is 8000 in the file"),
        ("cropped", "coreml-fp32", {}, ""),
        pytest.param("cropped", "executorch-fp32", {}, "", marks=pytest.mark.nightly),
        ("lstm_cell", "coreml-fp32", {}, ""),
        ("hugging_face", "onnxruntime-fp32", {"inputs": IDS}, ""),
        ("hugging_face_decoder", "onnxruntime-fp32", {}, ""),
        ("padded", "onnxruntime-fp32", {"inputs": ("ids=1x8:int64",), "calibrate": f"{MODELS}:sentences"}, ""),
        pytest.param("split_at", "executorch-fp32", {}, "", marks=pytest.mark.nightly),
        ("averaged", "executorch-fp32", {}, ""),
        ("other_shapes", "openvino-fp32", {}, ""),
        ("one_number_softmax", "tflite-fp32", {}, ""),
        ("large_logarithms", "onnxruntime-fp32", {"calibrate": f"{MODELS}:far_values"}, ""),
        ("mixed_precision", "tflite-fp32", {}, "computed in mixed_float16"),
        ("channels_first", "onnxruntime-fp32", {}, ""),
        ("channels_first", "tflite-fp32", {}, ""),
        ("unlisted_variable", "tflite-fp32", {}, ""),
        ("coded", "onnxruntime-fp32", {}, ""),
        ("coded", "tflite-fp32", {}, ""),
        ("output_called_as_an_input", "onnxruntime-fp32", {}, "it is x_out in the file"),
        ("output_called_as_an_input", "openvino-fp32", {}, "it is x_out in the file"),
        ("wide_window", "openvino-fp32", {}, "The window of 1 is larger than what it pools"),
        ("wide_window", "coreml-fp32", {}, ""),
        ("stateful", "onnxruntime-fp32", {}, "The state of lstm, gru is an input and an output"),
    ],
)
def test_it_passes_and_says_what_was_done(
    convert: Any, function: str, target: str, more: dict[str, Any], said: str
) -> None:
    result = convert(function, target, **more)
    assert result.status == "PASS", result.reason
    assert result.parity.sqnr_db > 90
    assert any(said in note for note in result.notes) or not said


def test_states_of_keras_layers_are_handed_on(convert: Any) -> None:
    result = convert("stateful", "tflite-fp32")
    assert result.status == "PASS", result.reason
    [states] = result.state.values()
    assert [(state.output, state.input) for state in states] == [
        (f"{name}_next", name) for name in ("lstm_state_0", "lstm_state_1", "gru_state_0")
    ]
    [part] = result.parts.values()
    assert part.parity.drift.steps >= 20


def test_what_is_quantized_in_pytorch_is_refused_by_its_layer(convert: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"0 is a torch\.ao\.nn\.quantized\.dynamic"):
        convert("quantized_eagerly", "onnxruntime-fp32")


def test_no_two_values_of_a_file_have_one_name() -> None:
    pytest.importorskip("torch")
    from edgekit.frameworks.brought.torch import apart

    assert apart(["logits"], ["x"]) == {"logits": "logits"}
    assert apart(["x", "x_out", "y"], ["x"]) == {"x": "x_out_out", "x_out": "x_out", "y": "y"}


@pytest.mark.parametrize("target", ["openvino-fp32", "coreml-fp32"])
@pytest.mark.parametrize("function", ["limited", "limited_by_a_number"])
def test_a_way_that_depends_on_the_data_is_not_traced(convert: Any, function: str, target: str) -> None:
    """The file had the way of its example, and passed on inputs that take the same."""
    result = convert(function, target)
    assert result.status == "UNSUPPORTED"
    assert re.search(r"its course depends on the data \(.*brought_models\.py:\d+", result.reason), result.reason


def test_complex_outputs_are_refused(convert: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"'output' .* holds complex numbers \(complex64\)") as raised:
        convert("complex_output", "onnxruntime-fp32")
    assert "view_as_real" in (raised.value.hint or "")


def test_inputs_that_nothing_names_are_asked_for(convert: Any) -> None:
    with pytest.raises(UsageError, match=r"every parameter of forward has a default \(input_ids, mask\)"):
        convert("unnamed_inputs", "onnxruntime-fp32")


def test_an_array_that_is_no_argument_is_named_with_the_nearest(convert: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", input_ids=np.zeros((8, 6), "int64"), maks=np.ones((8, 6), "int64"))
    with pytest.raises(UsageError, match="an array 'maks'; the parameters of forward are input_ids, mask") as raised:
        convert("unnamed_inputs", "onnxruntime-fp32", evaluate=str(tmp_path / "data.npz"))
    assert raised.value.hint.startswith("Did you mean 'mask'?")


def test_labels_by_their_usual_name_are_no_input(convert: Any, tmp_path: Path) -> None:
    """The file took them, and answered with a loss."""
    ids, labels = np.ones((8, 6), "int64"), np.zeros(8, "int64")
    np.savez(tmp_path / "data.npz", input_ids=ids, attention_mask=ids, labels=labels)
    with pytest.raises(UsageError, match="an array 'labels', which forward takes to answer with a loss") as raised:
        convert("hugging_face", "onnxruntime-fp32", evaluate=str(tmp_path / "data.npz"))
    assert "Labels are called y" in raised.value.hint


def test_a_word_that_the_table_lacks_is_told_with_the_values(convert: Any, tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 60, (40, 6))
    ids[0] = 60
    np.savez(tmp_path / "data.npz", input_ids=ids, attention_mask=np.ones_like(ids))
    with pytest.raises(UsageError, match=r"'input_ids' has 0 to 5\d; 'attention_mask' has 1 to 1") as raised:
        convert("hugging_face", "onnxruntime-fp32", inputs=IDS, evaluate=str(tmp_path / "data.npz"))
    assert "word_embeddings" in str(raised.value) and "table has a row for" in raised.value.hint


def test_an_array_that_the_model_does_without_is_left_out(convert: Any, tmp_path: Path) -> None:
    ids = np.ones((8, 6), "int64")
    np.savez(tmp_path / "data.npz", input_ids=ids, attention_mask=ids, token_type_ids=ids)
    with pytest.raises(UsageError, match="the model's inputs are input_ids") as raised:
        convert("hugging_face_decoder", "onnxruntime-fp32", evaluate=str(tmp_path / "data.npz"))
    assert "Leave attention_mask" in raised.value.hint and "Did you mean" not in raised.value.hint


def test_a_declared_input_that_is_no_argument_is_refused_with_the_nearest(convert: Any) -> None:
    with pytest.raises(UsageError, match="--input 'idz': the model's inputs are ids") as raised:
        convert("padded", "onnxruntime-fp32", inputs=("idz=1x8:int64",))
    assert raised.value.hint.startswith("Did you mean 'ids'? Write --input ids=")


@pytest.mark.parametrize(
    ("function", "kind", "said"),
    [
        (
            "small_table",
            UsageError,
            r"layer 'table' \(Embedding\), brought_models\.py:\d+: return self\.linear\(self\.table",
        ),
        ("small_table_keras", UsageError, r"is not in \[0, 4\) \(layer 'table' \(Embedding\)\)"),
        (
            "wrong_index",
            UsageError,
            r"IndexError: list index out of range \(brought_models\.py:\d+: return \[self\.linear",
        ),
        (
            "logarithm",
            UsageError,
            r"'output' of the model holds NaN for \d+ of \d+ samples: log makes NaN \(brought_models\.py:\d+: return",
        ),
        ("noisy", UsageError, r"is random \(dropout draws at random \(brought_models\.py:\d+: return"),
        ("logarithm_keras", UsageError, r"samples: layer 'log\w*' \(Log\) makes NaN$"),
        ("any_number_and_by_name", UsageError, r"takes \*xs, and mask by name alone"),
        ("on_meta", UsageError, r"4 of its weights hold no numbers, '0\.weight' for one: they are on the device meta"),
        ("built_class_of_its_own", UsageError, r"is of a class that does not keep what its inputs are"),
        ("texts", UnsupportedError, r"layer 'words' \(TextVectorization\) takes texts"),
        ("looked_up", UnsupportedError, r"layer 'kinds' \(IntegerLookup\) .* looks its input up in a table"),
    ],
)
def test_it_is_refused_in_one_sentence_with_layer_and_line(
    convert: Any, function: str, kind: type[EdgekitError], said: str
) -> None:
    with pytest.raises(kind, match=said) as raised:
        convert(function, "onnxruntime-fp32")
    assert "\n" not in str(raised.value)
    assert raised.value.hint


def test_where_a_file_loses_what_a_mask_leaves_nothing_of_the_line_is_named(convert: Any) -> None:
    result = convert("wholly_masked", "onnxruntime-fp32", calibrate=f"{MODELS}:padding")
    if result.status != "PASS":  # a release that computes them as PyTorch does needs no advice
        assert result.status == "FAIL_PARITY", result.reason
        assert "the mask of scaled_dot_product_attention leaves nothing in" in result.reason
        assert "brought_models.py:" in result.reason


@pytest.mark.parametrize(
    ("function", "target", "said"),
    [
        ("odd_transposed", "tflite-fp32", r"cannot convert mhlo\.convolution \(layer up, brought_models\.py:\d+: "),
        ("scattered", "tflite-fp32", r"cannot convert STABLEHLO_SCATTER \(brought_models\.py:\d+: .*scatter_add"),
        pytest.param(
            "spectrum",
            "executorch-fp32",
            r"the complex numbers of aten\.fft_rfft\S* \(brought_models\.py:\d+: ",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_an_operator_that_a_format_lacks_is_named_with_its_place(
    convert: Any, function: str, target: str, said: str
) -> None:
    result = convert(function, target)
    assert result.status == "UNSUPPORTED"
    assert re.search(said, result.reason), result.reason
    assert result.error.hint and target not in result.error.hint


def test_modules_beside_models_may_have_the_same_names(workers: Workers, store: Store, tmp_path: Path) -> None:
    """The second was built with what lies beside the first, compared with itself, and passed."""
    model = "import torch\nfrom sizes import WIDTH\n\n\ndef build():\n    model = torch.nn.Linear(4, WIDTH)\n"
    shapes = []
    for folder, width in (("a", 3), ("b", 5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(
            f"{model}    model.example_inputs = torch.zeros(1, 4)\n    return model\n"
        )
        (tmp_path / folder / "sizes.py").write_text(f"WIDTH = {width}\n")
        result = edgekit.convert(
            f"{tmp_path / folder}/net.py:build", "onnxruntime-fp32", output=tmp_path / f"out-{folder}", latency=False,
            trust=True, workers=workers, store=store,
        )  # fmt: skip
        shapes += [t.shape for t in result.parts["model"].outputs]
    assert shapes == [(1, 3), (1, 5)]


@pytest.mark.parametrize(
    ("source", "target"), [("gcn:edges@torch", "onnxruntime-fp32"), ("gcn:edges@keras", "tflite-fp32")]
)
def test_a_model_of_the_zoo_that_takes_one_sample_at_a_time(
    source: str, target: str, workers: Workers, store: Store, tmp_path: Path
) -> None:
    """It was handed eight at once, and the user was told that the first axis is the batch."""
    output = tmp_path / "out"
    result = edgekit.convert(source, target, output=output, latency=False, workers=workers, store=store)
    assert result.status == "PASS", result.reason


def test_a_scripted_loop_is_converted(printed: Any, workers: Workers, store: Store, tmp_path: Path) -> None:
    saving = "import brought_models, sys; brought_models.scripted_loop().save(sys.argv[1])"
    printed(saving, tmp_path / "loop.jit", environment="torch")
    result = edgekit.convert(
        str(tmp_path / "loop.jit"),
        "onnxruntime-fp32",
        inputs=("x=1x5x4:float32",),
        output=tmp_path / "out",
        latency=False,
        workers=workers,
        store=store,
    )
    assert result.status == "PASS", result.reason
    assert [t.shape for t in next(iter(result.parts.values())).outputs] == [(1, 4)]
