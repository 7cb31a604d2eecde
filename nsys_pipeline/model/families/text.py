"""Every text decoder by its model type; multimodal models are looked up here for the decoder that they hold."""

from __future__ import annotations

from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.decoders import PLAIN
from nsys_pipeline.model.families.deepseek_v4 import deepseek_v4
from nsys_pipeline.model.families.dense import DENSE
from nsys_pipeline.model.families.diffllama import diffllama
from nsys_pipeline.model.families.doge import doge
from nsys_pipeline.model.families.dots3 import dots3_note_text
from nsys_pipeline.model.families.gemma3n import gemma3n_text
from nsys_pipeline.model.families.gemma4 import gemma4_text
from nsys_pipeline.model.families.gpt import GPT
from nsys_pipeline.model.families.hybrid import HYBRID
from nsys_pipeline.model.families.indexed import glm5_next, hy_v4, mistral_large4
from nsys_pipeline.model.families.inkling import inkling_text
from nsys_pipeline.model.families.inkling2 import inkling2_text
from nsys_pipeline.model.families.jetmoe import jetmoe
from nsys_pipeline.model.families.minimax_m3 import minimax_m3
from nsys_pipeline.model.families.mllama import mllama_text
from nsys_pipeline.model.families.moe import MOE
from nsys_pipeline.model.families.muse_spark import muse_spark_text
from nsys_pipeline.model.families.qwen4 import qwen4_exp
from nsys_pipeline.model.families.remote import REMOTE
from nsys_pipeline.model.families.shared_blocks import SHARED
from nsys_pipeline.model.families.step3 import step3p5
from nsys_pipeline.model.families.unlimited_ocr import unlimited_ocr_text

#: Families that have a file of their own.
ALONE: dict[str, Builder] = {
    **GPT,
    "diffllama": Verified(diffllama),
    "doge": Verified(doge),
    "dots3_note_text": Verified(dots3_note_text),
    "gemma3n_text": Verified(gemma3n_text),
    "gemma4_text": gemma4_text,
    "gemma4_unified_text": gemma4_text,
    "deepseek_v4": Verified(deepseek_v4),
    "glm5_next_text": glm5_next,
    "hy_v4": Verified(hy_v4),
    "hy_v4_vl_text": Verified(hy_v4),
    "inkling_text": inkling_text,
    "inkling2_text": inkling2_text,
    "inkling2_loop_text": inkling2_text,
    "mistral_large4_text": Verified(mistral_large4),
    "minimax_m3_vl_text": Verified(minimax_m3),
    "step3p5": Verified(step3p5),
    "muse_spark_text": Verified(muse_spark_text),
    "qwen4_exp_text": qwen4_exp,
    "mllama_text_model": Verified(mllama_text),
    "unlimited_ocr_text": Verified(unlimited_ocr_text),
    "jetmoe": Verified(jetmoe),
}
TEXT: dict[str, Builder] = {**PLAIN, **DENSE, **MOE, **HYBRID, **SHARED, **REMOTE, **ALONE}
