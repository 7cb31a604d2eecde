"""Rewrite tests/unit/model/golden_audio.json: what torch counts when a model's encoder of sound runs on odd lengths.

Each model of audio_configs.json is built by transformers with random weights on the CPU, where eager attention is
products that FlopCounterMode counts, and is given clips of the listed numbers of frames. Never llmperf's estimate.
Needs the extra `verify`. Usage: python scripts/golden_audio.py [MODEL …]: those alone are counted again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nsys_pipeline.model.verify import multimodal_class
from scripts.golden_totals import TESTS, counted, place_for, quieten, read_configs, write_totals


def in_windows(clips: list[int], window: int) -> list[int]:
    """Frames of each window that clips are cut in."""
    return [min(window, clip - start) for clip in clips for start in range(0, clip, window)]


def one_by_one(heard: Any, clips: list[int]) -> int:
    """The same of Phi-4-multimodal, one after the other: what others are padded with would be counted."""
    bands = heard.config.audio_config.input_size
    sounds = [heard.encoder(torch.zeros(1, clip, bands), None) for clip in clips]
    made = [heard.down_proj_for_speech(heard.up_proj_for_speech(sound)) for sound in sounds]
    return sum(tokens.shape[1] for tokens in made)


def of_samples(inner: Any, clips: list[int]) -> int:
    """The same of Muse Spark, of waveforms of 24 kHz, one after the other, each filled up to whole tokens."""
    whole = inner.config.audio_config.samples_per_token
    sounds = [torch.zeros(1, -(-240 * clip // whole) * whole) for clip in clips]
    return sum(inner.get_audio_features(sound).pooler_output.shape[0] for sound in sounds)


def of_gemma(inner: Any, clips: list[int]) -> int:
    """The same of Gemma 3n and 4, of clips as long as each other."""
    config, audio = inner.config, inner.config.audio_config
    if config.model_type == "gemma4_unified":
        features = torch.zeros(len(clips), clips[0], audio.audio_embed_dim)
        return int(inner.get_audio_features(features).pooler_output.shape[:2].numel())
    is_old = config.model_type == "gemma3n"
    # Gemma 4 has as many bands as its first convolution has channels.
    shape = (len(clips), clips[0], audio.input_feat_size if is_old else audio.subsampling_conv_channels[0])
    # Gemma 3n's mask tells what is padding, Gemma 4's what is not.
    mask = torch.full(shape[:2], not is_old, dtype=torch.bool)
    made = inner.get_audio_features(torch.zeros(shape), mask).pooler_output
    # A clip is filled up to as many tokens of the prompt.
    return len(clips) * int(config.audio_soft_tokens_per_image) if is_old else int(made.shape[:2].numel())


def without_padding(inner: Any, clips: list[int]) -> int:
    """The same of Granite Speech and Nemotron-H Omni, as long as each other: what others are padded with is counted."""
    config = inner.config
    if config.model_type == "nemotron_h_omni":
        # The processor makes a frame that the mask leaves out.
        mask = torch.tensor([[1] * clips[0] + [0]] * len(clips))
        features = torch.zeros(*mask.shape, config.audio_config.num_mel_bins)
        return int(inner.get_audio_features(features, mask).pooler_output.shape[0])
    features = torch.zeros(len(clips), clips[0], config.encoder_config.input_dim)
    return int(inner.projector(inner.encoder(features).last_hidden_state).shape[:2].numel())


def encode(module: Any, clips: list[int]) -> int:
    """Run encoder and projector on clips of so many frames; tokens of the decoder that they become."""
    config = module.config
    audio: Any = getattr(config, "audio_config", None)
    inner = module.model if hasattr(module, "model") else module
    if config.model_type.endswith("thinker"):
        longest = max(clips)
        mask = torch.tensor([[place < clip for place in range(longest)] for clip in clips])
        features = torch.zeros(len(clips), audio.num_mel_bins, longest)
        get = (inner if hasattr(inner, "get_audio_features") else module).get_audio_features
        return int(get(features, feature_attention_mask=mask).last_hidden_state.shape[0])
    if config.model_type.startswith(("gemma", "muse")):
        return of_samples(inner, clips) if config.model_type == "muse_spark" else of_gemma(inner, clips)
    if config.model_type.startswith(("granite_speech", "nemotron_h_omni")):
        return without_padding(inner, clips)
    if config.model_type == "qwen3_asr":
        # Filled up to whole chunks of the longest one.
        chunk = 2 * audio.n_window
        whole = -(-max(clips) // chunk) * chunk
        mask = torch.tensor([[int(place < clip) for place in range(whole)] for clip in clips])
        features = torch.zeros(len(clips), inner.audio_tower.config.num_mel_bins, whole)
        return int(inner.get_audio_features(features, input_features_mask=mask).pooler_output.shape[0])
    is_rotary = config.model_type == "glmasr"
    window = 2 * (audio.max_position_embeddings if is_rotary else audio.max_source_positions)
    lengths = in_windows(clips, window)
    features = torch.zeros(len(lengths), audio.num_mel_bins, window)
    if config.model_type == "qwen2_audio":
        inner.multi_modal_projector(inner.audio_tower(features).last_hidden_state)
        _, tokens = inner.audio_tower._get_feat_extract_output_lengths(torch.tensor(lengths))
        return int(tokens.sum())
    mask = torch.tensor([[place < length for place in range(window)] for length in lengths])
    masks: dict[str, Any] = {} if config.model_type == "voxtral" else {"input_features_mask": mask}
    if config.model_type == "musicflamingo":
        # Placeholders of each clip, between which others lie.
        ids: list[int] = []
        for clip in clips:
            tokens = sum(((frames - 1) // 2 - 1) // 2 + 1 for frames in in_windows([clip], window))
            ids += [0, *[config.audio_token_id] * tokens]
        masks["input_ids"] = torch.tensor([ids])
    return int(inner.get_audio_features(features, **masks).pooler_output.shape[0])


def main() -> None:
    """Count every model."""
    quieten()
    entries = []
    target, only = TESTS / "golden_audio.json", sys.argv[1:]
    kept = {entry["model"]: entry for entry in json.loads(target.read_text(encoding="utf-8"))["models"]}
    for name, entry in read_configs("audio_configs.json").items():
        if only and name not in only:
            entries.append(kept[name])
            continue
        config = transformers.AutoConfig.for_model(**entry["config"])
        auto = multimodal_class(transformers, type(config))
        with place_for(name):
            module = auto.from_config(config, attn_implementation="eager").eval().requires_grad_(False)
            call: Callable[[Any, list[int]], int] = encode
            sounding = module
            if config.model_type == "phi4_multimodal":
                call, sounding = one_by_one, module.model.embed_tokens_extend.audio_embed
            flops, tokens = zip(*(counted(call, sounding, clips) for clips in entry["clips"]), strict=True)
        params = sum(value.numel() for value in module.parameters())
        entries.append({"model": name, "params": params, "flops": flops, "tokens": tokens})
        print(f"{name}: {flops}", file=sys.stderr)
    write_totals(target, entries)


if __name__ == "__main__":
    main()
