"""The parts of a multimodal model that have no reading: everything around the text decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nsys_pipeline.model.fields import class_defaults

#: Sub-config → what it describes.
_PARTS = {
    "vision_config": "vision tower",
    "vit_config": "vision tower",
    "high_res_vision_config": "second vision tower",
    "audio_config": "audio encoder",
    "speech_config": "audio encoder",
    "encoder_config": "audio encoder",
    "qformer_config": "query transformer",
    "perceiver_config": "projector",
    "projector_config": "projector",
    "adaptor_config": "projector",
    "vq_config": "image tokenizer",
    "semantic_model_config": "semantic encoder",
    "diffusion_head_config": "diffusion head",
    "talker_config": "talker",
    "token2wav_config": "speech decoder",
    "code2wav_config": "speech decoder",
}


def parts_around_text(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What a config holds beside the text decoder, by its sub-configs and those that transformers' class adds."""
    found: list[str] = []
    for one in (config, config.get("thinker_config")):
        if isinstance(one, Mapping):
            usual = class_defaults(str(one.get("model_type", ""))).get("fields", {})
            # An explicit null says that the part is not there.
            found += [part for key, part in _PARTS.items() if (one[key] is not None if key in one else key in usual)]
    return tuple(dict.fromkeys(found)) or ("everything around the text decoder",)
