"""The conventions of a FLOP count, printed beside every number."""

from __future__ import annotations

from typing import Any

import attrs

from nsys_pipeline.errors import UsageError
from nsys_pipeline.model.dtypes import normalize_cache_dtype, normalize_dtype
from nsys_pipeline.model.quantization import named_format

ATTENTION = ("exact", "half", "full")
COUNT = ("model", "executed")
MLA = ("absorbed", "cached", "reexpand")
EXPERTS = ("routed", "dense")
LOGITS = ("last", "all")

#: `Op.kind` of the products of routed experts, which are all that expert parallelism splits.
ROUTED_EXPERTS = "grouped_gemm"


def _one_of(*allowed: str) -> Any:
    def check(_instance: object, attribute: attrs.Attribute[str | None], value: str | None) -> None:
        if value is not None and value not in allowed:
            raise UsageError(
                f"{attribute.name} = `{value}` is not a convention", hint=f"choose one of: {', '.join(allowed)}"
            )

    return check


def _degree(_instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        raise UsageError(f"the parallel degree `{attribute.name}` is {value}; it must be at least 1")


def _weight(_instance: object, _attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None:
        named_format(value)


@attrs.frozen(kw_only=True)
class Conventions:
    """How to count. Every default is the one that MFU and minimum bytes are defined with.

    attention   keys a query is charged for. ``exact``: those the mask lets through (causal, window, chunk);
                ``full``: every key the implementation holds, mask ignored; ``half``: full with the square of the new
                tokens halved.
    count       ``model``: FLOPs the model requires (MFU); ``executed``: what the eager transformers implementation
                runs (HFU), including rotary tables and, where it does so, re-expanded latents and dense experts.
    mla         DeepSeek-style latents. ``absorbed``: the cache holds latents and decode attends to them;
                ``cached``: the cache holds expanded keys and values; ``reexpand``: the cache holds latents that every
                step expands. None: absorbed for `count` = model, reexpand for executed.
    experts     ``routed``: each token runs its top k; ``dense``: every token runs every expert. None: routed for
                `count` = model, what transformers does for executed.
    logits      positions with an LM head: ``last`` (one per sequence) or ``all``. None: as the step says.
    dtype       of activations and of weights that are not quantized. None: the config's.
    weight      format of the quantized weights (``fp8``, ``int4``, ``mxfp4``, ``bf16`` …). None: the config's
                quantization, if any.
    kv_dtype    of the KV cache, ``fp8_ds_mla`` for packed latents. None: the activations'.
    index_dtype of the keys of an indexer beside latents: ``fp8`` with a float32 scale for each 128 values, as engines
                store them whatever the rest of the cache is in. None: as the rest.
    tp, pp, ep  tensor, pipeline and expert parallel degree; docs/flops.md says what each divides.
    cp          ranks that each sequence is split over (context parallelism). A step then has one rank's tokens: its
                sequences are `cp` times as long, and it is charged an equal share of their attention.
    """

    attention: str = attrs.field(default="exact", validator=_one_of(*ATTENTION))
    count: str = attrs.field(default="model", validator=_one_of(*COUNT))
    mla: str | None = attrs.field(default=None, validator=_one_of(*MLA))
    experts: str | None = attrs.field(default=None, validator=_one_of(*EXPERTS))
    logits: str | None = attrs.field(default=None, validator=_one_of(*LOGITS))
    dtype: str | None = attrs.field(default=None, converter=attrs.converters.optional(normalize_dtype))
    weight: str | None = attrs.field(default=None, validator=_weight)
    kv_dtype: str | None = attrs.field(default=None, converter=attrs.converters.optional(normalize_cache_dtype))
    index_dtype: str | None = attrs.field(default=None, validator=_one_of("fp8"))
    tp: int = attrs.field(default=1, validator=_degree)
    pp: int = attrs.field(default=1, validator=_degree)
    ep: int = attrs.field(default=1, validator=_degree)
    cp: int = attrs.field(default=1, validator=_degree)

    @property
    def gpus(self) -> int:
        """GPUs that hold one copy of the model: expert parallelism reuses the tensor-parallel ranks."""
        return self.pp * self.stage_gpus

    @property
    def stage_gpus(self) -> int:
        """GPUs of one pipeline stage, among which the routed experts are split."""
        return max(self.tp, self.ep)

    def split(self, kind: str) -> int:
        """GPUs of one stage that share an op of this `kind`.

        Routed experts are spread over all of them. Everything else is split by tensor parallelism alone: where `ep` is
        more than `tp`, ep / tp groups each hold and run the same.
        """
        return self.stage_gpus if kind == ROUTED_EXPERTS else self.tp
