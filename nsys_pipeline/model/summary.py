"""The answer of `llmperf flops`: one prefill and one decode step, as the JSON of Contract 3 (docs/architecture.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from nsys_pipeline.errors import UsageError
from nsys_pipeline.model.conventions import Conventions
from nsys_pipeline.model.dtypes import bare_cache
from nsys_pipeline.model.estimator import Estimate, Estimator, Roofline
from nsys_pipeline.model.images import check_prompt
from nsys_pipeline.model.model import Model
from nsys_pipeline.model.quantization import Format
from nsys_pipeline.model.recurrent import Recurrent
from nsys_pipeline.model.training import CHOOSING, adamw_bytes, training_flops
from nsys_pipeline.records import Step

SCHEMA = "llmperf.flops/1"


@attrs.frozen(kw_only=True)
class Shape:
    """What to estimate, per sequence: prompt tokens, tokens already cached before the prompt, and decode's context.

    `encoder_tokens` are the positions of an encoder-decoder's encoder; `images` are (height, width) in patches of each
    image; `audio` are frames of each clip.
    """

    prompt_tokens: tuple[int, ...]
    cached_tokens: tuple[int, ...]
    context: tuple[int, ...]
    encoder_tokens: tuple[int, ...] | None = None
    images: tuple[tuple[int, int], ...] = ()
    audio: tuple[int, ...] = ()

    @property
    def batch(self) -> int:
        return len(self.prompt_tokens)


@attrs.frozen(kw_only=True)
class Summary:
    """Both passes of one model under one set of conventions; decode is None for a model that does not decode."""

    model: Model
    conventions: Conventions
    shape: Shape
    prefill: Estimate
    decode: Estimate | None
    formats: dict[str, tuple[Format, ...]]
    kv_dtype: str
    gpu: Roofline | None = None


def spread(values: Sequence[int], batch: int, option: str) -> tuple[int, ...]:
    """One value for all sequences, or one per sequence. Raises UsageError for any other number of values."""
    if len(values) == 1:
        return tuple(values) * batch
    if len(values) != batch:
        raise UsageError(f"{option} lists {len(values)} sequences, but the batch has {batch}")
    return tuple(values)


def summarize(
    model: Model, shape: Shape, conventions: Conventions | None = None, *, gpu: Roofline | None = None
) -> Summary:
    """Estimate the prefill and one decode step of `shape`.

    An encoder-decoder's prefill runs the encoder and the first decoder tokens. Raises ModelError where the model cannot
    take the shape or the parallel degrees, UsageError for images that do not fit the prompts.
    """
    conventions = conventions or Conventions()
    estimator = Estimator(model, conventions)
    check_prompt(model, shape.images, sum(shape.encoder_tokens or shape.prompt_tokens), audio=shape.audio)
    prompt = attrs.evolve(
        Step.ragged(shape.prompt_tokens, shape.cached_tokens),
        images=shape.images,
        audio=shape.audio,
        prompts=tuple(map(sum, zip(shape.prompt_tokens, shape.cached_tokens, strict=True))),
    )
    prefill = estimator.estimate(prompt, encoder_tokens=shape.encoder_tokens)
    decode = None
    if model.architecture.decoder is not None:
        step = attrs.evolve(
            Step.ragged((1,) * shape.batch, shape.context), seen_images=shape.images, prompts=prompt.prompts
        )
        decode = estimator.estimate(step, encoder_tokens=shape.encoder_tokens)
    return Summary(
        model=model,
        conventions=conventions,
        shape=shape,
        prefill=prefill,
        decode=decode,
        formats=estimator.formats(),
        kv_dtype=estimator.kv_dtype,
        gpu=gpu,
    )


def convention_json(summary: Summary) -> dict[str, Any]:
    """Everything that a number depends on beside the model."""
    conv, model, shape = summary.conventions, summary.model, summary.shape
    latent = any(op.name == "kv_b" for op in summary.prefill.ops)
    experts = [op for op in summary.prefill.ops if op.kind == "grouped_gemm"]
    executed = conv.count == "executed"
    dense = executed and any(op.flops_executed > op.flops_model for op in experts)
    dtype = conv.dtype or model.dtype
    products = {
        role: names
        for role, formats in summary.formats.items()
        if (names := _joined(fmt.compute or dtype for fmt in formats)) != dtype
    }
    return {
        "label": summary.prefill.label,
        "attention": conv.attention,
        "count": conv.count,
        "mla": (conv.mla or ("reexpand" if executed else "absorbed")) if latent else None,
        "experts": (conv.experts or ("dense" if dense else "routed")) if experts else None,
        "logits": conv.logits or "last",
        "dtype": dtype,
        "dtype_assumed": conv.dtype is None and model.dtype_assumed,
        "weights": {role: _joined(fmt.name for fmt in formats) for role, formats in summary.formats.items()} or None,
        # The dtype of their products, where it is not that of the activations.
        "products": products or None,
        "kv_dtype": summary.kv_dtype,
        "state_dtype": _state_dtype(summary),
        "tp": conv.tp,
        "pp": conv.pp,
        "ep": conv.ep,
        "batch": shape.batch,
        "prompt_tokens": _folded(shape.prompt_tokens),
        "cached_tokens": _folded(shape.cached_tokens),
        "context": _folded(shape.context) if summary.decode else None,
        "encoder_tokens": _folded(shape.encoder_tokens) if shape.encoder_tokens else None,
        "images": [list(grid) for grid in shape.images] or None,
        "audio_frames": list(shape.audio) or None,
        "params_of": "text decoder" if model.architecture.text_only else "model",
        # Parts that none of the numbers has, and what the config says of its weights and is not read.
        "not_counted": list(model.not_counted),
        "notes": [
            *model.unread,
            *model.counted_as,
            *(model.notes if conv.weight is None else ()),
            *_further_layers(model),
            *filter(None, [bare_cache(conv.kv_dtype)]),
        ],
        "bytes": "minimum: weights touched + KV read + KV written",
    }


def _without_input(model: Model) -> list[str]:
    """What a training step over text alone leaves out."""
    parts = {"vision tower": "images", "audio encoder": "sound"}
    idle = [part for part in model.left_out() if part in parts and part not in model.not_counted]
    if not idle:
        return []
    missing = " and ".join(parts[part] for part in idle)
    if model.architecture.cross_attends_to_images:
        idle.append("attention to images")
    return [f"the training step is over text, without {missing}: FLOPs of {' and '.join(idle)} are not in it"]


def _without_gradient(forward: Estimate) -> list[str]:
    if not any(op.name.startswith(CHOOSING) for op in forward.ops):
        return []
    return [
        "scores that pick what attention sees (index_…) have no gradient here: a loss of their own, as training of the"
        " indexer has, adds to the backward"
    ]


def _of_adapters(flops: int) -> list[str]:
    return [f"adapters have {flops:,} FLOPs of the forward, which are in no row of an operation"]


def _further_layers(model: Model) -> list[str]:
    if not (layers := model.further_layers):
        return []
    return [
        f"{layers:,} layer(s) that predict further tokens are not counted: training and speculative decoding run them"
    ]


def _state_dtype(summary: Summary) -> str | None:
    """Dtype of recurrent states; None for a model without any."""
    model = summary.model
    plain = summary.conventions.dtype or model.dtype
    states = [block for block in model.architecture.blocks() if isinstance(block, Recurrent) and block.state]
    found = [plain if block.state_dtype is None else model.state_dtype or block.state_dtype for block in states]
    return _joined(found) if found else None


def _joined(names: Iterable[str]) -> str:
    return " + ".join(dict.fromkeys(names))


def _folded(values: tuple[int, ...]) -> int | list[int]:
    return values[0] if len(set(values)) == 1 else list(values)


def _phase(estimate: Estimate, gpu: Roofline | None) -> dict[str, Any]:
    phase: dict[str, Any] = {
        "flops": estimate.flops,
        "bytes": estimate.bytes,
        "weight_bytes": estimate.weight_bytes,
        "kv_write_bytes": estimate.kv_write_bytes,
        "kv_read_bytes": estimate.kv_read_bytes,
    }
    if estimate.conventions.gpus > 1:
        phase["gpu_flops"], phase["gpu_bytes"] = round(estimate.gpu_flops), round(estimate.gpu_bytes)
    if gpu is not None:
        phase["sol_ns"] = estimate.sol_ns(gpu)
    return phase


def ops_json(phase: str, estimate: Estimate) -> list[dict[str, Any]]:
    """Ops of one phase; FLOPs and bytes are summed over the op's layers, m, n and k describe one product."""
    rows = []
    for op in estimate.ops:
        rows.append(
            {
                "phase": phase,
                "layer": op.layer,
                "layers": op.layers,
                "kind": op.kind,
                "name": op.name,
                "m": op.m,
                "n": op.n,
                "k": op.k,
                "batch": op.batch,
                "dtype": op.dtype,
                "flops": op.layers * estimate.op_flops(op),
                "flops_model": op.total_flops_model,
                "flops_executed": op.total_flops_executed,
                "weight_bytes": op.layers * op.weight_bytes,
                "activation_bytes": op.layers * op.activation_bytes,
                "kv_read_bytes": op.layers * op.kv_read_bytes,
                "kv_write_bytes": op.layers * op.kv_write_bytes,
                "comm_bytes": op.layers * op.comm_bytes,
            }
        )
    return rows


def training_json(
    model: Model,
    shape: Shape,
    conventions: Conventions,
    *,
    checkpointing: str = "none",
    train_only: str | None = None,
    lora_rank: int | None = None,
    dp: int = 1,
) -> dict[str, Any]:
    """The object that `llmperf flops --train --format json` prints: the prompts of `shape` are the sequences.

    `dp`: data-parallel ranks that share the sequences evenly. A GPU's share is the mean over all GPUs of the job, so
    that shares add up to the whole. Raises UsageError for sequences, or experts, that cannot be shared so.
    """
    if shape.batch % dp:
        raise UsageError(
            f"{dp:,} data-parallel ranks cannot share a batch of {shape.batch:,} evenly",
            hint="--batch is that of all ranks together",
        )
    if dp > 1 and (dp * conventions.tp) % conventions.ep:
        raise UsageError(
            f"experts cannot be spread over {conventions.ep:,} of {dp * conventions.tp:,} GPUs of a stage",
            hint="--ep must divide --dp times --tp",
        )
    if model.architecture.needs_image:
        raise UsageError(f"`{model.name}` takes an image for each sequence, and --train counts text alone")
    # Experts are spread over GPUs that share a pass, or over data-parallel ranks.
    split = conventions.pp * conventions.tp
    copy_gpus = split if dp > 1 else conventions.gpus
    gpus = dp * copy_gpus
    conventions = attrs.evolve(conventions, logits="all")
    step = Step.ragged(shape.prompt_tokens, shape.cached_tokens)
    training = training_flops(
        model, step, conventions, checkpointing=checkpointing, train_only=train_only, lora_rank=lora_rank,
        encoder_tokens=shape.encoder_tokens,
    )  # fmt: skip
    summary = summarize(model, shape, conventions)
    convention = convention_json(summary)
    for field in ("cached_tokens", "context", "kv_dtype", "state_dtype", "bytes"):
        del convention[field]
    convention |= {
        "checkpointing": checkpointing,
        "trained": train_only or (f"LoRA, rank {lora_rank}" if lora_rank else "all"),
        "trained_params": training.trained_params,
        "optimizer": "AdamW",
        "dp": dp,
        "notes": [
            *convention["notes"],
            *_without_input(model),
            *_without_gradient(summary.prefill),
            *(_of_adapters(training.forward - summary.prefill.flops) if lora_rank else ()),
        ],
    }
    optimizer = adamw_bytes(training.trained_params, convention["dtype"])
    train: dict[str, Any] = {
        "forward": {"flops": training.forward},
        "backward": {"flops": training.backward},
        "recomputed": {"flops": training.recomputed},
        # What it runs; MFU is of what it requires, which nothing recomputed is part of.
        "step": {"flops": training.step, "required_flops": training.required},
        "optimizer": {"bytes": optimizer},
    }
    if gpus > 1:
        train["gpus"] = gpus
        for part in ("forward", "backward", "recomputed", "step"):
            train[part] |= {f"gpu_{what}": round(flops / gpus) for what, flops in train[part].items()}
        # Each data-parallel rank updates all weights of its copy, or with ZeRO and FSDP a share of them.
        if dp == 1 or conventions.ep == 1:
            # Not known if experts are spread over ranks that each have all other weights.
            experts = adamw_bytes(training.trained_expert_params, convention["dtype"])
            train["optimizer"]["gpu_bytes"] = round((optimizer - experts) / split + experts / copy_gpus)
        if dp > 1:
            train["optimizer"]["sharded_gpu_bytes"] = round(optimizer / gpus)
    return {
        "schema": SCHEMA,
        "model": model.name,
        "params": model.params,
        "active_params": model.active_params,
        "convention": convention,
        "train": train,
        "ops": ops_json("forward", summary.prefill),
    }


def summary_json(summary: Summary) -> dict[str, Any]:
    """The object that `llmperf flops --format json` prints."""
    decode = summary.decode
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "model": summary.model.name,
        "params": summary.model.params,
        "active_params": summary.model.active_params,
        "convention": convention_json(summary),
        "prefill": _phase(summary.prefill, summary.gpu),
        "decode": _phase(decode, summary.gpu) if decode else None,
        "ops": ops_json("prefill", summary.prefill) + (ops_json("decode", decode) if decode else []),
    }
    return result
