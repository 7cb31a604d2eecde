"""SGLang (0.4 or newer): each pass of a scheduler's worker, from the batch that it launches.

A batch says on the host what kind it is, how many tokens of which request are new, and how many are in the cache: of
earlier chunks and of the radix cache. The scheduler launches one batch while it reads the results of the one before;
the worker's call is where a batch is launched, in whatever thread that is. What a scheduler that speculates launches
around the passes of the target model is draft.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from nsys_pipeline import markers
from nsys_pipeline.workload.describe import config_fields
from nsys_pipeline.workload.engines.steps import (
    DRAFT,
    DUMMY,
    MIXED,
    VERIFY,
    EngineSteps,
    RequestNumbers,
    ranged,
    sizes_of,
    version_of,
    wrap,
)

_PHASES = {"EXTEND": markers.PREFILL, "SPLIT_PREFILL": markers.PREFILL, "DECODE": markers.DECODE, "MIXED": MIXED}
_PASSES = ("forward_batch_generation", "forward_batch_embedding", "forward_batch_split_prefill")

# What /health_generate asks an engine that has nothing to do: no client waits for it.
_HEALTH_CHECK = "HEALTH_CHECK"
_ARRIVED = "_llmperf_arrived"

_local = threading.local()


def patch_scheduler(module: ModuleType) -> None:
    """A batch lasts until the scheduler has launched all that belongs to it; requests arrive in its queue."""
    scheduler = module.Scheduler
    wrap(scheduler, "run_batch", _running)
    wrap(scheduler, "_add_request_to_queue", _arriving)


def patch_worker(module: ModuleType) -> None:
    """Mark the passes of the target model."""
    worker = module.TpModelWorker
    wrap(worker, "__init__", functools.partial(ranged, markers.WARMUP))
    for name in _PASSES:
        wrap(worker, name, _passing)


def _running(method: Callable[..., Any], self: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
    marks = _state().marks
    _local.speculates = _speculates(batch)
    _local.is_running = True
    if _local.speculates and not marks.is_off:
        marks.turn(DRAFT)
    try:
        return method(self, batch, *args, **kwargs)
    finally:
        _local.is_running = False
        marks.end()


def _passing(method: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    if getattr(self, "is_draft_worker", False):
        return method(self, *args, **kwargs)
    state = _state()
    if state.marks.is_off:
        return method(self, *args, **kwargs)
    state.worker = self
    batch = next((each for each in (*args, *kwargs.values()) if hasattr(each, "forward_mode")), None)
    _begin(state, batch)
    is_over = True
    try:
        result = method(self, *args, **kwargs)
        is_over = False
        return result
    finally:
        if is_over or not getattr(_local, "is_running", False):
            state.marks.end()
        elif _local.speculates:
            state.marks.turn(DRAFT)


def _arriving(method: Callable[..., Any], self: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
    # What was retracted or preempted comes into the queue again, and not all versions say so.
    is_again = kwargs.get("is_retracted", False) or any(args) or getattr(req, _ARRIVED, False)
    with contextlib.suppress(Exception):
        if not is_again and not str(req.rid).startswith(_HEALTH_CHECK):
            asked = getattr(getattr(req, "sampling_params", None), "n", None)
            samples = asked if isinstance(asked, int) and asked > 1 else None
            markers.arrived(str(req.rid), prompt_tokens=len(req.origin_input_ids), samples=samples)
        setattr(req, _ARRIVED, True)
    return method(self, req, *args, **kwargs)


def _speculates(batch: Any) -> bool:
    is_none = getattr(getattr(batch, "spec_algorithm", None), "is_none", None)
    with contextlib.suppress(Exception):
        return is_none is not None and not is_none()
    return False


class _Process:
    """What a process has once: its scheduler, or its rank of one, has one target model."""

    def __init__(self) -> None:
        self.worker: Any = None
        self.numbers = RequestNumbers()
        self.marks = EngineSteps("SGLang", version_of("sglang"), lambda: run_fields(self.worker))


_process: _Process | None = None


def _state() -> _Process:
    global _process  # noqa: PLW0603 - made at the first batch, when the version is known
    if _process is None:
        _process = _Process()
    return _process


def _begin(state: _Process, batch: Any) -> None:
    """Open the range of the pass over `batch`: the scheduler's own, or what a worker makes of it."""
    with state.marks.guarded():
        mode = str(batch.forward_mode.name)
        if mode == "IDLE" or _checks_health(batch):
            state.marks.turn(DUMMY)
        elif mode not in _PHASES and mode != "TARGET_VERIFY":
            state.marks.turn(mode.lower())
        else:
            _mark(state, batch, mode)


def _mark(state: _Process, batch: Any, mode: str) -> None:
    state.marks.before_step(state.numbers.count)
    drafts: list[int] = []
    if mode == "DECODE":
        kv_tokens = [length - 1 for length in _lengths(batch)]
        q_tokens = [1] * len(kv_tokens)
        logits = len(kv_tokens)
    elif mode == "TARGET_VERIFY":
        kv_tokens = _lengths(batch)
        guesses = _first(batch.spec_info, "draft_token_num", "num_tokens_per_req", "num_tokens_per_batch")
        q_tokens = [int(guesses)] * len(kv_tokens)
        drafts = [int(guesses) - 1] * len(kv_tokens)
        logits = sum(q_tokens)
    else:
        q_tokens = _list(_first(batch, "extend_lens", "extend_seq_lens_cpu", "extend_seq_lens"))
        kv_tokens = _list(_first(batch, "prefix_lens", "extend_prefix_lens_cpu", "extend_prefix_lens"))
        logits = _extend_logits(batch, q_tokens)
    ids = _ids(batch)
    if ids is not None and len(ids) != len(q_tokens):
        raise ValueError(f"{len(ids)} requests, and the lengths of {len(q_tokens)}")
    named = state.numbers.meet(ids) if ids else {}
    if ids and state.marks.is_description_due:
        named = state.numbers.names(ids)
    phase = VERIFY if mode == "TARGET_VERIFY" else _PHASES[mode]
    numbers = state.numbers.of(ids) if ids else None
    adapters = sum(lora is not None for lora in getattr(batch, "lora_ids", None) or ())
    state.marks.begin(
        phase,
        q_tokens,
        kv_tokens,
        logits,
        ids=numbers,
        new=named,
        drafts=drafts,
        adapters=adapters or None,
    )
    if ids:
        state.numbers.keep(ids)


def _first(owner: Any, *names: str) -> Any:
    for name in names:
        value = getattr(owner, name, None)
        if value is not None:
            return value
    raise AttributeError(f"{type(owner).__name__} has none of {', '.join(names)}")


def _list(values: Any) -> list[int]:
    """A list, or a tensor of the host; one on a device would have to be waited for."""
    if isinstance(values, (list, tuple)):
        return list(values)
    if str(getattr(values, "device", "cpu")) != "cpu":
        raise ValueError("the lengths are on the GPU alone")
    return list(values.tolist())


def _lengths(batch: Any) -> list[int]:
    """Tokens of each sequence, those of this pass included."""
    mirror = getattr(batch, "seq_lens_cpu", None)
    return _list(batch.seq_lens if mirror is None else mirror)


def _ids(batch: Any) -> list[str] | None:
    requests = getattr(batch, "reqs", None)
    if requests is not None:
        return [str(request.rid) for request in requests]
    rids: Sequence[object] | None = getattr(batch, "rids", None)
    return None if rids is None else [str(rid) for rid in rids]


def _checks_health(batch: Any) -> bool:
    ids = _ids(batch)
    return bool(ids) and all(name.startswith(_HEALTH_CHECK) for name in ids or ())


def _extend_logits(batch: Any, q_tokens: Sequence[int]) -> int:
    """One position of each prompt, and those whose probabilities somebody asked for; none of a model that embeds."""
    if getattr(getattr(batch, "model_config", None), "is_generation", True) is False:
        return 0
    starts = getattr(batch, "extend_logprob_start_lens", None) if getattr(batch, "return_logprob", False) else None
    if starts is None or len(starts) != len(q_tokens):
        return len(q_tokens)
    return sum(max(1, q - int(start)) for q, start in zip(q_tokens, starts, strict=True))


def _cache_dtype(runner: Any) -> str:
    """What keys and values are stored in: sparse attention may pack latents although the option says `fp8_e4m3`.

    The pool calls that `nsa_kv_cache_store_fp8` up to SGLang 0.5.12, `dsa_kv_cache_store_fp8` since; a row of
    DeepSeek-V3.2 is of 656 bytes then, the format that vLLM calls fp8_ds_mla (`calculate_mla_kv_cache_dim`).
    """
    pool = getattr(runner, "token_to_kv_pool", None)
    is_packed = any(getattr(pool, f"{name}_kv_cache_store_fp8", False) is True for name in ("dsa", "nsa"))
    return "fp8_ds_mla" if is_packed else str(getattr(runner.server_args, "kv_cache_dtype", "auto"))


def run_fields(worker: Any) -> dict[str, Any]:
    """What the run mark says: the model's config and how this engine runs it."""
    runner = getattr(worker, "model_runner", worker)
    arguments, model = runner.server_args, runner.model_config
    cache_dtype = _cache_dtype(runner)
    tensor, pipeline = int(getattr(arguments, "tp_size", 1)), int(getattr(arguments, "pp_size", 1))
    rank = int(getattr(runner, "tp_rank", 0)) + tensor * int(getattr(runner, "pp_rank", 0))
    data, experts = int(getattr(arguments, "dp_size", 1)), int(getattr(arguments, "ep_size", 1))
    # With data-parallel attention the ranks of a tensor-parallel group have batches of their own and share experts.
    batches = data if getattr(arguments, "enable_dp_attention", False) is True else 1
    guesses = getattr(arguments, "speculative_algorithm", None)
    fields = {
        "markers": markers.backend_name(),
        "framework": "sglang",
        "framework_version": version_of("sglang"),
        "model": config_fields(model.hf_config, is_quantized=True),
        "name": str(getattr(arguments, "model_path", "")).rstrip("/").rpartition("/")[2] or None,
        "dtype": str(getattr(model, "dtype", runner.dtype if hasattr(runner, "dtype") else None)).removeprefix(
            "torch."
        ),
        "quantization": getattr(arguments, "quantization", None),
        "kv_dtype": None if cache_dtype == "auto" else cache_dtype,
        "max_context": getattr(model, "context_len", None),
        "attn": getattr(arguments, "attention_backend", None),
        "tp": max(1, tensor // batches),
        "pp": pipeline,
        "dp": data,
        "ep": experts if batches == 1 else tensor,
        "redundant_experts": getattr(arguments, "ep_num_redundant_experts", None) or None,
        "graph_sizes": sizes_of(getattr(arguments, "cuda_graph_bs", None)),
        "pcp": int(getattr(arguments, "attn_cp_size", 1) or 1),
        "rank": rank,
        "world": tensor * pipeline,
        "speculation": guesses and {"method": str(guesses)},
        "device": str(getattr(runner, "device", None)),
    }
    return {name: value for name, value in fields.items() if value is not None}
