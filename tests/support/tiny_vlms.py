"""Configs of tiny vision-language models, whose weights are random."""

from __future__ import annotations

from typing import Any

_TEXT: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 2048,
}  # fmt: skip

QWEN: dict[str, Any] = {
    "model_type": "qwen2_5_vl",
    "text_config": {
        **_TEXT,
        "model_type": "qwen2_5_vl_text",
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
    },
    "vision_config": {
        "depth": 2, "hidden_size": 32, "num_heads": 4, "intermediate_size": 64, "out_hidden_size": 32,
        "fullatt_block_indexes": [1], "window_size": 112, "patch_size": 14,
    },
    "image_token_id": 290,
    "video_token_id": 291,
    "vision_start_token_id": 292,
    "vision_end_token_id": 293,
}  # fmt: skip

# Its pictures cannot be smaller: the queries of the encoder are those of 768 and of 1024 pixels.
DEEPSEEK_OCR2: dict[str, Any] = {
    "model_type": "deepseek_ocr2",
    "text_config": {
        **_TEXT,
        "model_type": "deepseek_ocr2_text",
        "num_key_value_heads": 4,
        "moe_intermediate_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "mlp_layer_types": ["dense", "sparse"],
    },
    "vision_config": {
        "model_type": "deepseek_ocr2_vision",
        "sam_config": {
            "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 1, "mlp_dim": 16, "output_channels": 8,
            "global_attn_indexes": [1], "downsample_channels": [8, 16], "window_size": 14, "image_size": 1024,
        },
        "encoder_config": {
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 2, "vocab_size": 8,
        },
    },
    "image_token_id": 290,
}  # fmt: skip

LLAVA: dict[str, Any] = {
    "model_type": "llava",
    "text_config": {
        "model_type": "llama", "vocab_size": 16, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1,
    },
    "vision_config": {
        "model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "image_size": 28, "patch_size": 14,
    },
    "image_token_index": 3,
    "vision_feature_layer": -1,
}  # fmt: skip
