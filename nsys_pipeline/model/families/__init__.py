"""Model families: a config's `model_type` picks the function that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.families.audio_text import AUDIO_TEXT
from nsys_pipeline.model.families.captions import CAPTIONS
from nsys_pipeline.model.families.common import Builder, Verified, refuse_overrides
from nsys_pipeline.model.families.conformers import CONFORMERS
from nsys_pipeline.model.families.dots3_note import DOTS3
from nsys_pipeline.model.families.encoders import ENCODERS
from nsys_pipeline.model.families.fastvit import FASTVIT
from nsys_pipeline.model.families.flattened_patches import FLATTENED_PATCHES
from nsys_pipeline.model.families.idefics import IDEFICS
from nsys_pipeline.model.families.image_cross_attention import IMAGE_CROSS_ATTENTION
from nsys_pipeline.model.families.image_text import IMAGE_TEXT
from nsys_pipeline.model.families.merging import MERGING
from nsys_pipeline.model.families.multimodal import MULTIMODAL
from nsys_pipeline.model.families.page_tiles import PAGE_TILES
from nsys_pipeline.model.families.phi4_multimodal import PHI4_MULTIMODAL
from nsys_pipeline.model.families.pp_formulanet import PP_FORMULANET
from nsys_pipeline.model.families.resamplers import RESAMPLERS
from nsys_pipeline.model.families.sam import SAM
from nsys_pipeline.model.families.seq2seq import SEQ2SEQ
from nsys_pipeline.model.families.t5gemma2 import T5GEMMA2
from nsys_pipeline.model.families.text import TEXT
from nsys_pipeline.model.families.text_encoders import TEXT_ENCODERS
from nsys_pipeline.model.families.text_only import TEXT_ONLY
from nsys_pipeline.model.families.tokenizers import TOKENIZERS
from nsys_pipeline.model.families.two_towers import TWO_TOWERS
from nsys_pipeline.model.families.udop import UDOP
from nsys_pipeline.model.families.variants import as_configured
from nsys_pipeline.model.families.vision_seq2seq import VISION_SEQ2SEQ
from nsys_pipeline.model.families.vits import VITS
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.unread import unread_structure

FAMILIES: dict[str, Builder] = {
    **TEXT,
    **ENCODERS,
    **TEXT_ENCODERS,
    **TWO_TOWERS,
    **SEQ2SEQ,
    **MULTIMODAL,
    **IMAGE_TEXT,
    **RESAMPLERS,
    **MERGING,
    **TOKENIZERS,
    **CAPTIONS,
    **IMAGE_CROSS_ATTENTION,
    **IDEFICS,
    **T5GEMMA2,
    **UDOP,
    **PP_FORMULANET,
    **FLATTENED_PATCHES,
    **VISION_SEQ2SEQ,
    **TEXT_ONLY,
    **AUDIO_TEXT,
    **CONFORMERS,
    **PHI4_MULTIMODAL,
    **PAGE_TILES,
    **FASTVIT,
    **DOTS3,
    **VITS,
    **SAM,
}

#: Model types whose totals equal torch's FlopCounterMode on transformers' code to the last FLOP, in the golden tests.
VERIFIED = frozenset(name for name, builder in FAMILIES.items() if isinstance(builder, Verified))

#: Sub-configs that have defaults of their own but are not read alone.
NESTED = (
    "t5_gemma_module",
    "pixtral",
    "qwen2_vl_vision",
    "qwen2_5_vl_vision",
    "qwen3_vl_vision",
    "qwen3_vl_moe_vision",
    "qwen3_5_vision",
    "qwen3_5_moe_vision",
    "glm4v_moe_vision",
    "glm4v_vision",
    "got_ocr2_vision",
    "internvl_vision",
    "idefics3_vision",
    "smolvlm_vision",
    "llama4_vision_model",
    "deepseek_ocr2_sam_vision_model",
    "deepseek_ocr2_encoder",
    "deepseek_ocr2_vision",
    "qianfan_ocr_vision",
    "kimi_k25_vision",
    "minimax_m3_vl_vision",
    "glm_ocr_vision",
    "exaone4_5_vision",
    "video_llama_3_vision",
    "paddleocr_vl_vision",
    "siglip2_vision_model",
    "ovis2_vision_model",
    "cohere_compass_vision",
    "qwen4_exp_vision",
    "idefics2_vision",
    "idefics2_perceiver",
    "janus_vision_model",
    "gemma4_vision",
    "gemma4_unified_vision",
    "gemma4_unified_audio",
    "parakeet_encoder",
    "blip_2_vision_model",
    "blip_2_qformer",
    "step3p5_vision",
    "hunyuan_vl_vision",
    "lfm3_vl_vision",
    "minicpmv4_6_vision",
    "minicpmv4_7_vision",
    "minicpm_ocr_vision",
    "glm5_next_vision",
    "muse_glimmer_vision",
    "muse_spark_vision",
    "muse_spark_audio",
    "dots3_note_vision_encoder",
    "unlimited_ocr_vision",
    "unlimited_ocr_sam_vision_model",
    "unlimited_ocr_vision_encoder",
    "inkling2_vision",
    "hy_v4_vl_vision",
    "apertus1p5_vision_tokenizer",
    "cosmos3_edge_vision",
    "mllama_vision_model",
    "ernie4_5_vl_moe_vision",
    "git_vision_model",
    "instructblip_vision_model",
    "instructblip_qformer",
    "instructblipvideo_vision_model",
    "instructblipvideo_qformer",
    "chameleon_vqgan",
    "emu3_vqgan",
    "blip_text_model",
    "blip_vision_model",
    "kosmos_2_vision_model",
    "idefics_vision",
    "idefics_perciever",
    "pix2struct_text_model",
    "pix2struct_vision_model",
    "kosmos_2_5_text_model",
    "kosmos_2_5_vision_model",
    "t5gemma2_encoder",
    "t5gemma2_text",
    "t5gemma2_decoder",
    "pp_formulanet_text",
    "pp_formulanet_vision",
    "donut-swin",
    "trocr",
    "qwen2_5_omni_vision_encoder",
    "qwen2_audio_encoder",
    "audioflamingo3_encoder",
    "voxtral_encoder",
    "granite_speech_encoder",
    "gemma4_audio",
    "gemma3n_audio",
    "gemma3n_vision",
    "radio",
    "timm_wrapper",
    "granite_speech_plus_encoder",
    "glmasr_encoder",
    "qwen3_asr_encoder",
    "phi4_multimodal_vision",
    "phi4_multimodal_audio",
    "qwen2_5_omni_audio_encoder",
    "qwen3_omni_moe_audio_encoder",
    "qwen3_omni_moe_vision_encoder",
    "granite_docling_vision",
    "molmo2_vision",
    "molmo2_adapter",
)


#: Why some model types cannot have a reading as others have.
NO_READING = {
    "diffusion_gemma": "it writes blocks of tokens by denoising steps, whose number no step says",
    "evolla": "it reads proteins, whose residues are no tokens of the prompt",
    "pi0": "it denoises actions of a robot and writes no tokens",
    "dia": "it writes codes of sound and no text",
    "kyutai_speech_to_text": "a codec inside `generate` makes a token of each frame of sound, and has no reading",
    "omniasr": "its encoder convolves the wave, which has no reading",
    "voxtral_realtime": "sound is added to each token of its decoder as it arrives, and no step says how much",
    **dict.fromkeys(
        (
            "canary", "cohere_asr", "moonshine", "moonshine_streaming", "pop2piano", "seamless_m4t",
            "seamless_m4t_v2", "speech-encoder-decoder", "speech_to_text", "speecht5",
        ),
        "an encoder-decoder of sound; only Whisper's, whose encoder always has 30 seconds, is counted",
    ),
    **dict.fromkeys(
        (
            "data2vec-audio", "granite_speech5_ctc", "hubert", "lasr_ctc", "omniasr_ctc", "parakeet_ctc", "sew",
            "sew-d", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert", "wav2vec2-conformer", "wavlm",
        ),
        "it labels frames of sound and writes no tokens one after another",
    ),
    **dict.fromkeys(
        ("nemotron3_5_asr", "nemotron_asr_streaming", "parakeet_rnnt", "parakeet_tdt"),
        "a transducer, which runs as often as what it hears makes it",
    ),
}  # fmt: skip


def known_model_types() -> list[str]:
    """Every `model_type` that has an exact reading, sorted."""
    return sorted(FAMILIES)


def build_architecture(config: Mapping[str, Any], *, approximate: bool = False) -> tuple[Architecture, bool]:
    """The architecture behind a config, and whether it is only an approximation.

    Raises ModelError for an unknown model type (unless `approximate`) and for missing or impossible fields.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise ModelError("the config has no `model_type`", hint="pass the config.json of a Hugging Face checkpoint")
    builder = FAMILIES.get(model_type)
    if builder is not None:
        fields = Fields(config, model_type)
        refuse_overrides(fields)
        architecture = as_configured(fields, builder(fields))
        unread = dict.fromkeys((*architecture.unread, *unread_structure(config, fields.read)))
        return attrs.evolve(architecture, unread=tuple(unread)), False
    if approximate:
        from nsys_pipeline.model.families.approximate import approximate_architecture

        return approximate_architecture(config, model_type), True
    why = f": {NO_READING[model_type]}" if model_type in NO_READING else ""
    raise ModelError(
        f"model type `{model_type}` is not known{why}",
        hint=f"pass --approximate for 2 · active parameters; known types: {', '.join(known_model_types())}",
    )
