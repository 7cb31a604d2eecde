"""Fields of a config that change what a model computes, and that nothing read.

Classes of transformers ignore fields that are not theirs, and so does the estimate; other code, which the config's
author may have meant, does not. Whoever reads a number should know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from nsys_pipeline.model.fields import class_defaults, text_config_name

_STRUCTURE = re.compile(
    r"(?:num_|n_)?(?:local_|routed_|moe_num_)?experts|moe_num_experts|kv_lora_rank|index_topk|hc_mult|layer_types"
    r"|attention_chunk_size|sliding_window|compress_ratios|num_kv_shared_layers|hidden_size_per_layer_input"
    r"|altup_num_inputs|cross_attention_layers|block_configs|pruned_heads|engram_\w+|num_heads_per_layer"
    r"|num_(?:key_value|attention)_heads_per_layer|intermediate_sizes|total_ut_steps|num_recurrent_steps|num_loops|loop_count|attn_output_gate|cla_share_factor"
    r"|layer_head_num|layer_inter_size|layer_intermediate_sizes?|layer_num_heads|draft_vocab_size|eagle_\w+|medusa_\w+|dflash_\w+"
)
"""Names, from configs of models that have experts, latents, windows, loops, shared caches and the like; of drafts."""
_GATED = re.compile(r"qwen3_next|qwen3_5(?:_moe)?(?:_text)?")
"""Model types whose attention has a gate in transformers, whatever `attn_output_gate` says."""
_PLAIN_LAYERS = ({"full_attention"}, {"attention"})


def unread_structure(config: Mapping[str, Any], read: Iterable[str]) -> tuple[str, ...]:
    """Such fields that the (text) config gives a value, that are not in `read` and that transformers' class lacks."""
    known = set(read)
    where = text_config_name(config)
    fields = config[where] if where else config
    paths = {name: f"{where}.{name}" if where else str(name) for name in fields}
    own = class_defaults(str(fields.get("model_type") or config.get("model_type")))
    known |= {paths[name] for name in fields if name in own.get("fields", {}) or name in own.get("aliases", {})}
    return tuple(
        path
        for name, path in paths.items()
        if path not in known and _STRUCTURE.fullmatch(str(name)) and _says_something(str(name), fields)
    )


def _says_something(name: str, fields: Mapping[str, Any]) -> bool:
    value = fields[name]
    if name == "attn_output_gate" and _GATED.fullmatch(str(fields.get("model_type"))):
        return value is False
    if value in (None, False, 0, -1) or value in ([], {}, ""):
        return False
    if name == "layer_types" and isinstance(value, list):
        return {str(kind) for kind in value} not in _PLAIN_LAYERS
    if name == "sliding_window":
        longest = fields.get("max_position_embeddings")
        is_short = not isinstance(longest, int) or not isinstance(value, int) or value < longest
        return fields.get("use_sliding_window") is not False and is_short
    is_plain_at_one = name.endswith(("experts", "steps", "loops", "loop_count", "hc_mult", "factor"))
    return not (is_plain_at_one and value == 1)
