"""Rewrite tests/unit/model/golden_flops.json: what torch counts for the presets, at their real sizes, without weights.

Needs the extra `verify`. Each entry is FlopCounterMode's total on transformers' code on the meta device, not llmperf's
estimate; the test compares the two. Usage: python scripts/golden_flops.py
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import torch
import transformers

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model import load_model, preset_names
from nsys_pipeline.model.verify import OTHER_CONVENTION, MetaModel
from nsys_pipeline.records import Step

TARGET = Path(__file__).parent.parent / "tests" / "unit" / "model" / "golden_flops.json"
#: batch, new tokens, cached tokens, LM-head positions per sequence.
SHAPES = ((1, 2048, 0, 1), (1, 1, 2048, 1), (3, 1, 1500, 1), (2, 300, 700, 300))
GPT2_SHAPES = ((1, 512, 0, 1), (1, 1, 512, 1), (3, 1, 400, 1), (2, 300, 100, 300))


def main() -> None:
    warnings.simplefilter("ignore")
    entries = []
    for name in preset_names():
        started = time.monotonic()
        try:
            model = load_model(name)
            meta = MetaModel(model)
            cases = []
            for batch, q, cached, keep in GPT2_SHAPES if model.model_type == "gpt2" else SHAPES:
                step = Step.uniform(batch=batch, q_tokens=q, kv_tokens=cached, logits=batch * keep)
                counted = meta.count(step)
                cases.append(
                    {
                        "batch": batch,
                        "q": q,
                        "kv": cached,
                        "logits": step.logits,
                        "flops": counted.flops - counted.groups.get(OTHER_CONVENTION, 0),
                    }
                )
        except ModelError as error:
            print(f"{name}: left out: {error.message[:160]}", file=sys.stderr)
            continue
        entries.append({"model": name, "params": meta.params, "cases": cases})
        print(f"{name}: {time.monotonic() - started:.1f} s", file=sys.stderr)
    source = f"torch {torch.__version__.split('+')[0]} FlopCounterMode, transformers {transformers.__version__}"
    head = json.dumps({"source": source, "note": "without convolutions and recurrences of hybrid models"})[:-1]
    rows = ",\n  ".join(json.dumps(entry) for entry in entries)
    TARGET.write_text(f'{head}, "models": [\n  {rows}\n]}}\n', encoding="utf-8")
    print(f"{len(entries)} models", file=sys.stderr)


if __name__ == "__main__":
    main()
