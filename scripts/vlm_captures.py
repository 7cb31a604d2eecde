"""Capture vision-language models of real sizes with random weights.

    python scripts/vlm_captures.py MODEL RUN_DIR [OPTIONS]

MODEL is deepseek-ocr2 or qwen2.5-vl-3b; OPTIONS go to `llmperf capture`. The model's config is left in RUN_DIR.json, so
that ncu can run the same request again. Needs a GPU with 16 GiB, nsys and torch; transformers 5.17 has both models.
Nothing is downloaded. The sizes are those of the configs of
deepseek-ai/DeepSeek-OCR-2 and Qwen/Qwen2.5-VL-3B-Instruct.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONFIGS: dict[str, dict[str, Any]] = {
    "deepseek-ocr2": {
        "model_type": "deepseek_ocr2",
        "image_token_id": 128815,
        "text_config": {
            "model_type": "deepseek_ocr2_text", "vocab_size": 129280, "hidden_size": 1280, "intermediate_size": 6848,
            "num_hidden_layers": 12, "num_attention_heads": 10, "num_key_value_heads": 10, "head_dim": 128,
            "moe_intermediate_size": 896, "n_routed_experts": 64, "num_experts_per_tok": 6, "n_shared_experts": 2,
            "mlp_layer_types": ["dense"] + ["sparse"] * 11, "max_position_embeddings": 8192,
            "bos_token_id": 0, "eos_token_id": 1,
        },
        "vision_config": {
            "model_type": "deepseek_ocr2_vision",
            "sam_config": {"model_type": "deepseek_ocr2_sam_vision_model"},
            "encoder_config": {
                "model_type": "deepseek_ocr2_encoder", "hidden_size": 896, "intermediate_size": 4864,
                "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
            },
        },
    },
    "qwen2.5-vl-3b": {
        "model_type": "qwen2_5_vl",
        "image_token_id": 151655,
        "video_token_id": 151656,
        "vision_start_token_id": 151652,
        "vision_end_token_id": 151653,
        "tie_word_embeddings": True,
        "text_config": {
            "model_type": "qwen2_5_vl_text", "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 11008,
            "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
            "max_position_embeddings": 128000, "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]},
        },
        "vision_config": {
            "depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420, "out_hidden_size": 2048,
            "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112, "patch_size": 14, "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
    },
}  # fmt: skip
# A page of a document in portrait, and a photograph.
IMAGES = ("1448x1024", "720x1280")
DEFAULTS = {"--device": "cuda", "--repeats": "5", "--max-new-tokens": "32"}


def command(run_dir: str, config: Path, more: list[str]) -> list[str]:
    """The command line that captures the model of `config` into `run_dir`."""
    images = [part for size in IMAGES for part in ("--synthetic-images", size)]
    llmperf = [sys.executable, "-m", "nsys_pipeline", "capture", "--workload", "vlm", "--model", str(config)]
    typed = {argument.partition("=")[0] for argument in more}
    defaults = [part for name, value in DEFAULTS.items() if name not in typed for part in (name, value)]
    return [*llmperf, *images, *defaults, "-o", run_dir, *more]


def main(arguments: list[str]) -> int:
    """Write the config, run the capture; its exit status."""
    if len(arguments) < 2 or arguments[0] not in CONFIGS:
        sys.stderr.write(f"{__doc__}\nknown: {', '.join(CONFIGS)}\n")
        return 2
    name, run_dir, *more = arguments
    config = Path(f"{run_dir}.json").resolve()
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps(CONFIGS[name], indent=1), encoding="utf-8")
    return subprocess.run(command(run_dir, config, more), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
