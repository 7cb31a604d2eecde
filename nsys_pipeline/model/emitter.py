"""Collects the ops of one forward pass; knows the number formats and the parallel degrees."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.conventions import Conventions
from nsys_pipeline.model.dtypes import PACKED_LATENTS, bytes_of, cache_bytes, scaled_fp8_bytes
from nsys_pipeline.model.modules import DECODER, Place
from nsys_pipeline.model.ops import Op
from nsys_pipeline.model.quantization import TOWERS, Format, Quantization, plain
from nsys_pipeline.records import Step

if TYPE_CHECKING:
    from nsys_pipeline.model.blocks import Block


@attrs.frozen
class Pass:
    """One stack's share of a forward pass: new and cached tokens per sequence, and how often the head runs.

    `encoder_tokens` are the tokens per sequence that cross-attention looks at; `first` is whether this pass also
    projects them to keys and values (they are cached afterwards). `images` are the new tokens of each image that see
    each other in both directions. `grids`: height and width in patches of each image, in a pass of a vision tower;
    `prompts`: sequences that these images belong to.
    """

    step: Step
    logits: int
    encoder_tokens: tuple[int, ...] = ()
    first: bool = True
    images: tuple[int, ...] = ()
    grids: tuple[tuple[int, int], ...] = ()
    prompts: int = 1

    @property
    def tokens(self) -> int:
        return self.step.new_tokens


class Emitter:
    """Turns matrix shapes into ops. `dtype` is that of the activations; weights are stored as `quantization` says."""

    def __init__(
        self,
        conventions: Conventions,
        dtype: str,
        kv_dtype: str,
        quantization: Quantization,
        *,
        state_dtype: str | None = None,
        tp: int = 1,
    ) -> None:
        self.conventions = conventions
        self.dtype = dtype
        self.kv_dtype = kv_dtype
        #: Of recurrent states, if the config says; None for what each kind of layer usually has.
        self.state_dtype = state_dtype
        self.tp = tp
        self.ops: list[Op] = []
        #: Which weights the ops had: (role, op).
        self.used: set[tuple[str, str]] = set()
        self._quantization = quantization
        self._plain = plain(dtype)
        self._layer, self._layers, self._layer_ids = "", 1, ()  # type: tuple[str, int, tuple[int, ...]]
        self._place = Place(DECODER, None)

    def enter(self, layer: str, layer_ids: tuple[int, ...] = (), stack: str = DECODER) -> None:
        """Ops from now on belong to these identical layers; no ids for what runs once per pass."""
        self._layer, self._layer_ids, self._layers = layer, layer_ids, max(1, len(layer_ids))
        self._place = Place(stack, layer_ids[0] if layer_ids else None)

    def formats(self, role: str, op: str) -> tuple[Format, ...]:
        """Formats of the parts of an op's weights: gate and up of `gate_up`."""
        self.used.add((role, op))
        return tuple(fmt or self._plain for fmt in self._quantization.formats(role, op, self._place))

    def format(self, role: str, op: str) -> Format:
        """The format of an op whose weights are one module."""
        return self.formats(role, op)[0]

    def context_of(self, block: Block, run: Pass) -> None:
        """Emit what a block does with the context of the pass, for a rank's share of sequences that ranks split.

        Raises ModelError for what context parallelism is not described for.
        """
        ranks = self.conventions.cp
        if ranks == 1 or self._place.stack in TOWERS:
            block.context_ops(self, run)
            return
        if any(run.step.kv_tokens) or run.encoder_tokens or run.images:
            what = "cached tokens" if any(run.step.kv_tokens) else "an encoder" if run.encoder_tokens else "images"
            raise ModelError(
                f"{ranks} ranks share each sequence, and its passes have {what}: nothing is known of each rank's share",
                hint="--cp is for training; marks whose `kv` counts the tokens before a rank's own need no --cp",
            )
        whole = attrs.evolve(run.step, q_tokens=[ranks * tokens for tokens in run.step.q_tokens])
        first = len(self.ops)
        block.context_ops(self, attrs.evolve(run, step=whole))
        self.ops[first:] = [op.share(ranks) for op in self.ops[first:]]

    @contextlib.contextmanager
    def in_dtype(self, dtype: str) -> Iterator[None]:
        """Ops inside compute in `dtype`, in which their weights are stored, too, unless they are quantized."""
        usual = self.dtype, self._plain
        self.dtype, self._plain = dtype, plain(dtype)
        try:
            yield
        finally:
            self.dtype, self._plain = usual

    def plain_bytes(self, elements: int) -> int:
        return bytes_of(elements, self.dtype)

    def kv_bytes(self, elements: int) -> int:
        """Bytes of values of a cache. Raises ModelError for what a format of latents says nothing about."""
        if self.kv_dtype == PACKED_LATENTS:
            raise ModelError(f"`{PACKED_LATENTS}` is a format of latents, and the model caches other values, too")
        return cache_bytes(elements, self.kv_dtype)

    def latent_bytes(self, tokens: int, latent: int, rotary: int) -> int:
        """Bytes of the cache of `tokens` latents, with a rotary key each."""
        if self.kv_dtype == PACKED_LATENTS:
            # Latents without a rotary key keep its place.
            return tokens * (scaled_fp8_bytes(latent) + 2 * (rotary or 64))
        return self.kv_bytes(tokens * (latent + rotary))

    def index_bytes(self, values: int, dim: int) -> int:
        """Bytes of the keys of an indexer, of `dim` values each."""
        if self.kv_dtype == PACKED_LATENTS or self.conventions.index_dtype is not None:
            keys, rest = divmod(values, dim)
            return keys * scaled_fp8_bytes(dim) + scaled_fp8_bytes(rest)
        return self.kv_bytes(values)

    def add(
        self,
        kind: str,
        name: str,
        *,
        m: int = 0,
        n: int = 0,
        k: int = 0,
        batch: int = 1,
        dtype: str | None = None,
        flops: int = 0,
        executed: int | None = None,
        weight: int = 0,
        activation: int = 0,
        kv_read: int = 0,
        kv_write: int = 0,
        comm: int = 0,
    ) -> None:
        """Append an op of the current layer; what is executed is what the model requires unless said otherwise."""
        self.ops.append(
            Op(
                self._layer,
                self._layers,
                self._layer_ids,
                kind,
                name,
                m,
                n,
                k,
                batch,
                dtype or self.dtype,
                flops,
                flops if executed is None else executed,
                weight,
                activation,
                kv_read,
                kv_write,
                comm,
            )
        )

    def gemm(
        self,
        name: str,
        role: str,
        tokens: int,
        n: int,
        k: int,
        *,
        bias: int = 0,
        replicas: int = 1,
        kind: str = "gemm",
    ) -> None:
        """A linear layer: (tokens × k)·(k × n), with `bias` bias values; `replicas` GPUs hold and run the same copy."""
        parts = len(self.formats(role, name))
        self.fused(name, role, tokens, [(n // parts, 1)] * (parts - 1) + [(n - n // parts * (parts - 1), 1)], k,
                   bias=bias, replicas=replicas, kind=kind)  # fmt: skip

    def fused(
        self,
        name: str,
        role: str,
        tokens: int,
        parts: Sequence[tuple[int, int]],
        k: int,
        *,
        bias: int = 0,
        replicas: int = 1,
        kind: str = "gemm",
    ) -> None:
        """A linear layer whose weights are several modules, each of (outputs, copies that GPUs hold and run).

        Modules stored alike are one matrix; those whose products run in another dtype are a product of their own.
        """
        formats = self.formats(role, name)
        if len(formats) != len(parts):
            formats = formats[:1] * len(parts)
        by_format: dict[Format, list[int]] = {}
        for fmt, (rows, copies) in zip(formats, parts, strict=True):
            if not rows and len(parts) > 1:
                continue
            sums = by_format.setdefault(fmt, [0, 0])
            sums[0] += rows
            sums[1] += rows * copies
        by_compute: dict[str | None, list[Format]] = {}
        for fmt in by_format:
            by_compute.setdefault(fmt.compute, []).append(fmt)
        for compute, alike in by_compute.items():
            n = sum(by_format[fmt][0] for fmt in alike)
            held = sum(by_format[fmt][1] for fmt in alike)
            weight = sum(fmt.bytes(by_format[fmt][1], k) for fmt in alike) + self.plain_bytes(bias)
            self.add(
                kind,
                name,
                m=tokens,
                n=n,
                k=k,
                dtype=compute,
                flops=2 * tokens * n * k,
                executed=2 * tokens * replicas * held * k,
                weight=replicas * weight if tokens else 0,
                activation=self.plain_bytes(tokens * (held + k)),
            )
            bias = 0

    def norm(self, name: str, params: int, elements: int, *, replicas: int | None = None) -> None:
        """A normalization of `elements` values with `params` weights, held by every tensor-parallel rank."""
        copies = self.tp if replicas is None else replicas
        self.add(
            "norm",
            name,
            weight=copies * self.plain_bytes(params) if elements and params else 0,
            activation=2 * self.plain_bytes(elements),
        )

    def all_reduce(self, name: str, elements: int) -> None:
        """Sum over the tensor-parallel ranks; a ring sends 2 (tp - 1) times the buffer in total."""
        if self.tp > 1:
            self.add("communication", name, comm=2 * (self.tp - 1) * self.plain_bytes(elements))
