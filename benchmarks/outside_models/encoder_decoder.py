"""Encoder-decoders of transformers: one step over a whole target."""

from __future__ import annotations

from typing import Any

import numpy as np
from settled import tokens, torch_model

KIND = "encoder-decoder"


def _both() -> dict[str, Any]:
    import torch

    source, target = next(iter(tokens(16, 8)))
    return {"input_ids": torch.from_numpy(source[:1]), "decoder_input_ids": torch.from_numpy(target[:1])}


def samples() -> Any:
    """Sixteen tokens in, eight out."""
    return tokens(16, 8)


def samples_whisper() -> Any:
    """Spectra of 20 bands and 64 frames, eight tokens out."""
    rng = np.random.default_rng(7)
    for ids in tokens(8):
        yield rng.standard_normal((len(ids), 20, 64)).astype("float32"), ids


def t5() -> Any:
    """T5 (relative position bias, RMSNorm): transformers."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=128,
        d_model=48,
        d_kv=16,
        d_ff=96,
        num_layers=2,
        num_heads=3,
        use_cache=False,
        decoder_start_token_id=0,
    )
    return torch_model(T5ForConditionalGeneration(config), **_both())


def bart() -> Any:
    """BART: transformers."""
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(
        vocab_size=128, d_model=48, encoder_layers=2, decoder_layers=2, encoder_attention_heads=3, decoder_attention_heads=3,
        encoder_ffn_dim=96, decoder_ffn_dim=96, max_position_embeddings=64, use_cache=False, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    return torch_model(BartForConditionalGeneration(config), **_both())


def marian() -> Any:
    """Marian (positions by sines): transformers."""
    from transformers import MarianConfig, MarianMTModel

    config = MarianConfig(
        vocab_size=128, d_model=48, encoder_layers=2, decoder_layers=2, encoder_attention_heads=3, decoder_attention_heads=3,
        encoder_ffn_dim=96, decoder_ffn_dim=96, max_position_embeddings=64, use_cache=False, pad_token_id=0, eos_token_id=2,
        decoder_start_token_id=0, forced_eos_token_id=None, decoder_vocab_size=128,
    )  # fmt: skip
    return torch_model(MarianMTModel(config), **_both())


def whisper() -> Any:
    """Whisper: transformers."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=128, num_mel_bins=20, d_model=48, encoder_layers=2, decoder_layers=2, encoder_attention_heads=3,
        decoder_attention_heads=3, encoder_ffn_dim=96, decoder_ffn_dim=96, max_source_positions=32, max_target_positions=32,
        use_cache=False, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None,
        begin_suppress_tokens=None,
    )  # fmt: skip
    features, ids = next(iter(samples_whisper()))
    return torch_model(
        WhisperForConditionalGeneration(config),
        input_features=torch.from_numpy(features[:1]),
        decoder_input_ids=torch.from_numpy(ids[:1]),
    )
