"""Two clips of different lengths in one batch; with `count`, torch's FLOPs of the prompt are printed instead.

Usage: sound.py TYPE ROOT [count]. ROOT: of the repository, whose configs of tiny models are read.
"""

import json
import sys
from pathlib import Path

import torch
import transformers


def main(kind: str, root: Path, *, counts: bool) -> None:
    """Build the model of a type that hears and run it."""
    sys.path.insert(0, str(root))
    from nsys_pipeline.model import Model
    from nsys_pipeline.model.verify import multimodal_class
    from tests.support.tiny_sound import config_of, placeholder, prompts, sound

    fields = json.loads((root / "tests" / "unit" / "model" / "audio_configs.json").read_text())[kind]["config"]
    config = config_of(fields)
    made = multimodal_class(transformers, type(config)).from_config(config, attn_implementation="eager")
    model = made.eval().requires_grad_(False)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    model.generation_config.suppress_tokens = [placeholder(model.config)]
    encoder = Model.from_config(fields).architecture.audio
    assert encoder is not None
    clips = (50, 31)
    inputs = {**prompts(model.config, [encoder.tokens(frames) for frames in clips]), **sound(model.config, clips)}
    if not counts:
        model.generate(**inputs, max_new_tokens=3, do_sample=False)
        return
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs, use_cache=False, logits_to_keep=1)
    print(counter.get_total_flops())


main(sys.argv[1], Path(sys.argv[2]), counts=sys.argv[3:] == ["count"])
