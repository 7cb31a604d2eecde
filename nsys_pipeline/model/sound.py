"""From seconds of sound to the frames that an encoder gets."""

from __future__ import annotations

import math

from nsys_pipeline.errors import UsageError
from nsys_pipeline.model.model import Model
from nsys_pipeline.records import MAX_BATCH, MAX_TOKENS


def read_audio(model: Model | None, seconds: str | None) -> tuple[int, ...]:
    """Frames of each clip, from `--audio-seconds` as it is typed: numbers of seconds, `12.5` or `30,4`.

    Raises UsageError for what is no list of lengths, if the model's encoder of sound has no reading, and for clips that
    are longer than it takes.
    """
    if seconds is None:
        return ()
    if model is None:
        raise UsageError("what a clip of sound costs depends on the model", hint="name it with --model")
    encoder = model.architecture.audio
    if encoder is None:
        hint = "a Whisper encoder always has its 30 seconds" if model.model_type == "whisper" else None
        why = f": {model.architecture.why}" if model.architecture.why else ""
        raise UsageError(f"`{model.name}` has no audio encoder that is counted{why}", hint=hint)
    try:
        clips = [float(part) for part in seconds.split(",")]
    except ValueError as error:
        raise UsageError(f"--audio-seconds `{seconds}` is not a number or a list of numbers") from error
    if len(clips) > MAX_BATCH:
        raise UsageError(f"--audio-seconds lists {len(clips):,} clips: at most {MAX_BATCH:,}")
    if not all(math.isfinite(clip) and 0 < clip * encoder.frames_per_s <= MAX_TOKENS for clip in clips):
        raise UsageError(f"--audio-seconds `{seconds}` holds a length that is none or past what llmperf estimates")
    frames = tuple(encoder.frames(clip) for clip in clips)
    if encoder.longest is not None and max(frames) > encoder.longest:
        longest = encoder.longest / encoder.frames_per_s
        raise UsageError(f"`{model.name}` hears {longest:g} seconds of a clip at most", hint="give each piece of it")
    return frames
