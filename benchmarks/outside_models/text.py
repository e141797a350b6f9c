"""Text encoders of transformers."""

from __future__ import annotations

from typing import Any

from settled import tokens, torch_model

KIND = "text encoder"
_SMALL = {
    "vocab_size": 128, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96,
    "max_position_embeddings": 64, "num_labels": 4,
}  # fmt: skip


def _ids() -> Any:
    import torch

    return torch.from_numpy(next(iter(tokens(16)))[:1])


def samples() -> Any:
    """Sixteen tokens."""
    return tokens(16)


def distilbert() -> Any:
    """DistilBERT: transformers."""
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(
        vocab_size=128, dim=48, n_layers=2, n_heads=3, hidden_dim=96, max_position_embeddings=64, num_labels=4
    )
    return torch_model(DistilBertForSequenceClassification(config), input_ids=_ids())


def roberta() -> Any:
    """RoBERTa (positions counted from the padding): transformers."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    return torch_model(RobertaForSequenceClassification(RobertaConfig(**_SMALL)), input_ids=_ids())


def albert() -> Any:
    """ALBERT (one layer several times): transformers."""
    from transformers import AlbertConfig, AlbertForSequenceClassification

    return torch_model(AlbertForSequenceClassification(AlbertConfig(**_SMALL, embedding_size=24)), input_ids=_ids())


def deberta() -> Any:
    """DeBERTa V2 (disentangled attention): transformers."""
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    config = DebertaV2Config(
        **_SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8, share_att_key=True, max_relative_positions=16,
        norm_rel_ebd="layer_norm", type_vocab_size=0,
    )  # fmt: skip
    return torch_model(DebertaV2ForSequenceClassification(config), input_ids=_ids())


def mpnet() -> Any:
    """MPNet (position buckets): transformers."""
    from transformers import MPNetConfig, MPNetForSequenceClassification

    return torch_model(MPNetForSequenceClassification(MPNetConfig(**_SMALL)), input_ids=_ids())


def modernbert() -> Any:
    """ModernBERT (rotary positions, local and global attention): transformers."""
    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    config = ModernBertConfig(
        **_SMALL,
        global_attn_every_n_layers=2,
        local_attention=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
    )
    return torch_model(ModernBertForSequenceClassification(config), input_ids=_ids())


def convbert() -> Any:
    """ConvBERT (dynamic convolutions beside attention): transformers."""
    from transformers import ConvBertConfig, ConvBertForSequenceClassification

    config = {**_SMALL, "num_attention_heads": 4}
    return torch_model(ConvBertForSequenceClassification(ConvBertConfig(**config, embedding_size=48)), input_ids=_ids())
