"""Towers with projectors against torch's count, several odd sizes at once; `scripts/golden_towers.py` rewrites them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nsys_pipeline.model import Estimator, Model
from nsys_pipeline.model.families import VERIFIED
from nsys_pipeline.model.families.captions import CAPTIONS
from nsys_pipeline.model.families.dots3_note import DOTS3
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
from nsys_pipeline.model.families.t5gemma2 import T5GEMMA2
from nsys_pipeline.model.families.tokenizers import TOKENIZERS
from nsys_pipeline.model.families.vits import VITS
from nsys_pipeline.model.images import tokens_in_prompt
from nsys_pipeline.model.vision_parts import is_vision
from nsys_pipeline.records import Step
from tests.unit.model.configs import FULL, golden, read_json

HERE = Path(__file__).parent
CONFIGS = read_json("tower_configs.json")
GOLDEN = golden("golden_towers.json")


@pytest.mark.parametrize("name", CONFIGS)
def test_flops_of_towers_equal_torchs_count(name: str) -> None:
    entry, golden = CONFIGS[name], GOLDEN[name]
    model = Model.from_config(entry["config"], name)
    estimator = Estimator(model, FULL)
    for grids, counted in zip(entry["grids"], golden["flops"], strict=True):
        ops = estimator.estimate(Step((), (), 0, images=grids)).ops
        assert all(is_vision(op) for op in ops if op.flops_executed)
        assert sum(op.layers * op.flops_executed for op in ops) == counted, grids
    assert model.params == golden["params"]


#: Some of their tokens separate rows or views, are cut off with padding, or come from rows of an odd number of patches.
ABOUT = (
    "deepseek_ocr2", "granite4_vision", "hunyuan_vl", "llava_next", "llava_next_video", "llava_onevision", "pix2struct",
    "unlimited_ocr",
)  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_images_are_as_many_tokens_of_the_prompt_as_torch_makes(name: str) -> None:
    model, told = Model.from_config(CONFIGS[name]["config"], name), CONFIGS[name]["grids"]
    tokens = [tokens_in_prompt(model, [tuple(grid) for grid in grids]) for grids in told]
    made = GOLDEN[name]["tokens"]
    if model.architecture.cross_attends_to_images:
        assert tokens == [0 if model.architecture.needs_image else len(grids) for grids in told]
        lengths = [model.architecture.vision_lengths(grids) for grids in told]
        tokens = [sum(map(model.architecture.projected, each)) for each in lengths]
    assert tokens == made or (name in ABOUT and all(a < b for a, b in zip(tokens, made, strict=True)))


def test_images_of_as_many_patches_but_other_sides_cost_their_own() -> None:
    model = Model.from_config(CONFIGS["phi4_multimodal"]["config"])
    steps = [Step((), (), 0, images=(sides,)) for sides in ((6, 4), (3, 8), (8, 3), (6, 4))]
    alone = [Estimator(model, FULL).estimate(step).flops for step in steps]
    assert len(set(alone)) == 3
    assert [totals.flops for totals in Estimator(model, FULL).totals(steps)] == alone


def test_the_table_of_towers_says_which_are_counted() -> None:
    lines = (HERE.parents[2] / "docs" / "vision.md").read_text(encoding="utf-8").splitlines()
    equal, unchecked = (
        set(re.findall("`([^`]+)`", next(line for line in lines if word in line).split(" | ")[0]))
        for word in ("(`golden_towers.json`) |", "no code in transformers to compare with")
    )
    assert equal == {entry["config"]["model_type"] for entry in CONFIGS.values()}
    seeing = (MULTIMODAL, IMAGE_TEXT, RESAMPLERS, MERGING, IMAGE_CROSS_ATTENTION, TOKENIZERS, CAPTIONS)
    families = (
        *seeing,
        DOTS3,
        FASTVIT,
        PHI4_MULTIMODAL,
        PAGE_TILES,
        VITS,
        IDEFICS,
        FLATTENED_PATCHES,
        T5GEMMA2,
        PP_FORMULANET,
    )
    assert equal | unchecked == {name for family in families for name in family}
    # Of these the text decoder has no golden total.
    unverified = {
        "gemma3n",
        "gemma4",
        "gemma4_unified",
        "glm5_next",
        "inkling2",
        "inkling2_loop",
        "instructblip",
        "instructblipvideo",
        "kosmos-2",
        "lfm3_vl",
        "minicpm_ocr",
        "minicpmv4_6",
        "minicpmv4_7",
        "nemotron_h_omni",
        "perception_lm",
        "phi4_multimodal",
        "qwen4_exp",
    }
    assert equal - VERIFIED == unverified
    assert not unchecked & VERIFIED


def test_the_towers_of_deepseek_ocr_equal_torchs_count_of_unlimited_ocr() -> None:
    """Which has the same SAM, CLIP and projector in transformers 5.24: a whole view, then two tiles of 640 and it."""
    text = {
        "model_type": "deepseek_v2", "vocab_size": 64, "hidden_size": 40, "intermediate_size": 48,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4, "moe_intermediate_size": 16,
        "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "kv_lora_rank": None,
        "q_lora_rank": None, "qk_rope_head_dim": 0, "qk_nope_head_dim": 0, "v_head_dim": 0, "use_mla": False,
    }  # fmt: skip
    sam = {"width": 24, "layers": 3, "heads": 2, "global_attn_indexes": [1], "downsample_channels": [20, 32]}
    clip = {"width": 32, "layers": 2, "heads": 4, "image_size": 224, "patch_size": 14}
    vision = {"image_size": 1024, "width": {"sam_vit_b": sam, "clip-l-14-224": clip}}
    config = {"model_type": "deepseek_vl_v2", "language_config": text, "vision_config": vision}
    model = Model.from_config({**config, "projector_config": {"input_dim": 64, "n_embed": 40}})
    views = [((64, 64),), ((40, 40), (40, 40), (64, 64))]
    steps = [Step((), (), 0, images=grids) for grids in views]
    assert [Estimator(model, FULL).estimate(step).flops for step in steps] == [7_171_962_624, 11_978_120_448]


def test_a_config_that_denies_its_tower_is_the_text_decoder() -> None:
    config = CONFIGS["kimi_k25"]["config"]
    model = Model.from_config({**config, "vision_config": None})
    assert model.params == Model.from_config(config["text_config"]).params
    assert model.architecture.vision is None


def test_the_published_config_of_kimi_names_its_sizes_otherwise() -> None:
    config = CONFIGS["kimi_k25"]["config"]
    vision = config["vision_config"]
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    published = {f"vt_{name}": vision[name] for name in names}
    published |= {"patch_size": 14, "init_pos_emb_height": 6, "init_pos_emb_width": 6, "merge_kernel_size": [2, 2]}
    assert (
        Model.from_config({**config, "vision_config": published}).architecture == Model.from_config(config).architecture
    )
