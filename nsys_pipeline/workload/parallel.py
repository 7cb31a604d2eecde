"""Several ranks of the built-in workload, as torchrun starts them: data parallel or tensor parallel."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.workload.describe import ranks

if TYPE_CHECKING:
    import torch

_COLUMN_STYLES = ("colwise", "local_colwise")
_GATHERED_STYLES = ("colwise_rep", "colwise_gather_output")
_ROW_STYLES = ("rowwise", "local_rowwise", "rowwise_rep", "rowwise_allreduce")
# Left whole on every rank: the embedding may share its weight with the LM head, which is split otherwise.
_WHOLE_STYLES = ("embedding_rowwise", "replicate")


@contextlib.contextmanager
def process_group(device: torch.device, mode: str | None) -> Iterator[None]:
    """Connect the ranks while the workload runs; nothing to do for one process without `mode`.

    Raises UsageError when `mode` is given but torchrun did not start this process.
    """
    if mode is None and ranks()["world"] == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    # Its functions take the group of the moment for their default. Loaded later, by transformers, they would keep the
    # group and its threads to the end of the interpreter, where gloo's now and then abort the rank.
    import torch.distributed.nn

    if not dist.is_torchelastic_launched():
        raise UsageError("`--parallel` needs ranks", hint="start it with `llmperf capture --nproc N` or torchrun")
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", device_id=device if device.type == "cuda" else None
    )
    try:
        yield
        wait_for_ranks()
        if device.type == "cuda":
            torch.cuda.synchronize()
    finally:
        dist.destroy_process_group()


def wait_for_ranks() -> None:
    """Let every rank begin the measured requests at the same time."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()


def shard_model(model: Any) -> None:
    """Keep this rank's slice of every layer that the model's own tensor parallel plan splits, in place.

    Column-split layers compute some of the outputs; row-split ones compute a part of every output, summed by an
    all-reduce; the LM head gathers its outputs. Raises ModelError for a model without such a plan, UsageError when
    its sizes do not divide by the number of ranks.
    """
    rank, world = ranks()["rank"], ranks()["world"]
    plan = _tensor_parallel_plan(model)
    config = model.config.get_text_config()
    for name in ("num_attention_heads", "num_key_value_heads"):
        heads = getattr(config, name, None)
        if heads and heads % world:
            raise UsageError(f"{name} = {heads} does not divide by {world} ranks", hint="use fewer ranks")
    for name, module in model.named_modules():
        style = next((style for pattern, style in plan if pattern.fullmatch(name)), None)
        if style is None or getattr(module, "weight", None) is None:
            continue
        if style in _ROW_STYLES:
            _split(module, "weight", 1, rank, world)
            if getattr(module, "bias", None) is not None and rank != 0:
                module.bias.data.zero_()
            module.register_forward_hook(_sum_over_ranks)
        elif style in _COLUMN_STYLES or style in _GATHERED_STYLES:
            _split(module, "weight", 0, rank, world)
            if getattr(module, "bias", None) is not None:
                _split(module, "bias", 0, rank, world)
            if style in _GATHERED_STYLES:
                module.register_forward_hook(_gather_outputs)


def _tensor_parallel_plan(model: Any) -> list[tuple[re.Pattern[str], str]]:
    body = dict(getattr(model.config.get_text_config(), "base_model_tp_plan", None) or {})
    head = dict(getattr(type(model), "_tp_plan", None) or {})
    prefix = model.base_model_prefix
    named = {f"{prefix}.{name}": style for name, style in body.items()} | head
    known = (*_COLUMN_STYLES, *_GATHERED_STYLES, *_ROW_STYLES, *_WHOLE_STYLES)
    unknown = sorted({style for style in named.values() if style not in known})
    if not body or unknown:
        reason = (
            f"splits layers in ways not known here: {', '.join(unknown)}" if unknown else "has no tensor parallel plan"
        )
        raise ModelError(f"the model type `{model.config.model_type}` {reason}", hint="use `--parallel data`")
    return [(re.compile(re.escape(name).replace(r"\*", r"\d+")), style) for name, style in named.items()]


def _split(module: Any, name: str, dimension: int, rank: int, world: int) -> None:
    import torch

    whole = getattr(module, name)
    if whole.shape[dimension] % world:
        raise UsageError(
            f"a layer of {whole.shape[dimension]} does not divide by {world} ranks", hint="use fewer ranks"
        )
    part = whole.data.chunk(world, dim=dimension)[rank].contiguous()
    # A new parameter: the LM head may share its weight with the embedding, which stays whole.
    setattr(module, name, torch.nn.Parameter(part, requires_grad=False))


def _sum_over_ranks(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
    import torch.distributed as dist

    dist.all_reduce(output)
    return output


def _gather_outputs(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
    import torch
    import torch.distributed as dist

    parts = [torch.empty_like(output) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, output.contiguous())
    return torch.cat(parts, dim=-1)
