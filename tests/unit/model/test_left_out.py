"""Parts of a model that no estimate has are named, by their sub-configs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Model, load_model
from nsys_pipeline.model.families.text_only import TEXT_ONLY
from nsys_pipeline.model.fields import class_defaults
from nsys_pipeline.model.left_out import parts_around_text
from tests.cli.run import run
from tests.unit.model.configs import llama, read_json

SMALL = read_json("small_configs.json")
INTERNVL = {"model_type": "internvl_chat", "vision_config": {}, "llm_config": {**llama(), "model_type": "internlm2"}}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mllama", ()),
        ("granite_docling", ("the projector's fine route",)),
        ("nemotron_h_omni", ()),
        ("emu3", ("image decoder",)),
        ("qwen2_audio", ()),
        ("qwen3_asr", ()),
    ],
)
def test_what_lies_around_a_text_decoder_is_named(name: str, parts: tuple[str, ...]) -> None:
    assert Model.from_config(SMALL[name]).not_counted == parts


@pytest.mark.parametrize("model_type", sorted(TEXT_ONLY))
def test_every_type_of_which_the_text_is_read_says_what_is_not(model_type: str) -> None:
    usual = class_defaults(model_type).get("fields", {})
    parts = parts_around_text({"model_type": model_type})
    assert parts
    assert ("vision tower" in parts) == ("vision_config" in usual)
    assert ("audio encoder" in parts) == bool({"audio_config", "encoder_config"} & set(usual))


def test_what_lies_around_a_text_decoder_is_named_if_its_tower_has_no_reading() -> None:
    assert Model.from_config(INTERNVL).not_counted == ("vision tower",)


def test_a_part_that_a_config_denies_is_not_there() -> None:
    config = {"model_type": "gemma4", "text_config": {}, "vision_config": {"depth": 2}, "audio_config": None}
    assert parts_around_text(config) == ("vision tower",)


def test_a_type_that_cannot_have_a_reading_says_why() -> None:
    with pytest.raises(ModelError, match="model type `pi0` is not known: it denoises actions of a robot"):
        Model.from_config({"model_type": "pi0"})


def test_a_thinker_is_looked_into() -> None:
    config = {"model_type": "qwen3_omni_moe", "thinker_config": {"model_type": "qwen3_omni_moe_thinker"}}
    assert parts_around_text(config) == ("talker", "speech decoder", "vision tower", "audio encoder")


def test_a_tower_that_has_a_reading_is_left_out_only_without_images() -> None:
    llava, llama = load_model("llava-1.5-7b"), load_model("llama-3-8b")
    assert (llava.not_counted, llava.left_out(), llava.left_out(images=1)) == ((), ("vision tower",), ())
    assert llama.left_out() == ()


def test_flops_says_whose_parameters_it_prints(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "internvl.json"
    path.write_text(json.dumps({**INTERNVL, "dtype": "bfloat16"}), encoding="utf-8")
    _, text, _ = run(capsys, "flops", path, "--prompt-tokens", "8")
    _, out, _ = run(capsys, "flops", path, "--prompt-tokens", "8", "--format", "json")
    convention = json.loads(out)["convention"]
    assert "parameters of the text decoder" in text
    assert "not counted, neither FLOPs nor bytes nor parameters: vision tower" in text
    assert (convention["params_of"], convention["not_counted"]) == ("text decoder", ["vision tower"])
    _, text, _ = run(capsys, "flops", "llama-3-8b", "--prompt-tokens", "8")
    assert "not counted" not in text
    assert "of the text decoder" not in text


def test_what_a_token_of_an_instruction_costs_in_a_query_transformer_is_told() -> None:
    """InstructBLIP's published sizes, by hand: 12 layers of 768 with MLPs of 3,072, and 32 queries."""
    config = {**read_json("tower_configs.json")["instructblip"]["config"], "qformer_config": {}, "num_query_tokens": 32}
    each = 12 * (8 * 768**2 + 4 * 768 * 3072 + 8 * 768 * 32)
    assert round(each / 1e6) == 172
    told = "instruction in the query transformer (172 MFLOP a token and image)"
    assert Model.from_config(config).not_counted == (told,)


def test_what_a_token_of_an_instruction_costs_is_torchs_count() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from torch.utils.flop_counter import FlopCounterMode

    config = read_json("tower_configs.json")["instructblip"]["config"]
    built = transformers.InstructBlipForConditionalGeneration._from_config(
        transformers.AutoConfig.for_model(**config), attn_implementation="eager"
    ).requires_grad_(False)
    side = built.config.vision_config.image_size

    def flops(tokens: int) -> int:
        with FlopCounterMode(display=False) as counter:
            built.get_image_features(
                torch.zeros(1, 3, side, side), qformer_input_ids=torch.ones(1, tokens, dtype=torch.long)
            )
        return int(counter.get_total_flops())

    one, three, five = (flops(tokens) for tokens in (1, 3, 5))
    # Beside what each costs, pairs of them: the third and the fifth meet as many more.
    pairs = (five - three) - (three - one)
    each = (three - one) / 2 - pairs / 8 * 4
    (told,) = Model.from_config(config).not_counted
    assert told == f"instruction in the query transformer ({each / 1e6:.3g} MFLOP a token and image)"
