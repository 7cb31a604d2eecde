"""Inputs for tiny models that hear: a batch of prompts with a clip each, as the processor of the model makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Tokens of text before and after those of a clip.
TEXT = 3
HOLDER = 9


def config_of(fields: dict[str, Any]) -> Any:
    """The config of a model that has a placeholder for sound among its few tokens."""
    import transformers

    kind = fields["model_type"]
    if kind == "phi4_multimodal":
        return transformers.AutoConfig.for_model(
            **{**fields, "audio_config": {**fields["audio_config"], "audio_token_id": HOLDER}}
        )
    more: dict[str, Any] = {} if {"audio_token_id", "audio_token_index"} & {*fields} else {"audio_token_id": HOLDER}
    if kind.endswith("thinker"):
        more["vision_start_token_id"] = HOLDER
    if kind == "gemma3n":
        # Its last tokens are those of pictures and of sound.
        words = fields["text_config"]["vocab_size"] - fields["audio_config"]["vocab_size"]
        more |= {"audio_token_id": words, "audio_config": {**fields["audio_config"], "vocab_offset": words}}
        more["vision_config"] = {**fields["vision_config"], "vocab_offset": words}
    return transformers.AutoConfig.for_model(**{**fields, **more})


def _mask(lengths: Sequence[int], width: int) -> Any:
    import torch

    return torch.tensor([[int(place < length) for place in range(width)] for length in lengths])


def _in_windows(clips: Sequence[int], window: int) -> list[int]:
    return [min(window, clip - start) for clip in clips for start in range(0, clip, window)]


def rows_of(config: Any, clips: Sequence[int]) -> list[int]:
    """Frames of each row that clips of so many frames are for the encoder: windows, where the processor cuts them."""
    audio: Any = getattr(config, "audio_config", None)
    if config.model_type in ("audioflamingo3", "musicflamingo", "voxtral", "qwen2_audio"):
        return _in_windows(clips, 2 * audio.max_source_positions)
    if config.model_type == "glmasr":
        return _in_windows(clips, 2 * audio.max_position_embeddings)
    return list(clips)


def sound(config: Any, clips: Sequence[int]) -> dict[str, Any]:
    """Features of clips, zeros as they are, and the mask that goes with them."""
    import torch

    kind = config.model_type
    audio: Any = getattr(config, "audio_config", None)
    rows, longest = rows_of(config, clips), max(clips)
    if kind in ("voxtral", "qwen2_audio", "audioflamingo3", "musicflamingo", "glmasr"):
        window = 2 * (audio.max_position_embeddings if kind == "glmasr" else audio.max_source_positions)
        features = torch.zeros(len(rows), audio.num_mel_bins, window)
        name = "feature_attention_mask" if kind == "qwen2_audio" else "input_features_mask"
        return {"input_features": features} | ({} if kind == "voxtral" else {name: _mask(rows, window)})
    if kind.endswith("thinker"):
        features = torch.zeros(len(rows), audio.num_mel_bins, longest)
        return {"input_features": features, "feature_attention_mask": _mask(rows, longest)}
    if kind == "qwen3_asr":
        whole = -(-longest // (2 * audio.n_window)) * 2 * audio.n_window
        return {
            "input_features": torch.zeros(len(rows), audio.num_mel_bins, whole),
            "input_features_mask": _mask(rows, whole),
        }
    if kind == "muse_spark":
        # The wave, of which 240 samples are a frame; the feature extractor fills clips up to whole tokens.
        whole = -(-240 * longest // audio.samples_per_token) * audio.samples_per_token
        samples = [240 * row for row in rows]
        return {"input_values": torch.zeros(len(rows), whole), "input_values_mask": _mask(samples, whole)}
    if kind == "nemotron_h_omni":
        # The processor makes a frame that the mask leaves out.
        features = torch.zeros(len(rows), longest + 1, audio.num_mel_bins)
        return {"input_features": features, "input_features_mask": _mask(rows, longest + 1)}
    if kind == "gemma4_unified":
        features = torch.zeros(len(rows), longest, audio.audio_embed_dim)
        return {"input_features": features, "input_features_mask": _mask(rows, longest).bool()}
    if kind.startswith("gemma"):
        bands = audio.input_feat_size if kind == "gemma3n" else audio.subsampling_conv_channels[0]
        return {
            "input_features": torch.zeros(len(rows), longest, bands),
            "input_features_mask": _mask(rows, longest).bool(),
        }
    if kind.startswith("granite_speech"):
        window = config.window_size
        tokens = [-(-row // window) * (window // config.downsample_rate) for row in rows]
        features = torch.zeros(len(rows), longest, config.encoder_config.input_dim)
        return {"input_features": features, "input_features_mask": _mask(tokens, max(tokens)).bool()}
    if kind == "phi4_multimodal":
        mask = {"audio_attention_mask": _mask(rows, longest).bool()} if len(rows) > 1 else {}
        each = torch.tensor([-(-row // audio.time_reduction) for row in rows])
        features = torch.zeros(len(rows), longest, audio.input_size)
        return {"audio_input_features": features, "audio_embed_sizes": each, **mask}
    raise ValueError(kind)


def placeholder(config: Any) -> int:
    """The token that stands for sound, which a random model must not write: some take it for more of it."""
    part = config.audio_config if config.model_type == "phi4_multimodal" else config
    return int(part.audio_token_id)


def prompts(config: Any, tokens: Sequence[int]) -> dict[str, Any]:
    """One prompt for each clip, of so many placeholders; shorter ones have text in front, and no padding."""
    import torch

    longest = max(tokens)
    ids = [[3] * (longest - count + 1) + [placeholder(config)] * count + [4] * (TEXT - 1) for count in tokens]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.ones(len(ids), longest + TEXT, dtype=torch.long)}
