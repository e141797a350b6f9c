"""Models as people bring them; frameworks are imported by the functions, each in its own child."""

from __future__ import annotations

from typing import Any

import numpy as np


def _torch_linear(**attributes: Any) -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    model.example_inputs = (torch.zeros(1, 16),)
    return model


def _named_parts(forward: Any) -> Any:
    """A module whose ``forward`` is this function of its layer and of what it is given."""
    import torch
    from torch import nn

    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(16, 4)

    Parts.forward = forward  # type: ignore[method-assign,assignment]
    return Parts()


def by_name_alone() -> Any:
    import torch

    model = _named_parts(lambda self, x, /, *, mask: self.layer(x) * mask)
    model.example_inputs = {"x": torch.ones(1, 16), "mask": torch.ones(1, 4)}
    return model


def any_number_and_by_name() -> Any:
    return _named_parts(lambda self, *xs, mask: self.layer(xs[0]) * mask)


def dataclass_as_output() -> Any:
    import dataclasses

    import torch

    @dataclasses.dataclass
    class Out:
        logits: Any
        hidden: Any = None

    model = _named_parts(lambda self, x: {"out": Out(self.layer(x))})
    model.example_inputs = (torch.ones(1, 16),)
    return model


def on_meta() -> Any:
    return _torch_linear().to("meta")


def _keras_linear(name: str) -> Any:
    import keras

    x = keras.Input((16,), name="x")
    return keras.Model(x, keras.layers.Dense(4, name=name)(x))


def space_in_a_name() -> Any:
    return _keras_linear("my layer")


def built_class_of_its_own() -> Any:
    import keras

    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = keras.layers.Dense(4)

        def call(self, x: Any) -> Any:
            return self.layer(x)

    model = Own()
    model.build((None, 16))
    return model


def bfloat16() -> Any:
    import torch

    model = _torch_linear().bfloat16()
    model.example_inputs = (torch.zeros(1, 16, dtype=torch.bfloat16),)
    return model


def quantized_weights() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    model = _torch_linear()
    quantize_(model, Int8WeightOnlyConfig())
    return model


def quantized_eagerly() -> Any:
    import torch

    return torch.ao.quantization.quantize_dynamic(_torch_linear(), {torch.nn.Linear})


def hugging_face() -> Any:
    import transformers

    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16, num_labels=3,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config).eval()


def hugging_face_decoder() -> Any:
    """Its output holds a cache, which is no tensor."""
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    model.example_inputs = {"input_ids": torch.ones(1, 6, dtype=torch.int64)}
    return model


def unnamed_inputs() -> Any:
    """All parameters have a default, and nothing says which are inputs."""
    from torch import nn

    class Model(nn.Module):
        def forward(self, input_ids: Any = None, mask: Any = None) -> Any:
            return input_ids * 2.0

    return Model()


def padded() -> Any:
    """Zeros are padding: on a sentence of nothing else PyTorch's encoder does not run."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(40, 16), nn.Linear(16, 3)
            self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 1)

        def forward(self, ids: Any) -> Any:
            pad = ids == 0
            hidden = self.encoder(self.table(ids), src_key_padding_mask=pad)
            keep = (~pad).float()[..., None]
            return self.head((hidden * keep).sum(1) / keep.sum(1).clamp(min=1))

    torch.manual_seed(0)
    return Model().eval()


def sentences() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 40, (64, 8))
    for row, length in zip(ids, rng.integers(3, 9, 64), strict=True):
        row[length:] = 0
    return {"ids": ids}


def _keras_net(first: str, **more: Any) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential([
        keras.Input((12, 12, 3) if not more else (3, 12, 12), name=first),
        layers.Conv2D(8, 3, **more), layers.BatchNormalization(axis=1 if more else -1), layers.ReLU(),
        layers.GlobalAveragePooling2D(**more), layers.Dense(5), layers.Activation("softmax", dtype="float32"),
    ])  # fmt: skip


def split_at() -> Any:
    """Keras on PyTorch makes a tensor of the indices, and torch.export takes what it reads of it for data."""
    import keras

    keras.utils.set_random_seed(0)
    x = keras.Input((6, 12), name="x")
    first, second, third = keras.ops.split(keras.layers.Dense(10)(x), [2, 5], axis=-1)
    upper, lower = keras.ops.hsplit(third, [2])
    moved = keras.ops.concatenate([lower, upper], axis=1)
    return keras.Model(x, keras.ops.concatenate([moved, first * second[..., :2]], axis=-1))


def averaged() -> Any:
    """Average pooling whose padding is wider on one side."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((13, 10, 3), name="image")
    found = keras.layers.AveragePooling2D(3, 2, "same")(keras.layers.Conv2D(4, 3, padding="same")(image))
    found = keras.layers.AveragePooling2D((2, 3), (2, 1), "same")(found)
    return keras.Model(image, found)


def limited(*, read: bool = False) -> Any:
    """A signal that is made quieter where it is too loud: a trace keeps the way of its example."""
    import torch

    def forward(self: Any, x: Any) -> Any:
        if read:
            return x * (1 - float(x.abs().max() > 10))
        return x * 10 / x.abs().max() if x.abs().max() > 10 else x * 1.0

    return _module(forward, x=torch.zeros(1, 16))


def limited_by_a_number() -> Any:
    """The same by a number that Python reads."""
    return limited(read=True)


def other_shapes() -> Any:
    """A comparison of shapes, which tracing warns of as well, and is the same for all inputs."""
    import torch

    def forward(self: Any, x: Any) -> Any:
        if torch.tensor(x.shape[1]) != 16:
            raise ValueError("16 values are needed")
        return x * 2.0

    return _module(forward, x=torch.zeros(1, 16))


def one_number_softmax() -> Any:
    """A softmax of a number, which has no axis; a sum with a factor."""
    import torch

    return _module(lambda self, x: torch.add(torch.softmax(x.sum(), 0) * x, x, alpha=10), x=torch.ones(1, 16))


def large_logarithms() -> Any:
    """Logarithms of sums of exponentials, far from 0."""
    import torch

    def forward(self: Any, x: Any) -> Any:
        return torch.nn.functional.logsigmoid(x) + torch.logaddexp(x, -x)

    return _module(forward, x=torch.zeros(1, 16))


def far_values() -> dict[str, Any]:
    return {"x": np.random.default_rng(0).uniform(-300, 300, (64, 16)).astype("float32")}


def mixed_precision() -> Any:
    import keras

    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        return _keras_net("x")
    finally:
        keras.mixed_precision.set_global_policy("float32")


def channels_first() -> Any:
    return _keras_net("x", data_format="channels_first")


def stateful() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    x = keras.Input(batch_shape=(1, 5, 4), name="x")
    hidden = keras.layers.LSTM(8, stateful=True, return_sequences=True, name="lstm")(x)
    return keras.Model(x, keras.layers.Dense(2)(keras.layers.GRU(6, stateful=True, name="gru")(hidden)))


def float64() -> Any:
    import torch

    model = _torch_linear().double()
    model.example_inputs = (torch.zeros(1, 16, dtype=torch.float64),)
    return model


def _module(forward: Any, **examples: Any) -> Any:
    """A module of a linear layer and a table whose forward pass is the function, its examples by name."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = type("Model", (nn.Module,), {"forward": forward})()
    model.linear, model.table = nn.Linear(6, 4), nn.Embedding(4, 6)
    model.example_inputs = examples
    return model.eval()


def none_among_outputs() -> Any:
    import torch

    def forward(self: Any, x: Any) -> Any:
        return None, self.linear(x), {"inner": [None, self.linear(x).relu()]}

    return _module(forward, x=torch.zeros(1, 6))


def a_number_among_outputs() -> Any:
    import torch

    def forward(self: Any, x: Any) -> Any:
        return self.linear(x), 3.5

    return _module(forward, x=torch.zeros(1, 6))


def rate() -> Any:
    """A sampling rate is an int, as Silero's detector takes it."""
    import torch

    def forward(self: Any, x: Any, sr: int) -> Any:
        if sr not in (8000, 16000):
            raise ValueError(f"a rate of {sr}")
        return self.linear(x * (sr / 16000))

    return _module(forward, x=torch.zeros(1, 6), sr=8000)


def small_table() -> Any:
    """Generated numbers go beyond its table."""
    import torch

    def forward(self: Any, ids: Any) -> Any:
        return self.linear(self.table(ids))

    return _module(forward, ids=torch.zeros(1, 5, dtype=torch.int64))


def small_table_keras() -> Any:
    import keras

    ids = keras.Input((5,), dtype="int64", name="ids")
    return keras.Model(ids, keras.layers.Dense(3)(keras.layers.Embedding(4, 8, name="table")(ids)))


def wrong_index() -> Any:
    import torch

    def forward(self: Any, x: Any) -> Any:
        return [self.linear(x)][1]

    return _module(forward, x=torch.zeros(1, 6))


def texts() -> Any:
    import keras

    text = keras.Input((), dtype="string", name="text")
    words = keras.layers.TextVectorization(output_sequence_length=6, vocabulary=["a", "b"], name="words")(text)
    return keras.Model(text, keras.layers.Dense(2)(keras.layers.Embedding(20, 8)(words)))


def looked_up() -> Any:
    import keras

    kind = keras.Input((1,), dtype="int64", name="kind")
    found = keras.layers.IntegerLookup(vocabulary=[1, 2], output_mode="one_hot", name="kinds")(kind)
    return keras.Model(kind, keras.layers.Dense(3)(found))


def wholly_masked() -> Any:
    """Attention whose mask leaves nothing where a sample is all padding."""
    import torch
    from torch.nn import functional

    def forward(self: Any, x: Any, keep: Any) -> Any:
        mask, heads = (keep != 0)[:, None, None, :].expand(-1, 1, 5, 5), x[:, None]
        return self.linear(functional.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask))

    return _module(forward, x=torch.zeros(1, 5, 6), keep=torch.ones(1, 5, dtype=torch.int32))


def padding() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    keep = (rng.random((40, 5)) > 0.4).astype("int32")
    keep[:, 0], keep[::4] = 1, 0
    return {"x": rng.normal(size=(40, 5, 6)).astype("float32"), "keep": keep}


def logarithm() -> Any:
    """Of what is negative as often as not."""
    import torch

    def forward(self: Any, x: Any) -> Any:
        hidden = self.linear(x)
        return torch.log(hidden)

    return _module(forward, x=torch.zeros(1, 6))


def logarithm_keras() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    x = keras.Input((8,), name="x")
    hidden = keras.ops.log(keras.layers.Dense(8, name="first")(x))
    return keras.Model(x, keras.layers.Dense(3, name="last")(hidden))


def cropped() -> Any:
    """A padding that takes away on one side."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.ConstantPad2d((-1, 2, 1, -2), 0.5), nn.Conv2d(3, 4, 3)).eval()
    model.example_inputs = (torch.zeros(1, 3, 10, 12),)
    return model


def lstm_cell() -> Any:
    import torch
    from torch import nn

    def forward(self: Any, x: Any, h: Any, c: Any) -> Any:
        h, c = self.cell(x, (h, c))
        return {"y": self.linear(h), "h_next": h, "c_next": c}

    model = _module(forward, x=torch.zeros(1, 5), h=torch.zeros(1, 6), c=torch.zeros(1, 6))
    model.cell = nn.LSTMCell(5, 6)
    model.streaming_state = {"h": "h_next", "c": "c_next"}
    return model


def odd_transposed() -> Any:
    """A transposed convolution in groups beside one without: litert-torch 0.10 lowers the second alone."""
    import torch
    from torch import nn

    def forward(self: Any, x: Any) -> Any:
        return self.further(torch.relu(self.up(x)))

    model = _module(forward, x=torch.zeros(1, 8, 6, 9))
    model.up = nn.ConvTranspose2d(8, 8, (1, 5), stride=(1, 2), padding=(0, 2), groups=2)
    model.further = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1)
    return model.eval()


def spectrum() -> Any:
    import torch

    def forward(self: Any, x: Any) -> Any:
        return self.linear(torch.fft.rfft(x).abs())

    return _module(forward, x=torch.zeros(1, 10))


def scattered() -> Any:
    import torch

    def forward(self: Any, x: Any) -> Any:
        values, places = self.linear(x).topk(3, 1)
        return torch.zeros(1, 4).expand(x.shape[0], 4).scatter_add(1, places, values)

    return _module(forward, x=torch.zeros(1, 6))


def scripted_loop() -> Any:
    import torch
    from torch import nn

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = torch.zeros(x.shape[0], 4)
            for number in range(x.shape[1]):
                hidden = torch.tanh(self.step(x[:, number]) + hidden)
            return hidden

    torch.manual_seed(0)
    return torch.jit.script(Loop().eval())


def wide_window() -> Any:
    """A pool whose window is larger than its map, as in Hugging Face's EfficientNet."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    pool = nn.AvgPool2d(64, ceil_mode=True)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), pool, nn.Flatten(), nn.Linear(8, 4))
    model.example_inputs = torch.zeros(1, 3, 12, 10)  # type: ignore[assignment]
    return model


def unlisted_variable() -> Any:
    """Keras 3 does not list TensorFlow's own variables."""
    import keras
    import tensorflow as tf

    class Scaled(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, **more: Any) -> None:
            super().__init__(**more)
            self.scale = tf.Variable(np.full((4,), 2.5, "float32"))

        def call(self, x: Any) -> Any:
            return x * self.scale

    keras.utils.set_random_seed(0)
    x = keras.Input((4,), name="x")
    return keras.Model(x, keras.layers.Dense(3)(Scaled()(x)))


def noisy() -> Any:
    """Dropout that is left on."""
    import torch
    from torch.nn import functional

    def forward(self: Any, x: Any) -> Any:
        return self.linear(functional.dropout(x, 0.5))

    return _module(forward, x=torch.zeros(1, 6))


def coded() -> Any:
    """Its layers are called as properties of an exported module are."""
    import torch
    from torch import nn

    class Coded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.code, self.graph = nn.Linear(8, 16), nn.Linear(16, 4)
            self.example_inputs = (torch.zeros(1, 8),)

        def forward(self, x: Any) -> Any:
            return self.graph(torch.relu(self.code(x)))

    return Coded().eval()


def output_called_as_an_input() -> Any:
    import torch

    def forward(self: Any, x: Any) -> Any:
        return {"logits": self.linear(x), "x": x * 2}

    return _module(forward, x=torch.zeros(1, 6))


def complex_output() -> Any:
    import torch

    def forward(self: Any, x: Any) -> Any:
        return torch.complex(self.linear(x), self.linear(x))

    return _module(forward, x=torch.zeros(1, 6))
