"""Markers for programs that have none: each forward pass of a transformers model becomes a phase range.

`install` waits for transformers to be imported and then wraps `PreTrainedModel.__call__` and `generate`, and what
trains a model: `Tensor.backward` and the step of optimizers. A program that never imports it is left alone. Only the
standard library is imported, and nothing asks the GPU for a value while a request or a pass runs: shapes come from what
the host knows, so that timing stays what it was. Which sequences had ended is read when `generate` has returned.

The run mark describes one model of the process: the one that `generate` is called on, or that runs first. Passes of
other models have a range with their model type in its name and no shape, for their cost is not that model's.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from nsys_pipeline import markers
from nsys_pipeline.workload import engines, gradients, padding, seen
from nsys_pipeline.workload.after_import import after_import
from nsys_pipeline.workload.caches import allocated_tokens, count_tokens, find_cache, held_tokens
from nsys_pipeline.workload.describe import config_fields, may_generate, model_name, ranks, with_class
from nsys_pipeline.workload.dropped import drops_layers, layer_drop
from nsys_pipeline.workload.ended import Ends
from nsys_pipeline.workload.engines.steps import DRAFT, MIXED, VERIFY, VISION, is_inside
from nsys_pipeline.workload.grids import ROWS, Grid
from nsys_pipeline.workload.look import Look, as_built, look_at
from nsys_pipeline.workload.moved import remembering
from nsys_pipeline.workload.padding import (
    ATTENTION_MASK,
    DECODER_IDS,
    DECODER_MASK,
    IGNORED,
    SEQUENCE_STARTS,
    UNREAD,
    Mask,
    Unread,
    mask_of_cache,
    packed_lengths,
    pads,
    read_ends,
    read_mask,
    remember_mask,
    scored_positions,
)
from nsys_pipeline.workload.products import product_dtype
from nsys_pipeline.workload.seen import images_of, sound_of
from nsys_pipeline.workload.stages import mark_stages
from nsys_pipeline.workload.trained import count_adapters, named_weights, trained_fields, trained_inputs

# What the tests of this file ran with last. A newer transformers may hand things on in another way, as 5.24 did.
NEWEST_TRIED = (5, 24)

ENCODER = "encoder"
FORWARD = "forward"
BACKWARD = "backward"
OPTIMIZER = "optimizer"
GUIDANCE = "guidance"

_WARNED = "LLMPERF_WARNED_OF_TRANSFORMERS"
#: Attention that goes over all positions of a static cache, and masks those that are not filled.
_WHOLE_CACHE = ("eager", "sdpa")
#: What multiplies each pass by its mask, whatever has gone through before.
_SPREAD_BY_MASK = ("mamba", "falcon_mamba")

_local = threading.local()


def install() -> None:
    """Wrap the model classes as soon as the program imports them; does nothing in a process that is not profiled."""
    if markers.profiled():
        after_import(_PATCHES, what="markers")


def phase_of(*, q_tokens: int, kv_tokens: int | None, is_prefilled: bool | None = None) -> str:
    """Name the pass of a generating model: prefill, decode, or verify (of several tokens that were guessed).

    Inside `generate`, `is_prefilled` says whether the prompt has been through. Elsewhere one token of a begun sequence
    is a decode, and several are a part of the prompt. `kv_tokens`: None where the sequence has begun somehow.
    """
    has_begun = kv_tokens is None or kv_tokens > 0
    if is_prefilled is None:
        return markers.DECODE if q_tokens == 1 and has_begun else markers.PREFILL
    if not is_prefilled:
        return markers.PREFILL
    # Without a cache, each step runs the whole sequence again.
    return VERIFY if q_tokens > 1 and has_begun else markers.DECODE


class _Request:
    """One call of `generate`: how far it is, and how deep in calls inside it (those of a draft model).

    `prompt_end`: how many tokens of each sequence are through when the prompt is, those of a kept cache included.
    `mask`: which of them are padding; None if none is. `ends_above`: in larger batches than that, some sequences may
    end before others, which only the GPU knows, and are padded from then on; None if none can. `ends`: what will be
    known of it. `cache`: what its first pass has left behind.
    """

    def __init__(self, prompt_end: int, mask: Mask | Unread | None, ends_above: int | None) -> None:
        self.prompt_end = prompt_end
        self.mask = mask
        self.ends_above = ends_above
        self.ends = Ends()
        self.tokens = 0
        self.depth = 1
        self.cache: Any = None

    @property
    def is_prefilled(self) -> bool:
        return self.tokens >= self.prompt_end

    def is_beside(self, cache: Any) -> bool:
        """Whether a pass with `cache` is of other sequences than the request's, as that without a prompt is.

        Tuples of tensors, which transformers 4 hands on, are new ones at each step.
        """
        return self.cache is not None and cache is not self.cache and not isinstance(cache, (tuple, list))

    def written_before(self, batch: int) -> int:
        """How many tokens each sequence of a pass has, if some may have ended before it, else 0."""
        if self.ends_above is None or batch <= self.ends_above or not self.ends.written:
            return 0
        self.ends.is_wanted = True
        return self.ends.written

    def count(self, q_tokens: int, kv_tokens: int | None) -> None:
        """Take note of a pass. Guesses that are taken back do not make the prompt undone."""
        self.tokens = max(self.tokens, (self.tokens if kv_tokens is None else kv_tokens) + q_tokens)


_KEPT: Any = object()
"""In the place of a mask: what the cache remembers of its padding stays."""


class _Pass(NamedTuple):
    """A forward pass: its phase, and its shape where there are tokens (padding included, as it is computed).

    `lengths`: new and cached tokens of each sequence without padding, if there is padding or sequences are packed into
    one row (`is_packed`). `mask`: what the cache is to remember of its padding. `is_unread`: there is a mask that may
    say so, and the host does not know what it says. `written`: how many tokens each sequence of `request` had written
    before, if some may have ended since.
    `kv_tokens` is None where nobody knows. `is_described`: it is one of the model that the run mark is about. `images`:
    patches of those that it sees, `audio`: frames of the clips that it hears; `unsized`: which of them nobody knows.
    `is_scored`: its head runs for `logits` positions, those that its loss is about; None where nobody knows.
    `positions`: of each sequence in a static cache, where the code attends to all of them; 0 elsewhere.
    `number`: by which its backward may name it. `is_below`: the model has no head, and its program may run one itself.
    `is_shifted`: the second of two stacks reads the labels, by one later. `encoded`: tokens that the first stack reads
    of each sequence in this pass, and how many of them are real, where they differ.
    `trained`: what its mark says of inputs that have gradients. `run`: which run mark is about the model as it is now.
    """

    phase: str
    batch: int = 0
    q_tokens: int = 0
    kv_tokens: int | None = 0
    logits: int | None = 0
    is_scored: bool = False
    positions: int = 0
    number: int = 0
    is_below: bool = False
    is_shifted: bool = False
    encoded: tuple[int, list[int] | None] | None = None
    is_described: bool = False
    images: tuple[Grid, ...] = ()
    audio: tuple[int, ...] = ()
    unsized: tuple[str, ...] = ()
    lengths: tuple[list[int], list[int]] | None = None
    is_packed: bool = False
    is_unread: bool = False
    request: int = 0
    written: int = 0
    mask: Any = _KEPT
    trained: Mapping[str, Any] = {}
    run: int = 0


def _patch_models(module: ModuleType) -> None:
    model_class: Any = module.PreTrainedModel
    call = model_class.__call__

    @functools.wraps(call)
    def marked_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        import torch

        # Inside a compiled region there is no Python to run between kernels: the caller has set the range.
        if torch.compiler.is_compiling() or _is_marked():
            return call(self, *args, **kwargs)
        with _forward_range(self, args, kwargs) as finished:
            return finished(call(self, *args, **kwargs))

    model_class.__call__ = marked_call

    if hasattr(model_class, "get_compiled_call"):
        get_compiled_call = model_class.get_compiled_call

        @functools.wraps(get_compiled_call)
        def marked_compiled_call(self: Any, *args: Any, **kwargs: Any) -> Callable[..., Any]:
            compiled = get_compiled_call(self, *args, **kwargs)

            def call_compiled(*call_args: Any, **call_kwargs: Any) -> Any:
                with _forward_range(self, call_args, call_kwargs) as finished:
                    return finished(compiled(*call_args, **call_kwargs))

            return call_compiled

        model_class.get_compiled_call = marked_compiled_call
    import torch

    _patch_training(torch)
    _warn_if_untried()


def _warn_if_untried() -> None:
    """Say once, of all processes of a run, that this transformers is newer than what was tried."""
    version = str(getattr(sys.modules.get("transformers"), "__version__", ""))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) <= NEWEST_TRIED or os.environ.get(_WARNED):
        return
    # Children inherit it; ranks of one launcher are siblings.
    os.environ[_WARNED] = "1"
    if ranks()["rank"] == 0:
        tried = ".".join(map(str, NEWEST_TRIED))
        sys.stderr.write(
            f"{markers.MESSAGE}transformers {version} is newer than {tried}, the newest that `--auto` was tried with\n"
        )


def _patch_generation(module: ModuleType) -> None:
    mixin: Any = module.GenerationMixin
    generate = mixin.generate

    @functools.wraps(generate)
    def marked_generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        request: _Request | None = getattr(_local, "request", None)
        if request is not None:
            request.depth += 1
            try:
                return generate(self, *args, **kwargs)
            finally:
                request.depth -= 1
        prompt_end, mask, ends_above = 1, None, None
        with contextlib.suppress(Exception):
            _models.role(self)
            named = _named_arguments(generate, args, kwargs)
            prompt_end = _prompt_end(self, named)
            ends_above = _ends_above(self, named)
            mask = _prompt_mask(self, named, prompt_end)
        request = _local.request = _Request(prompt_end, mask, ends_above)
        try:
            with markers.phase(markers.REQUEST):
                made = generate(self, *args, **kwargs)
        finally:
            _local.request = None
        # Which beams are candidates, and which prompts are done with, is nowhere told.
        if ends_above in (0, 1):
            with contextlib.suppress(Exception):
                request.ends.tell()
        return made

    mixin.generate = marked_generate


def _prompt_end(model: Any, kwargs: dict[str, Any]) -> int:
    """How many tokens of each sequence are through when the prompt is, at least 1.

    The prompt that `generate` is given repeats what a kept cache holds, or is only what comes after it, with or without
    an attention mask over both.
    """
    has_two_stacks = bool(getattr(model.config, "is_encoder_decoder", False))
    mask = kwargs.get("decoder_attention_mask" if has_two_stacks else "attention_mask")
    masked = int(mask.shape[-1]) if mask is not None and getattr(mask, "ndim", 0) == 2 else 0
    prompt = _prompt_tokens(kwargs, has_two_stacks=has_two_stacks)
    cached = held_tokens(find_cache(kwargs)) or 0
    whole = max(prompt, masked)
    return whole if whole > cached else cached + prompt


def _prompt_tokens(kwargs: dict[str, Any], *, has_two_stacks: bool) -> int:
    """Length of the prompt that `generate` is given, at least 1; the decoder of two stacks begins with its own."""
    if has_two_stacks:
        prompt = kwargs.get(DECODER_IDS)
        return 1 if prompt is None else int(prompt.shape[-1])
    prompt = _prompt(kwargs)
    return 1 if prompt is None else max(1, int(prompt.shape[1]))


def _prompt(kwargs: dict[str, Any]) -> Any:
    for prompt in map(kwargs.get, ("inputs_embeds", "inputs", "input_ids")):
        if prompt is not None and getattr(prompt, "ndim", 0) >= 2:
            return prompt
    return None


def _prompt_mask(model: Any, kwargs: dict[str, Any], prompt_end: int) -> Mask | Unread | None:
    """Which tokens of the prompt are padding: as the mask says, else as `generate` finds it out from the tokens."""
    has_two_stacks = bool(getattr(model.config, "is_encoder_decoder", False))
    given = kwargs.get(DECODER_MASK if has_two_stacks else ATTENTION_MASK)
    if given is not None:
        # `generate` puts a start token before the prompt of a second stack.
        return read_mask(given, first=prompt_end - int(given.shape[-1]) + has_two_stacks)
    prompt = _prompt(kwargs)
    if has_two_stacks or prompt is None or prompt.ndim != 2 or prompt.is_floating_point():
        return None
    padding, ends = (_setting(model, kwargs, name) for name in ("pad_token_id", "eos_token_id"))
    if not pads(ends, padding):
        return None
    mask = read_mask(prompt, first=prompt_end - int(prompt.shape[1]), padding_id=padding)
    return None if mask is UNREAD and prompt.shape[0] == 1 else mask


def _ends_above(model: Any, kwargs: dict[str, Any]) -> int | None:
    """See `_Request`. The beams of one prompt end together; ranks that wait for each other go on even with one."""
    names = ("eos_token_id", "min_new_tokens", "max_new_tokens", "num_beams", "stop_strings")
    ends, least, most, beams, stops = (_setting(model, kwargs, name) for name in names)
    given = kwargs.get("stopping_criteria") or ()
    if ends is None and not any(hasattr(each, "eos_token_id") for each in given):
        return None
    none_ends = least and most and least >= most and not stops and not given
    if none_ends:
        return None
    return beams if beams and beams > 1 else int(not _is_synced(kwargs))


def _is_synced(kwargs: dict[str, Any]) -> bool:
    """Whether ranks may run passes that nobody needs, because others have not finished."""
    given = kwargs.get("synced_gpus")
    if given is not None:
        return bool(given)
    from torch import distributed

    return bool(distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1)


def _setting(model: Any, kwargs: dict[str, Any], name: str) -> Any:
    for source in (kwargs, vars(kwargs.get("generation_config") or object), vars(model.generation_config)):
        if source.get(name) is not None:
            return source[name]
    return None


def _patch_stopping(module: ModuleType) -> None:
    """Keep what is decided after each token of a request: which sequences of its batch end."""
    criteria: Any = module.StoppingCriteriaList
    decide = criteria.__call__

    @functools.wraps(decide)
    def kept(self: Any, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        decided = decide(self, input_ids, *args, **kwargs)
        request: _Request | None = getattr(_local, "request", None)
        if request is not None and request.depth == 1 and request.ends_above is not None:
            with contextlib.suppress(Exception):
                request.ends.see(self, input_ids, decided)
        return decided

    criteria.__call__ = kept


def _patch_guidance(module: ModuleType) -> None:
    """Know the passes of classifier-free guidance, which without a cache are like those of the request itself."""
    guide: Any = module.UnbatchedClassifierFreeGuidanceLogitsProcessor
    run = guide.get_unconditional_logits

    @functools.wraps(run)
    def guiding(*args: Any, **kwargs: Any) -> Any:
        _local.guides = True
        try:
            return run(*args, **kwargs)
        finally:
            _local.guides = False

    guide.get_unconditional_logits = guiding


def _patch_training(torch: Any) -> None:
    """Mark the other two thirds of a training step. The autograd engine launches from threads of its own."""
    torch.Tensor.backward = _marked_once(torch.Tensor.backward, BACKWARD)
    # Stages of pipelines call this. So does checkpointing inside a backward, on autograd's threads.
    torch.autograd.backward = _marked_once(torch.autograd.backward, BACKWARD, unless=gradients.is_open)
    hook = getattr(torch.optim.Optimizer, "profile_hook_step", None)
    if hook is not None:
        # What every optimizer passes its `step` through when it is made.
        torch.optim.Optimizer.profile_hook_step = staticmethod(lambda step: _marked_once(hook(step), OPTIMIZER))


def _marked_once(
    function: Callable[..., Any], phase: str, *, unless: Callable[[], bool] = lambda: False
) -> Callable[..., Any]:
    @functools.wraps(function)
    def marked(*args: Any, **kwargs: Any) -> Any:
        import torch

        if torch.compiler.is_compiling() or getattr(_local, phase, False) or unless():
            return function(*args, **kwargs)
        setattr(_local, phase, True)
        try:
            with markers.phase(phase), gradients.told() if phase == BACKWARD else contextlib.nullcontext():
                return function(*args, **kwargs)
        finally:
            setattr(_local, phase, False)

    return marked


def _patch_compiled_modules(module: ModuleType) -> None:
    optimized: Any = module.OptimizedModule
    call = optimized.__call__

    @functools.wraps(call)
    def marked_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        models = sys.modules.get("transformers.modeling_utils")
        original = getattr(self, "_orig_mod", None)
        if models is None or not isinstance(original, models.PreTrainedModel) or _is_marked():
            return call(self, *args, **kwargs)
        with _forward_range(original, args, kwargs) as finished:
            return finished(call(self, *args, **kwargs))

    optimized.__call__ = marked_call
    context: Any = module._TorchDynamoContext
    compile_it = context.__call__

    @functools.wraps(compile_it)
    def marked_context(self: Any, function: Any) -> Any:
        """Inside the graph of an optimizer's compiled `step` nothing is marked: the range is around it."""
        import torch

        compiled = compile_it(self, function)
        owner = getattr(function, "__self__", None)
        is_step = isinstance(owner, torch.optim.Optimizer) and getattr(function, "__name__", "") == "step"
        return _marked_once(compiled, OPTIMIZER) if is_step else compiled

    context.__call__ = marked_context


def _patch_sentence_transformers(module: ModuleType) -> None:
    """Mark passes of sentence-transformers, whose newer versions call `forward` of their model by that name."""
    kind: Any = module.Transformer
    forward = kind.forward

    @functools.wraps(forward)
    def marked_forward(self: Any, features: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        import torch

        models = sys.modules.get("transformers.modeling_utils")
        model = getattr(self, "model", None)
        method = "forward"
        with contextlib.suppress(Exception):
            method = self.modality_config[features.get("modality", "text")]["method"]
        is_model = models is not None and isinstance(model, models.PreTrainedModel)
        if not is_model or method != "forward" or torch.compiler.is_compiling() or _is_marked():
            return forward(self, features, *args, **kwargs)
        with _forward_range(model, (), {**features, **kwargs}) as finished:
            return finished(forward(self, features, *args, **kwargs))

    kind.forward = marked_forward


def _remembers(path: str) -> Callable[[ModuleType], None]:
    """A patch: the function `path` of a module, which moves batches to a device, remembers what they held before."""
    *owners, name = path.split(".")

    def patch(module: ModuleType) -> None:
        owner: Any = functools.reduce(getattr, owners, module)
        setattr(owner, name, remembering(getattr(owner, name), padding.READING, seen.READING))

    return patch


_PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "transformers.modeling_utils": _patch_models,
    "transformers.generation.utils": _patch_generation,
    "transformers.generation.stopping_criteria": _patch_stopping,
    "transformers.generation.logits_process": _patch_guidance,
    "transformers.feature_extraction_utils": _remembers("BatchFeature.to"),
    "transformers.tokenization_utils_base": _remembers("BatchEncoding.to"),
    # What a data loader gives.
    "accelerate.utils.operations": _remembers("send_to_device"),
    "torch._dynamo.eval_frame": _patch_compiled_modules,
    "sentence_transformers.base.modules.transformer": _patch_sentence_transformers,
    "sentence_transformers.util.tensor": _remembers("batch_to_device"),
    **engines.PATCHES,
}


def _is_marked() -> bool:
    """Whether a range around this pass says what it is: that of the model it is a part of, or of an engine's step."""
    return getattr(_local, "inside", False) or is_inside()


@contextlib.contextmanager
def _forward_range(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Callable[[Any], Any]]:
    """One range around one forward pass; models inside models (encoders, backbones) get none of their own.

    What it gives is to be called with the pass's output, which it returns: the cache may first appear there.
    """
    found: _Pass | None = None
    cache: Any = None
    watched: str | None = None
    with contextlib.suppress(Exception):
        arguments = _named_arguments(type(model).forward, args, kwargs)
        cache = find_cache(arguments)
        found = _classify(model, arguments, cache)
        if found.is_described and (drops_layers(model) or _is_spread(model, arguments, found)):
            found = found._replace(is_described=False)
        if found.is_described:
            found = found._replace(run=_models.run_of(model))
        watched = _watched(model, found)
        if watched == _MAIN:
            _models.trains(model)
            found = found._replace(number=gradients.next_number(), trained=trained_inputs(model, arguments, cache))
        if getattr(model.config, "_attn_implementation", None) in _WHOLE_CACHE:
            found = found._replace(positions=allocated_tokens(cache) or 0)
    if found is None:
        yield _unchanged
        return
    _local.inside = True
    try:
        with markers.phase(found.phase):
            if found.is_described and found.kv_tokens is not None:
                with contextlib.suppress(Exception):
                    _mark_shape(found, found.kv_tokens)
            yield functools.partial(_count, found, cache, watched)
    finally:
        _local.inside = False


def _is_spread(model: Any, arguments: Mapping[str, Any], found: _Pass) -> bool:
    """Whether transformers' code makes more rows of the pass than it has tokens.

    Mamba multiplies its tokens by a mask of all that there are, cached ones included; RWKV mixes the sequences of a
    batch that has one token each.
    """
    kind = getattr(model.config, "model_type", None)
    if kind in _SPREAD_BY_MASK:
        mask = arguments.get(ATTENTION_MASK)
        return mask is not None and int(mask.shape[-1]) != found.q_tokens
    return kind == "rwkv" and found.q_tokens == 1 and found.batch > 1


def _watched(model: Any, found: _Pass) -> str | None:
    """Whose backward is to be known by this pass: the run mark's model, another one, or nobody says; None for none."""
    if not _has_gradients():
        return None
    if _models.role(model) == _OTHER:
        return _OTHER
    if not found.is_described:
        # It has no shape, as one of images has none, and no mark that a backward could name.
        return _UNSIZED if found.phase == FORWARD else None
    if found.phase == FORWARD:
        return _MAIN
    return _UNSAID if found.phase == markers.PREFILL else None


def _mark_shape(found: _Pass, kv_tokens: int) -> None:
    details: dict[str, Any] = {"images": found.images, "audio": found.audio, "unsized": found.unsized}
    head = "unknown" if found.logits is None else "apart" if found.number and found.is_below else ""
    details |= {"head": head, "pass": found.number, "unread": found.is_unread, "run": found.run, **found.trained}
    if found.written:
        details |= {"request": found.request, "written": found.written}
    logits = found.logits or 0
    run_kv = max(kv_tokens, found.positions - found.q_tokens)
    read, real = found.encoded or (0, None)
    if read:
        details["encoder"] = real or [read] * found.batch
    # What the first of two stacks reads, padding included, stands behind the others.
    run_encoder = [read] if real else []
    if found.lengths is None:
        tokens = (found.q_tokens, kv_tokens) if found.batch else ((), ())
        if found.batch and (run_kv > kv_tokens or run_encoder):
            details["padded"] = [found.q_tokens, run_kv, logits, *run_encoder]
        markers.step(*tokens, batch=found.batch, logits=logits, **details)
        return
    q_tokens, cached = found.lengths
    padded = None if found.is_packed else [found.q_tokens, run_kv, logits, *run_encoder]
    if not found.is_scored:
        kept = logits // found.batch
        logits = sum(q_tokens) if kept == found.q_tokens else sum(min(kept, each) for each in q_tokens)
    markers.step(q_tokens, cached, logits=logits, **details, padded=padded)


def _unchanged(output: Any) -> Any:
    return output


def _count(found: _Pass, cache: Any, watched: str | None, output: Any) -> Any:
    """Remember what the pass added to its cache, and that it may have a backward; return `output`."""
    if watched is not None:
        with contextlib.suppress(Exception):
            number = found.number or gradients.next_number()
            gradients.watch(output, number, _KINDS.get(watched))
    if found.batch and found.kv_tokens is not None:
        with contextlib.suppress(Exception):
            if cache is None:
                fields = output if isinstance(output, Mapping) else {str(at): each for at, each in enumerate(output)}
                cache = find_cache(fields)
            count_tokens(cache, found.kv_tokens + found.q_tokens)
            if found.mask is not _KEPT:
                remember_mask(cache, found.mask)
            request: _Request | None = getattr(_local, "request", None)
            if request is not None and request.depth == 1 and request.cache is None and found.is_described:
                request.cache = None if isinstance(cache, (tuple, list)) else cache
    return output


def _classify(model: Any, arguments: dict[str, Any], cache: Any) -> _Pass:
    """Say what this pass is. One that is not described belongs to another model than the run mark."""
    request: _Request | None = getattr(_local, "request", None)
    if request is not None and request.depth > 1:
        return _shape(model, arguments, cache, None)._replace(phase=DRAFT)
    found = _shape(model, arguments, cache, request)
    if not found.batch:
        return _of_encoder(found, model, arguments)
    role = _models.role(model)
    if role == _PART and request is not None:
        # The first of two stacks, or what prepares the input of the decoder.
        found = found._replace(phase=ENCODER, kv_tokens=0, logits=0, is_described=True)
        return _without_padding(found, read_mask(arguments.get(ATTENTION_MASK)))
    if role == _OTHER:
        # A model that judges or guides: the request is not its own.
        found = _shape(model, arguments, cache, None)
        return found._replace(phase=f"{model.config.model_type}.{found.phase}")
    if request is not None and found.phase not in (ENCODER, FORWARD):
        found = found._replace(request=request.ends.number, written=request.written_before(found.batch))
        if getattr(_local, "guides", False) or request.is_beside(cache):
            # Its prompt is another one, with a mask of its own.
            beside = _shape(model, arguments, cache, None)
            found = beside._replace(phase=GUIDANCE, request=found.request, written=found.written)
            request = None
        else:
            request.count(found.q_tokens, found.kv_tokens)
    if role != _MAIN and found.phase != ENCODER:
        return found
    return _with_lengths(found._replace(is_described=True), model, arguments, cache, request)


def _with_lengths(found: _Pass, model: Any, arguments: dict[str, Any], cache: Any, request: _Request | None) -> _Pass:
    """`found` with the real length of each sequence, as far as the host knows it."""
    is_packed = _is_packed(arguments)
    if is_packed and cache is not None:
        return found._replace(is_described=False)
    if request is not None and found.phase != ENCODER:
        return _without_padding(found, request.mask)
    if not found.kv_tokens and found.q_tokens > 1:
        lengths = packed_lengths(arguments, found.batch, found.q_tokens)
        if isinstance(lengths, list):
            return found._replace(lengths=(lengths, [0] * len(lengths)), is_packed=True)
        if lengths is UNREAD:
            return found._replace(is_described=not is_packed, is_unread=True)
    second = found.is_shifted or (found.phase != ENCODER and arguments.get(DECODER_IDS) is not None)
    given = arguments.get(DECODER_MASK if second else ATTENTION_MASK)
    mask = _unmasked(found, model, arguments) if second and given is None else read_mask(given)
    if isinstance(mask, Mask) and cache is None and not found.kv_tokens and found.q_tokens:
        mask = mask.of_last(found.q_tokens)
    if mask is UNREAD and found.kv_tokens and found.q_tokens == 1:
        # One token more of each sequence, whose padding is known.
        return _without_padding(found, mask_of_cache(cache))
    return _without_padding(found, mask)._replace(mask=mask)


def _unmasked(found: _Pass, model: Any, arguments: dict[str, Any]) -> Mask | Unread | None:
    """Padding of what the second of two stacks reads without a mask: behind the last label, else the last token."""
    ids, labels = arguments.get(DECODER_IDS), arguments.get("labels")
    if found.is_shifted:
        return read_mask(labels, padding_id=IGNORED)
    if found.kv_tokens or ids is None or tuple(ids.shape) != (found.batch, found.q_tokens):
        return None
    if labels is not None and labels.shape == ids.shape:
        return read_ends(labels, IGNORED)
    pad = getattr(model.config, "pad_token_id", None)
    if pad is None or not pads(getattr(model.config, "eos_token_id", None), pad):
        return None
    mask = read_ends(ids, pad)
    return None if mask is UNREAD else mask


def _without_padding(found: _Pass, mask: Mask | Unread | None) -> _Pass:
    if mask is None or found.kv_tokens is None:
        return found
    lengths = None if isinstance(mask, Unread) else mask.lengths(found.batch, found.q_tokens, found.kv_tokens)
    if lengths is None:
        return found._replace(is_unread=True)
    is_whole = sum(map(sum, lengths)) == found.batch * (found.q_tokens + found.kv_tokens)
    return found if is_whole else found._replace(lengths=lengths)


def _of_encoder(found: _Pass, model: Any, arguments: dict[str, Any]) -> _Pass:
    """A pass without tokens: if it is of the first of two stacks, with the images or the sound that it gets."""
    role = _models.role(model)
    if found.phase == ENCODER and role != _OTHER and model.config.model_type == "whisper":
        # The sound is always as long as its windows are.
        batch, positions = int(arguments["input_features"].shape[0]), int(model.config.max_source_positions)
        return found._replace(batch=batch, q_tokens=positions, is_described=True)
    if found.phase != VISION or role != _PART:
        return found
    images = images_of(model.config, arguments)
    return found._replace(is_described=bool(images), images=images or ())


def _is_packed(arguments: dict[str, Any]) -> bool:
    """Whether sequences of different lengths stand one behind the other, as the arguments themselves say."""
    return any(arguments.get(name) is not None for name in SEQUENCE_STARTS)


def _packed_phase(arguments: dict[str, Any]) -> str:
    """Continuous batching: prompts and single tokens in one pass, where not all are single tokens."""
    if find_cache(arguments) is None:
        return markers.PREFILL
    return markers.DECODE if arguments.get("max_length_q", arguments.get("max_seqlen_q")) == 1 else MIXED


def _shape(model: Any, arguments: dict[str, Any], cache: Any, request: _Request | None) -> _Pass:
    import torch

    two_stacks = bool(getattr(model.config, "is_encoder_decoder", False))
    decoder = two_stacks and (type(model).__name__.endswith("ForConditionalGeneration") or _generates(model))
    is_training = torch.is_grad_enabled() and (
        model.training or gradients.trains_unsaid() or _has_loss(model, arguments)
    )
    ids = arguments.get(DECODER_IDS) if decoder else None
    is_shifted = decoder and ids is None and arguments.get("labels") is not None
    if is_shifted:
        ids = arguments["labels"]
    if ids is None:
        ids = arguments.get("input_ids")
    if ids is None:
        ids = arguments.get("inputs_embeds")
    if ids is None or ids.dim() < 2:
        sees = getattr(model, "main_input_name", "input_ids") in ("pixel_values", ROWS)
        return _Pass(FORWARD if is_training else VISION if sees else ENCODER)
    batch, q_tokens = int(ids.shape[0]), int(ids.shape[1])
    kv_tokens = _context(cache, q_tokens, request)
    logits: int | None = batch * _kept_positions(arguments, q_tokens) if _has_head(model) else 0
    if is_scored := bool(arguments.get("fused_lm_head")):
        logits = scored_positions(arguments)
    if is_training:
        phase = FORWARD
    elif two_stacks and not decoder:
        phase, kv_tokens, logits = ENCODER, 0, 0
    elif not _generates(model):
        phase = FORWARD
    elif _is_packed(arguments):
        phase = _packed_phase(arguments)
    else:
        is_prefilled = None if request is None else request.is_prefilled
        phase = phase_of(q_tokens=q_tokens, kv_tokens=kv_tokens, is_prefilled=is_prefilled)
    # Some programs hand sound on with every token; the model takes it with the prompt alone.
    audio = () if q_tokens == 1 and kv_tokens else sound_of(model.config, arguments)
    # What the first of two stacks has encoded is handed on with the pixels that it is of.
    images = () if arguments.get("encoder_outputs") is not None else images_of(model.config, arguments)
    below = type(model).__name__.endswith("Model") and not _has_head(model)
    seen = {"images": images or (), "audio": audio or (), "unsized": _unsized(images, audio)}
    encoded = _encoded(model, arguments, batch) if decoder else None
    told = {"is_below": below, "is_shifted": is_shifted, "encoded": encoded}
    return _Pass(phase, batch, q_tokens, kv_tokens, logits, is_scored, **told, **seen)  # type: ignore[arg-type]


def _encoded(model: Any, arguments: dict[str, Any], batch: int) -> tuple[int, list[int] | None] | None:
    """Tokens of text that the first of two stacks reads in a pass of both; None if it is not run, or reads no text."""
    read = arguments.get("input_ids")
    read = arguments.get("inputs_embeds") if read is None else read
    if read is None or arguments.get("encoder_outputs") is not None or model.main_input_name != "input_ids":
        return None
    tokens, mask = int(read.shape[1]), read_mask(arguments.get(ATTENTION_MASK))
    lengths = mask.lengths(batch, tokens, 0) if isinstance(mask, Mask) else None
    return tokens, lengths[0] if lengths else None


def _unsized(images: tuple[Grid, ...] | None, audio: tuple[int, ...] | None) -> tuple[str, ...]:
    """What a pass encodes of which nobody knows the sizes."""
    return tuple(kind for kind, sizes in (("images", images), ("audio", audio)) if sizes is None)


def _has_gradients() -> bool:
    import torch

    return bool(torch.is_grad_enabled())


def _has_loss(model: Any, arguments: dict[str, Any]) -> bool:
    """Whether a pass in evaluation mode, as checkpoints are loaded in, has a loss that weights may be trained by."""
    return arguments.get("labels") is not None and any(weight.requires_grad for weight in model.parameters())


def _context(cache: Any, q_tokens: int, request: _Request | None) -> int | None:
    """How many tokens of each sequence stand before those of the pass; None where nobody knows."""
    held = held_tokens(cache)
    if request is None:
        return held
    if cache is None and q_tokens < request.tokens:
        # Without a cache, each step runs the whole sequence again. This one does not: its state is out of sight.
        return None
    return request.tokens if held is None else held


def _has_head(model: Any) -> bool:
    """Whether logits over the vocabulary are computed; a bare backbone and a classifier compute none."""
    try:
        return model.get_output_embeddings() is not None
    except Exception:  # noqa: BLE001, RUF100 - a model without the method
        return _generates(model)


def _generates(model: Any) -> bool:
    kind: Any = type(model)
    return _may_generate(kind)


@functools.cache
def _may_generate(kind: Any) -> bool:
    return bool(getattr(kind, "can_generate", lambda: False)()) or kind.__name__.endswith("ForCausalLM")


def _kept_positions(arguments: dict[str, Any], q_tokens: int) -> int:
    kept = arguments.get("logits_to_keep", arguments.get("num_logits_to_keep"))
    if kept is None or (isinstance(kept, int) and kept == 0):
        return q_tokens
    return min(kept, q_tokens) if isinstance(kept, int) else int(kept.numel())


@functools.cache
def _parameters(forward: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(forward).parameters)[1:]


def _named_arguments(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(_parameters(function), args, strict=False)) | kwargs if args else kwargs


_MAIN, _PART, _OTHER = "main", "part", "other"
#: States of a model to remember.
_MOST_LOOKS = 16
_UNSAID, _UNSIZED = "unsaid", "unsized"
_KINDS = {_OTHER: gradients.OTHER, _UNSAID: gradients.UNSAID, _UNSIZED: gradients.UNSIZED}
#: Fields of a config that programs write as they like, and that change no pass.
_FREE = frozenset(
    {"_name_or_path", "transformers_version", "use_cache", "auto_map", "bos_token_id", "eos_token_id", "pad_token_id"}
)


def _sizes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What models must have in common to be equals."""
    return {name: value for name, value in fields.items() if name not in _FREE}


def _numbers(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config a change of its model shows in; switches and class names come and go."""
    kept = {name: one for name, one in _sizes(fields).items() if isinstance(one, (int, list, dict))}
    return {name: one for name, one in kept.items() if not isinstance(one, bool) and name != "architectures"}


def _states(weights: Sequence[weakref.ref[Any]]) -> list[bool]:
    """Whether each of `weights` is trained; one that is gone is not."""
    return [weight is not None and weight.requires_grad for weight in (one() for one in weights)]


def _numbered(run: int) -> dict[str, int]:
    return {"run": run} if run else {}


class _Models:
    """Which model the run mark describes, and how each other one relates to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._main: weakref.ref[Any] | None = None
        self._alike: dict[str, Any] = {}
        self._has_other_head = False
        self._roles: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._trained: dict[str, Any] = {}
        self._has_trained = False
        self._weights: weakref.WeakKeyDictionary[Any, list[weakref.ref[Any]]] = weakref.WeakKeyDictionary()
        self._states: weakref.WeakKeyDictionary[Any, list[bool]] = weakref.WeakKeyDictionary()
        self._looks: weakref.WeakKeyDictionary[Any, dict[Look, int]] = weakref.WeakKeyDictionary()
        #: What each run mark says of its model, and its weights if the config does not say what they are.
        self._runs: list[tuple[dict[str, Any], Counter[object] | None]] = []
        #: The weights that each model had first with a config.
        self._built: weakref.WeakKeyDictionary[Any, list[tuple[Any, tuple[object, ...]]]] = weakref.WeakKeyDictionary()
        self._parts: weakref.WeakSet[Any] = weakref.WeakSet()

    def role(self, model: Any) -> str:
        """`main` for the first model that is asked for and its equals, `part` for what it consists of, or `other`.

        A model with an LM head is no equal of one that has scores in its place.
        """
        known = self._roles.get(model)
        if known is not None:
            return known
        with self._lock:
            fields = config_fields(model.config, is_quantized=getattr(model, "is_quantized", False))
            if self._main is None:
                self._main, self._alike = weakref.ref(model), _sizes(fields)
                described = with_class(fields, model)
                self._has_other_head = not may_generate(described)
                fields = run_fields(model, described)
                self._trained = {name: fields[name] for name in markers.TRAINED if name in fields}
                markers.run(**fields)
                with contextlib.suppress(Exception):
                    look = look_at(model)
                    if look is not None:
                        self._number(model, look, fields, is_told=True)
                with contextlib.suppress(Exception):
                    _mark_what_sees(model)
            main = self._main()
            is_part = main is not None and main is not model and any(module is model for module in main.modules())
            if is_part:
                self._parts.add(model)
            if main is model or (_sizes(fields) == self._alike and not (self._has_other_head and _has_head(model))):
                role = _MAIN
            else:
                role = _PART if is_part else _OTHER
            self._roles[model] = role
            return role

    def run_of(self, model: Any) -> int:
        """The number of the run mark about `model`, or what it is a part of, as it is now; 0 is the first one.

        What it has not been gets a new one, with its number as `run`. One that says `changed` is of a model that
        is not what its config says, as another one with this config ran.
        """
        if model in self._parts and self._main is not None:
            model = self._main()
        look = look_at(model)
        if look is None:
            return 0
        number = self._looks.get(model, {}).get(look)
        if number is not None:
            return number
        with self._lock:
            return self._number(model, look, run_fields(model), is_told=False)

    def _number(self, model: Any, look: Look, fields: dict[str, Any], *, is_told: bool) -> int:
        """The number of the run mark that says `fields` of `model`; sets the mark if it is new, and not `is_told`.

        Models of one config may have different heads, so that each is compared with what it was itself.
        """
        told = {name: fields.get(name) for name in ("dtype", "stored", "tp")} | {"model": _numbers(fields["model"])}
        was = self._built.setdefault(model, [])
        built = next((weights for sizes, weights in was if sizes == told["model"]), None)
        if built is None:
            built = look.weights
            was.append((told["model"], built))
        # Adapters put what they stand beside one level deeper.
        changed = None if Counter(built) == Counter(look.weights) else Counter(look.weights)
        is_new = (told, changed) not in self._runs
        if is_new:
            self._runs.append((told, changed))
        number = self._runs.index((told, changed))
        if is_new and not is_told:
            markers.run(**fields, **_numbered(number), **({"changed": True} if changed else {}))
        elif not is_told and not _has_gradients() and "adapters" in fields and "adapters" not in self._trained:
            # They came behind the first pass, and may never be trained.
            self._trained["adapters"] = fields["adapters"]
            markers.run(
                **{name: one for name, one in fields.items() if name not in markers.TRAINED},
                **_numbered(number),
                **self._trained,
            )
        looks = self._looks.setdefault(model, {})
        if len(looks) > _MOST_LOOKS:
            # A program that makes new modules for each pass.
            looks.clear()
        looks[look] = number
        return number

    def trains(self, model: Any) -> None:
        """Take note of a pass that trains: adapters may have come since the run mark, and parts been frozen.

        A new run mark says so. One that says `retrained` contradicts passes before it.
        """
        if getattr(model, "_is_replica", False):
            return
        # A walk through all modules takes longer than a look at the weights. New ones come as old ones are frozen.
        weights = self._weights.get(model, ())
        if not weights or self._states.get(model) != _states(weights):
            weights = self._weights[model] = [weakref.ref(weight) for weight in model.parameters()]
            self._states[model] = _states(weights)
            trained = trained_fields(model) | count_adapters(model)
            if trained != self._trained:
                self._trained = trained
                numbered = _numbered(self.run_of(model))
                markers.run(**run_fields(model), **numbered, **({"retrained": True} if self._has_trained else {}))
        self._has_trained = True


_models = _Models()


def _mark_what_sees(model: Any) -> None:
    """Mark the stages of the model's vision side, and the pass of it that `generate` runs before the prompt."""
    # What makes tokens of a codebook has no stages.
    mark_stages(model)
    for kind in {type(model), type(getattr(model, "base_model", model))}:
        features = getattr(kind, "get_image_features", None)
        if features is not None and not hasattr(features, "__llmperf__"):
            kind.get_image_features = _in_vision_phase(features)


def _in_vision_phase(features: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(features)
    def marked(self: Any, *args: Any, **kwargs: Any) -> Any:
        import torch

        if torch.compiler.is_compiling() or _is_marked():
            return features(self, *args, **kwargs)
        images: tuple[Grid, ...] | None = ()
        run = 0
        with contextlib.suppress(Exception):
            if _models.role(self) == _MAIN:
                run = _models.run_of(self)
                named = _named_arguments(features, args, kwargs)
                images = images_of(self.config, named)
        _local.inside = True
        try:
            with markers.phase(VISION):
                # A pass of the tower alone whose images nobody knows has no shape.
                if images:
                    markers.step((), (), images=images, run=run)
                return features(self, *args, **kwargs)
        finally:
            _local.inside = False

    marked.__llmperf__ = True  # type: ignore[attr-defined]
    return marked


def run_fields(model: Any, fields: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the run mark says about a process that runs `model`, whose config is `fields`."""
    import torch
    import transformers

    is_quantized = getattr(model, "is_quantized", False)
    trained: dict[str, Any] = {}
    with contextlib.suppress(Exception):
        trained = trained_fields(model) | count_adapters(model)
    if fields is None:
        fields = with_class(config_fields(model.config, is_quantized=is_quantized), model)
    with contextlib.suppress(Exception):
        fields = as_built(model, fields)
    # Not the model's own properties, which a copy of it for another GPU has not.
    weight = next((each for _, each in named_weights(model) if each.is_floating_point()), None)
    shared = getattr(model, "tp_size", None)
    product, stored = (model.dtype, model.dtype) if weight is None else (product_dtype(model, weight), weight.dtype)
    return {
        "markers": markers.backend_name(),
        "model": fields,
        "dtype": str(product).removeprefix("torch."),
        # What is cast for each product, or once for many. TF32 reads the weights as they are.
        **({"stored": str(stored).removeprefix("torch.")} if product not in (stored, "tf32") else {}),
        # transformers' own tensor parallelism
        **({"tp": shared} if isinstance(shared, int) and shared > 1 else {}),
        "attn": getattr(model.config, "_attn_implementation", None),
        "framework": "transformers",
        "framework_version": transformers.__version__,
        "torch_version": torch.__version__,
        "device": str(model.device if weight is None else weight.device),
        **trained,
        **layer_drop(model),
        **model_name(model),
        **ranks(),
    }
