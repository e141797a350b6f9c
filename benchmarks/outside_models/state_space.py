"""State-space and other recurrent language models of transformers: one pass over a prompt."""

from __future__ import annotations

from typing import Any

from settled import tokens, torch_model

KIND = "state-space"


def _ids() -> Any:
    import torch

    return torch.from_numpy(next(iter(tokens(8)))[:1])


def samples() -> Any:
    """Eight tokens."""
    return tokens(8)


def mamba() -> Any:
    """Mamba: transformers."""
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(
        vocab_size=128, hidden_size=32, state_size=8, num_hidden_layers=2, use_cache=False, time_step_rank=4
    )
    return torch_model(MambaForCausalLM(config), input_ids=_ids())


def mamba2() -> Any:
    """Mamba 2: transformers."""
    from transformers import Mamba2Config, Mamba2ForCausalLM

    config = Mamba2Config(
        vocab_size=128, hidden_size=32, state_size=8, num_hidden_layers=2, num_heads=4, head_dim=16, n_groups=1, chunk_size=8,
        use_cache=False, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return torch_model(Mamba2ForCausalLM(config), input_ids=_ids())


def rwkv() -> Any:
    """RWKV: transformers."""
    from transformers import RwkvConfig, RwkvForCausalLM

    config = RwkvConfig(
        vocab_size=128,
        hidden_size=32,
        attention_hidden_size=32,
        num_hidden_layers=2,
        use_cache=False,
        context_length=64,
    )
    return torch_model(RwkvForCausalLM(config), input_ids=_ids())


def lfm2() -> Any:
    """LFM2 (gated short convolutions beside attention): transformers."""
    from transformers import Lfm2Config, Lfm2ForCausalLM

    config = Lfm2Config(
        vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        layer_types=["conv", "full_attention"], use_cache=False, pad_token_id=0, bos_token_id=1, eos_token_id=2, max_position_embeddings=64,
    )  # fmt: skip
    return torch_model(Lfm2ForCausalLM(config), input_ids=_ids())
