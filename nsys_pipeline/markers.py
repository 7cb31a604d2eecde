"""The NVTX vocabulary: the contract between what runs under nsys and what reads the trace (version 1).

Everything is in the domain ``llmperf``, as push/pop ranges on the launching thread and as marks:

=========================  ===========================================================================
mark ``llmperf.run {…}``   once per process: model config, dtype, attention, framework, rank, world, …
range ``warmup``           encloses requests that do not count
range ``request``          one generation call
range ``prefill``          one forward pass over the prompt (``decode``: over the newest token); other
                           phase names are the user's
mark ``llmperf.step {…}``  first thing inside a phase range: the shape of the pass
=========================  ===========================================================================
"""

from __future__ import annotations

import json
from typing import Any

from nsys_pipeline.records import Step

VERSION = 1
DOMAIN = "llmperf"
RUN_MARK = "llmperf.run"
STEP_MARK = "llmperf.step"
WARMUP = "warmup"
REQUEST = "request"
PREFILL = "prefill"
DECODE = "decode"


def encode_step(step: Step) -> str:
    """Text of the mark that describes `step`; equal values become one number with the batch size as ``b``."""
    if step.q_tokens and len(set(step.q_tokens)) == 1 and len(set(step.kv_tokens)) == 1:
        payload: dict[str, Any] = {"q": step.q_tokens[0], "kv": step.kv_tokens[0], "b": step.batch}
    else:
        payload = {"q": list(step.q_tokens), "kv": list(step.kv_tokens)}
    payload["logits"] = step.logits
    return f"{STEP_MARK} {json.dumps(payload, separators=(',', ':'))}"


def decode_step(payload: str) -> Step:
    """Read back the JSON of a step mark. Raises ValueError for anything that is not a step."""
    try:
        data = json.loads(payload)
        q, kv = data["q"], data.get("kv", 0)
        batch = data.get("b") or (len(q) if isinstance(q, list) else len(kv) if isinstance(kv, list) else 1)
        q_tokens = [int(x) for x in q] if isinstance(q, list) else [int(q)] * batch
        kv_tokens = [int(x) for x in kv] if isinstance(kv, list) else [int(kv)] * batch
        return Step.ragged(q_tokens, kv_tokens, data.get("logits"))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a step: {payload!r}") from error


def encode_run(**fields: Any) -> str:
    """Text of the mark that describes the run of one process; `fields` as in contract 1 (model, dtype, attn, …)."""
    return f"{RUN_MARK} {json.dumps({'v': VERSION, **fields}, separators=(',', ':'), sort_keys=True)}"
