"""Rewrite the golden FLOP totals: what torch counts on transformers' code on the meta device, never llmperf's estimate.

tests/unit/model/golden_flops.json   the presets at their real sizes (minutes)
tests/unit/model/golden_small.json   one small config per family and variant, from small_configs.json (seconds)
tests/unit/model/golden_other.json   encoders, encoder-decoders and vision towers, from other_configs.json (seconds)

Needs the extra `verify`. Usage: python scripts/golden_flops.py [real|small|other]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.modeling_outputs import MoEModelOutput

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import Model, load_model, preset_names
from nsys_pipeline.model.verify import OTHER_CONVENTION, MetaModel
from nsys_pipeline.records import Step

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.golden_totals import TESTS, counted, quieten, read_configs, write_totals

#: batch, new tokens, cached tokens, LM-head positions per sequence.
SHAPES = ((1, 2048, 0, 1), (1, 1, 2048, 1), (3, 1, 1500, 1), (2, 300, 700, 300))
SMALL_SHAPES = ((2, 16, 0, 1), (2, 1, 16, 1), (3, 4, 9, 1), (1, 11, 0, 11))
GPT2_SHAPES = ((1, 512, 0, 1), (1, 1, 512, 1), (3, 1, 400, 1), (2, 300, 100, 300))


def count(model: Model, shapes: Iterable[tuple[int, int, int, int]]) -> dict[str, Any]:
    """Parameters and FLOPs of each shape; convolutions and recurrences of hybrid models are left out."""
    meta = MetaModel(model)
    cases = []
    for batch, q, cached, keep in shapes:
        logits = batch * (q if meta.all_logits else keep)
        step = Step.uniform(batch=batch, q_tokens=q, kv_tokens=cached, logits=logits)
        counted = meta.count(step)
        flops = counted.flops - counted.groups.get(OTHER_CONVENTION, 0)
        cases.append({"batch": batch, "q": q, "kv": cached, "logits": step.logits, "flops": flops})
    return {"model": model.name, "params": meta.params, "cases": cases}


def write(target: Path, models: Iterable[tuple[Model, Iterable[tuple[int, int, int, int]]]]) -> None:
    """Count all models and write one line for each; those that transformers cannot run are named on stderr."""
    entries = []
    for model, shapes in models:
        started = time.monotonic()
        try:
            entries.append(count(model, shapes))
        except ModelError as error:
            print(f"{model.name}: left out: {error.message[:160]}", file=sys.stderr)
            continue
        print(f"{model.name}: {time.monotonic() - started:.1f} s", file=sys.stderr)
    write_totals(target, entries, note="without convolutions and recurrences of hybrid models")


def other_inputs(kind: str, config: Any) -> dict[str, Any]:
    """Inputs of one pass of two sequences (or images) for each kind of model."""
    ids = torch.zeros(2, 16, dtype=torch.long)
    if kind == "text":
        return {"input_ids": ids}
    if kind == "image":
        return {"pixel_values": torch.zeros(2, 3, config.image_size, config.image_size)}
    if kind == "image2seq":
        height, width = (size, size) if isinstance(size := config.encoder.image_size, int) else size
        return {"pixel_values": torch.zeros(2, 3, height, width), "decoder_input_ids": ids[:, :3]}
    if kind == "audio":
        features = torch.zeros(2, config.num_mel_bins, 2 * config.max_source_positions)
        return {"input_features": features, "decoder_input_ids": ids[:, :3]}
    return {"input_ids": ids, "decoder_input_ids": ids[:, :3]}


def write_other(target: Path) -> None:
    """Count models that are no decoders, with real (random) weights on the CPU: eager attention is products there."""
    entries = []
    for name, entry in read_configs("other_configs.json").items():
        hf_config = transformers.AutoConfig.for_model(**entry["config"])
        module = getattr(transformers, entry["class"])._from_config(hf_config, attn_implementation="eager").eval()
        module.requires_grad_(False)
        total, out = counted(module, **other_inputs(entry["kind"], hf_config))
        flops = [total]
        if entry["kind"] in ("seq2seq", "audio", "image2seq"):
            encoded = MoEModelOutput(last_hidden_state=out.encoder_last_hidden_state)
            one = torch.zeros(2, 1, dtype=torch.long)
            cache = out.past_key_values
            flops.append(counted(module, decoder_input_ids=one, past_key_values=cache, encoder_outputs=encoded)[0])
        params = sum(parameter.numel() for parameter in module.parameters())
        entries.append({"model": name, "params": params, "flops": flops})
    write_totals(target, entries)


def main() -> None:
    quieten()
    which = sys.argv[1:] or ["small", "other", "real"]
    if "other" in which:
        write_other(TESTS / "golden_other.json")
    if "small" in which:
        write(
            TESTS / "golden_small.json",
            (
                (Model.from_config(config, name), SMALL_SHAPES)
                for name, config in read_configs("small_configs.json").items()
            ),
        )
    if "real" in which:
        models = (load_model(name) for name in preset_names())
        write(
            TESTS / "golden_flops.json",
            ((model, GPT2_SHAPES if model.model_type == "gpt2" else SHAPES) for model in models),
        )


if __name__ == "__main__":
    main()
