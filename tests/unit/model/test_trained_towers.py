"""Training with images and sound against torch's count: tower, projector and decoder, each frozen or trained."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import attrs
import pytest

from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.model import Model
from nsys_pipeline.model.training import training_flops
from nsys_pipeline.model.verify import multimodal_class
from nsys_pipeline.records import Step
from nsys_pipeline.workload.trained import trained_fields
from tests.support.versions import counted_with_the_newest
from tests.unit.model.configs import FULL, read_json
from tests.unit.model.test_training import with_adapters

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None,
    reason="needs torch and transformers (extra `verify`)",
)
_TOWERS = read_json("tower_configs.json")
#: A token of the prompt that stands for one of an image or a clip, and any other.
IMAGE, TEXT = 5, 8
_QWEN3 = _TOWERS["qwen3_vl"]["config"]
CONFIGS: dict[str, dict[str, Any]] = {
    # The last layer of the first one's tower is run, and nothing comes of it.
    "llava": {**_TOWERS["llava"]["config"], "image_token_index": IMAGE, "vision_feature_layer": -2},
    "llava+last": {**_TOWERS["llava"]["config"], "image_token_index": IMAGE},
    "qwen2_5_vl": {**_TOWERS["qwen2_5_vl"]["config"], "image_token_id": IMAGE, "vision_start_token_id": 6},
    "qwen3_vl": {**_QWEN3, "text_config": {**_QWEN3["text_config"], "num_hidden_layers": 4}, "image_token_id": IMAGE},
    "mllama": _TOWERS["mllama"]["config"],
    "blip": _TOWERS["blip"]["config"],
    "qwen2_audio": read_json("audio_configs.json")["qwen2_audio"]["config"],
    "whisper": read_json("other_configs.json")["whisper"]["config"],
}
TOWER = {
    "qwen2_5_vl": r"visual\.(?!merger)", "qwen3_vl": r"visual\.(?!\w*merger)", "mllama": "vision_model",
    "blip": "vision_model", "qwen2_audio": "audio_tower", "whisper": r"\.encoder\.",
}  # fmt: skip
PROJECTOR = {"qwen2_5_vl": "merger", "qwen3_vl": r"merger(?!.*norm)", "blip": "none", "whisper": "none"}
#: Layer 1 of the tower, which is in two lists of mllama's.
LAYER = {"qwen2_5_vl": r"visual\.blocks\.1\."}


def expressions(name: str) -> dict[str, str]:
    """What is trained, as an expression for the names of its weights."""
    tower, projector = TOWER.get(name, "vision_tower"), PROJECTOR.get(name, "projector")
    found = {
        "all": ".",
        "tower frozen": f"^(?!.*(?:{tower}))",
        "decoder": f"^(?!.*(?:{tower}|{projector}))",
        "projector": projector,
        "tower": tower,
        "tower and projector": f"{tower}|{projector}",
        "a layer of the tower": LAYER.get(name, rf"{tower}.*layers\.1\."),
        "queries": r"\.(q_proj|query|qkv)\.",
        "queries of the decoder": r"(?:language_model|text_decoder|\.decoder).*(?:q_proj|self\.query)\.",
        "norms": r"norm\w*\.weight|LayerNorm|layrnorm|ln_q",
        "ends of the MLPs": r"(?:fc2|down_proj)\.",
        "attention to images": r"cross_?attn|crossattention",
        "keys of images": r"cross_attn\.k_proj",
    }
    return {what: found[what] for what in found if what in _OF.get(name, found)}


_NO_PROJECTOR = ("all", "decoder", "tower", "a layer of the tower", "queries", "norms", "ends of the MLPs")
_CROSSING = ("attention to images", "keys of images")
_USUAL = (*_NO_PROJECTOR, "tower frozen", "projector", "tower and projector", "queries of the decoder")
_OF = {
    "mllama": (*_USUAL, *_CROSSING),
    "blip": (*_NO_PROJECTOR, "attention to images"),
    "whisper": (*_NO_PROJECTOR, "queries of the decoder"),
    "llava+last": ("all", "decoder", "projector", "tower"),
    # Mergers side by side, for several layers of the decoder.
    "qwen3_vl": ("all", "projector", "tower", "queries"),
} | dict.fromkeys(("llava", "qwen2_5_vl", "qwen2_audio"), _USUAL)
CASES = [(name, what) for name in CONFIGS for what in expressions(name)]


def built(name: str) -> Any:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**CONFIGS[name])
    options: dict[str, Any] = {"attn_implementation": "eager", "dtype": torch.float32}
    if name in ("blip", "whisper"):
        kind = "BlipForConditionalGeneration" if name == "blip" else "WhisperForConditionalGeneration"
        return getattr(transformers, kind)._from_config(config, **options).train()
    return multimodal_class(transformers, type(config)).from_config(config, **options).train()


def inputs(name: str) -> tuple[dict[str, Any], Step]:
    """What two sequences are given, each with an image or a clip, and the step that this is."""
    import torch

    ids = torch.full((2, 20), TEXT)
    step = Step.uniform(batch=2, q_tokens=20, logits=40)
    if name == "whisper":
        return {"input_features": torch.rand(2, 20, 60), "decoder_input_ids": ids}, step
    if name == "qwen2_audio":
        ids[:, 1:16] = IMAGE
        heard = {"input_features": torch.rand(2, 16, 60), "feature_attention_mask": torch.ones(2, 60).long()}
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **heard}, attrs.evolve(step, audio=(60, 60))
    grid, pixels = (3, 3), {"pixel_values": torch.rand(2, 3, 42, 42)}
    if name.startswith("llava"):
        ids[:, 1:10] = IMAGE
    elif name.startswith("qwen"):
        grid, ids[:, 1:7] = (4, 6), IMAGE
        patch = CONFIGS[name]["vision_config"].get("patch_size", 16)
        pixels = {"pixel_values": torch.rand(48, 3 * 2 * patch**2), "image_grid_thw": torch.tensor([[1, *grid]] * 2)}
        pixels["mm_token_type_ids"] = (ids == IMAGE).long()
    elif name == "mllama":
        grid = (6, 6)
        pixels = {
            "pixel_values": torch.rand(2, 1, 4, 3, 42, 42),
            "aspect_ratio_mask": torch.ones(2, 1, 4).long(),
            "aspect_ratio_ids": torch.full((2, 1), 6),
            "cross_attention_mask": torch.ones(2, 20, 1, 4),
        }
    return {"input_ids": ids, **pixels}, attrs.evolve(step, images=(grid,) * 2)


def counted(name: str, module: Any) -> tuple[tuple[int, int], Step]:
    """FLOPs of forward and backward by FlopCounterMode, and the step."""
    from torch.utils.flop_counter import FlopCounterMode

    given, step = inputs(name)
    with FlopCounterMode(display=False) as forward:
        output = module(**given)
    with FlopCounterMode(display=False) as backward:
        output.logits.sum().backward()
    return (forward.get_total_flops(), backward.get_total_flops()), step


def estimated(name: str, step: Step, **options: Any) -> tuple[int, int]:
    result = training_flops(Model.from_config(CONFIGS[name], name), step, FULL, **options)
    return result.forward, result.backward


@needs_torch
@counted_with_the_newest
@pytest.mark.parametrize(("name", "what"), CASES)
def test_gradients_go_through_what_is_trained(name: str, what: str) -> None:
    """By the user's expression, and by that of `--auto`, which looks at what weights are frozen."""
    module, expression = built(name), expressions(name)[what]
    for weight, parameter in module.named_parameters():
        parameter.requires_grad_(bool(re.search(expression, weight)))

    flops, step = counted(name, module)

    assert estimated(name, step, train_only=expression) == flops
    assert estimated(name, step, **trained_fields(module)) == flops


@needs_torch
@counted_with_the_newest
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("has_tower", [False, True])
def test_adapters_of_the_decoder_or_of_all(name: str, has_tower: bool) -> None:
    """PEFT puts adapters on modules of that name in the tower, too, unless the decoder is named."""
    module = built(name)
    decoder = {"blip": "text_decoder", "whisper": "model.decoder"}.get(name, "model.language_model")
    targets = ("q_proj", "v_proj", "query", "qkv", "fc1", "up_proj")
    adapted = with_adapters(4, targets, names=("lora_A", "lora_B"), below="layer")
    adapted(module if has_tower else module.get_submodule(decoder))
    for weight, parameter in module.named_parameters():
        parameter.requires_grad_("lora_" in weight)

    flops, step = counted(name, module)

    said = trained_fields(module)
    assert said["lora_rank"] == 4
    assert estimated(name, step, **said) == flops


LLAVA = Model.from_config(CONFIGS["llava+last"], "llava")
WITH_IMAGES = attrs.evolve(Step.uniform(batch=2, q_tokens=20), images=((3, 3),) * 2)


def parts(train_only: str) -> tuple[int, int]:
    """Backward, and the weights that are trained."""
    result = training_flops(LLAVA, WITH_IMAGES, train_only=train_only)
    return result.backward, result.trained_params


def test_a_frozen_tower_has_no_gradients() -> None:
    """The decoder of one layer by hand: three products of each weight but the first, causal attention, the head."""
    text = training_flops(LLAVA, attrs.evolve(WITH_IMAGES, images=()), train_only="language_model|lm_head")
    assert parts("language_model|lm_head") == (text.backward, text.trained_params)
    assert text.backward == 2 * text.forward


@pytest.mark.parametrize(
    "spelled",
    [
        "vision_tower", r"^model\.vision_tower", r"^vision_tower",
        r"vision_tower\.vision_model\.(encoder|embeddings|pre_layrnorm|post_layernorm)",
    ],
)  # fmt: skip
def test_versions_of_transformers_spell_towers_in_their_ways(spelled: str) -> None:
    assert parts(spelled) == parts("vision_tower")
    # Three layers of 48 values and an MLP of 56, patches of 14 x 14, ten positions, norms.
    matrices = 3 * (4 * 48**2 + 2 * 48 * 56) + 48 * 3 * 14**2
    assert parts(spelled)[1] == matrices + 2 * 48 * (1 + 2 * 3 + 1)


def test_weights_of_a_tower_that_no_image_runs_are_trained_without_flops() -> None:
    text = training_flops(LLAVA, attrs.evolve(WITH_IMAGES, images=()), train_only="vision_tower")
    assert (text.backward, text.trained_params) == (0, parts("vision_tower")[1])


def test_what_is_not_told_apart_is_refused() -> None:
    with pytest.raises(ModelError, match="means a part of weights that are counted as one"):
        parts(r"linear_1\.")
    with pytest.raises(UsageError, match="finds no weight"):
        parts("vision_towers")


def test_a_tower_whose_names_are_not_known_is_refused() -> None:
    config = _TOWERS["idefics2"]["config"]
    step = attrs.evolve(Step.uniform(batch=1, q_tokens=80), images=((3, 3),))
    model = Model.from_config(config, "idefics2")
    assert training_flops(model, step).backward
    with pytest.raises(ModelError, match="nor are the names of its weights"):
        training_flops(model, step, train_only="q_proj")
