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
