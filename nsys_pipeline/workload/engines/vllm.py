"""vLLM (V1 engine, 0.10 or newer): each step of a worker, from what the scheduler sends it.

A `SchedulerOutput` says how many tokens of which request are computed, and how many are in the KV cache already: those
of earlier steps, of the prefix cache and of a KV connector. Worker and model runner are both patched: Ray's compiled
graphs call the runner alone. A step begins with `execute_model` and ends with `sample_tokens`, which computes
the rest of it (sampling and, in the newer runner, the LM head).
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from nsys_pipeline import markers
from nsys_pipeline.workload.clips import MASKED_FRAMES
from nsys_pipeline.workload.describe import config_fields
from nsys_pipeline.workload.engines.steps import (
    DRAFT,
    DUMMY,
    VISION,
    EngineSteps,
    RequestNumbers,
    phase_of,
    ranged,
    sizes_of,
    version_of,
    wrap,
)
from nsys_pipeline.workload.grids import Grid, of_frames

# What a worker does before the first request.
_STARTING = ("load_model", "determine_available_memory", "compile_or_warm_up_model")
_ATTRIBUTE = "_llmperf_steps"
_PATIENCE_S = 60.0
# With it vLLM imports the package nvtx at its first step, which not every installation has.
_OWN_RANGES = "VLLM_NVTX_SCOPES_FOR_PROFILING"


def patch_environment(_module: ModuleType) -> None:
    """Ask for vLLM's own ranges only where it can make them: without the package nvtx its engine would stop."""
    if os.environ.get(_OWN_RANGES) and importlib.util.find_spec("nvtx") is None:
        del os.environ[_OWN_RANGES]


def patch_worker(module: ModuleType) -> None:
    """Mark the steps of the module's workers."""
    for worker in _classes(module, "Worker"):
        wrap(worker, "execute_model", _executing)
        wrap(worker, "sample_tokens", _sampling)
        wrap(worker, "execute_dummy_batch", functools.partial(ranged, DUMMY))
        wrap(worker, "profile", _profiling)
        for name in _STARTING:
            wrap(worker, name, functools.partial(ranged, markers.WARMUP))


def patch_runner(module: ModuleType) -> None:
    """Mark the steps of the module's model runners where no worker has done so, and their drafts."""
    for runner in _classes(module, "ModelRunner"):
        wrap(runner, "execute_model", _executing)
        wrap(runner, "sample_tokens", _sampling)
        wrap(runner, "propose_draft_token_ids", _drafting)


def patch_core(module: ModuleType) -> None:
    """Mark the arrival of each request at the engine, and when somebody gives it up."""
    wrap(module.EngineCore, "add_request", _arriving)
    wrap(module.EngineCore, "abort_requests", _giving_up)


def patch_executor(module: ModuleType) -> None:
    """Give workers that were told to end the time to do so: nsys loses the last events of those that are killed."""
    executor = module.MultiprocExecutor
    ensure = executor._ensure_worker_termination

    @functools.wraps(ensure)
    def patient(worker_procs: list[Any]) -> Any:
        _wait_for(worker_procs)
        return ensure(worker_procs)

    executor._ensure_worker_termination = staticmethod(patient)


def patch_shutdown(module: ModuleType) -> None:
    """The same for the engine's own process, which waits for its workers."""
    shutdown = module.shutdown

    @functools.wraps(shutdown)
    def patient(procs: list[Any], *args: Any, **kwargs: Any) -> Any:
        for process in procs:
            if process.is_alive():
                process.terminate()
        _wait_for(procs)
        return shutdown(procs, *args, **kwargs)

    module.shutdown = patient  # type: ignore[attr-defined]


def _wait_for(processes: Sequence[Any]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))


def _classes(module: ModuleType, ending: str) -> list[type]:
    """Classes that the module itself defines; those it imports are patched where they are at home."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__ and value.__name__.endswith(ending)
    ]


def _executing(method: Callable[..., Any], self: Any, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
    steps = steps_of(self)
    # The runner that vLLM calls V2 also runs batches of no request: to measure memory, and to keep ranks company.
    if steps is None or steps.output is scheduler_output or kwargs.get("dummy_run"):
        return method(self, scheduler_output, *args, **kwargs)
    steps.begin(scheduler_output)
    is_over = True
    try:
        result = method(self, scheduler_output, *args, **kwargs)
        # Without a result there is sampling still to come.
        is_over = result is not None or not hasattr(self, "sample_tokens")
        return result
    finally:
        if is_over:
            steps.end()


def _sampling(method: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    steps = steps_of(self)
    if steps is None or steps.is_sampling:
        return method(self, *args, **kwargs)
    steps.is_sampling = True
    try:
        return method(self, *args, **kwargs)
    finally:
        steps.is_sampling = False
        steps.end()


def _drafting(method: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    if (steps := steps_of(self)) is not None:
        steps.marks.switch(DRAFT)
    return method(self, *args, **kwargs)


def _profiling(method: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """What was said before a recording is not in it."""
    result = method(self, *args, **kwargs)
    if (args[0] if args else kwargs.get("is_start", True)) and (steps := steps_of(self)) is not None:
        steps.recording_begins()
    return result


def _arriving(method: Callable[..., Any], self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
    # Who asks an engine that encodes for others is the client of another one.
    if _encodes_alone(getattr(self, "vllm_config", None)):
        return method(self, request, *args, **kwargs)
    with contextlib.suppress(Exception):
        arrival_s = getattr(request, "arrival_time", None)
        waited_ms = max(0.0, round((time.time() - arrival_s) * 1e3, 3)) if arrival_s else 0.0
        tokens = getattr(request, "num_prompt_tokens", None)
        markers.arrived(str(request.request_id), prompt_tokens=tokens, waited_ms=waited_ms)
    return method(self, request, *args, **kwargs)


def _giving_up(method: Callable[..., Any], self: Any, request_ids: Any, *args: Any, **kwargs: Any) -> Any:
    with contextlib.suppress(Exception):
        for request in list(request_ids):
            markers.given_up(str(request))
    return method(self, request_ids, *args, **kwargs)


def steps_of(owner: Any) -> VllmSteps | None:
    """The steps of a worker or a model runner, which share them; None where they cannot be read."""
    runner = getattr(owner, "model_runner", owner)
    try:
        steps: VllmSteps | None = runner.__dict__.get(_ATTRIBUTE)
        if steps is None and hasattr(runner, "vllm_config"):
            steps = runner.__dict__[_ATTRIBUTE] = VllmSteps(runner)
    except AttributeError:
        return None
    return None if steps is None or steps.marks.is_off else steps


class VllmSteps:
    """Reads the scheduler's output of each step: `output` is the one whose step is open."""

    def __init__(self, runner: Any) -> None:
        self.output: Any = None
        self.is_sampling = False
        self.marks = EngineSteps("vLLM", version_of("vllm"), functools.partial(run_fields, runner))
        self._runner = runner
        self._numbers = RequestNumbers()
        # Request → tokens that have to be computed before it decodes, until they are.
        self._prefilling: dict[str, int] = {}
        # Request → length of a prompt each of whose tokens wants logits.
        self._with_prompt_logits: dict[str, int] = {}
        self._adapted: set[str] = set()
        self._features: dict[str, Sequence[Any]] = {}
        self._has_logits = getattr(runner, "is_pooling_model", False) is not True
        self._runs_ahead = _runs_ahead(runner.vllm_config)
        self._encodes_alone = _encodes_alone(runner.vllm_config)
        _watch_speculator(runner, self)

    def begin(self, output: Any) -> None:
        """Open the range of the step that `output` describes; one without tokens has no range."""
        self.end()
        with self.marks.guarded():
            self._forget(output.finished_req_ids)
            if output.num_scheduled_tokens:
                self._begin(output)
        self.output = output

    def end(self) -> None:
        """Close the range."""
        self.output = None
        self.marks.end()

    def recording_begins(self) -> None:
        """Say again, at the next step, what a recording that begins now has not heard."""
        self.marks.describe_again()

    def _begin(self, output: Any) -> None:
        self.marks.before_step(self._numbers.count)
        scheduled: Mapping[str, int] = output.num_scheduled_tokens
        ids, kv_tokens, named = self._requests(output)
        q_tokens = [scheduled[request] for request in ids]
        if len(ids) != len(scheduled):
            raise ValueError(f"{len(scheduled)} requests are scheduled, and {len(ids)} are known")
        prefills = self._prefills(ids, q_tokens, kv_tokens) if self._prefilling else 0
        encoded: Mapping[str, Sequence[int]] = output.scheduled_encoder_inputs
        if self._encodes_alone:
            if encoded:
                self.marks.begin(VISION, [], [], 0, **self._encoded(encoded))
            return
        drafts: Mapping[str, Sequence[int]] = output.scheduled_spec_decode_tokens
        guesses = [len(drafts.get(request, ())) for request in ids] if drafts else []
        logits = len(ids) + sum(guesses) if self._has_logits else 0
        if self._with_prompt_logits:
            logits += self._prompt_logits(ids, q_tokens, kv_tokens)
        self.marks.begin(
            phase_of(sequences=len(ids), prefills=prefills, has_drafts=bool(drafts)),
            q_tokens,
            kv_tokens,
            logits,
            ids=self._numbers.of(ids),
            new=named,
            drafts=guesses,
            ahead=self._runs_ahead,
            **(self._encoded(encoded) if encoded else {}),
            adapters=sum(request in self._adapted for request in ids) if self._adapted else None,
        )

    def _requests(self, output: Any) -> tuple[list[str], list[int], dict[str, str]]:
        """Ids and cached tokens of the scheduled requests, and the names of numbers that are new."""
        cached = output.scheduled_cached_reqs
        if isinstance(cached, (list, tuple)):
            # Before 0.10 each request had a record of its own.
            ids = [str(request.req_id) for request in cached]
            kv_tokens = [int(request.num_computed_tokens) for request in cached]
            resumed = [request.req_id for request in cached if getattr(request, "resumed_from_preemption", False)]
        else:
            ids, kv_tokens = list(cached.req_ids), list(cached.num_computed_tokens)
            resumed = _resumed(cached)
        for request in resumed:
            index = ids.index(request)
            # What was computed before it was preempted is a prompt now.
            self._prefilling[request] = kv_tokens[index] + int(output.num_scheduled_tokens[request])
        named = {}
        for request in output.scheduled_new_reqs:
            named.update(self._meet(request))
            ids.append(request.req_id)
            kv_tokens.append(int(request.num_computed_tokens))
        if self.marks.is_description_due:
            for request in ids:
                self._numbers.add(request)
            named = self._numbers.names(ids)
        return ids, kv_tokens, named

    def _meet(self, request: Any) -> dict[str, str]:
        name: str = request.req_id
        prompt = getattr(request, "prompt_token_ids", None)
        embeds = getattr(request, "prompt_embeds", None)
        prompt_tokens = len(prompt) if prompt is not None else 0 if embeds is None else int(embeds.shape[0])
        # A preempted request comes again with what it had generated.
        before = getattr(request, "prefill_token_ids", None)
        self._prefilling[name] = max(prompt_tokens, len(before) if before is not None else 0)
        if getattr(getattr(request, "sampling_params", None), "prompt_logprobs", None) is not None:
            self._with_prompt_logits[name] = prompt_tokens
        if getattr(request, "lora_request", None) is not None:
            self._adapted.add(name)
        if features := getattr(request, "mm_features", None):
            self._features[name] = features
        return {str(self._numbers.add(name)): name}

    def _forget(self, finished: Sequence[str] | set[str]) -> None:
        if not finished:
            return
        self._numbers.forget(finished)
        self._adapted.difference_update(finished)
        for known in (self._prefilling, self._with_prompt_logits, self._features):
            for request in finished:
                known.pop(request, None)

    def _prefills(self, ids: Sequence[str], q_tokens: Sequence[int], kv_tokens: Sequence[int]) -> int:
        """How many of the sequences compute tokens of their prompt; forgets those whose prompt is through."""
        prefills = 0
        for request, q, kv in zip(ids, q_tokens, kv_tokens, strict=True):
            target = self._prefilling.get(request)
            if target is not None:
                prefills += kv < target
                if kv + q >= target:
                    del self._prefilling[request]
        return prefills

    def _prompt_logits(self, ids: Sequence[str], q_tokens: Sequence[int], kv_tokens: Sequence[int]) -> int:
        """Positions of prompts whose logits are computed because somebody asked for their probabilities."""
        lengths = self._with_prompt_logits
        return sum(
            min(q, max(0, lengths[request] - 1 - kv))
            for request, q, kv in zip(ids, q_tokens, kv_tokens, strict=True)
            if request in lengths
        )

    def _encoded(self, encoded: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        """Grids of the images and frames of the clips that are encoded in this step, and what has no size."""
        config = getattr(self._runner.vllm_config.model_config, "hf_config", None)
        sizes: dict[str, list[Any]] = {"images": [], "audio": []}
        unsized: set[str] = set()
        for request, indices in encoded.items():
            for index in indices:
                feature = self._features[request][index]
                kind = "audio" if getattr(feature, "modality", None) == "audio" else "images"
                found = _clips(config, feature) if kind == "audio" else _grids(config, feature)
                if found is None:
                    unsized.add(kind)
                else:
                    sizes[kind] += found
        return {**sizes, "unsized": sorted(unsized)}


def _resumed(cached: Any) -> list[str]:
    resumed = getattr(cached, "resumed_req_ids", None)
    if resumed is not None:
        return list(resumed)
    flags = getattr(cached, "resumed_from_preemption", ())
    return [request for request, flag in zip(cached.req_ids, flags, strict=False) if flag]


def _grids(config: Any, feature: Any) -> list[Grid] | None:
    """Patches of a picture or of each frame of a video, where its processor says them."""
    with contextlib.suppress(Exception):
        grid = _field(feature, "image_grid_thw", "video_grid_thw")
        frames, height, width = (int(value) for value in grid.flatten().tolist())
        return of_frames(config, [(frames, height, width)])
    return None


def _clips(config: Any, feature: Any) -> list[int] | None:
    """Frames of a clip, or of each window of one, where its processor says them."""
    with contextlib.suppress(Exception):
        if str(config.model_type) not in MASKED_FRAMES:
            return None
        lengths = _field(feature, "audio_feature_lengths")
        if lengths is None:
            lengths = _field(feature, "feature_attention_mask", "input_features_mask").sum(-1)
        return [int(frames) for frames in lengths.flatten().tolist()]
    return None


def _field(feature: Any, *names: str) -> Any:
    """The first of the fields that the processor has made, if it is on the host; None without any."""
    held = {name: feature.data[name] for name in names if name in feature.data}
    element = next(iter(held.values()), None)
    tensor = getattr(element, "data", element)
    return tensor if str(getattr(tensor, "device", "cpu")) == "cpu" else None


def _watch_speculator(runner: Any, steps: VllmSteps) -> None:
    """The newer model runner keeps what makes drafts in an object of its own."""
    propose = getattr(getattr(runner, "speculator", None), "propose", None)
    if propose is None:
        return

    @functools.wraps(propose)
    def marked(*args: Any, **kwargs: Any) -> Any:
        steps.marks.switch(DRAFT)
        return propose(*args, **kwargs)

    with contextlib.suppress(AttributeError):
        runner.speculator.propose = marked


def _encodes_alone(config: Any) -> bool:
    """Whether the engine runs encoders for others: it schedules whole prompts, and computes none of them."""
    transfer = getattr(config, "ec_transfer_config", None)
    return getattr(transfer, "ec_role", None) == "ec_producer" or getattr(config, "is_mm_encoder_only", False) is True


def _runs_ahead(config: Any) -> bool:
    """Whether steps are scheduled before it is known which guesses of the step before were right."""
    return _is_async(config) and getattr(config, "speculative_config", None) is not None


def _is_async(config: Any) -> bool:
    """Whether a step is scheduled before it is known which requests end in the one before."""
    return bool(getattr(getattr(config, "scheduler_config", None), "async_scheduling", False))


def _cache_dtype(config: Any) -> str:
    """What keys and values are stored in: a backend may pack latents although the option says `fp8`."""
    layers = getattr(getattr(config, "compilation_config", None), "static_forward_context", None) or {}
    used = {str(getattr(layer, "kv_cache_dtype", None)) for layer in layers.values()}
    return "fp8_ds_mla" if "fp8_ds_mla" in used else str(getattr(config.cache_config, "cache_dtype", "auto"))


def _plain_layers(config: Any) -> list[str] | None:
    """Layers whose keys and values stay in the model's dtype, by number or as `sliding_window`; None without any."""
    skipped = getattr(config.cache_config, "kv_cache_dtype_skip_layers", None)
    return [str(one) for one in skipped] if skipped else None


def _redundant_experts(parallel: Any) -> int | None:
    """Copies of experts in each layer that vLLM's load balancer (EPLB) adds; older versions have the field outside."""
    if not getattr(parallel, "enable_eplb", False):
        return None
    balancer = getattr(parallel, "eplb_config", parallel)
    copies = getattr(balancer, "num_redundant_experts", None)
    return copies if isinstance(copies, int) and copies > 0 else None


def run_fields(runner: Any) -> dict[str, Any]:
    """What the run mark says: the model's config and how this engine runs it."""
    config = runner.vllm_config
    model, parallel = config.model_config, config.parallel_config
    cache_dtype = _cache_dtype(config)
    tensor = int(getattr(parallel, "tensor_parallel_size", 1))
    pipeline = int(getattr(parallel, "pipeline_parallel_size", 1))
    data = int(getattr(parallel, "data_parallel_size", 1))
    prompts = int(getattr(parallel, "prefill_context_parallel_size", 1))
    experts = tensor * data if getattr(parallel, "enable_expert_parallel", False) else 1
    guesses = getattr(config, "speculative_config", None)
    fields = {
        "markers": markers.backend_name(),
        "framework": "vllm",
        "framework_version": version_of("vllm"),
        "model": config_fields(model.hf_config, is_quantized=True),
        "name": str(model.model).rstrip("/").rpartition("/")[2],
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantization": getattr(model, "quantization", None),
        "kv_dtype": None if cache_dtype == "auto" else cache_dtype,
        "kv_plain_layers": _plain_layers(config) if cache_dtype != "auto" else None,
        "max_context": getattr(model, "max_model_len", None),
        "async_scheduling": _is_async(config) or None,
        "runner": type(runner).__module__,
        "tp": tensor,
        "pp": pipeline,
        "dp": data,
        "pcp": prompts,
        "dcp": int(getattr(parallel, "decode_context_parallel_size", 1)),
        "ep": experts,
        "redundant_experts": _redundant_experts(parallel),
        "graph_sizes": sizes_of(getattr(getattr(config, "compilation_config", None), "cudagraph_capture_sizes", None)),
        "rank": int(getattr(parallel, "rank", 0)),
        "dp_rank": int(getattr(parallel, "data_parallel_rank", 0)),
        "world": tensor * pipeline * prompts,
        "speculation": guesses
        and {"method": getattr(guesses, "method", None), "tokens": getattr(guesses, "num_speculative_tokens", None)},
        "device": str(getattr(runner, "device", None)),
    }
    return {name: value for name, value in fields.items() if value is not None}
