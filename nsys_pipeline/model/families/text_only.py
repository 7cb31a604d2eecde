"""Multimodal models of which only the text decoder has a reading: `--images` is refused, `params` are the decoder's."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.families.common import Builder
from nsys_pipeline.model.families.multimodal import text_decoder
from nsys_pipeline.model.fields import Fields

#: Model type → the text model's type where the sub-config does not name one.
_NESTED: dict[str, str] = {
    "gemma4": "gemma4_text",
    "gemma3n": "gemma3n_text",
    "glm4v": "glm4v_text",
    "glm46v": "glm4v_text",
    "glm4v_moe": "glm4v_moe_text",
    "kimi_vl": "deepseek_v3",
    "kimi_k25": "deepseek_v3",
    "qwen2_audio": "qwen2",
    "qwen2_5_omni_thinker": "qwen2_5_omni_text",
    "qwen3_omni_moe_thinker": "qwen3_omni_moe_text",
    "voxtral": "llama",
    "aya_vision": "cohere2",
    "cohere2_vision": "cohere2",
    "ovis2": "qwen2",
    "lfm2_vl": "lfm2",
    "lfm3_vl": "lfm3",
    "llava_next_video": "llama",
    "vipllava": "llama",
    "video_llava": "llama",
    "deepseek_vl": "llama",
    "exaone4_5": "exaone4",
    "got_ocr2": "qwen2",
    "granite_speech": "granite",
    "perception_lm": "llama",
    "internvl_chat": "internlm2",
    "minimax_m3_vl": "minimax_m3_vl_text",
    "step3_vl": "step3_text",
    "step3p7": "step3p5",
    "audioflamingo3": "qwen2",
    "cosmos3_omni": "qwen3_vl_text",
    "deepseek_vl_hybrid": "llama",
    "fast_vlm": "qwen2",
    "fun_asr_nano": "qwen3",
    "glmasr": "llama",
    "glmga": "glm4v_text",
    "granite_speech_plus": "granite",
    "idefics2": "mistral",
    "janus": "llama",
    "lighton_ocr": "qwen3",
    "minicpm_ocr": "qwen3_5_text",
    "minicpmv4_6": "qwen3_5_text",
    "minicpmv4_7": "qwen3_5_text",
    "moss_transcribe_diarize": "qwen3",
    "musicflamingo": "qwen2",
    "nemo_speechlm": "nemotron_h",
    "nemotron_h_omni": "nemotron_h",
    "pp_chart2table": "qwen2",
    "qianfan_ocr": "qwen3",
    "qwen3_asr": "qwen3",
    "shieldgemma2": "gemma3_text",
    "vibevoice": "qwen2",
    "vibevoice_asr": "qwen2",
    "video_llama_3": "qwen2",
    "aria": "aria_text",
    "gemma4_unified": "gemma4_unified_text",
    "glm_ocr": "glm_ocr_text",
    "granite4_vision": "granite4_vision_text",
    "hunyuan_vl": "hunyuan_vl_text",
    "hyperclovax_vision_v2": "hyperclovax",
    "paddleocr_vl": "paddleocr_vl_text",
    "glm5_next": "glm5_next_text",
    "mistral_large4": "mistral_large4_text",
    "qwen4_exp": "qwen4_exp_text",
    "inkling_mm_model": "inkling_text",
    "mllama": "mllama_text_model",
    "ernie4_5_vl_moe": "ernie4_5_vl_moe_text",
    "cohere_compass": "cohere_compass_text",
    "cosmos3_edge": "cosmos3_edge_text",
    "emu3": "emu3_text_model",
    "fuyu": "persimmon",
    "granite_docling": "granite_docling_text",
    "molmo2": "molmo2_text",
    "muse_glimmer": "muse_glimmer_text",
    "blip-2": "opt",
    "instructblip": "opt",
    "instructblipvideo": "opt",
}
#: Model type → the text model's type, whose fields are at the top level.
_FLAT: dict[str, str] = {"phi4_multimodal": "phi3", "phi4mm": "phi3", "ernie4_5_moe_vl": "ernie4_5_vl_moe_text"}
#: Model types whose thinker holds the text model; the talker that speaks is another model.
_THINKERS: dict[str, str] = {"qwen2_5_omni": "qwen2_5_omni_thinker", "qwen3_omni_moe": "qwen3_omni_moe_thinker"}

#: Model types whose totals equal torch's in the golden tests. The others' text models do, under another outer type.
COUNTED = frozenset(
    {
        "aria", "audioflamingo3", "aya_vision", "cohere2_vision", "cosmos3_edge", "emu3", "ernie4_5_vl_moe",
        "exaone4_5", "fuyu", "glm46v", "glm4v", "glm4v_moe", "glm_ocr", "got_ocr2", "granite4_vision",
        "granite_docling", "hunyuan_vl", "hyperclovax_vision_v2", "idefics2", "kimi_k25", "lighton_ocr",
        "minimax_m3_vl", "mistral_large4", "mllama", "molmo2", "muse_glimmer", "paddleocr_vl", "qianfan_ocr",
        "qwen2_audio", "qwen3_asr", "qwen3_omni_moe_thinker", "step3p7", "vibevoice", "video_llama_3",
    }
)  # fmt: skip


def _only_text(architecture: Architecture, family: str) -> Architecture:
    return attrs.evolve(architecture, family=family, text_only=True)


def _nested(default: str) -> Builder:
    return lambda f: _only_text(text_decoder(f, default), f.model_type)


def _flat(text_type: str) -> Builder:
    return lambda f: _only_text(text_decoder(f, text_type, flat=True), f.model_type)


def _thinker(inner: str) -> Builder:
    def build(f: Fields) -> Architecture:
        if not f.has("thinker_config"):
            raise f.missing("thinker_config")
        thinker = f.sub("thinker_config", model_type=inner)
        return _only_text(text_decoder(thinker, _NESTED[inner]), f.model_type)

    return build


TEXT_ONLY: dict[str, Builder] = {
    **{name: _nested(default) for name, default in _NESTED.items()},
    **{name: _flat(text_type) for name, text_type in _FLAT.items()},
    **{name: _thinker(inner) for name, inner in _THINKERS.items()},
}
