"""Speech encoders of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
from settled import torch_model, waves

KIND = "speech encoder"
_LENGTH = 3200
_SMALL = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96, "vocab_size": 32,
    "conv_dim": (16, 24, 32), "conv_kernel": (10, 8, 4), "conv_stride": (5, 8, 4), "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip


def _wave() -> Any:
    import torch

    return torch.from_numpy(next(iter(waves(_LENGTH)))[:1])


def samples() -> Any:
    """Waveforms of 0.2 s."""
    return waves(_LENGTH)


def _spectra(*shape: int) -> Any:
    rng = np.random.default_rng(7)
    for _ in range(4):
        found = rng.standard_normal((16, *shape))
        yield (found + np.roll(found, 1, axis=-1) + np.roll(found, 1, axis=-2)).astype("float32") / 2


def samples_whisper_encoder() -> Any:
    """Spectra of 20 bands and 64 frames."""
    return _spectra(20, 64)


def samples_ast() -> Any:
    """Spectra of 64 frames and 32 bands."""
    return _spectra(64, 32)


def wav2vec2() -> Any:
    """wav2vec 2.0 with a CTC head (GroupNorm in the first convolution): transformers."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    return torch_model(Wav2Vec2ForCTC(Wav2Vec2Config(**_SMALL)), input_values=_wave())


def hubert() -> Any:
    """HuBERT (LayerNorm in each convolution): transformers."""
    from transformers import HubertConfig, HubertForCTC

    config = HubertConfig(**_SMALL, feat_extract_norm="layer", do_stable_layer_norm=True)
    return torch_model(HubertForCTC(config), input_values=_wave())


def wavlm() -> Any:
    """WavLM (gated relative positions): transformers."""
    from transformers import WavLMConfig, WavLMForCTC

    return torch_model(WavLMForCTC(WavLMConfig(**_SMALL)), input_values=_wave())


def whisper_encoder() -> Any:
    """The encoder of Whisper: transformers."""
    import torch
    from transformers import WhisperConfig, WhisperModel

    config = WhisperConfig(
        vocab_size=128, num_mel_bins=20, d_model=48, encoder_layers=2, decoder_layers=1, encoder_attention_heads=3,
        decoder_attention_heads=3, encoder_ffn_dim=96, decoder_ffn_dim=96, max_source_positions=32, max_target_positions=32,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    return torch_model(WhisperModel(config).encoder, input_features=torch.from_numpy(next(iter(_spectra(20, 64)))[:1]))


def ast() -> Any:
    """Audio Spectrogram Transformer: transformers."""
    import torch
    from transformers import ASTConfig, ASTForAudioClassification

    config = ASTConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, patch_size=16, frequency_stride=8,
        time_stride=8, max_length=64, num_mel_bins=32, num_labels=10,
    )  # fmt: skip
    return torch_model(
        ASTForAudioClassification(config), input_values=torch.from_numpy(next(iter(_spectra(64, 32)))[:1])
    )
