"""Tiny random transformers models, and a witness of what their attention really computes.

The witness looks at the attention scores themselves, (batch, heads, new tokens, all tokens): it shares nothing with the
markers, which look at arguments and caches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

VOCABULARY = 100
_SPECIAL = {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0}
_DECODER = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "vocab_size": VOCABULARY, "max_position_embeddings": 128, **_SPECIAL,
}  # fmt: skip
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 1, "mlp_only_layers": []}

_MASKED = -1e30

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _DECODER,
    "qwen3": _DECODER,
    # Windows shorter than the requests of the tests, in every other layer.
    "gemma2": {**_DECODER, "sliding_window": 4, "query_pre_attn_scalar": 8},
    "gemma3_text": {
        **_DECODER,
        "sliding_window": 4,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "mixtral": {**_DECODER, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "qwen3_moe": {**_DECODER, **_EXPERTS, "num_experts": 4},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY, "n_positions": 128, **_SPECIAL},
    "t5": {
        "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": VOCABULARY,
        "decoder_start_token_id": 0, "eos_token_id": None, "pad_token_id": 0,
    },
    "mamba": {
        "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2, "vocab_size": VOCABULARY, "conv_kernel": 4,
        **_SPECIAL,
    },
    "jamba": {
        **_DECODER, "num_experts": 2, "num_experts_per_tok": 1, "mamba_d_state": 4, "mamba_dt_rank": 4,
        "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
        "use_mamba_kernels": False,
    },
}  # fmt: skip


def known(name: str) -> bool:
    """Whether the installed transformers has this model type."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return name in CONFIG_MAPPING_NAMES


def build(name: str, **changes: Any) -> Any:
    """Build the model called `name` in CONFIGS, in evaluation mode and with attention that shows its scores."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **(CONFIGS[name] | changes))
    kind = AutoModelForSeq2SeqLM if name == "t5" else AutoModelForCausalLM
    model = kind.from_config(config, attn_implementation="eager").eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model


def prompt(batch: int, tokens: int) -> Any:
    """Token ids of shape (batch, tokens), none of them special."""
    import torch

    return torch.randint(3, VOCABULARY, (batch, tokens), generator=torch.Generator().manual_seed(batch * 1000 + tokens))


@contextlib.contextmanager
def witness(model: Any) -> Iterator[list[str]]:
    """While open, write down each pass of `model` as `batch x new tokens + tokens before them`, as attention has it.

    Of the layers, the one that sees most counts: others may see a window. Of two stacks, the first attention of a pass
    counts, for the others look at the encoder's output.
    """
    import torch

    scores: list[list[tuple[int, ...]]] = []
    softmax = torch.nn.functional.softmax

    def watched(values: Any, *args: Any, **kwargs: Any) -> Any:
        if values.ndim == 4 and scores:
            # The last new token sees every token that is not masked: room in a static cache is.
            seen = int((values[0, 0, -1] > _MASKED).sum())
            scores[-1].append((*values.shape[:3], seen))
        return softmax(values, *args, **kwargs)

    def begin(*_: Any) -> None:
        scores.append([])

    encoder = getattr(model, "encoder", None)
    hooks = [part.register_forward_pre_hook(begin) for part in (model, encoder) if part is not None]
    torch.nn.functional.softmax = watched
    passes: list[str] = []
    try:
        yield passes
    finally:
        torch.nn.functional.softmax = softmax
        for hook in hooks:
            hook.remove()
        pick: Callable[[list[tuple[int, ...]]], tuple[int, ...]] = _first if encoder is not None else _longest
        passes += [f"{batch}x{new}+{total - new}" for batch, _, new, total in map(pick, filter(None, scores))]


def _first(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    return shapes[0]


def _longest(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    return max(shapes, key=lambda shape: shape[-1])
