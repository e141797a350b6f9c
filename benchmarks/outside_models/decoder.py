"""Decoders like Llama, of transformers: one pass over a prompt."""

from __future__ import annotations

from typing import Any

from settled import tokens, torch_model

KIND = "Llama-like decoder"
_SMALL = {
    "vocab_size": 128, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "max_position_embeddings": 64, "use_cache": False, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip


def _ids() -> Any:
    import torch

    return torch.from_numpy(next(iter(tokens(16)))[:1])


def samples() -> Any:
    """Sixteen tokens."""
    return tokens(16)


def llama() -> Any:
    """Llama: transformers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return torch_model(LlamaForCausalLM(LlamaConfig(**_SMALL)), input_ids=_ids())


def qwen2() -> Any:
    """Qwen 2 (biases in the projections): transformers."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return torch_model(Qwen2ForCausalLM(Qwen2Config(**_SMALL)), input_ids=_ids())


def mistral() -> Any:
    """Mistral (a sliding window): transformers."""
    from transformers import MistralConfig, MistralForCausalLM

    return torch_model(MistralForCausalLM(MistralConfig(**_SMALL, sliding_window=8)), input_ids=_ids())


def gemma() -> Any:
    """Gemma (scaled embeddings, GeGLU): transformers."""
    from transformers import GemmaConfig, GemmaForCausalLM

    return torch_model(GemmaForCausalLM(GemmaConfig(**_SMALL, head_dim=12)), input_ids=_ids())


def qwen3() -> Any:
    """Qwen 3 (norms of queries and keys): transformers."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return torch_model(Qwen3ForCausalLM(Qwen3Config(**_SMALL, head_dim=12)), input_ids=_ids())


def gpt_neox() -> Any:
    """GPT-NeoX (attention and feed-forward in parallel, rotary in part): transformers."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = {name: value for name, value in _SMALL.items() if name != "num_key_value_heads"}
    return torch_model(GPTNeoXForCausalLM(GPTNeoXConfig(**config, rotary_pct=0.5)), input_ids=_ids())
