"""Sound under `--auto`: lengths of clips as the host knows them, and the FLOPs that follow, against torch's count."""

from __future__ import annotations

from typing import Any

import pytest

from nsys_pipeline.model import Estimator, Model
from nsys_pipeline.records import Step
from nsys_pipeline.workload import seen
from nsys_pipeline.workload.moved import remembering
from tests.support.tiny_models import known
from tests.support.tiny_sound import config_of, placeholder, prompts, sound
from tests.support.versions import counted_with_the_newest
from tests.unit.model.configs import FULL, read_json
from tests.unit.workload.conftest import Recorder

CONFIGS = {name: entry["config"] for name, entry in read_json("audio_configs.json").items()}
#: Gemma 3n's tower for images takes seconds to build, whatever its config says.
RUN = [name for name in CONFIGS if name != "gemma3n"]
CLIPS = (50, 31)
#: What the encoder gets where it is told nothing of padding: whole windows, or as many frames as the longest clip has.
ROWS = {"voxtral": [60, 60], "granite_speech": [50, 50], "granite_speech_plus": [50, 50]}
#: Encoders that run what a batch is padded with; the others' estimates say what they pad.
PADDED = ("gemma4", "gemma4_unified", "muse_spark", "nemotron_h_omni", "nemotron_h_omni_biased", "phi4_multimodal")


def built(name: str) -> Any:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    if not known(CONFIGS[name]["model_type"]) or not hasattr(transformers, "AutoModelForMultimodalLM"):
        pytest.skip(f"this transformers has no {name} of this kind")
    from nsys_pipeline.model.verify import multimodal_class

    config = config_of(CONFIGS[name])
    kind = multimodal_class(transformers, type(config))
    model = kind.from_config(config, attn_implementation="eager").eval().requires_grad_(False)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    model.generation_config.suppress_tokens = [placeholder(model.config)]
    return model


def inputs(model: Any, estimated: Model, clips: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    encoder = estimated.architecture.audio
    assert encoder is not None
    return prompts(model.config, [encoder.tokens(frames) for frames in clips]), sound(model.config, clips)


def torch_flops(model: Any, arguments: dict[str, Any]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(**arguments, use_cache=False)
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", RUN)
def test_an_unmodified_program_tells_the_frames_of_its_clips(marked: Recorder, name: str) -> None:
    model, estimated = built(name), Model.from_config(CONFIGS[name], name)
    text, heard = inputs(model, estimated, CLIPS)
    model.generate(**text, **heard, max_new_tokens=3, do_sample=False)
    passes = [line for line in marked.passes if not line.startswith("vision.")]
    assert passes[0].startswith(f"prefill 2x{text['input_ids'].shape[1]}+0")
    assert passes[0].endswith(f" of {ROWS.get(name, list(CLIPS))} frames")
    assert [line.split()[0] for line in passes[1:]] == ["decode", "decode"]
    assert not any("frames" in line for line in passes[1:])


@counted_with_the_newest
@pytest.mark.parametrize("name", RUN)
def test_flops_of_a_batch_of_clips_are_torchs(name: str) -> None:
    model, estimated = built(name), Model.from_config(CONFIGS[name], name)
    for clips in [(frames,) for frames in CLIPS] if name in PADDED else [CLIPS]:
        text, heard = inputs(model, estimated, clips)
        step = Step((), (), 0, audio=seen.sound_of(model.config, heard) or ())
        flops = sum(op.layers * op.flops_executed for op in Estimator(estimated, FULL).estimate(step).ops)
        difference = torch_flops(model, text | heard) - torch_flops(model, text)
        assert flops == difference > 0


def test_lengths_that_were_moved_are_remembered_and_others_are_not_asked_for() -> None:
    torch = pytest.importorskip("torch")
    features = pytest.importorskip("transformers.feature_extraction_utils")
    fresh: Any = type("BatchFeature", (features.BatchFeature,), {})
    fresh.to = remembering(fresh.to, seen.READING)
    config = type("Config", (), {"model_type": "qwen2_audio"})()
    given = {
        "input_features": torch.zeros(2, 16, 60),
        "feature_attention_mask": torch.tensor([[1] * 60, [1] * 31 + [0] * 29]),
    }

    moved = fresh(given).to("meta")

    assert seen.sound_of(config, moved) == seen.sound_of(config, given) == (60, 31)
    unknown = {**moved, "feature_attention_mask": given["feature_attention_mask"].to("meta")}
    assert seen.sound_of(config, unknown) is None
    gemma = {"input_features": torch.zeros(1, 60, 30), "input_features_mask": torch.arange(60)[None] < 17}
    assert seen.sound_of(type("Config", (), {"model_type": "gemma3n"})(), gemma) == (17,)
    # Without features nothing is heard, and another model's mask says nothing of this one.
    assert seen.sound_of(config, {"feature_attention_mask": given["feature_attention_mask"]}) == ()
    assert seen.sound_of(type("Config", (), {"model_type": "whisper"})(), given) is None


def test_what_projects_sound_is_no_part_of_a_vision_side(marked: Recorder) -> None:
    model = built("qwen2_audio")
    text, heard = inputs(model, Model.from_config(CONFIGS["qwen2_audio"]), CLIPS)
    model.generate(**text, **heard, max_new_tokens=1, do_sample=False)
    assert [line.split()[0] for line in marked.passes] == ["prefill"]
