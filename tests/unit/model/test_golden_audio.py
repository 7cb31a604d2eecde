"""Encoders of sound against torch's count, several odd lengths at once; `scripts/golden_audio.py` rewrites them."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.model import Estimator, Model, load_model
from nsys_pipeline.model.families import NO_READING
from nsys_pipeline.model.families.audio_text import AUDIO_TEXT
from nsys_pipeline.model.families.conformers import CONFORMERS
from nsys_pipeline.model.families.text_only import TEXT_ONLY
from nsys_pipeline.model.images import check_prompt
from nsys_pipeline.model.sound import read_audio
from nsys_pipeline.model.summary import Shape, summarize
from nsys_pipeline.records import Step
from tests.unit.model.configs import FULL, golden, read_json

ROOT = Path(__file__).resolve().parents[3]
SMALL = read_json("small_configs.json")
CONFIGS = read_json("audio_configs.json")
GOLDEN = golden("golden_audio.json")
MODELS = {name: Model.from_config(entry["config"], name) for name, entry in CONFIGS.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_flops_tokens_and_parameters_equal_torchs(name: str) -> None:
    model, golden = MODELS[name], GOLDEN[name]
    encoder = model.architecture.audio
    assert encoder is not None
    estimator = Estimator(model, FULL)
    for clips, flops, tokens in zip(CONFIGS[name]["clips"], golden["flops"], golden["tokens"], strict=True):
        ops = estimator.estimate(Step((), (), 0, audio=clips)).ops
        assert all(op.layer.startswith("audio.") for op in ops if op.flops_executed)
        assert sum(op.layers * op.flops_executed for op in ops) == flops, clips
        assert sum(map(encoder.tokens, clips)) == tokens, clips
        assert sum(op.flops_model for op in ops) <= sum(op.flops_executed for op in ops)
    assert model.params == golden["params"]


def test_every_family_that_hears_is_compared() -> None:
    assert {*AUDIO_TEXT, *CONFORMERS} <= {entry["config"]["model_type"] for entry in CONFIGS.values()}


def test_every_type_that_transformers_maps_as_one_of_sound_is_counted_or_has_a_reason() -> None:
    auto = pytest.importorskip("transformers.models.auto.modeling_auto")
    mapped: set[str] = set()
    for name in ("SPEECH_SEQ_2_SEQ", "CTC", "TDT", "RNNT", "MULTIMODAL_LM"):
        mapped |= set(getattr(auto, f"MODEL_FOR_{name}_MAPPING_NAMES", ()))
    mapped -= set(auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    counted = {"whisper", "qwen2_5_omni", "qwen3_omni_moe"} | {
        str(entry["config"]["model_type"]) for entry in CONFIGS.values()
    }
    assert mapped <= counted | set(NO_READING) | set(TEXT_ONLY)
    page = (ROOT / "docs" / "vision.md").read_text(encoding="utf-8").partition("## Sound")[2]
    assert [kind for kind in sorted(mapped) if f"`{kind}`" not in page] == []


def test_a_reason_is_told() -> None:
    with pytest.raises(ModelError, match="`omniasr` is not known: its encoder convolves the wave"):
        Model.from_config({"model_type": "omniasr"})
    vibe = Model.from_config(SMALL["vibevoice"])
    assert "audio encoder" in vibe.not_counted
    with pytest.raises(UsageError, match="no audio encoder that is counted: its tokenizers of sound convolve the wave"):
        read_audio(vibe, "1")


def test_pieces_of_the_wave_are_filled_up() -> None:
    # 400 pieces of 40 values a second, and of 640 in the published config 25.
    assert read_audio(MODELS["gemma4_unified"], "0.5,0.501,12.36") == (200, 201, 4944)
    config = {**CONFIGS["gemma4_unified"]["config"], "audio_config": {}}
    assert read_audio(Model.from_config(config), "0.04,0.041,12.36") == (1, 2, 309)


def test_clips_are_part_of_the_prompt_and_of_the_prefill_alone() -> None:
    model = MODELS["qwen2_audio"]
    shape = Shape(prompt_tokens=(20,), cached_tokens=(0,), context=(20,))
    bare, heard = summarize(model, shape), summarize(model, attrs.evolve(shape, audio=(60,)))
    alone = Estimator(model).estimate(Step((), (), 0, audio=(60,)))
    assert heard.prefill.flops - bare.prefill.flops == alone.flops > 0
    assert heard.decode is not None
    assert bare.decode is not None
    assert heard.decode.flops == bare.decode.flops
    with pytest.raises(
        UsageError, match=r"1 clip\(s\) of sound of `qwen2_audio` are 15 tokens, but the prompts have 14"
    ):
        check_prompt(model, (), 14, audio=(60,))
    check_prompt(model, (), 15, audio=(60,))


def test_seconds_are_frames_of_ten_milliseconds() -> None:
    assert read_audio(MODELS["voxtral"], "0.5,2,0.001") == (50, 200, 1)
    assert read_audio(MODELS["voxtral"], None) == ()
    # Pairs of frames are one.
    assert read_audio(MODELS["granite_speech"], "2") == (100,)


@pytest.mark.parametrize(
    ("model", "typed", "message"),
    [
        (MODELS["voxtral"], "long", "is not a number"),
        (MODELS["voxtral"], "0", "holds a length that is none"),
        (MODELS["voxtral"], "3,-1", "holds a length that is none"),
        (MODELS["voxtral"], "inf", "holds a length that is none"),
        (MODELS["voxtral"], "1e300", "holds a length that is none"),
        (MODELS["voxtral"], "nan", "holds a length that is none"),
        (MODELS["qwen2_audio"], "0.61", "hears 0.6 seconds of a clip at most"),
        (load_model("llama-3.2-1b"), "1", "has no audio encoder that is counted"),
        (load_model("whisper-large-v3"), "1", "has no audio encoder that is counted"),
    ],
)
def test_what_makes_no_sense_is_said(model: Model, typed: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_audio(model, typed)


def test_a_trace_of_a_model_that_hears_says_that_its_sound_is_not_counted() -> None:
    assert MODELS["qwen2_audio"].left_out() == ("audio encoder",)
    assert MODELS["qwen2_audio"].not_counted == ()
