"""How many frames of which clips of sound an encoder gets, from the inputs of a pass. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Model types whose inputs hold a mask of frames, which says what of each row is no padding.
_MASKS = {
    "qwen2_audio": "feature_attention_mask",
    "qwen2_5_omni_thinker": "feature_attention_mask",
    "qwen3_omni_moe_thinker": "feature_attention_mask",
    "audioflamingo3": "input_features_mask",
    "musicflamingo": "input_features_mask",
    "glmasr": "input_features_mask",
    "qwen3_asr": "input_features_mask",
    "gemma3n": "input_features_mask",
    "gemma4": "input_features_mask",
    "gemma4_unified": "input_features_mask",
    "nemotron_h_omni": "input_features_mask",
    "phi4_multimodal": "audio_attention_mask",
    "muse_spark": "input_values_mask",
}
#: Those whose encoder is told nothing of padding, and Phi-4, whose only clip needs no mask: the axis of the frames.
_ROWS = {"voxtral": 2, "granite_speech": 1, "granite_speech_plus": 1, "phi4_multimodal": 1, "muse_spark": 1}
_FEATURES = ("input_features", "audio_input_features", "input_values")
#: Samples of a frame, where the encoder gets the wave as it is.
_SAMPLES = {"muse_spark": 240}
#: Model types a clip of which is as many frames as its mask leaves, also in an engine that names their config's parts.
MASKED_FRAMES = frozenset(
    name
    for name in (*_MASKS, "qwen2_5_omni", "qwen3_omni_moe")
    if _MASKS.get(name) not in ("audio_attention_mask", "input_values_mask")
)

#: Inputs of a pass that say how long its clips are.
LENGTHS = tuple(dict.fromkeys(_MASKS.values()))


def lengths_of(mask: Any) -> list[int]:
    """Frames of each row of a mask that is on the host."""
    return [int(frames) for frames in mask.sum(-1).tolist()]


def clips_of(config: Any, inputs: Mapping[str, Any], values: Mapping[str, list[int]]) -> tuple[int, ...] | None:
    """Frames of each row that the encoder of a pass gets; none without sound, None if nobody can say.

    A clip that the processor cuts in windows is a row for each. `config`: the model's. `values`: `lengths_of` the masks
    by name, if the host has them. No tensor is asked, which a GPU would have to be waited for.
    """
    kind = str(getattr(config, "model_type", None))
    features = next((inputs[name] for name in _FEATURES if inputs.get(name) is not None), None)
    each = _SAMPLES.get(kind, 1)
    if features is None:
        return ()
    if getattr(features, "ndim", 0) != (2 if kind in _SAMPLES else 3):
        return None
    mask, axis = _MASKS.get(kind), _ROWS.get(kind)
    if mask is not None and inputs.get(mask) is not None:
        lengths = values.get(mask)
    else:
        lengths = None if axis is None else [int(features.shape[axis])] * int(features.shape[0])
    if lengths is None:
        return None
    return tuple(-(-length // each) for length in lengths if length > 0)
