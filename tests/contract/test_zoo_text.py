"""The text half of the zoo against the published models: weights moved over, outputs agree.

transformers ships the two variants that the specs name. What differs between their modules and ours is listed in the
adapters below, and nowhere else; the tolerance is that of float32 sums in another order.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from edgekit import zoo
from edgekit.data import tasks
from edgekit.proof import metrics
from edgekit.zoo import weights

TOLERANCE = 1e-4
LENGTH = 16

# Ours <- transformers.BertModel: names only.
BERT_NAMES = (
    (r"^embeddings\.(word|position|token_type)_embeddings\.", r"\1."),
    (r"^embeddings\.LayerNorm\.", "norm."),
    (r"^encoder\.layer\.(\d+)\.attention\.self\.(query|key|value)\.", r"block.\1.\2."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"block.\1.attended."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.", r"block.\1.attended_norm."),
    (r"^encoder\.layer\.(\d+)\.intermediate\.dense\.", r"block.\1.inner."),
    (r"^encoder\.layer\.(\d+)\.output\.dense\.", r"block.\1.outer."),
    (r"^encoder\.layer\.(\d+)\.output\.LayerNorm\.", r"block.\1.outer_norm."),
    (r"^pooler\.dense\.", "pooler."),
)
# Ours <- transformers.GPT2LMHeadModel: names, and its Conv1D holds (in, out) where Linear holds (out, in).
GPT_NAMES = (
    (r"^transformer\.wte\.", "word."),
    (r"^transformer\.wpe\.", "position."),
    (r"^transformer\.ln_f\.", "norm."),
    (r"^transformer\.h\.(\d+)\.ln_1\.", r"block.\1.attention_norm."),
    (r"^transformer\.h\.(\d+)\.ln_2\.", r"block.\1.inner_norm."),
    (r"^transformer\.h\.(\d+)\.attn\.c_attn\.", r"block.\1.qkv."),
    (r"^transformer\.h\.(\d+)\.attn\.c_proj\.", r"block.\1.attended."),
    (r"^transformer\.h\.(\d+)\.mlp\.c_fc\.", r"block.\1.inner."),
    (r"^transformer\.h\.(\d+)\.mlp\.c_proj\.", r"block.\1.outer."),
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name)
    raise AssertionError(f"the adapter has no rule for {name}")


def loud(module: nn.Module) -> nn.Module:
    """Random weights of a trained model's size: with the initial 0.02, attention is all but uniform."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.2)
    return module.eval()


def build(framework: str, name: str, settings: Mapping[str, object]) -> object:
    return importlib.import_module(f"edgekit.zoo.{name}.{framework}").build(**settings)


def tokens(vocabulary: int) -> np.ndarray:
    """Five samples; token 0 only at the end of the second half of them."""
    found = np.random.default_rng(3).integers(1, vocabulary, (5, LENGTH), dtype=np.int32)
    found[2:, -5:] = 0
    return found


def outputs(framework: str, name: str, settings: Mapping[str, object], found: weights.Tensors, x: np.ndarray) -> list:
    """Load canonical weights into one of our two implementations and run it."""
    model = build("pytorch" if framework == "torch" else "keras", name, settings)
    if framework == "torch":
        weights.load_torch(model, found)
        with torch.no_grad():
            out = model.eval()(torch.from_numpy(x))
        return [o.numpy() for o in (out if isinstance(out, tuple) else (out,))]
    import keras

    weights.load_keras(model, found)
    out = model(x, training=False)
    return [keras.ops.convert_to_numpy(o) for o in (out if isinstance(out, list) else [out])]


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_bert_is_the_transformers_model(framework: str) -> None:
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=20,
        attn_implementation="eager",
    )
    theirs = loud(transformers.BertModel(config))
    x = tokens(40)
    with torch.no_grad():
        ids = torch.from_numpy(x).long()
        expected = theirs(input_ids=ids, attention_mask=(ids != 0).long())
    moved = {renamed(n, BERT_NAMES): t for n, t in weights.from_torch(theirs).items() if "position_ids" not in n}
    settings = {
        "vocabulary": 40,
        "positions": 20,
        "width": 32,
        "depth": 2,
        "heads": 4,
        "inner": 48,
        "length": LENGTH,
        "classes": None,
    }
    hidden, pooled = outputs(framework, "bert", settings, moved, x)
    np.testing.assert_allclose(hidden, expected.last_hidden_state.numpy(), atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(pooled, expected.pooler_output.numpy(), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_gpt_is_the_transformers_model(framework: str) -> None:
    config = transformers.GPT2Config(vocab_size=40, n_positions=20, n_embd=32, n_layer=2, n_head=4)
    config._attn_implementation = "eager"
    theirs = loud(transformers.GPT2LMHeadModel(config))
    x = tokens(40)
    with torch.no_grad():
        expected = theirs(input_ids=torch.from_numpy(x).long()).logits.numpy()
    linear = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    moved = {renamed(n, GPT_NAMES): t.T if n.endswith(linear) else t for n, t in weights.from_torch(theirs).items()}
    settings = {"vocabulary": 40, "positions": 20, "width": 32, "depth": 2, "heads": 4, "length": LENGTH}
    (logits,) = outputs(framework, "gpt", settings, moved, x)
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_char_llama_is_the_transformers_model(framework: str, tied: bool) -> None:
    config = transformers.LlamaConfig(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=20,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        tie_word_embeddings=tied,
        attn_implementation="eager",
    )
    theirs = loud(transformers.LlamaForCausalLM(config))
    x = tokens(40)
    with torch.no_grad():
        expected = theirs(input_ids=torch.from_numpy(x).long()).logits.numpy()
    moved = {name.removeprefix("model."): tensor for name, tensor in weights.from_torch(theirs).items()}
    settings = {
        "vocabulary": 40,
        "width": 32,
        "depth": 2,
        "heads": 4,
        "groups": 2,
        "inner": 48,
        "theta": 500.0,
        "tied": tied,
        "length": LENGTH,
    }
    (logits,) = outputs(framework, "char_llama", settings, moved, x)
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # transformers: BertModel and GPT2LMHeadModel of the hub's bert-base-uncased and gpt2, LlamaForCausalLM of
        # SmolLM2-135M; keras.io's IMDB example.
        ("bert", 109_482_240),
        ("gpt", 124_439_808),
        ("char_llama", 134_515_008),
        ("lstm_classifier", 2_757_761),
    ],
)
def test_reference_has_the_published_number_of_parameters(name: str, published: int) -> None:
    reference = zoo.architecture(name).configs["reference"]
    with torch.device("meta"):
        model = build("pytorch", name, reference.settings)
    assert isinstance(model, nn.Module)
    assert weights.count_parameters(weights.canonical(model)) == published == reference.parameters


def test_published_numbers_are_those_of_transformers() -> None:
    with torch.device("meta"):
        bert = transformers.BertModel(transformers.BertConfig())
        gpt = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    assert sum(p.numel() for p in bert.parameters()) == 109_482_240
    assert sum(p.numel() for p in gpt.parameters()) == 124_439_808


def trained(name: str) -> tuple[nn.Module, Tensor]:
    """The shipped model and 200 samples of its task."""
    config = zoo.architecture(name).configs["tiny"]
    path = zoo.weights_path(name, "tiny")
    assert config.task is not None
    assert path is not None
    model = build("pytorch", name, config.settings)
    assert isinstance(model, nn.Module)
    weights.load_torch(model, weights.read(path))
    return model.eval(), torch.from_numpy(tasks.load(config.task, "selection", 200).inputs["tokens"])


def masked_with(name: str, value: float, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Logits of the shipped model when masked scores get ``value`` added."""
    holds = "spec" if name == "char_llama" else "pytorch"
    monkeypatch.setattr(importlib.import_module(f"edgekit.zoo.{name}.{holds}"), "MASKED", value)
    model, x = trained(name)
    with torch.no_grad():
        logits: Tensor = model(x)
    return logits


# BERT multiplies its mask by 0 where nothing is masked, which minus infinity does not survive.
@pytest.mark.parametrize(
    ("name", "endless"), [("bert", -1e9), ("gpt", -1e9), ("gpt", -np.inf), ("char_llama", -np.inf)]
)
def test_a_finite_mask_changes_no_output(name: str, endless: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives what an endless one gives, to the last bits of float32; two fifths of it do not: the test can tell."""
    finite = -150.0 if name == "char_llama" else -60.0
    ours, expected, weak = (masked_with(name, value, monkeypatch) for value in (finite, endless, 0.4 * finite))
    assert (ours - expected).abs().max() <= 1e-6
    assert (weak - expected).abs().max() > 1e-4


def test_bert_does_not_read_padding() -> None:
    """A review cut to its own length, without any padding, gives the same logits."""
    model, x = trained("bert")
    for row in x[:20]:
        text = row[row != 0]
        with torch.no_grad():
            np.testing.assert_allclose(model(text[None]).numpy(), model(row[None]).numpy(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["gpt", "char_llama"])
def test_a_decoder_does_not_read_ahead(name: str) -> None:
    model, x = trained(name)
    other = x.clone()
    other[:, 20:] = (other[:, 20:] + 7) % 96
    with torch.no_grad():
        before, after = model(x), model(other)
    np.testing.assert_allclose(before[:, :20].numpy(), after[:, :20].numpy(), atol=1e-5, rtol=0)
    assert (before[:, 20:] - after[:, 20:]).abs().max() > 1


def test_the_lstm_reads_both_ways() -> None:
    """The final state of each direction has seen the far end: changing either end changes the logits."""
    model, x = trained("lstm_classifier")
    with torch.no_grad():
        for end in (1, 20):
            other = x.clone()
            other[:, end] = (other[:, end] + 17) % 61
            assert (model(x) - model(other)).abs().max() > 0.1


@pytest.mark.parametrize("name", ["bert", "gpt", "lstm_classifier", "char_llama"])
def test_the_shipped_model_is_as_good_as_its_task_allows(name: str) -> None:
    """Top-1 of 1,000 unseen reviews in the band where a wrong file shows; perplexity far below that of word counts."""
    config = zoo.architecture(name).configs["tiny"]
    assert config.task is not None
    task = tasks.task(config.task)
    model, _ = trained(name)
    samples = tasks.load(config.task, "selection")
    assert samples.labels is not None
    with torch.no_grad():
        logits = model(torch.from_numpy(samples.inputs["tokens"])).numpy()
    metric = metrics.metric(task.metric)
    value = float(metric.value(metric.contributions(samples.labels, logits)))
    if metric.higher_is_better:
        assert 0.85 <= value <= 0.97
        return
    train = tasks.load(config.task, "train").labels
    assert train is not None
    counts = 1 + np.bincount(train.ravel(), minlength=task.classes)  # no token is impossible
    frequency = counts / counts.sum()
    unigram = float(np.exp(-np.log(frequency[samples.labels]).mean()))
    assert value < 0.2 * unigram < 0.2 * task.classes
