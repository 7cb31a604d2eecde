"""Compare the marks of `--auto` with torch's count: many model types, run in many ways, without a profiler.

Each pass's mark is estimated (every key held, as executed) and compared with what FlopCounterMode counts inside its
range; work outside of any range is a difference, too. Convolutions and recurrences are left out, as in
`llmperf flops --verify`. Needs torch and transformers; about five seconds a type.

Usage: python scripts/auto_oracle.py [TYPE …]      default: every type of tests/support/random_configs.py
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nsys_pipeline import markers
from nsys_pipeline.model import Conventions, Estimator, Model, verify
from nsys_pipeline.workload import auto
from nsys_pipeline.workload.after_import import after_import
from tests.support.random_configs import TEXT_TYPES, random_config

EXECUTED = Conventions(attention="full", count="executed")
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 4}


def ids(batch: int, tokens: int) -> torch.Tensor:
    return torch.randint(3, 49, (batch, tokens), generator=torch.Generator().manual_seed(batch * 1000 + tokens))


def with_its_cache(model: Any) -> None:
    output = model(ids(2, 6), use_cache=True)
    for _ in range(2):
        output = model(ids(2, 1), cache=output.cache, use_cache=True)


def after_a_prefix(model: Any) -> None:
    cache = transformers.DynamicCache(config=model.config)
    model(ids(1, 6), cache=cache, use_cache=True)
    model.generate(torch.cat([ids(1, 6), ids(1, 3)], 1), cache=cache, **GREEDY)


WAYS: Mapping[str, Callable[[Any], object]] = {
    "greedy": lambda model: model.generate(ids(2, 6), **GREEDY),
    "samples": lambda model: model.generate(ids(2, 6), do_sample=True, num_return_sequences=2, max_new_tokens=4),
    # All sequences are computed until the last has ended.
    "ends": lambda model: model.generate(ids(3, 6), do_sample=True, max_new_tokens=8, eos_token_id=[*range(3, 13)]),
    "beams": lambda model: model.generate(ids(2, 6), num_beams=3, **GREEDY),
    "no cache": lambda model: model.generate(ids(2, 6), use_cache=False, **GREEDY),
    "lookup": lambda model: model.generate(
        torch.cat([ids(1, 6)] * 2, 1), prompt_lookup_num_tokens=3, do_sample=False, max_new_tokens=6
    ),
    "embeddings": lambda model: model.generate(inputs_embeds=model.get_input_embeddings()(ids(2, 6)), **GREEDY),
    "chunks": lambda model: model.generate(ids(2, 7), prefill_chunk_size=3, **GREEDY),
    "guidance": lambda model: model.generate(ids(2, 6), guidance_scale=1.5, **GREEDY),
    "loop": with_its_cache,
    "loop, no cache": lambda model: [model(ids(2, tokens), use_cache=False) for tokens in (6, 7)],
    "few logits": lambda model: model(ids(2, 6), logits_to_keep=2),
    "prefix": after_a_prefix,
    "below the head": lambda model: getattr(model, model.base_model_prefix)(ids(2, 6)),
}


class Ranges:
    """In the place of a profiler: what is counted inside of each range that is no request."""

    def __init__(self) -> None:
        self.counter: Any = None
        self.run: dict[str, Any] = {}
        self.steps: list[tuple[str, str | None, dict[str, Counter[Any]]]] = []
        self._open: list[str] = []

    def push(self, name: str) -> None:
        self._open.append(name)
        if name != markers.REQUEST:
            self.steps.append((name, None, self.counts()))

    def pop(self) -> None:
        if self._open.pop() == markers.REQUEST:
            return
        name, mark, before = self.steps[-1]
        after = self.counts()
        self.steps[-1] = (name, mark, {path: ops - before.get(path, Counter()) for path, ops in after.items()})

    def mark(self, text: str) -> None:
        kind, _, payload = text.partition(" ")
        if kind == markers.RUN_MARK:
            self.run = json.loads(payload)["model"]
        elif kind == markers.STEP_MARK:
            name, _, before = self.steps[-1]
            self.steps[-1] = (name, payload, before)

    def counts(self) -> dict[str, Counter[Any]]:
        return {path: Counter(ops) for path, ops in self.counter.get_flop_counts().items()}


def build(model_type: str) -> Any:
    """A small random model of two layers or more that never stops early."""
    tried = (random_config(model_type, Random(f"{model_type} {number}")) for number in range(9))
    configs = (transformers.AutoConfig.for_model(**config) for config in tried)
    config = next(one for one in configs if one.get_text_config().num_hidden_layers > 1)
    for part in (config, config.get_text_config()):
        part.pad_token_id = 1
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    model.generation_config.update(eos_token_id=None, pad_token_id=1, bos_token_id=2)
    return model.eval().requires_grad_(requires_grad=False)


def differences(model: Any, way: Callable[[Any], object]) -> list[str]:
    """Passes of `model` whose marks and counts differ. Raises whatever transformers raises where it refuses."""
    ranges = Ranges()
    markers._chosen, auto._models = ranges, auto._Models()
    mapping = verify.grouped_products(torch)
    with torch.no_grad(), FlopCounterMode(display=False, depth=None, custom_mapping=mapping) as ranges.counter:
        way(model)
    described = Model.from_config(ranges.run)
    estimator, recurrent = Estimator(described, EXECUTED), verify.recurrent_layers(described)
    found, inside = [], 0
    for name, mark, counts in ranges.steps:
        groups = verify._grouped(counts, recurrent) if counts.get("Global") else {}
        inside += sum(groups.values())
        counted = sum(flops for group, flops in groups.items() if group != verify.OTHER_CONVENTION)
        ops = estimator.estimate(markers.decode_step(mark)).ops if mark else ()
        marked = sum(op.total_flops_executed for op in ops if verify._estimated_group(op) != verify.OTHER_CONVENTION)
        if mark is None or marked != counted:
            found.append(f"{name} {mark}: {marked:,} by its mark, {counted:,} counted")
    outside = ranges.counter.get_total_flops() - inside
    return [*found, *([f"{outside:,} outside of all ranges"] if outside else [])]


def main() -> int:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    after_import(auto._PATCHES, what="markers")
    total: Counter[str] = Counter()
    for model_type in sys.argv[1:] or TEXT_TYPES:
        model, refused = build(model_type), []
        for name, way in WAYS.items():
            try:
                found = differences(model, way)
            except Exception as error:
                refused.append(f"{name} ({type(error).__name__})")
                continue
            total["different" if found else "equal"] += 1
            for line in found:
                print(f"{model_type}, {name}: {line}")
        total["refused"] += len(refused)
        print(f"{model_type}: compared; refused: {', '.join(refused) or 'nothing'}", file=sys.stderr)
    print(", ".join(f"{count:,} {kind}" for kind, count in total.items()))
    return total["different"] > 0


if __name__ == "__main__":
    sys.exit(main())
