"""Images as they are typed, what processors make of pictures, and what towers cost for several sizes at once."""

from __future__ import annotations

import attrs
import pytest

from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.model import Estimator, Model, load_model
from nsys_pipeline.model.images import check_prompt, read_images, tokens_in_prompt, views
from nsys_pipeline.records import Step
from tests.unit.model.configs import read_json

TEXT = {
    "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
VISION = {
    "depth": 2, "hidden_size": 32, "num_heads": 4, "intermediate_size": 64, "out_hidden_size": 32,
    "fullatt_block_indexes": [1], "window_size": 112,
}  # fmt: skip
QWEN = Model.from_config({"model_type": "qwen2_5_vl", "text_config": TEXT, "vision_config": VISION}, "qwen")
QWEN3 = Model.from_config(
    {"model_type": "qwen3_vl", "text_config": {**TEXT, "head_dim": 8}, "vision_config": {**VISION, "patch_size": 16}}
)
LLAVA, LLAMA = load_model("llava-1.5-7b"), load_model("llama-3.2-1b")
EXPERTS = {"num_experts_per_tok": 2, "n_routed_experts": 4, "moe_intermediate_size": 16, "n_shared_experts": 1}
OCR2 = Model.from_config({"model_type": "deepseek_ocr2", "text_config": TEXT | EXPERTS, "vision_config": {}})
TIMM = Model.from_config(
    {
        "model_type": "fast_vlm",
        "text_config": {**TEXT, "model_type": "qwen2"},
        "vision_config": {"architecture": "fastvit_sa12"},
    }
)
EMU3, STEP, MINICPM = (
    Model.from_config(read_json("small_configs.json")[name], name) for name in ("emu3", "step3p7", "minicpmv4_6")
)
INTERNVL = Model.from_config({"model_type": "internvl", "text_config": TEXT, "vision_config": {}})

LOCAL, GLOBAL = (48, 48), (64, 64)
# What the image processors of transformers 5.24 make of pictures of these sizes, with the published limits.
PROCESSED = [
    ((56, 56), (4, 4), (16, 16), 0, 1),
    ((30, 300), (2, 22), (6, 52), 0, 11),
    ((97, 41), (8, 4), (26, 12), 0, 11),
    ((480, 640), (34, 46), (30, 40), 0, 13),
    ((641, 479), (46, 34), (40, 30), 0, 13),
    ((1, 150), (2, 50), (2, 196), 0, 13),
    ((1023, 769), (74, 54), (64, 48), 6, 13),
    ((2000, 1500), (142, 108), (124, 94), 6, 13),
    ((768, 768), (54, 54), (48, 48), 0, 5),
    ((769, 600), (54, 42), (48, 38), 6, 13),
]


@pytest.mark.parametrize(("size", "qwen2", "qwen3", "tiles", "internvl"), PROCESSED)
def test_views_are_those_of_the_processors(
    size: tuple[int, int], qwen2: tuple[int, int], qwen3: tuple[int, int], tiles: int, internvl: int
) -> None:
    assert views(QWEN, *size) == (qwen2,)
    assert views(QWEN3, *size) == (qwen3,)
    assert views(OCR2, *size) == ((LOCAL,) * tiles + (GLOBAL,))
    assert views(INTERNVL, *size) == ((32, 32),) * internvl
    assert views(LLAVA, *size) == ((24, 24),)


# The same of further model types: Kimi K2.5, MiniMax-M3, PaddleOCR-VL.
ANY_SIZE = [
    ((56, 56), (4, 4), (4, 4), (28, 28)),
    ((97, 41), (8, 4), (8, 4), (44, 18)),
    ((480, 640), (36, 46), (34, 46), (34, 46)),
    ((1023, 769), (74, 56), (54, 40), (74, 54)),
    ((2000, 1500), (144, 108), (54, 40), (126, 94)),
    ((30, 2000), (4, 144), (2, 142), (4, 224)),
    ((9000, 800), (432, 40), (160, 14), (366, 32)),
]


@pytest.mark.parametrize(("size", "kimi", "minimax", "paddle"), ANY_SIZE)
def test_patches_of_further_processors(
    size: tuple[int, int], kimi: tuple[int, int], minimax: tuple[int, int], paddle: tuple[int, int]
) -> None:
    """From transformers' functions that resize; four thousand random sizes gave the same when these were written."""
    found = {
        name: views(attrs.evolve(QWEN, config={"model_type": name, "vision_config": {"patch_size": 14}}), *size)
        for name in ("kimi_k25", "minimax_m3_vl", "paddleocr_vl")
    }
    assert found == {"kimi_k25": (kimi,), "minimax_m3_vl": (minimax,), "paddleocr_vl": (paddle,)}


# Tiles of LLaVA-NeXT and the whole, of 336 pixels; Emu3's and ERNIE's sides in units of 8 and 28 pixels.
CANVASES = [
    ((570, 2351), 4, (63, 259), (20, 84)),
    ((336, 336), 3, (64, 64), (12, 12)),
    ((10, 1900), 4, (5, 883), (1, 28)),
    ((672, 672), 5, (84, 84), (24, 24)),
    ((100, 90), 3, (68, 61), (4, 3)),
]


@pytest.mark.parametrize(("size", "tiles", "emu3", "ernie"), CANVASES)
def test_views_of_llava_next_emu3_and_ernie(
    size: tuple[int, int], tiles: int, emu3: tuple[int, int], ernie: tuple[int, int]
) -> None:
    """As transformers' processors make them; three hundred random sizes gave the same when these were written."""
    assert views(attrs.evolve(LLAVA, config={**LLAVA.config, "model_type": "llava_next"}), *size) == ((24, 24),) * tiles
    found = [views(attrs.evolve(QWEN, config={"model_type": name}), *size) for name in ("emu3", "ernie4_5_vl_moe")]
    assert found == [(emu3,), ((2 * ernie[0], 2 * ernie[1]),)]


# Gemma 4: what get_aspect_ratio_preserving_size makes of them, in patches of 16 and of 48 pixels.
@pytest.mark.parametrize(
    ("size", "patches"),
    [
        ((56, 56), (48, 48)),
        ((480, 640), (42, 57)),
        ((1023, 769), (57, 42)),
        ((30, 2000), (6, 408)),
        ((1, 900), (3, 840)),
    ],
)
def test_patches_of_gemma_4(size: tuple[int, int], patches: tuple[int, int]) -> None:
    towers = [attrs.evolve(QWEN, config={"model_type": name}) for name in ("gemma4", "gemma4_unified")]
    assert [views(tower, *size) for tower in towers] == [(patches,), ((patches[0] // 3, patches[1] // 3),)]


# Crops and tokens that transformers' processor of Phi-4-multimodal makes of them.
@pytest.mark.parametrize(
    ("size", "patches", "tokens"),
    [
        ((100, 90), (32, 29), 273 + 16 * 16),
        ((480, 640), (48, 64), 273 + 24 * 33),
        ((2000, 1500), (160, 120), 273 + 80 * 61),
        ((300, 2900), (24, 224), 273 + 12 * 113),
        ((4000, 3000), (128, 96), 273 + 64 * 49),
    ],
)
def test_patches_of_phi_4(size: tuple[int, int], patches: tuple[int, int], tokens: int) -> None:
    """A hundred and fifty random sizes gave the processor's crops and tokens when this was written."""
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    phi = Model.from_config({"model_type": "phi4_multimodal", **TEXT, "vision_config": vision})
    assert views(phi, *size) == (patches,)
    assert tokens_in_prompt(phi, (patches,)) == tokens


# How many views transformers' processors make: Idefics3, SmolVLM, Llama 4, Command A, LLaVA-OneVision; tiles in pixels.
CUTTING = {"idefics3": 364, "smolvlm": 512, "llama4": 336, "cohere2_vision": 512, "llava_onevision": 384}


@pytest.mark.parametrize(
    ("size", "made"),
    [
        ((384, 384), (17, 17, 5, 1, 2)),
        ((40, 1900), (5, 5, 7, 5, 6)),
        ((700, 512), (13, 13, 7, 3, 5)),
        ((1200, 800), (13, 13, 13, 7, 13)),
        ((2500, 90), (5, 5, 9, 6, 7)),
        ((364, 700), (13, 13, 7, 3, 3)),
    ],
)
def test_how_many_views_other_processors_cut(size: tuple[int, int], made: tuple[int, ...]) -> None:
    """Dozens of random sizes gave the same when these were written."""
    for (name, edge), count in zip(CUTTING.items(), made, strict=True):
        for told in (edge, [edge, edge]):
            model = attrs.evolve(LLAVA, config={"model_type": name, "vision_config": {"image_size": told}})
            assert views(model, *size) == ((24, 24),) * count, name


def test_several_images_in_a_prompt_are_not_cut_by_llava_onevision() -> None:
    config = {"model_type": "llava_onevision", "vision_config": {"image_size": 384}}
    model = attrs.evolve(LLAVA, config=config)
    assert len(read_images(model, count=None, sizes=("1200x800",))) == 13
    assert len(read_images(model, count=None, sizes=("1200x800", "40x1900"))) == 2
    # Others cut each of them.
    other = attrs.evolve(LLAVA, config={**config, "model_type": "llava_next"})
    each = [len(read_images(other, count=None, sizes=(size,))) for size in ("1200x800", "40x1900")]
    assert len(read_images(other, count=None, sizes=("1200x800", "40x1900"))) == sum(each)


def test_several_images_of_their_own_sizes() -> None:
    assert read_images(QWEN, count=None, patches=("56x56", "4x6")) == ((56, 56), (4, 6))
    assert read_images(QWEN, count=2, patches=("56x56",)) == ((56, 56), (56, 56))
    assert read_images(QWEN, count=None, sizes=("480x640", "56x56")) == ((34, 46), (4, 4))
    assert read_images(OCR2, count=2, sizes=("800x600",)) == (*(LOCAL,) * 6, GLOBAL, *(LOCAL,) * 6, GLOBAL)
    # A plain number is the tower's tokens, the class token of CLIP among them; without one, the tower's own number.
    assert read_images(LLAVA, count=1, patches=("577",)) == read_images(LLAVA, count=1) == ((24, 24),)
    assert read_images(QWEN, count=1, patches=("36",)) == ((6, 6),)
    # Emu3's tower costs the same for each shape of as many patches.
    assert read_images(EMU3, count=1, patches=("50",)) == ((50, 1),)
    assert read_images(None, count=None) == read_images(LLAMA, count=0) == ()


@pytest.mark.parametrize(
    ("model", "typed", "message"),
    [
        (QWEN, {"count": 1}, "takes images of any size"),
        (QWEN, {"count": 3, "patches": ("4x4", "8x8")}, "2 sizes for 3 images"),
        (QWEN, {"count": None, "patches": ("4x4",), "sizes": ("56x56",)}, "say the same thing"),
        (QWEN, {"count": 0, "patches": ("4x4",)}, "--images 0 has no sizes"),
        (QWEN, {"count": None, "patches": ("4x0",)}, "is no size"),
        (QWEN, {"count": None, "patches": ("0",)}, "is no number of tokens"),
        (QWEN, {"count": None, "patches": ("4*4",)}, "is no size"),
        (QWEN, {"count": None, "patches": ("999999999x999999999",)}, "past what llmperf estimates"),
        (QWEN, {"count": None, "sizes": ("1x300",)}, "longer than"),
        (QWEN, {"count": 10**9, "patches": ("4x4",)}, "past what llmperf estimates"),
        (
            QWEN,
            {"count": 1, "patches": ("55x57",)},
            "`qwen` merges 2x2 patches, and 55x57 are no multiples of it",
        ),
        (QWEN, {"count": 1, "patches": ("55x56",)}, "55x56 are no multiples"),
        (QWEN, {"count": 1, "patches": ("49",)}, "7x7 are no multiples"),
        (QWEN, {"count": 1, "patches": ("1",)}, "1x1 are no multiples"),
        (
            QWEN,
            {"count": 1, "patches": ("13",)},
            "13 is not a square number, and sides matter to the tower of `qwen`",
        ),
        (QWEN, {"count": 1, "patches": ("48",)}, "48 is not a square number"),
        (STEP, {"count": 1, "patches": ("50",)}, "50 is not a square number"),
        (MINICPM, {"count": 1, "patches": ("6x8",)}, "merges 4x4 patches, and 6x8 are no multiples"),
        (LLAVA, {"count": 1, "patches": ("1",)}, "is no number of tokens"),
        (LLAMA, {"count": 1}, "has no vision tower"),
        (TIMM, {"count": 1}, "text decoder only: its config names the tower `fastvit_sa12` of the package timm"),
        (None, {"count": 1}, "depends on the model"),
    ],
)
def test_what_makes_no_sense_is_said(model: Model | None, typed: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("*", r"\*")):
        read_images(model, **typed)  # type: ignore[arg-type]


def test_crops_by_rules_that_are_not_known_are_refused() -> None:
    cut = attrs.evolve(LLAVA, config={**LLAVA.config, "model_type": "ovis2"})
    with pytest.raises(UsageError, match="is not known here"):
        views(cut, 480, 640)


@pytest.mark.parametrize("told", [5, "(1x1)", [[336]], [336], [["a", 2]], [[336, None]], {"a": 1}, [[0, 336]]])
def test_canvases_that_cannot_be_are_refused(told: object) -> None:
    config = {**LLAVA.config, "model_type": "llava_next", "image_grid_pinpoints": told}
    with pytest.raises(ModelError, match="must list pairs of pixels"):
        views(attrs.evolve(LLAVA, config=config), 480, 640)


@pytest.mark.parametrize("told", ["", {}, [], ["a"], float("nan"), 0, True, [1, 2, 3], [14, 16]])
def test_sizes_of_patches_that_cannot_be_are_refused(told: object) -> None:
    broken = attrs.evolve(QWEN, config={**QWEN.config, "vision_config": {"patch_size": told}})
    with pytest.raises(ModelError, match="not a whole number above zero"):
        views(broken, 480, 640)


def test_tokens_of_images_in_the_prompt() -> None:
    assert tokens_in_prompt(QWEN, [(56, 56), (4, 6)]) == 784 + 6
    assert tokens_in_prompt(LLAVA, [(24, 24)]) == 576
    assert tokens_in_prompt(OCR2, [LOCAL, LOCAL, GLOBAL]) == 2 * 144 + 256
    assert tokens_in_prompt(INTERNVL, [(32, 32)]) == 256
    check_prompt(QWEN, [(4, 4)], 4)
    with pytest.raises(UsageError, match=r"1 image\(s\) of `qwen` are 4 tokens, but the prompts have 3"):
        check_prompt(QWEN, [(4, 4)], 3)


def test_sides_that_a_merge_does_not_divide_are_sent_to_the_picture() -> None:
    with pytest.raises(UsageError) as refused:
        read_images(QWEN, count=1, patches=("55x57",))
    assert refused.value.hint is not None
    assert "--image-size HxW" in refused.value.hint
    assert read_images(MINICPM, count=1, patches=("8x12",)) == ((8, 12),)


def test_what_processors_make_of_pictures_can_be_typed_as_patches() -> None:
    """Views of transformers' own image processors are whole squares of what each tower merges."""
    configs = read_json("tower_configs.json")
    tried = set()
    for golden in read_json("golden_processors.json")["models"]:
        name = golden["model"]
        if name not in configs:
            continue
        model = Model.from_config(configs[name]["config"], name)
        for request in (one for one in golden["requests"] if "views" in one):
            grids = tuple(map(tuple, request["views"]))
            if model.architecture.vision_tokens is None:
                tried.add(name)
                assert all(map(model.architecture.is_whole, grids)), name
                assert read_images(model, count=None, patches=[f"{h}x{w}" for h, w in grids]) == grids
    assert len(tried) > 15


def test_what_torch_ran_can_be_typed_as_patches() -> None:
    merging = 0
    for name, entry in read_json("tower_configs.json").items():
        architecture = Model.from_config(entry["config"], name).architecture
        merging += architecture.merged_side > 1
        assert all(architecture.is_whole(grid) for grids in entry["grids"] for grid in grids), name
    assert merging > 40


def test_images_of_a_step_cost_what_each_costs_alone() -> None:
    estimator = Estimator(QWEN)
    text = Step.uniform(batch=1, q_tokens=40)
    bare = estimator.estimate(text)

    def extra(*grids: tuple[int, int]) -> int:
        return estimator.estimate(attrs.evolve(text, images=grids)).flops - bare.flops

    assert extra((4, 4), (6, 10)) == extra((4, 4)) + extra((6, 10)) > 0
    # A pass of the tower alone: no sequence, no decoder.
    alone = estimator.estimate(Step((), (), 0, images=((4, 4),)))
    assert alone.flops == extra((4, 4))
    assert all(op.layer.startswith("vision") for op in alone.ops if op.flops_model or op.weight_bytes)
    # Sums of many steps agree with their ops, for images of as many patches but other sides, too.
    steps = [attrs.evolve(text, images=grids) for grids in (((4, 4), (6, 10)), ((2, 8), (6, 10)), ((38, 2),))]
    assert [one.flops for one in estimator.totals(steps)] == [estimator.estimate(step).flops for step in steps]


GLM = Model.from_config(
    {"model_type": "glm4v", "text_config": {**TEXT, "head_dim": 8}, "vision_config": {**VISION, "patch_size": 14}}
)
PIXTRAL = {"model_type": "pixtral", "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1,
           "intermediate_size": 64, "image_size": 1540, "patch_size": 14}  # fmt: skip
MISTRAL = Model.from_config(
    {"model_type": "mistral3", "text_config": {**TEXT, "model_type": "mistral"}, "vision_config": PIXTRAL}
)


@pytest.mark.parametrize(
    ("size", "glm", "mistral"),
    [
        ((56, 56), (6, 6), (4, 4)),
        ((30, 300), (2, 22), (4, 22)),
        ((97, 41), (10, 4), (8, 4)),
        ((641, 479), (46, 34), (46, 36)),
        ((1, 150), (2, 300), (2, 12)),
        ((2000, 1500), (142, 108), (110, 84)),
        ((4000, 3001), (198, 150), (110, 84)),
    ],
)
def test_views_of_glm_and_mistral(size: tuple[int, int], glm: tuple[int, int], mistral: tuple[int, int]) -> None:
    assert views(GLM, *size) == (glm,)
    assert views(MISTRAL, *size) == (mistral,)
